"""The `storage` section of the configuration file."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from passerelle.runtime.config.sections import Section
from passerelle.runtime.config.system_trials import python
from passerelle.runtime.config.trials import Caveat, SystemLogin, Trial


class StorageSection(Section):
    """How the storage service works with files."""

    remote_helper: bool = True
    """Keep a small Python process per user on each system for what SFTP cannot do or does slowly."""
    stall_timeout: float = Field(default=60, gt=0)
    """A transfer that moves no byte for this long is given up, s."""
    download_limits: dict[str, Annotated[int, Field(gt=0)]] = Field(default_factory=dict)
    """Largest download of an OAuth client (`azp`), bytes, by the client's id: of a file, in every API and by every
    staging method, and of an archive. Clients that are not listed have no limit."""
    abandoned_after: float = Field(default=7, gt=0)
    """Uploads untouched for this long are removed when their user begins another one beside them, days."""

    def login_trials(self, login: SystemLogin) -> Iterator[Trial]:
        """See `Section.login_trials`."""

        async def sftp() -> str:
            # Only here: asyncssh is not for processes that only read a configuration.
            from passerelle.runtime.ssh.connection import NoSftp

            try:
                await login.connection.sftp()
            except NoSftp as error:
                raise Caveat(f"{error}; file content goes another way, slower") from None
            return "starts"

        if self.remote_helper:
            yield python(login, "python3", "plain commands are used instead of a helper, slower")
        yield Trial("SFTP", sftp, needs_commands=False)
