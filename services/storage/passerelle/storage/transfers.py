"""Copies of files from one system to another: in constant memory, resumable, and the same at both ends or not there.

There is no state but the systems': what has arrived is an upload to the target, whose id follows from the caller, the
source, its version and the target. A source that changed is thus another upload, never the rest of an old one.
"""

import asyncio
import errno
import hashlib
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    aclosing,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from dataclasses import dataclass
from typing import Protocol
from weakref import WeakValueDictionary

import grpc

from passerelle.runtime import caller
from passerelle.runtime.errors import ApiError, Field, InvalidArgument, NotFound
from passerelle.runtime.turns import Turns
from passerelle.storage.checksums import Algorithm
from passerelle.storage.content import Changed
from passerelle.storage.files import FileError, OpenFile
from passerelle.storage.places import Place
from passerelle.storage.terms import Terms, WriteMode
from passerelle.storage.transfer_jobs import SubmittedJob

_INTERVAL = 1.0  # seconds between words about how far it is

# Copies that one user may read from one system at a time. Each waits, with its source open, for a turn to write to the
# target: as long as they leave turns to writers, copies that cross each other cannot wait for each other for ever.
_AT_ONCE = 4


class DataLoss(ApiError):
    """What arrived is not what was sent; nothing was put in the target's place."""

    code = grpc.StatusCode.DATA_LOSS
    reason = "DATA_LOSS"
    http = 502


@dataclass(frozen=True, slots=True)
class Order:
    """What to copy where: absolute paths on two places, which may be one. `resume` goes on where an earlier copy of the
    same version broke off; the accounts are for jobs."""

    source: Place
    path: str
    target: Place
    target_path: str
    overwrite: bool = False
    resume: bool = False
    account: str | None = None
    target_account: str | None = None


@dataclass(frozen=True, slots=True)
class CopyProgress:
    """How far a copy is, in bytes: taken by the target, the file's size, and what an earlier call had brought. The
    jobs that carry it, if any; `sha256` of both ends once it is done."""

    done: int
    total: int
    resumed: int = 0
    jobs: tuple[SubmittedJob, ...] = ()
    sha256: str = ""


class Road(Protocol):
    """A way for files to get from one system to another."""

    def copy(self, order: Order) -> AsyncGenerator[CopyProgress, None]:
        """Copy, telling about once a second how far it is; the last progress has the checksum.

        Closing the iterator cancels the copy. Raises InvalidArgument or FileError for what cannot be copied there,
        Changed for a source that changed meanwhile, DataLoss for a copy that is not like its source, and what the way
        to either system raises. Every error names the system.
        """
        ...


class Direct:
    """Through this service: SFTP on both sides."""

    def __init__(self) -> None:
        self._turns: WeakValueDictionary[tuple[str, str], Turns] = WeakValueDictionary()

    async def copy(self, order: Order) -> AsyncGenerator[CopyProgress, None]:
        """See `Road.copy`. What has arrived when it breaks off is kept, to be resumed."""
        await _demand_free(order)
        async with self._turn(order), _opened(order) as file:
            copy = _Copy(order, file)
            await copy.begin()
            yield copy.progress()
            work = asyncio.create_task(copy.finish())
            try:
                while not (await asyncio.wait({work}, timeout=_INTERVAL))[0]:
                    yield copy.progress()
                yield await work
            finally:
                work.cancel()
                await asyncio.gather(work, return_exceptions=True)

    def _turn(self, order: Order) -> AbstractAsyncContextManager[None]:
        system = order.source.system
        key = (caller.current().username, system.name)
        turns = self._turns.get(key)
        if turns is None:
            turns = self._turns[key] = Turns(system.name, _AT_ONCE, system.ssh.max_waiting)
        return turns.turn()


class _Copy:
    """One copy at work."""

    def __init__(self, order: Order, file: OpenFile) -> None:
        self._order = order
        self._file = file
        self._upload = _upload_id(order, file.version)
        self._resumed = 0
        self._taken = 0

    def progress(self, sha256: str = "") -> CopyProgress:
        """How far it is."""
        return CopyProgress(self._taken, self._file.size, self._resumed, (), sha256)

    async def begin(self) -> None:
        """Find what an earlier call brought, where it shall be resumed, or begin anew."""
        uploads, path = self._order.target.uploads, self._order.target_path
        with _on(self._order.target):
            if self._order.resume:
                with suppress(NotFound):
                    received = await uploads.received(path, self._upload)
                    self._resumed = self._taken = min(received, self._file.size)
                    return
            await self._give_up()
            await uploads.create(path, self._upload)

    async def finish(self) -> CopyProgress:
        """Bring what is missing, compare both ends, and put it in its place."""
        checksum = asyncio.create_task(self._checksum())
        try:
            await self._bring()
            sha256 = await checksum
        finally:
            checksum.cancel()
            await asyncio.gather(checksum, return_exceptions=True)
        await self._demand_unchanged()
        await self._complete(sha256)
        return self.progress(sha256)

    async def _bring(self) -> None:
        uploads, path = self._order.target.uploads, self._order.target_path
        try:
            async with aclosing(self._content()) as content:
                with _on(self._order.target):
                    await uploads.write(path, self._upload, self._resumed, content)
        except (FileError, Changed):  # the former when it became shorter
            await self._demand_unchanged()
            raise

    async def _content(self) -> AsyncGenerator[bytes, None]:
        """The missing bytes, read no faster than the target takes them."""
        missing = self._file.chunks(self._resumed, self._file.size - self._resumed)
        with _on(self._order.source):
            async with aclosing(missing) as chunks:  # type: ignore[type-var]  # it is a generator
                async for chunk in chunks:
                    yield chunk
                    self._taken += len(chunk)

    async def _checksum(self) -> str:
        """The source's, computed where it lies."""
        place, path = self._order.source, self._order.path
        with _on(place):
            async with aclosing(place.checksums.compute(path, Algorithm.SHA256)) as steps:
                async for step in steps:
                    found = step.result
        return str(found)

    async def _demand_unchanged(self) -> None:
        """Raise Changed when what the path holds is not what is being copied; what has arrived is of no use then."""
        place, path = self._order.source, self._order.path
        with _on(place):
            now = await place.files.stat(path, dereference=True)
            if now.version != self._file.version:
                await self._give_up()
                raise Changed(path)

    async def _complete(self, sha256: str) -> None:
        target, path = self._order.target, self._order.target_path
        mode = WriteMode.OVERWRITE if self._order.overwrite else WriteMode.CREATE
        terms = Terms(mode, sha256=sha256)
        try:
            with _on(target):
                await target.uploads.complete(path, self._upload, self._file.size, terms)
        except (
            InvalidArgument
        ) as error:  # not of the caller's making: size and checksum are the source's
            await self._give_up()
            raise DataLoss(
                f"What arrived on system {target.system.name} is not what {self._order.path} on system "
                f"{self._order.source.system.name} holds; nothing was put in the target's place.",
                system=target.system.name,
            ) from error

    async def _give_up(self) -> None:
        with suppress(NotFound), _on(self._order.target):
            await self._order.target.uploads.abort(self._order.target_path, self._upload)


async def _demand_free(order: Order) -> None:
    """Refuse what could not be completed anyway, before a byte is moved; completing asks again."""
    same = order.source.system.name == order.target.system.name
    if same and order.path == order.target_path:
        wrong = "is the file itself"
        raise InvalidArgument(f"target {wrong}", (Field("body", "target", wrong),))
    with _on(order.target):
        try:
            found = await order.target.files.stat(order.target_path)
        except FileError as error:
            if error.errno == errno.ENOENT:
                return
            raise
        if stat.S_ISDIR(found.mode) or not order.overwrite:
            number = errno.EISDIR if stat.S_ISDIR(found.mode) else errno.EEXIST
            raise FileError("open", order.target_path, number)


@asynccontextmanager
async def _opened(order: Order) -> AsyncIterator[OpenFile]:
    """The source, open inside the block."""
    async with AsyncExitStack() as stack:
        with _on(order.source):
            file = await stack.enter_async_context(order.source.files.opened(order.path))
        yield file


@contextmanager
def _on(place: Place) -> Iterator[None]:
    """Let errors of the block name the system, where they do not name one already."""
    try:
        yield
    except ApiError as error:
        if "system" not in error.metadata:
            error.metadata["system"] = place.system.name
            error.detail = f"On system {place.system.name}: {error.detail}"
        raise


def _upload_id(order: Order, version: str) -> str:
    """Where a copy of this version to that target is kept until it is whole; 32 hexadecimal digits."""
    known = (
        caller.current().username,
        order.source.system.name,
        order.path,
        version,
        order.target.system.name,
        order.target_path,
    )
    text = "\0".join(known).encode("utf-8", "surrogateescape")
    return hashlib.sha256(text).hexdigest()[:32]
