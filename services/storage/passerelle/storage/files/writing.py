"""How new content takes the place of a file: it arrives in a hidden part beside it, and moves when it is whole."""

import errno
import os
import secrets
from dataclasses import dataclass
from typing import TypeVar

from passerelle.runtime.errors import ApiError, Field, InvalidArgument
from passerelle.storage.access.operations import Refusal
from passerelle.storage.access.system_access import SystemAccess
from passerelle.storage.errors import FileError, PreconditionFailed
from passerelle.storage.paths import shown
from passerelle.storage.remote.changing.placing import SUFFIX
from passerelle.storage.remote.outcome import raw
from passerelle.storage.values import WriteConditions, WriteMode, finished

T = TypeVar("T")

_NAME_MAX = 255  # bytes


@dataclass(frozen=True, slots=True)
class Target:
    """Where content for `path` belongs: `real` is the file without links, `version` that of what is there, or None."""

    path: str
    real: str
    version: str | None

    def part(self, token: str) -> str:
        """The hidden part with that token (ASCII): beside the target, under a name of at most 255 bytes."""
        directory, name = os.path.split(raw(self.real))
        ending = b"." + token.encode() + SUFFIX
        cut = name[: _NAME_MAX - 1 - len(ending)]
        if cut != name:
            cut = cut.decode(errors="ignore").encode()  # no half of a character
        return os.path.join(directory, b"." + cut + ending).decode("utf-8", "surrogateescape")


def new_token() -> str:
    """What makes a part's name its own: 32 hexadecimal digits that nobody else has."""
    return secrets.token_hex(16)


class Writing:
    """The beginning and the end of every way to write a file on one system."""

    def __init__(self, access: SystemAccess) -> None:
        self._access = access

    async def target(self, path: str) -> Target:
        """Where writing to `path` would write; FileError when it cannot."""
        target = await self._access.query(lambda files: files.write_target(path))
        return Target(path, target.real, target.version)

    async def place(self, target: Target, part: str, size: int, conditions: WriteConditions) -> str:
        """Put a part of `size` bytes in the target's place; the version of what is there now.

        Nothing is changed when the part or what is there turns out not to be what `conditions` say: InvalidArgument,
        PreconditionFailed, FileError (EEXIST; step `part` when there is no such part).
        """
        placing = self._access.stream(
            lambda files: files.place_part(target.real, part, size, conditions)
        )
        return accepted(target.path, await finished(placing))


def accepted(path: str, result: T | Refusal) -> T:
    """What was written to `path`; InvalidArgument or PreconditionFailed when nothing was, and why."""
    if isinstance(result, Refusal):
        raise _error(path, result)
    return result


def require_conditions(target: Target, conditions: WriteConditions) -> None:
    """Refuse early, before content is taken, what would be refused when it is whole."""
    if not conditions.accept(target.version):
        raise _error(target.path, Refusal("version", target.version or ""))
    if conditions.mode is WriteMode.CREATE and target.version is not None:
        raise FileError("open", target.path, errno.EEXIST)


def wrong_checksum(actual: str) -> InvalidArgument:
    """The error for content whose SHA-256 is `actual`, and was announced to be another."""
    return _not_announced("sha256", f"The content's SHA-256 is {actual}")


def _error(path: str, refusal: Refusal) -> ApiError:
    if refusal.mismatch == "sha256":
        return wrong_checksum(refusal.actual)
    if refusal.mismatch == "size":
        return _not_announced("size", f"{refusal.actual} bytes have arrived")
    state = f"its ETag is {refusal.actual}" if refusal.actual else "it is not there"
    return PreconditionFailed(f"{shown(path)}: Not the version that was asked for: {state}.")


def _not_announced(field: str, actual: str) -> InvalidArgument:
    message = f"{actual}, which is not what was announced; nothing was put in the file's place."
    return InvalidArgument(message, (Field("query", field, actual),))
