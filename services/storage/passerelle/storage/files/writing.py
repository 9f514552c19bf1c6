"""How new content takes the place of a file: it arrives in a hidden part beside it, and moves when it is whole."""

import errno
import json
import os
import secrets
from contextlib import aclosing
from dataclasses import dataclass

from passerelle.runtime.errors import ApiError, Field, InvalidArgument
from passerelle.storage.access.sessions import Sessions
from passerelle.storage.errors import FileError, PreconditionFailed
from passerelle.storage.paths import shown
from passerelle.storage.remote.changing.placing import SUFFIX
from passerelle.storage.remote.outcome import raw
from passerelle.storage.values import WriteConditions, WriteMode

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

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def target(self, path: str) -> Target:
        """Where writing to `path` would write; FileError when it cannot."""
        found = json.loads(await self._sessions.call("target", path=path))
        return Target(path, found["real"], found["version"])

    async def place(self, target: Target, part: str, size: int, terms: WriteConditions) -> str:
        """Put a part of `size` bytes in the target's place; the version of what is there now.

        Nothing is changed when the part or what is there turns out not to be what `terms` say: InvalidArgument,
        PreconditionFailed, FileError (EEXIST; step `part` when there is no such part).
        """
        steps = self._sessions.progress(
            "place",
            path=target.real,
            part=part,
            size=size,
            sha256=terms.sha256,
            mode=terms.mode.value,
            if_match=terms.if_match,
        )
        async with aclosing(steps):
            async for step in steps:
                found = step.result
        if "wrong" in found:
            raise _refusal(target.path, found["wrong"], found["found"])
        return str(found["version"])


def demand(target: Target, terms: WriteConditions) -> None:
    """Refuse early, before content is taken, what would be refused when it is whole."""
    if terms.if_match and (target.version is None or terms.if_match not in ("*", target.version)):
        raise _refusal(target.path, "version", target.version or "")
    if terms.mode is WriteMode.CREATE and target.version is not None:
        raise FileError("open", target.path, errno.EEXIST)


def wrong_checksum(found: str) -> InvalidArgument:
    """What a writer is told whose content has another SHA-256 than announced."""
    return _not_announced("sha256", f"The content's SHA-256 is {found}")


def _refusal(path: str, wrong: str, found: str) -> ApiError:
    if wrong == "sha256":
        return wrong_checksum(found)
    if wrong == "size":
        return _not_announced("size", f"{found} bytes have arrived")
    there = f"its ETag is {found}" if found else "it is not there"
    return PreconditionFailed(f"{shown(path)}: Not the version that was asked for: {there}.")


def _not_announced(field: str, told: str) -> InvalidArgument:
    message = f"{told}, which is not what was announced; nothing was put in the file's place."
    return InvalidArgument(message, (Field("query", field, told),))
