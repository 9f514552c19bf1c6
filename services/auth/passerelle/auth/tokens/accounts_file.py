"""A file that maps values of a claim to accounts, such as the subjects of a provider that knows no accounts."""

import asyncio
import logging
import shlex
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from passerelle.auth.tokens.account_rules import ACCOUNT
from passerelle.runtime import background

log = logging.getLogger(__name__)

_EVERY = 5.0  # seconds between two looks at the file
_MOST_BYTES = 64 << 20


class AccountsFile:
    """The accounts in a file of lines `VALUE ACCOUNT`, as in a Globus grid-mapfile: a value with blanks is quoted, `#`
    begins a comment.

    Raises ValueError, which names the file and the line, when it cannot be read. A later change counts within five
    seconds; while the changed file cannot be read, what was read before counts, and the log says so.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._state = self._state_now()
        self._accounts = _read(path)

    def account(self, value: str) -> str | None:
        """The account of a value; None where the file has none."""
        return self._accounts.get(value)

    @asynccontextmanager
    async def kept_fresh(self) -> AsyncIterator[None]:
        """Read the file again when it has changed, inside the block."""
        async with background.running(self._keep()):
            yield

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(_EVERY)
            await asyncio.to_thread(self._look)

    def _look(self) -> None:
        state = self._state_now()
        if state == self._state:
            return
        self._state = state
        try:
            self._accounts = _read(self._path)
        except ValueError as error:
            log.error("the accounts that were read before still count: %s", error)
        else:
            log.info("read %d accounts again: %s", len(self._accounts), self._path)

    def _state_now(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size


def _read(path: Path) -> Mapping[str, str]:
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    if len(text) > _MOST_BYTES:
        raise ValueError(f"{path}: larger than {_MOST_BYTES >> 20} MiB")
    accounts: dict[str, str] = {}
    for number, line in enumerate(text.decode(errors="replace").splitlines(), 1):
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
        if not words:
            continue
        if len(words) != 2 or not ACCOUNT.fullmatch(words[1]):
            raise ValueError(f"{path}, line {number}: a value and a valid account name are wanted")
        if accounts.setdefault(words[0], words[1]) != words[1]:
            raise ValueError(f"{path}, line {number}: the value has two accounts")
    return accounts
