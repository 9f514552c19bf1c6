"""Access to the files of one system as the current caller.

Each connection has a helper for what SFTP cannot do or does slowly. Plain commands replace it where it cannot run.
Content goes over SFTP. Where an account has no SFTP, content goes through the helper or plain commands, too.
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
"""A function that starts one operation: `lambda files: files.stat(path, dereference=True)`."""

log = logging.getLogger(__name__)

_CALLS_AT_ONCE = 16  # enough to keep a helper busy while answers travel
_STREAMS_AT_ONCE = 8  # each holds a thread of the helper, and up to a window of 1 MB
_TRANSFERS_AT_ONCE = 8  # each holds up to a window of 3 MB
_RECEIVERS_AT_ONCE = 2  # each takes one of the channels that commands need, too


class FallBack(Protocol):
    """Makes the operations for a connection on which no helper can run: `storage.commands.PlainCommands`."""

    def __call__(
        self, connection: Connection, roots: Sequence[str], stall: float
    ) -> FileOperations:
        """The operations over `connection`. Paths must lie in `roots`, unless that is empty.

        A stream raises DeadlineExceeded when it brings nothing for `stall` seconds.
        """
        ...


class Connections(Protocol):
    """A source of connections, such as the SSH pool."""

    async def connection(self, system: str) -> Connection:
        """An open connection of the current caller."""
        ...


class Transfer(Protocol):
    """All that moving content needs, over one connection."""

    stall: float
    """The seconds that one step may take."""

    async def operations(self) -> FileOperations:
        """The operations, for content that fits into one of them."""
        ...

    async def content(self) -> ContentChannel:
        """The channel for content that is too large for an operation."""
        ...


class _Account:
    """The state of one connection; each connection belongs to one account."""

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
        """The usual means of access that this account lacks, as sentences for an operator."""
        self._warn = warn
        self._use_helper = settings.remote_helper
        self._fall_back = fall_back
        self._limit = system.ssh.timeout.command
        self._roots = system.roots
        self._helper: RemoteHelper | None = None
        self._operations: FileOperations | None = None
        self._starting = asyncio.Lock()

    async def ask(self, question: Question[T], limit: float | None = None) -> T:
        """The result of an operation, which waits for a free slot first.

        Raises DeadlineExceeded after `limit` seconds, or after the system's time-out for commands without one.
        """
        async with self.calls.slot(), ending_in(limit or self._limit):
            return await question(await self._chosen())

    async def operations(self) -> FileOperations:
        """The operations of the helper, or of plain commands where none can run. A dead helper is started again."""
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
        """The channel for content."""
        return ContentChannel(
            await self._client(), self.connection.system, self.stall, self._receiver
        )

    @asynccontextmanager
    async def _receiver(self) -> AsyncIterator[Receiver | None]:
        """A receiver; None where there is no Python (no helper runs), or when as many as allowed run already."""
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
        """The result of an operation that moves content; it has the time of a stalled step, as the line may be slow."""
        return await self.ask(question, self.stall)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)
            self._warn(text)


class SystemAccess:
    """Access to the files of one system as the current caller."""

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
        """The result of an operation that changes nothing; it is repeated once when its connection is lost.

        Raises DeadlineExceeded after the system's time-out for commands.
        """
        account = await self._account()
        try:
            return await self._ask(account, question)
        except ConnectionFailed:
            return await self.change(question)

    async def change(self, question: Question[T]) -> T:
        """The result of an operation that may change something, and is never repeated. Raises as `query`."""
        return await self._ask(await self._account(), question)

    async def stream(
        self, question: Callable[[FileOperations], AsyncGenerator[T, None]]
    ) -> AsyncGenerator[T, None]:
        """The results of a streaming operation, which may take any time and is never repeated.

        A reader that stops early must close the iterator, which cancels the work.
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
        """A program that runs inside the block, in the C locale. Raises ConnectionFailed or Overloaded."""
        account = await self._account()
        async with account.connection.piped(Request(argv)) as running:
            yield ProgramStream(running, self._system.name, account.stall)

    @asynccontextmanager
    async def content(self) -> AsyncIterator[ContentChannel]:
        """A channel for content. The caller waits for a free slot first."""
        async with self.transfer() as transfer:
            yield await transfer.content()

    @asynccontextmanager
    async def transfer(self) -> AsyncIterator[Transfer]:
        """All that moving content needs, over one connection. The caller waits for a free slot first."""
        account = await self._account()
        async with account.connection.use(), account.transfers.slot():
            try:
                yield account
            except SftpLost:
                raise account.connection.sftp_lost() from None

    async def notes(self) -> Sequence[str]:
        """The usual means of access that the caller's account lacks, as sentences for an operator."""
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
        """Log a warning, once for each account as long as this service runs."""
        name = caller.current().username
        if (name, text) not in self._warned:
            self._warned.add((name, text))
            log.warning("system %s, account %s: %s", self._system.name, name, text)
