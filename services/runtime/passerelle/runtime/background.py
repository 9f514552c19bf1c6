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
    """A task that knows nothing of the current call: neither its caller and token nor the fields of its log lines.

    For what later calls share, such as an SSH connection. Its own lines carry `fields`. Whoever starts it holds on to
    it, and ends it.
    """
    context = Context()
    context.run(log_fields.begin, CallFields(dict(fields)))
    return asyncio.create_task(work, context=context)


@asynccontextmanager
async def running(work: Coroutine[Any, Any, None], **fields: str) -> AsyncIterator[None]:
    """As `start`, inside the block; at its end the work is cancelled, and has ended."""
    task = start(work, **fields)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def ended(task: "asyncio.Task[T]") -> T:
    """The result of a task, when it has ended; it does end, however often the caller is cancelled meanwhile."""
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
