"""The built-in certificate authority: signs short-lived OpenSSH user certificates, each for exactly one account.

The format is OpenSSH's PROTOCOL.certkeys. The systems trust it by `TrustedUserCAKeys` in sshd_config.
"""

import os
import secrets
import stat
import time
from collections.abc import Iterator, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Literal

import asyncssh
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from pydantic import Field, field_validator

from passerelle.auth.credentials.port import Credential
from passerelle.auth.tokens.principal import Principal
from passerelle.runtime import errors
from passerelle.runtime.config.findings import (
    Finding,
    SectionContext,
    foreign_owner,
    note,
    problem,
    unreadable,
)
from passerelle.runtime.config.sections import Secret, Section
from passerelle.runtime.config.site import ConfigError

_MAX_PUBLIC_KEY = 16 << 10  # characters
_MIN_RSA_BITS = 2048
_CERTIFIED = ("ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384")


class CertificateAuthority:
    """Signs certificates with one key, which it alone holds."""

    class Options(Section):
        """The CA's key, and the permissions of its certificates."""

        key_file: Path
        """The private key; no one but its owner may read it."""
        passphrase: Secret | None = None
        """The key's passphrase."""
        create: bool = False
        """Make the key when the file is absent, and `<key_file>.pub` beside it."""
        validity: int = Field(default=300, ge=30, le=86400)
        """Life of a certificate, s; it never outlives the access token."""
        skew: int = Field(default=60, ge=0, le=3600)
        """How far a system's clock may be behind ours, s."""
        extensions: tuple[
            Literal["pty", "port-forwarding", "agent-forwarding", "x11-forwarding", "user-rc"], ...
        ] = ()
        """What certificates permit beyond commands and SFTP."""
        source_addresses: tuple[str, ...] = ()
        """Networks from which certificates are accepted; with none, from everywhere."""

        @field_validator("source_addresses")
        @classmethod
        def _networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(str(ip_network(network)) for network in networks)

        def findings(self, context: SectionContext) -> Iterator[Finding]:
            """See `Section.findings`."""
            yield from self._key_findings()
            if "port-forwarding" in self.extensions:
                return
            for system in context.site.systems:
                if system.ssh.proxy_host is not None:
                    reason = (
                        f"without port-forwarding no certificate passes the jump host of {system.name}: "
                        "`extensions: [port-forwarding]`"
                    )
                    yield note(reason, "extensions")

        def _key_findings(self) -> Iterator[Finding]:
            if self.create and not self.key_file.exists():
                return
            if reason := unreadable(self.key_file):
                yield problem(reason, "key_file")
                return
            try:
                _read(self)
            except ConfigError as error:
                yield problem(str(error), "key_file")

    def __init__(self, options: Options) -> None:
        if options.create and not options.key_file.exists():
            _create(options.key_file)
        self._key = _read(options)
        self._options = options

    async def issue(self, principal: Principal, *, system: str, public_key: str) -> Credential:
        """See `Credentials.issue`: a certificate for `public_key`, valid for the principal's account only."""
        user_key = _public(public_key)
        serial = secrets.randbits(63)
        now = int(time.time())
        expires = min(now + self._options.validity, principal.expires)
        allowed = self._options.extensions
        certificate = self._key.generate_user_certificate(
            user_key,
            _key_id(principal),
            serial=serial,
            principals=[principal.username],
            valid_after=now - self._options.skew,
            valid_before=expires,
            source_address=self._options.source_addresses,
            permit_pty="pty" in allowed,
            permit_port_forwarding="port-forwarding" in allowed,
            permit_agent_forwarding="agent-forwarding" in allowed,
            permit_x11_forwarding="x11-forwarding" in allowed,
            permit_user_rc="user-rc" in allowed,
            comment=None,
        )
        text = certificate.export_certificate().decode().strip()
        return Credential(principal.username, text, "", expires, serial, user_key.get_fingerprint())


def _create(path: Path) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519", comment="passerelle user CA")
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key.export_private_key())
    Path(f"{path}.pub").write_bytes(key.export_public_key())


def _read(options: CertificateAuthority.Options) -> asyncssh.SSHKey:
    path = options.key_file
    data = path.read_bytes()
    if _is_public(data):
        raise ConfigError(f"{path}: this is a public key; key_file is the private one")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise ConfigError(
            f"{path}: others may read this private key (mode {mode:04o}): chmod 600 it"
        )
    if reason := foreign_owner(path):
        raise ConfigError(reason)
    phrase = options.passphrase.get_secret_value() if options.passphrase else None
    return imported(data, phrase, str(path))


def imported(data: bytes | str, passphrase: str | None, what: str) -> asyncssh.SSHKey:
    """The private key in `data`. Raises ConfigError, which calls it `what`, unless it can be read and decrypted."""
    try:
        return asyncssh.import_private_key(data, passphrase)
    except asyncssh.KeyEncryptionError:
        raise ConfigError(f"{what}: the passphrase is not the key's") from None
    except asyncssh.KeyImportError as error:
        if passphrase is None and "assphrase" in str(error):
            raise ConfigError(f"{what}: the key is encrypted: give its `passphrase`") from None
        raise ConfigError(f"{what}: no private key of OpenSSH's or PEM: {error}") from None


def _is_public(data: bytes) -> bool:
    try:
        asyncssh.import_public_key(data)
    except (asyncssh.KeyImportError, ValueError):
        return False
    return b"PRIVATE" not in data


def _public(text: str) -> asyncssh.SSHKey:
    line = text.strip()
    if len(line) > _MAX_PUBLIC_KEY or len(line.splitlines()) != 1:
        raise _unfit("It must be one line in OpenSSH's public key format.")
    if line.split()[0] not in _CERTIFIED:
        raise _unfit(f"Its type must be one of {', '.join(_CERTIFIED)}.")
    try:
        key = asyncssh.import_public_key(line)
    except asyncssh.KeyImportError:
        raise _unfit("It must be one line in OpenSSH's public key format.") from None
    if isinstance(key.pyca_key, RSAPublicKey) and key.pyca_key.key_size < _MIN_RSA_BITS:
        raise _unfit(f"An RSA key needs at least {_MIN_RSA_BITS} bits.")
    return key


def _unfit(why: str) -> errors.InvalidArgument:
    field = errors.Field("body", "public_key", why)
    return errors.InvalidArgument(f"The public key cannot be certified. {why}", (field,))


def _key_id(principal: Principal) -> str:
    """What sshd writes in its log at each login, so that it can be traced to the token's holder."""
    parts: Sequence[tuple[str, str]] = (
        ("user", principal.username),
        ("iss", principal.issuer),
        ("sub", principal.subject),
    )
    text = " ".join(f"{name}={value[:200]}" for name, value in parts if value)
    # sshd logs it unchanged, so it must not contain what looks like a line of the log.
    return "".join(char if char.isascii() and char.isprintable() else "?" for char in text)
