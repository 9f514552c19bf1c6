"""A receiver: the program on a system that writes the content of a large upload, sent as one stream, to its part."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from passerelle.runtime.errors import ApiError, BackendError, DeadlineExceeded, Overloaded
from passerelle.runtime.shipping import program
from passerelle.runtime.ssh.bootstrap import ALL
from passerelle.runtime.ssh.connection import Connection
from passerelle.runtime.ssh.program import LOST, Program
from passerelle.storage.access.helper import python_request
from passerelle.storage.errors import DataLoss, FileError
from passerelle.storage.paths import shown
from passerelle.storage.remote.frames import END, MARK

MODULES = ("frames", "outcome", "locking", "receiving")
"""The modules of `storage/remote` that it is made of: each after those that it imports."""
SOURCE = program(*(f"passerelle.storage.remote.{name}" for name in MODULES))
"""The receiver's program."""
_REQUEST = python_request(SOURCE)
_MOST_NOISE = 1 << 16  # bytes of foreign output beside the answer


class Receiver:
    """A receiver that runs on `system`, for one stream.

    When it ends early, the part has the beginning of the content that was sent. No method has a deadline.
    """

    def __init__(self, program: Program, system: str) -> None:
        self._program = program
        self._system = system

    @classmethod
    @asynccontextmanager
    async def start(cls, connection: Connection) -> "AsyncIterator[Receiver | None]":
        """A receiver that runs inside the block; None when none can be started now. Raises ConnectionFailed."""
        async with AsyncExitStack() as stack:
            receiver = None
            with suppress(Overloaded, BackendError, DeadlineExceeded):
                running = await stack.enter_async_context(connection.piped(_REQUEST, ALL))
                running.write_line(SOURCE.encode())
                receiver = cls(running, connection.system)
            yield receiver

    def begin(self, part: bytes, start: int, offset: int) -> None:
        """Make it write to `part` from `offset` on. The checksum covers the content from `start` on."""
        name = part.decode("utf-8", "surrogateescape")
        request = json.dumps({"part": name, "start": start, "offset": offset})
        self._program.write_line(request.encode() + b"\n")

    async def send(self, piece: bytes) -> bool:
        """Send a piece, as soon as the window allows it. False when the receiver has ended; `finish` has the reason."""
        try:
            await self._program.write(piece)
        except (*LOST, OSError):
            return False
        return True

    async def finish(self, path: str, sha256: str) -> int:
        """Wait until all content is written; the size of the part. The content from `start` on must have this SHA-256.

        Raises FileError about `path` when writing failed, ConnectionFailed when the outcome is unknown, and DataLoss
        for another checksum; the content from `start` on is then discarded.
        """
        self._program.end_input()
        self._program.write_line(sha256.encode() + b"\n")
        printed = bytearray()
        async for piece in self._program.output():
            printed += piece
            if MARK not in printed:
                del printed[:-_MOST_NOISE]
        _, mark, rest = bytes(printed).rpartition(MARK)
        text, end, _ = rest.partition(END)
        if not mark or not end:
            await self._program.status()  # raises the error
            raise BackendError(f"The receiver was ended on system {self._system}.")
        answer = json.loads(text)
        if "size" in answer:
            return int(answer["size"])
        raise _error(path, answer)


def _error(path: str, failure: Mapping[str, Any]) -> ApiError:
    if failure["step"] == "sha256":
        return DataLoss(f"{shown(path)}: What arrived is not what was sent; it was given up.")
    return FileError(failure["step"], path, failure["errno"])
