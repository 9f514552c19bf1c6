"""How operations reach one system as the current caller.

A helper per connection does what SFTP cannot do or does slowly, plain commands where none runs; content goes over SFTP.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import orjson

from passerelle.runtime.config import System
from passerelle.runtime.errors import ConnectionFailed, DeadlineExceeded
from passerelle.runtime.ssh.bootstrap import Request
from passerelle.runtime.ssh.connection import Connection
from passerelle.runtime.turns import Turns
from passerelle.storage.commands import PlainCommands
from passerelle.storage.config import StorageSection
from passerelle.storage.content import Session
from passerelle.storage.files import Progress
from passerelle.storage.helper import NoHelper, RemoteHelper
from passerelle.storage.pipes import Pipe

log = logging.getLogger(__name__)

_CALLS_AT_ONCE = 16  # enough to keep a helper busy while answers travel
_STREAMS_AT_ONCE = 8  # each holds a thread of the helper, and up to a window of 1 MB
_TRANSFERS_AT_ONCE = 8  # each holds up to a window of 3 MB


class Operations(Protocol):
    """Answers the operations of `remote.operations.OPERATIONS`."""

    @property
    def alive(self) -> bool:
        """Whether it still answers."""
        ...

    async def call(self, operation: str, arguments: dict[str, Any]) -> bytes:
        """The operation's result; raises FileError or ConnectionFailed."""
        ...

    def stream(
        self, operation: str, arguments: dict[str, Any], stall: float
    ) -> AsyncGenerator[bytes, None]:
        """The same piece by piece, as they come; DeadlineExceeded when nothing comes for `stall` seconds."""
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
        self.streams = Turns(system.name, _STREAMS_AT_ONCE, waiting)
        self.transfers = Turns(system.name, _TRANSFERS_AT_ONCE, waiting)
        self.stall = settings.stall_timeout
        self._use_helper = settings.remote_helper
        self._limit = system.ssh.timeout.command
        self._roots = system.roots
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
                return await RemoteHelper.start(self.connection, self._roots)
            except NoHelper as reason:
                log.warning("plain commands are used instead of a helper: %s", reason)
        return PlainCommands(self.connection, self._limit, self._roots)

    async def content(self) -> Session:
        """The SFTP session."""
        sftp = await self.connection.sftp()
        return Session(sftp, self.connection.system, self.stall)


class Sessions:
    """The way to one system, for whoever calls."""

    def __init__(self, pool: Connections, system: System, settings: StorageSection) -> None:
        self._pool = pool
        self._system = system
        self._settings = settings
        self._users: WeakKeyDictionary[Connection, _User] = WeakKeyDictionary()

    async def call(self, operation: str, **arguments: Any) -> bytes:
        """An operation that changes nothing, and is asked again once when its connection is lost."""
        user = await self._user()
        try:
            return await self._ask(user, operation, arguments)
        except ConnectionFailed:
            return await self.change(operation, **arguments)

    async def change(self, operation: str, **arguments: Any) -> bytes:
        """An operation, asked once; DeadlineExceeded after the system's time for a command."""
        return await self._ask(await self._user(), operation, arguments)

    async def stream(self, operation: str, **arguments: Any) -> AsyncGenerator[bytes, None]:
        """An operation, asked once, whose answer is taken piece by piece and may take any time.

        DeadlineExceeded when the system sends nothing for the time of a stalled transfer. Closing the iterator, which
        whoever does not read to the end must do, cancels the work.
        """
        user = await self._user()
        async with user.connection.use(), user.streams.turn():
            operations = await self._ready(user)
            async with aclosing(operations.stream(operation, arguments, user.stall)) as pieces:
                async for piece in pieces:
                    yield piece

    async def progress(self, operation: str, **arguments: Any) -> AsyncGenerator[Progress, None]:
        """A long operation that tells how far it is, by `Call.advance`; the last has what `Call.result` was given."""
        async with aclosing(self.stream(operation, **arguments)) as pieces:
            async for piece in pieces:
                told = orjson.loads(piece)
                yield Progress(**told, finished="result" in told)

    @asynccontextmanager
    async def program(self, argv: Sequence[str]) -> AsyncIterator[Pipe]:
        """A program that runs as long as the block does, in the C locale; ConnectionFailed or Overloaded."""
        user = await self._user()
        async with (
            user.connection.piped(Request(argv)) as running,
            Pipe.of(running, self._system.name, user.stall) as pipe,
        ):
            yield pipe

    @asynccontextmanager
    async def transfer(self) -> AsyncIterator[Session]:
        """An SFTP session, when the caller's turn to move content has come."""
        user = await self._user()
        async with user.connection.use(), user.transfers.turn():
            try:
                yield await user.content()
            except ConnectionFailed:
                user.connection.drop_sftp()
                raise

    async def _ask(self, user: _User, operation: str, arguments: dict[str, Any]) -> bytes:
        async with user.connection.use(), user.calls.turn():
            try:
                async with asyncio.timeout(self._system.ssh.timeout.command):
                    operations = await user.operations()
                    return await operations.call(operation, arguments)
            except TimeoutError:
                raise DeadlineExceeded("Command execution timeout limit exceeded.") from None

    async def _ready(self, user: _User) -> Operations:
        try:
            async with asyncio.timeout(self._system.ssh.timeout.command):
                return await user.operations()
        except TimeoutError:
            raise DeadlineExceeded("Command execution timeout limit exceeded.") from None

    async def _user(self) -> _User:
        connection = await self._pool.connection(self._system.name)
        found = self._users.get(connection)
        if found is None:
            found = self._users[connection] = _User(connection, self._system, self._settings)
        return found
