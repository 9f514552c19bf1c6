"""The compared sides: servers with the FirecREST v2 API, and bare asyncssh."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

import asyncssh

from bench.accounts import Account
from bench.comparison.operations import Operation, Target
from bench.floor import Login
from bench.http import http_clients
from bench.load import Call

_MOST_BARE = 64


class Side(Protocol):
    """One way to have an operation done."""

    @property
    def name(self) -> str:
        """How it is called in the results."""

    @property
    def pids(self) -> Sequence[int]:
        """Its processes, whose descendants belong to it too; none where they are not known."""

    def clients(
        self, operation: Operation, accounts: Sequence[Account], number: int
    ) -> AbstractContextManager[Sequence[Call]]:
        """So many clients that call as these users in turn; no client where the side has no such operation."""


@dataclass(frozen=True)
class Server:
    """A server with the FirecREST v2 API."""

    name: str
    url: str
    tokens: Mapping[str, str]
    """By the names of the users."""
    pids: Sequence[int] = ()
    system: str = "cluster"
    """The name that it has for the cluster."""

    @contextmanager
    def clients(
        self, operation: Operation, accounts: Sequence[Account], number: int
    ) -> Iterator[Sequence[Call]]:
        """See `Side.clients`."""
        prefix = urlsplit(self.url).path.rstrip("/")
        targets = [Target(each, self.tokens[each.name], prefix, self.system) for each in accounts]
        with http_clients(self.url, operation.requests(targets, number), number) as clients:
            yield clients


@dataclass(frozen=True)
class Bare:
    """Bare asyncssh over connections that are already open: the floor. More clients than 64 make it no faster."""

    logins: Mapping[str, Login]
    """By the names of the users."""
    name: str = "floor"
    pids: Sequence[int] = ()

    @contextmanager
    def clients(
        self, operation: Operation, accounts: Sequence[Account], number: int
    ) -> Iterator[Sequence[Call]]:
        """See `Side.clients`."""
        bare = operation.bare

        async def call(count: int) -> str:
            account = accounts[count % len(accounts)]
            assert bare is not None  # noqa: S101
            try:
                await bare(self.logins[account.name], account, count)
            except (OSError, asyncssh.Error) as error:
                return type(error).__name__
            return "200"

        yield [call] * min(number, _MOST_BARE) if bare else []
