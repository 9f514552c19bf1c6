"""How operations reach one system as the current caller.

A helper per connection does what SFTP cannot do or does slowly, plain commands where none runs. Content goes over SFTP;
where an account has none, by the helper, too, or by plain commands.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Protocol, TypeVar
from weakref import WeakKeyDictionary

from passerelle.runtime import caller
from passerelle.runtime.call_queue import CallQueue
from passerelle.runtime.command import Request
from passerelle.runtime.config.site import System
from passerelle.runtime.errors import ConnectionFailed
from passerelle.runtime.ssh.connection import Connection, NoSftp
from passerelle.storage.access.content import Client, ContentChannel, SftpLost
from passerelle.storage.access.deadlines import ending_in
from passerelle.storage.access.helper import NoHelper, RemoteHelper
from passerelle.storage.access.helper_operations import HelperOperations
from passerelle.storage.access.operations import FileOperations
from passerelle.storage.access.operations_sftp import OperationsClient
from passerelle.storage.access.program_stream import ProgramStream
from passerelle.storage.access.receiver import Receiver
from passerelle.storage.config import StorageSection

T = TypeVar("T")

Question = Callable[[FileOperations], Awaitable[T]]
"""Asks for one operation: `lambda files: files.stat(path, dereference=True)`."""

log = logging.getLogger(__name__)

_CALLS_AT_ONCE = 16  # enough to keep a helper busy while answers travel
_STREAMS_AT_ONCE = 8  # each holds a thread of the helper, and up to a window of 1 MB
_TRANSFERS_AT_ONCE = 8  # each holds up to a window of 3 MB
_RECEIVERS_AT_ONCE = 2  # each takes one of the channels that commands need, too


class FallBack(Protocol):
    """Makes what answers operations where no helper can run: `storage.commands.PlainCommands`."""

    def __call__(
        self, connection: Connection, roots: Sequence[str], stall: float
    ) -> FileOperations:
        """The operations over `connection`, whose paths must lie in `roots`, if there are some; a stream of them ends
        when nothing comes for `stall` seconds."""
        ...


class Connections(Protocol):
    """Where connections come from: the SSH pool."""

    async def connection(self, system: str) -> Connection:
        """An open connection of the current caller."""
        ...


class Transfer(Protocol):
    """What moves content over one connection."""

    stall: float
    """How long a step of it may take, in seconds."""

    async def operations(self) -> FileOperations:
        """The operations."""
        ...

    async def content(self) -> ContentChannel:
        """The way for content that is larger than an operation takes."""
        ...


class _Account:
    """What is kept for one connection, which is that of one account."""

    def __init__(
        self,
        connection: Connection,
        system: System,
        settings: StorageSection,
        fall_back: FallBack,
        warn: Callable[[str], None],
    ) -> None:
        queue = partial(CallQueue, system.name, most_waiting=system.ssh.max_waiting)
        self.connection = connection
        self.calls = queue("calls", at_once=_CALLS_AT_ONCE)
        self.streams = queue("streams", at_once=_STREAMS_AT_ONCE)
        self.transfers = queue("transfers", at_once=_TRANSFERS_AT_ONCE)
        self._receivers = asyncio.Semaphore(_RECEIVERS_AT_ONCE)
        self.stall = settings.stall_timeout
        self.notes: list[str] = []
        """What of the usual ways this account lacks, in words."""
        self._warn = warn
        self._use_helper = settings.remote_helper
        self._fall_back = fall_back
        self._limit = system.ssh.timeout.command
        self._roots = system.roots
        self._helper: RemoteHelper | None = None
        self._operations: FileOperations | None = None
        self._starting = asyncio.Lock()

    async def ask(self, question: Question[T], limit: float | None = None) -> T:
        """What `question` makes of the operations, when its turn has come.

        DeadlineExceeded when it takes longer than `limit` seconds, else the system's time for a command.
        """
        async with self.calls.slot(), ending_in(limit or self._limit):
            return await question(await self._chosen())

    async def operations(self) -> FileOperations:
        """The helper's, which is started when first needed or when it died; else, where none can run, by commands."""
        async with ending_in(self._limit):
            return await self._chosen()

    async def _chosen(self) -> FileOperations:
        if self._operations is not None and self._alive():
            return self._operations
        async with self._starting:
            if self._operations is None or not self._alive():
                self._operations = await self._started()
            return self._operations

    def _alive(self) -> bool:
        return self._helper is None or self._helper.alive

    async def _started(self) -> FileOperations:
        if self._use_helper:
            try:
                self._helper = await RemoteHelper.start(self.connection, self._roots)
                return HelperOperations(self._helper, self.stall)
            except NoHelper as reason:
                self._helper = None
                self._note(f"plain commands are used instead of a helper: {reason}")
        return self._fall_back(self.connection, self._roots, self.stall)

    async def content(self) -> ContentChannel:
        """The way for content."""
        return ContentChannel(
            await self._client(), self.connection.system, self.stall, self._receiver
        )

    @asynccontextmanager
    async def _receiver(self) -> AsyncIterator[Receiver | None]:
        """A receiver; None where no helper runs, hence no Python, and when there are as many as there may be."""
        if self._helper is None or self._receivers.locked():
            yield None
            return
        async with self._receivers, Receiver.start(self.connection) as receiver:
            yield receiver

    async def _client(self) -> Client:
        try:
            return await self.connection.sftp()
        except NoSftp as reason:
            self._note(f"content goes by helper or commands, as SFTP cannot be used: {reason}")
            return OperationsClient(self._carry)

    async def _carry(self, question: Question[T]) -> T:
        """An operation that moves content, over whatever line."""
        return await self.ask(question, self.stall)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)
            self._warn(text)


class SystemAccess:
    """The way to the files of one system, for whoever calls."""

    def __init__(
        self, pool: Connections, system: System, settings: StorageSection, fall_back: FallBack
    ) -> None:
        self._accounts: WeakKeyDictionary[Connection, _Account] = WeakKeyDictionary()
        self._warned: set[tuple[str, str]] = set()
        self._pool = pool
        self._system = system
        self._settings = settings
        self._fall_back = fall_back

    async def query(self, question: Question[T]) -> T:
        """The answer to what changes nothing, and is asked again once when its connection is lost.

        DeadlineExceeded after the system's time for a command.
        """
        account = await self._account()
        try:
            return await self._ask(account, question)
        except ConnectionFailed:
            return await self.change(question)

    async def change(self, question: Question[T]) -> T:
        """The answer to what may change something: asked once. Errors as of `query`."""
        return await self._ask(await self._account(), question)

    async def stream(
        self, question: Callable[[FileOperations], AsyncGenerator[T, None]]
    ) -> AsyncGenerator[T, None]:
        """The answer to what comes piece by piece, and may take any time; asked once.

        Closing the iterator, which whoever does not read to the end must do, cancels the work.
        """
        account = await self._account()
        async with (
            account.connection.use(),
            account.streams.slot(),
            aclosing(question(await account.operations())) as pieces,
        ):
            async for piece in pieces:
                yield piece

    @asynccontextmanager
    async def program(self, argv: Sequence[str]) -> AsyncIterator[ProgramStream]:
        """A program that runs as long as the block does, in the C locale; ConnectionFailed or Overloaded."""
        account = await self._account()
        async with account.connection.piped(Request(argv)) as running:
            yield ProgramStream(running, self._system.name, account.stall)

    @asynccontextmanager
    async def content(self) -> AsyncIterator[ContentChannel]:
        """A way for content, when the caller's turn to move some has come."""
        async with self.transfer() as transfer:
            yield await transfer.content()

    @asynccontextmanager
    async def transfer(self) -> AsyncIterator[Transfer]:
        """All that moves content over one connection, when the caller's turn to move some has come."""
        account = await self._account()
        async with account.connection.use(), account.transfers.slot():
            try:
                yield account
            except SftpLost:
                raise account.connection.sftp_lost() from None

    async def notes(self) -> Sequence[str]:
        """What of the usual ways to the system the caller's account lacks, in words."""
        account = await self._account()
        async with account.connection.use():
            await account.operations()
            await account.content()
            return tuple(account.notes)

    async def _ask(self, account: _Account, question: Question[T]) -> T:
        async with account.connection.use():
            return await account.ask(question)

    async def _account(self) -> _Account:
        connection = await self._pool.connection(self._system.name)
        account = self._accounts.get(connection)
        if account is None:
            account = self._accounts[connection] = _Account(
                connection, self._system, self._settings, self._fall_back, self._warn
            )
        return account

    def _warn(self, text: str) -> None:
        """Log it, once for each account as long as this service runs."""
        name = caller.current().username
        if (name, text) not in self._warned:
            self._warned.add((name, text))
            log.warning("system %s, account %s: %s", self._system.name, name, text)
