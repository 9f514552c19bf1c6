"""Fields that stand in every line that a call logs: bound once, where they become known.

They belong to the call, not to one of its tasks as those of `structlog.contextvars`: what a task of the call binds,
such as the id of the job that it submits, stands also in the lines of its other tasks, and in the call's last ones.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class CallFields:
    """The log fields of one call: `logged` stand in all its lines, `audited` only in its line of the audit log."""

    logged: dict[str, str] = field(default_factory=dict)
    audited: dict[str, str] = field(default_factory=dict)


_call: ContextVar[CallFields | None] = ContextVar("log_fields", default=None)


def begin(fields: CallFields) -> Token[CallFields | None]:
    """Let lines of this context, and of tasks that begin in it, carry `fields` from now on, and add to them."""
    return _call.set(fields)


@contextmanager
def of_call(fields: CallFields) -> Iterator[None]:
    """As `begin`, inside the block."""
    reset = begin(fields)
    try:
        yield
    finally:
        _call.reset(reset)


def bind(**fields: str) -> None:
    """Let all further lines of the current call, and its line in the audit log, carry `fields`.

    Does nothing outside of a call.
    """
    if (call := _call.get()) is not None:
        call.logged.update(fields)


@contextmanager
def bound(**fields: str) -> Iterator[None]:
    """As `bind`, but only for lines that are logged inside the block, about one of several things."""
    call = _call.get() or CallFields()
    with of_call(CallFields({**call.logged, **fields}, call.audited)):
        yield


def note(**fields: str) -> None:
    """Let the current call's line in the audit log carry `fields` that other logs must not show, such as paths."""
    if (call := _call.get()) is not None:
        call.audited.update(fields)


def logged() -> Mapping[str, str]:
    """The fields that lines of the current call carry; none outside of one."""
    call = _call.get()
    return call.logged if call is not None else {}
