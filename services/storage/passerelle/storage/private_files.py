"""Files that hand secrets to a job: readable by the user alone, and gone when the job has read them."""

import json
import os
import posixpath
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import asyncssh

from passerelle.runtime.errors import ApiError, FailedPrecondition
from passerelle.storage.content import Client, Session
from passerelle.storage.files import FileError
from passerelle.storage.remote.outcome import raw
from passerelle.storage.sessions import Sessions

_PREFIX = ".passerelle-transfer-"
# Seconds. A presigned URL lives for seven days at most, and no other secret of a transfer outlives it.
_LIFE = 7 * 86400


class PrivateFiles:
    """The private files of one system, as the current caller."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def put(self, directory: str, name: str, content: Mapping[str, Any]) -> str:
        """Write a new file of JSON; returns its path. Those that no job has come for in a week are swept away.

        Raises FailedPrecondition when the directory cannot be used, ConnectionFailed or DeadlineExceeded, and leaves
        nothing behind then where it can.
        """
        path = posixpath.join(directory, _PREFIX + name)
        async with self._sessions.transfer() as session:
            try:
                written = await session.do("write", path, _write, session.client, path, content)
            except FileError as error:
                await _gone(session, path)
                told = f"Transfer jobs cannot work in {directory}: {error.words}"
                raise FailedPrecondition(told, directory=directory) from None
            except BaseException:
                await _gone(session, path)
                raise
            with suppress(ApiError):
                await session.do(
                    "list", directory, _sweep, session.client, directory, written - _LIFE
                )
        return path

    async def discard(self, path: str) -> None:
        """Remove the file, if it is still there."""
        async with self._sessions.transfer() as session:
            await _gone(session, path)


async def _write(client: Client, path: str, content: Mapping[str, Any]) -> int:
    """Returns when the file was written by the system's clock, in seconds since the epoch."""
    private = asyncssh.SFTPAttrs(permissions=0o600)
    async with await client.open(raw(path), "xb", private) as file:
        await file.write(json.dumps(content).encode(), 0)
        return (await file.stat()).mtime or 0


async def _gone(session: Session, path: str) -> None:
    with suppress(ApiError):
        await session.do("unlink", path, session.client.remove, raw(path))


async def _sweep(client: Client, directory: str, before: int) -> None:
    """Remove the private files that were written before that second."""
    async for entry in client.scandir(raw(directory)):
        name = os.fsencode(entry.filename)
        written = entry.attrs.mtime
        if name.startswith(_PREFIX.encode()) and written is not None and written < before:
            await client.remove(posixpath.join(raw(directory), name))
