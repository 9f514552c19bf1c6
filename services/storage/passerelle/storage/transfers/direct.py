"""Copies between systems through this service: from one SFTP session into another, in constant memory, resumable."""

from collections.abc import AsyncGenerator, AsyncIterator, Hashable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager
from weakref import WeakValueDictionary

from passerelle.runtime import caller, log_fields
from passerelle.runtime.call_queue import CallQueue
from passerelle.storage.errors import Changed, FileError
from passerelle.storage.files.port import OpenFile
from passerelle.storage.transfers import copies

# Copies that one user may read from one system at a time. Each waits, with its source open, for a turn to write to the
# target: as long as they leave turns to writers, copies that cross each other cannot wait for each other for ever.
_AT_ONCE = 4


class Direct:
    """Through this service: what has arrived when a copy breaks off is kept, to be resumed."""

    def __init__(self) -> None:
        self._queues: WeakValueDictionary[Hashable, CallQueue] = WeakValueDictionary()

    async def copy(self, spec: copies.CopySpec) -> AsyncGenerator[copies.CopyProgress, None]:
        """See `Route.copy`."""
        await copies.require_free(spec)
        async with self._slot(spec), _opened(spec) as file:
            passage = _Passage(spec, file)
            await passage.begin()
            yield passage.progress()
            async with copies.working(passage.finish()) as work:
                while not await copies.ended(work):
                    yield passage.progress()
                yield passage.progress(work.result())

    def _slot(self, spec: copies.CopySpec) -> AbstractAsyncContextManager[None]:
        system = spec.source.config
        key = (caller.current().identity, system.name)
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = CallQueue(
                system.name, "copies", at_once=_AT_ONCE, most_waiting=system.ssh.max_waiting
            )
        return queue.slot()


class _Passage:
    """One copy at work.

    `_taken` counts what the target's side has taken, of which up to a window of 3 MB is still copies.on its way.
    """

    def __init__(self, spec: copies.CopySpec, file: OpenFile) -> None:
        self._spec = spec
        self._file = file
        self._copy = copies.Copy(spec, file.version, file.size)
        log_fields.bind(transfer=self._copy.upload)
        self._resumed = 0
        self._taken = 0

    def progress(self, sha256: str = "") -> copies.CopyProgress:
        """How far it is."""
        return copies.CopyProgress(self._taken, self._file.size, self._resumed, (), sha256)

    async def begin(self) -> None:
        """Find what an earlier call brought, where it shall be resumed, or begin anew."""
        received = await self._copy.received() if self._spec.resume else None
        if received is None:
            await self._copy.begin()
        self._resumed = self._taken = received or 0

    async def finish(self) -> str:
        """Bring what is missing, while the source's checksum is computed, and put it in its place; the checksum."""
        async with copies.working(self._copy.checksum()) as checksum:
            await self._bring()
            sha256 = await checksum
        await self._copy.complete(sha256)
        return sha256

    async def _bring(self) -> None:
        target = self._spec.target
        try:
            async with aclosing(self._content()) as content:
                with copies.on(target):
                    await target.uploads.write(
                        self._spec.target_path, self._copy.upload, self._resumed, content
                    )
        except (FileError, Changed):  # the former when it became shorter
            await self._copy.require_unchanged()
            raise

    async def _content(self) -> AsyncGenerator[bytes, None]:
        """The missing bytes, read no faster than the target takes them."""
        missing = self._file.chunks(self._resumed, self._file.size - self._resumed)
        with copies.on(self._spec.source):
            async with aclosing(missing) as chunks:  # type: ignore[type-var]  # it is a generator
                async for chunk in chunks:
                    yield chunk
                    self._taken += len(chunk)


@asynccontextmanager
async def _opened(spec: copies.CopySpec) -> AsyncIterator[OpenFile]:
    """The source, open inside the block."""
    async with AsyncExitStack() as stack:
        with copies.on(spec.source):
            file = await stack.enter_async_context(spec.source.files.opened(spec.path))
        yield file
