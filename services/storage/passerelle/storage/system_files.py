"""The Files port over SSH: a helper per connection, or plain commands where none runs, and SFTP for content."""

import asyncio
import errno
import json
import logging
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import orjson

from passerelle.runtime import caller
from passerelle.runtime.config import System
from passerelle.runtime.errors import ApiError, ConnectionFailed, DeadlineExceeded
from passerelle.runtime.ssh.connection import Connection
from passerelle.runtime.turns import Turns
from passerelle.storage.commands import PlainCommands
from passerelle.storage.config import StorageSection
from passerelle.storage.content import RemoteFile, Replacement, Session, opened, temporary_name
from passerelle.storage.files import (
    EVERYTHING,
    Columns,
    Excerpt,
    FileError,
    FileInfo,
    Listing,
    Written,
)
from passerelle.storage.helper import NoHelper, RemoteHelper
from passerelle.storage.shared_calls import SharedCalls

log = logging.getLogger(__name__)

_CALLS_AT_ONCE = 16  # enough to keep a helper busy while answers travel
_TRANSFERS_AT_ONCE = 8  # each holds up to a window of 3 MB
_LISTING_LIMIT = 60 << 20  # bytes; the largest reply that Envoy passes on is 64 MiB


class Operations(Protocol):
    """Answers the operations of `remote_helper.OPERATIONS`."""

    @property
    def alive(self) -> bool:
        """Whether it still answers."""
        ...

    async def call(self, operation: str, arguments: dict[str, Any]) -> bytes:
        """The operation's result; raises FileError or ConnectionFailed."""
        ...


class Connections(Protocol):
    """Where connections come from: the SSH pool."""

    async def connection(self, system: str) -> Connection:
        """An open connection of the current caller."""
        ...


class _User:
    """What is kept for one connection of one user."""

    def __init__(self, connection: Connection, system: System, settings: StorageSection) -> None:
        waiting = system.ssh.max_waiting
        self.connection = connection
        self.calls = Turns(system.name, _CALLS_AT_ONCE, waiting)
        self.transfers = Turns(system.name, _TRANSFERS_AT_ONCE, waiting)
        self.stall = settings.stall_timeout
        self._use_helper = settings.remote_helper
        self._limit = system.ssh.timeout.command
        self._operations: Operations | None = None
        self._starting = asyncio.Lock()

    async def operations(self) -> Operations:
        """The helper, started when first needed or when it died; commands where it was found that none can run."""
        if self._operations is not None and self._operations.alive:
            return self._operations
        async with self._starting:
            if self._operations is None or not self._operations.alive:
                self._operations = await self._started()
            return self._operations

    async def _started(self) -> Operations:
        if self._use_helper:
            try:
                return await RemoteHelper.start(self.connection)
            except NoHelper as reason:
                log.warning("plain commands are used instead of a helper: %s", reason)
        return PlainCommands(self.connection, self._limit)

    async def content(self) -> Session:
        """The SFTP session."""
        sftp = await self.connection.sftp()
        return Session(sftp, self.connection.system, self.stall)


class SystemFiles:
    """The files of one system; see `Files` for what its methods do."""

    def __init__(self, pool: Connections, system: System, settings: StorageSection) -> None:
        self._pool = pool
        self._system = system
        self._settings = settings
        self._users: WeakKeyDictionary[Connection, _User] = WeakKeyDictionary()
        self._shared = SharedCalls()

    async def stat(self, path: str, *, dereference: bool = False) -> FileInfo:
        """See `Files.stat`."""
        return FileInfo(**orjson.loads(await self.row(path, EVERYTHING, dereference=dereference)))

    async def list(self, path: str, listing: Listing) -> Sequence[FileInfo]:
        """See `Files.list`."""
        return [
            FileInfo(**row) for row in orjson.loads(await self.table(path, listing, EVERYTHING))
        ]

    async def table(self, path: str, listing: Listing, columns: Columns) -> bytes:
        """See `Files.table`."""
        key = (caller.current().username, path, listing, tuple(columns))
        return await self._shared.run(key, lambda: self._table(path, listing, columns))

    async def _table(self, path: str, listing: Listing, columns: Columns) -> bytes:
        return await self._call(
            "list",
            path=path,
            columns=columns,
            hidden=listing.hidden,
            recursive=listing.recursive,
            dereference=listing.dereference,
            limit=_LISTING_LIMIT,
        )

    async def row(self, path: str, columns: Columns, *, dereference: bool = False) -> bytes:
        """See `Files.row`."""
        return await self._call("stat", path=path, dereference=dereference, columns=columns)

    async def read(self, path: str, offset: int, length: int, limit: int | None = None) -> bytes:
        """See `Files.read`."""
        return await self._call("read", path=path, offset=offset, length=length, limit=limit)

    async def excerpt(self, path: str, excerpt: Excerpt, limit: int) -> bytes:
        """See `Files.excerpt`."""
        return await self._call(
            "excerpt",
            path=path,
            unit=excerpt.unit,
            count=excerpt.count,
            from_end=excerpt.from_end,
            before=excerpt.before,
            limit=limit,
        )

    async def make_directory(self, path: str, columns: Columns, *, parents: bool = False) -> bytes:
        """See `Files.make_directory`."""
        return await self._change("mkdir", path=path, parents=parents, columns=columns)

    async def remove(self, path: str) -> None:
        """See `Files.remove`."""
        await self._change("remove", path=path)

    @asynccontextmanager
    async def opened(self, path: str) -> AsyncIterator[RemoteFile]:
        """See `Files.opened`."""
        info = await self.stat(path, dereference=True)
        if not stat.S_ISREG(info.mode):  # opening a pipe would hang the whole SFTP session
            number = errno.EISDIR if stat.S_ISDIR(info.mode) else errno.EINVAL
            raise FileError("read", path, number)
        version = f"{info.inode:x}-{info.size:x}-{info.mtime_ns:x}"
        async with self._transfer() as session, opened(session, path, version) as file:
            yield file

    async def write(
        self, path: str, chunks: AsyncIterator[bytes], sha256: str | None = None
    ) -> Written:
        """See `Files.write`."""
        target = json.loads(await self._call("target", path=path))
        real = target["real"].encode("utf-8", "surrogateescape")
        temporary = temporary_name(real)
        try:
            async with self._transfer() as session:
                replacement = Replacement(session, path, real, target["mode"], temporary)
                return await replacement.write(chunks, sha256)
        except ConnectionFailed:
            await asyncio.shield(asyncio.create_task(self._discard(temporary)))
            raise

    async def _discard(self, temporary: bytes) -> None:
        """Remove what a lost connection left, over a new one if there is one."""
        with suppress(ApiError):
            async with self._transfer() as session:
                await session.do("unlink", "", session.sftp.remove, temporary)

    @asynccontextmanager
    async def _transfer(self) -> AsyncIterator[Session]:
        user = await self._user()
        async with user.connection.use(), user.transfers.turn():
            try:
                yield await user.content()
            except ConnectionFailed:
                user.connection.drop_sftp()
                raise

    async def _call(self, operation: str, **arguments: Any) -> bytes:
        """An operation that changes nothing, and is asked again once when its connection is lost."""
        user = await self._user()
        try:
            return await self._ask(user, operation, arguments)
        except ConnectionFailed:
            return await self._change(operation, **arguments)

    async def _change(self, operation: str, **arguments: Any) -> bytes:
        """An operation, asked once."""
        return await self._ask(await self._user(), operation, arguments)

    async def _ask(self, user: _User, operation: str, arguments: dict[str, Any]) -> bytes:
        async with user.connection.use(), user.calls.turn():
            try:
                async with asyncio.timeout(self._system.ssh.timeout.command):
                    operations = await user.operations()
                    return await operations.call(operation, arguments)
            except TimeoutError:
                raise DeadlineExceeded("Command execution timeout limit exceeded.") from None

    async def _user(self) -> _User:
        connection = await self._pool.connection(self._system.name)
        found = self._users.get(connection)
        if found is None:
            found = self._users[connection] = _User(connection, self._system, self._settings)
        return found
