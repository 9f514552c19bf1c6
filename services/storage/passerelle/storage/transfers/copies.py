"""Copies of files from one system to another: the same at both ends, or not there.

There is no state but the systems: what has arrived is an upload to the target, whose id follows from the caller, the
source, its version and the target. A source that changed is thus another upload, never the rest of an old one.
"""

import asyncio
import errno
import hashlib
import logging
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from passerelle.runtime import caller, log_fields
from passerelle.runtime.config.site import System
from passerelle.runtime.errors import ApiError, Field, InvalidArgument, NotFound
from passerelle.storage.errors import Changed, DataLoss, FileError
from passerelle.storage.files.checksums import Algorithm, Checksums
from passerelle.storage.files.port import Files
from passerelle.storage.files.uploads import Uploads
from passerelle.storage.jobs.port import SubmittedJob
from passerelle.storage.paths import shown
from passerelle.storage.staging.staged import StagedTransfers
from passerelle.storage.values import WriteConditions, WriteMode, finished

T = TypeVar("T")

log = logging.getLogger(__name__)

_INTERVAL = 1.0  # seconds between words about how far it is


@dataclass(frozen=True)
class CopyContext:
    """A system, and what copies to and from it use."""

    config: System
    files: Files
    uploads: Uploads
    checksums: Checksums
    staging: StagedTransfers


@dataclass(frozen=True, slots=True)
class CopySpec:
    """What to copy where: absolute paths on two systems, which may be one.

    `resume` goes on where an earlier copy of the same version broke off; the accounts are for jobs.
    """

    source: CopyContext
    path: str
    target: CopyContext
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


class Route(Protocol):
    """A way for files from one system to another."""

    def copy(self, spec: CopySpec) -> AsyncGenerator[CopyProgress, None]:
        """Copy, telling about once a second how far it is; the last progress has the checksum.

        Closing the iterator cancels the copy. Raises InvalidArgument or FileError for what cannot be copied there,
        Changed for a source that changed meanwhile, DataLoss for a copy that is not like its source, and what the way
        to either system raises. Every error names the system.
        """
        ...


@asynccontextmanager
async def working(work: Coroutine[Any, Any, T]) -> AsyncIterator[asyncio.Task[T]]:
    """A task that works inside the block; it is cancelled when the block is left."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def ended(task: "asyncio.Task[Any]") -> bool:
    """Whether it has, after the time between two words about how far it is."""
    return bool((await asyncio.wait({task}, timeout=_INTERVAL))[0])


class Copy:
    """One copy: the upload on the target that shall become the file, and what makes it the same as the source.

    `version` and `size` (bytes) are the source's when the copying began.
    """

    def __init__(self, spec: CopySpec, version: str, size: int) -> None:
        self.size = size
        self.upload = _upload_id(spec, version)
        log_fields.bind(upload_id=self.upload)
        self._spec = spec
        self._version = version

    async def received(self) -> int | None:
        """How many bytes an earlier call has brought; None when there was none."""
        uploads, path = self._spec.target.uploads, self._spec.target_path
        with on(self._spec.target), suppress(NotFound):
            return min(await uploads.received(path, self.upload), self.size)
        return None

    async def begin(self) -> None:
        """Begin the upload; what an earlier call had brought is given up."""
        await self.give_up()
        with on(self._spec.target):
            await self._spec.target.uploads.create(self._spec.target_path, self.upload)

    async def give_up(self) -> None:
        """Remove what has arrived."""
        with suppress(NotFound), on(self._spec.target):
            await self._spec.target.uploads.abort(self._spec.target_path, self.upload)

    async def checksum(self) -> str:
        """The source's SHA-256, computed where it lies."""
        system, path = self._spec.source, self._spec.path
        with on(system):
            return await finished(system.checksums.compute(path, Algorithm.SHA256))

    async def require_unchanged(self) -> None:
        """Raise Changed when what the path holds is not what is being copied; what has arrived is of no use then."""
        system, path = self._spec.source, self._spec.path
        with on(system):
            now = await system.files.stat(path, dereference=True)
            if now.version != self._version:
                await self.give_up()
                raise Changed(path)

    async def complete(self, sha256: str) -> None:
        """Put what has arrived in the target's place, if its checksum, computed there, is `sha256`."""
        await self.require_unchanged()
        target, path = self._spec.target, self._spec.target_path
        mode = WriteMode.OVERWRITE if self._spec.overwrite else WriteMode.CREATE
        try:
            with on(target):
                conditions = WriteConditions(mode, sha256=sha256)
                await target.uploads.complete(path, self.upload, self.size, conditions)
        except InvalidArgument as error:
            # Not of the caller's making: size and checksum are the source's.
            log.warning("what a copy brought is not its source: %s", error.detail)
            await self.give_up()
            raise DataLoss(
                f"What arrived on system {target.config.name} is not what {shown(self._spec.path)} on system "
                f"{self._spec.source.config.name} holds; nothing was put in the target's place.",
                system=target.config.name,
            ) from error


async def require_free(spec: CopySpec) -> None:
    """Refuse what could not be completed anyway, before a byte is moved; completing asks again."""
    same = spec.source.config.name == spec.target.config.name
    if same and spec.path == spec.target_path:
        violation = "is the file itself"
        raise InvalidArgument(f"target {violation}", (Field("body", "target", violation),))
    with on(spec.target):
        try:
            info = await spec.target.files.stat(spec.target_path)
        except FileError as error:
            if error.errno == errno.ENOENT:
                return
            raise
        if stat.S_ISDIR(info.mode) or not spec.overwrite:
            number = errno.EISDIR if stat.S_ISDIR(info.mode) else errno.EEXIST
            raise FileError("open", spec.target_path, number)


@contextmanager
def on(system: CopyContext) -> Iterator[None]:
    """Let errors of the block name the system, where they do not name one already."""
    try:
        yield
    except ApiError as error:
        if "system" not in error.metadata:
            error.metadata["system"] = system.config.name
            error.detail = f"On system {system.config.name}: {error.detail}"
        raise


def _upload_id(spec: CopySpec, version: str) -> str:
    """Where a copy of this version to that target is kept until it is whole; 32 hexadecimal digits."""
    identity = (
        caller.current().username,
        spec.source.config.name,
        spec.path,
        version,
        spec.target.config.name,
        spec.target_path,
    )
    text = "\0".join(identity).encode("utf-8", "surrogateescape")
    return hashlib.sha256(text).hexdigest()[:32]
