"""How operations reach one system as the current caller.

A helper per connection does what SFTP cannot do or does slowly, plain commands where none runs. Content goes over SFTP;
where an account has none, by the helper, too, or by plain commands.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import orjson

from passerelle.runtime import caller
from passerelle.runtime.command import Request
from passerelle.runtime.config.site import System
from passerelle.runtime.errors import ConnectionFailed
from passerelle.runtime.ssh.connection import Connection, NoSftp
from passerelle.runtime.turns import Turns
from passerelle.storage.access.deadlines import ending_in
from passerelle.storage.access.helper import NoHelper, RemoteHelper
from passerelle.storage.access.operations_sftp import OperationsClient
from passerelle.storage.access.pipes import Pipe
from passerelle.storage.commands.operations import PlainCommands
from passerelle.storage.config import StorageSection
from passerelle.storage.files.content import Client, Session, SftpLost
from passerelle.storage.values import Progress

log = logging.getLogger(__name__)

_CALLS_AT_ONCE = 16  # enough to keep a helper busy while answers travel
_STREAMS_AT_ONCE = 8  # each holds a thread of the helper, and up to a window of 1 MB
_TRANSFERS_AT_ONCE = 8  # each holds up to a window of 3 MB


class Operations(Protocol):
    """Answers the operations of `remote.helper.operations.OPERATIONS`."""

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

    def __init__(
        self,
        connection: Connection,
        system: System,
        settings: StorageSection,
        tell: Callable[[str], None],
    ) -> None:
        waiting = system.ssh.max_waiting
        self.connection = connection
        self.calls = Turns(system.name, _CALLS_AT_ONCE, waiting)
        self.streams = Turns(system.name, _STREAMS_AT_ONCE, waiting)
        self.transfers = Turns(system.name, _TRANSFERS_AT_ONCE, waiting)
        self.stall = settings.stall_timeout
        self.notes: list[str] = []
        """What of the usual ways this account has not, in words."""
        self._tell = tell
        self._use_helper = settings.remote_helper
        self._limit = system.ssh.timeout.command
        self._roots = system.roots
        self._operations: Operations | None = None
        self._starting = asyncio.Lock()

    async def ask(
        self, operation: str, arguments: dict[str, Any], limit: float | None = None
    ) -> bytes:
        """An operation's answer, when its turn has come.

        DeadlineExceeded when it takes longer than `limit` seconds, else the system's time for a command.
        """
        async with self.calls.turn(), ending_in(limit or self._limit):
            return await (await self._chosen()).call(operation, arguments)

    async def operations(self) -> Operations:
        """The helper, started when first needed or when it died; commands where it was found that none can run."""
        async with ending_in(self._limit):
            return await self._chosen()

    async def _chosen(self) -> Operations:
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
                self._note(f"plain commands are used instead of a helper: {reason}")
        return PlainCommands(self.connection, self._roots)

    async def content(self) -> Session:
        """The way for content."""
        return Session(await self._client(), self.connection.system, self.stall)

    async def _client(self) -> Client:
        try:
            return await self.connection.sftp()
        except NoSftp as reason:
            self._note(f"content goes by helper or commands, as SFTP cannot be used: {reason}")
            return OperationsClient(self._carry)

    async def _carry(self, operation: str, **arguments: Any) -> bytes:
        """An operation that moves content, over whatever line."""
        return await self.ask(operation, arguments, self.stall)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)
            self._tell(text)


class Sessions:
    """The way to one system, for whoever calls."""

    def __init__(self, pool: Connections, system: System, settings: StorageSection) -> None:
        self._pool = pool
        self._system = system
        self._settings = settings
        self._users: WeakKeyDictionary[Connection, _User] = WeakKeyDictionary()
        self._told: set[tuple[str, str]] = set()

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
            operations = await user.operations()
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
        async with user.connection.piped(Request(argv)) as running:
            yield Pipe(running, self._system.name, user.stall)

    @asynccontextmanager
    async def transfer(self) -> AsyncIterator[Session]:
        """A way for content, when the caller's turn to move some has come."""
        async with self._turn() as user:
            yield await user.content()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[tuple[Session, Operations]]:
        """The same, and what answers operations on the same connection."""
        async with self._turn() as user:
            yield await user.content(), await user.operations()

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[_User]:
        user = await self._user()
        async with user.connection.use(), user.transfers.turn():
            try:
                yield user
            except SftpLost:
                raise user.connection.sftp_lost() from None

    async def notes(self) -> Sequence[str]:
        """What of the usual ways to the system the caller has not, in words."""
        user = await self._user()
        async with user.connection.use():
            await user.operations()
            await user.content()
            return tuple(user.notes)

    async def _ask(self, user: _User, operation: str, arguments: dict[str, Any]) -> bytes:
        async with user.connection.use():
            return await user.ask(operation, arguments)

    async def _user(self) -> _User:
        connection = await self._pool.connection(self._system.name)
        found = self._users.get(connection)
        if found is None:
            found = self._users[connection] = _User(
                connection, self._system, self._settings, self._tell
            )
        return found

    def _tell(self, text: str) -> None:
        """Warn of it, once for each account as long as this service runs."""
        told = (caller.current().username, text)
        if told not in self._told:
            self._told.add(told)
            log.warning("system %s, account %s: %s", self._system.name, told[0], text)
