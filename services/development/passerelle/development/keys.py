"""Private keys that are made at the first start and kept, so that a restart changes nothing for clients."""

import os
import stat
from pathlib import Path

import asyncssh

from passerelle.runtime.config.site import ConfigError


def kept_key(path: Path, algorithm: str, setting: str) -> asyncssh.SSHKey:
    """The private key in `path`, made there when absent; `algorithm` is an SSH name, such as `ssh-ed25519`.

    Raises ConfigError that names `setting`, for what `read_key` refuses and for a place where it cannot be kept.
    """
    try:
        if not path.exists():
            _write(path, asyncssh.generate_private_key(algorithm))
        return read_key(path, algorithm)
    except ConfigError as error:
        raise ConfigError(f"{setting}: {error}") from None
    except OSError as error:
        raise ConfigError(f"{setting}: {error.filename}: {error.strerror}") from None


def read_key(path: Path, algorithm: str) -> asyncssh.SSHKey:
    """The private key in `path`; raises OSError, ConfigError for one that others may read, or for something else."""
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o077:
            raise ConfigError(
                f"{path}: others may read this private key (mode {mode:04o}): chmod 600 it"
            )
        try:
            key = asyncssh.import_private_key(file.read())
        except asyncssh.KeyImportError as error:
            raise ConfigError(f"{path}: {error}") from None
    if key.get_algorithm() != algorithm:
        raise ConfigError(f"{path}: a key of type {algorithm} is needed")
    return key


def _write(path: Path, key: asyncssh.SSHKey) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key.export_private_key())
