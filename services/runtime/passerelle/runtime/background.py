"""Tasks that outlive the call in which they begin, or belong to none."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from contextvars import Context
from typing import Any, TypeVar

from passerelle.runtime import log_fields
from passerelle.runtime.log_fields import CallFields

T = TypeVar("T")


def start(work: Coroutine[Any, Any, T], **fields: str) -> "asyncio.Task[T]":
    """Start a task without the context of the current call: without its caller, its token and its log fields.

    It is for work that later calls share, such as an SSH connection. Its log lines carry `fields`. Whoever starts it
    keeps a reference to it, and ends it.
    """
    context = Context()
    context.run(log_fields.begin, CallFields(dict(fields)))
    return asyncio.create_task(work, context=context)


@asynccontextmanager
async def running(work: Coroutine[Any, Any, None], **fields: str) -> AsyncIterator[None]:
    """Run work as `start` does, inside the block. When the block is left, the work is cancelled and waited for."""
    task = start(work, **fields)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def ended(task: "asyncio.Task[T]") -> T:
    """Wait for the end of a task, also when the caller is cancelled meanwhile, and return its result.

    Raises what the task raises; CancelledError, once the task has ended, when the caller was cancelled.
    """
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        return task.result()
    if not task.cancelled():
        task.exception()  # not reported: the caller is cancelled
    raise cancelled
