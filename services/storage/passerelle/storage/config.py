"""The `storage` section of the configuration file."""

from pydantic import Field

from passerelle.runtime.config import Section


class StorageSection(Section):
    """How the storage service works with files."""

    remote_helper: bool = Field(
        default=True,
        description="Keep a small Python process per user on each system for what SFTP cannot do or does slowly.",
    )
    stall_timeout: float = Field(
        default=60,
        gt=0,
        description="A transfer that moves no byte for this long is given up, s.",
    )
    abandoned_after: float = Field(
        default=7,
        gt=0,
        description="Uploads untouched for this long are removed when their user begins another one beside them, days.",
    )
