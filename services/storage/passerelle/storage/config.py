"""The `storage` section of the configuration file."""

from collections.abc import Iterator

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
