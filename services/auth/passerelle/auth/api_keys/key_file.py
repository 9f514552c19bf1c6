"""The file of API keys: JSON with what each key may do, and the SHA-256 digest of its secret."""

import json
import os
import secrets
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated

from pydantic import AwareDatetime, Field, ValidationError, field_validator

from passerelle.auth.tokens.account_rules import ACCOUNT
from passerelle.runtime.config.faults import faults
from passerelle.runtime.config.sections import Section

PREFIX = "passerelle_"
"""What every API key begins with, so that people and scanners of repositories recognise one."""

_ID_BYTES = 6
_SECRET_BYTES = 32  # cannot be guessed, so a fast digest is enough


class ApiKey(Section):
    """What one key may do, and how it is recognised. The key itself is not kept anywhere."""

    id: str = Field(pattern=r"^[0-9a-f]{12}$")
    digest: str = Field(pattern=r"^[0-9a-f]{64}$", repr=False)
    account: str
    scopes: tuple[Annotated[str, Field(min_length=1)], ...]
    systems: tuple[str, ...] | None = None
    addresses: tuple[IPv4Network | IPv6Network, ...] | None = None
    created: AwareDatetime
    expires: AwareDatetime
    note: str = ""

    @field_validator("account")
    @classmethod
    def _valid(cls, account: str) -> str:
        if not ACCOUNT.fullmatch(account):
            raise ValueError("not a valid account name")
        return account


class _Content(Section):
    keys: tuple[ApiKey, ...] = ()


def keys_in(path: Path) -> dict[str, ApiKey]:
    """The keys in a file, by their ids; raises ValueError, which names the file and what is wrong there."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    try:
        keys = _Content.model_validate_json(text).keys
    except ValidationError as error:
        key, reason = next(faults(error, _Content))
        raise ValueError(f"{path}: {'.'.join(map(str, key))}: {reason}") from None
    return {key.id: key for key in keys}


def write_keys(path: Path, keys: Sequence[ApiKey]) -> None:
    """Replace the file by one with these keys, for its owner alone; a reader sees the old or the new one whole."""
    text = json.dumps(_Content(keys=tuple(keys)).model_dump(mode="json"), indent=1)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{text}\n")
            if path.exists():
                status = path.stat()
                os.fchown(file.fileno(), status.st_uid, status.st_gid)
                os.fchmod(file.fileno(), status.st_mode & 0o640)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def new_key(
    account: str,
    *,
    scopes: Sequence[str],
    systems: Sequence[str] | None,
    addresses: Sequence[str] | None,
    expires: datetime,
    note: str,
) -> tuple[ApiKey, str]:
    """A new key, and the text by which its owner shows it, which cannot be made from the key again.

    Raises ValidationError, a ValueError, for an account or an address that is none.
    """
    identifier, secret = secrets.token_hex(_ID_BYTES), secrets.token_urlsafe(_SECRET_BYTES)
    settings = {
        "id": identifier,
        "digest": digest_of(secret),
        "account": account,
        "scopes": tuple(scopes),
        "systems": None if systems is None else tuple(systems),
        "addresses": None if addresses is None else tuple(addresses),
        "created": datetime.now(UTC).replace(microsecond=0),
        "expires": expires,
        "note": note,
    }
    return ApiKey.model_validate(settings), f"{PREFIX}{identifier}_{secret}"


def digest_of(secret: str) -> str:
    """The SHA-256 digest of a key's secret part, in hexadecimal."""
    return sha256(secret.encode()).hexdigest()
