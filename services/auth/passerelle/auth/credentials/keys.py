"""Static keys: one private key per user, given by the site, with or without a certificate."""

import time
from collections.abc import Iterator, Mapping

import asyncssh
from cryptography.hazmat.primitives.serialization import SSHCertificate, load_ssh_public_identity

from passerelle.auth.credentials.ca import imported
from passerelle.auth.credentials.port import Credential
from passerelle.auth.tokens.principal import Principal
from passerelle.runtime.config.findings import Finding, SectionContext, problem
from passerelle.runtime.config.sections import Secret, Section
from passerelle.runtime.config.site import ConfigError
from passerelle.runtime.errors import Forbidden

_FOREVER = 2**64 - 1  # OpenSSH's valid_before of a certificate without an end


class UserKey(Section):
    """One user's key; each part may be `secret_file:/path`, `env:NAME` or the text."""

    private_key: Secret
    """The private key."""
    public_cert: Secret | None = None
    """Its OpenSSH certificate, if any."""
    passphrase: Secret | None = None
    """The private key's passphrase."""


class StaticKeys:
    """Hands out the configured keys. They are read and decrypted once, at start."""

    class Options(Section):
        """The keys."""

        users: Mapping[str, UserKey]
        """The users' keys, by account name."""

        def findings(self, context: SectionContext) -> Iterator[Finding]:
            """See `Section.findings`."""
            for name, key in self.users.items():
                try:
                    ends = _read(name, key).expires
                except ConfigError as error:
                    yield problem(str(error), "users", name)
                    continue
                if ends is not None and ends < time.time():
                    yield problem("has expired: renew it", "users", name, "public_cert")

    def __init__(self, options: Options) -> None:
        self._credentials = {name: _read(name, key) for name, key in options.users.items()}

    async def issue(self, principal: Principal, *, system: str, public_key: str) -> Credential:
        """See `Credentials.issue`: the same key for every system."""
        credential = self._credentials.get(principal.username)
        if credential is None:
            raise Forbidden(f"No SSH credentials found for user:{principal.username}")
        return credential


def _read(username: str, user_key: UserKey) -> Credential:
    phrase = user_key.passphrase.get_secret_value() if user_key.passphrase else None
    key = imported(user_key.private_key.get_secret_value(), phrase, f"the key of user {username}")
    text = user_key.public_cert.get_secret_value() if user_key.public_cert else ""
    certificate = _certificate(username, text, key) if text else None
    ends = certificate is not None and certificate.valid_before != _FOREVER
    return Credential(
        username=username,
        certificate=text,
        private_key=key.export_private_key().decode(),
        expires=certificate.valid_before if certificate and ends else None,
        serial=certificate.serial if certificate else None,
        fingerprint=key.get_fingerprint(),
    )


def _certificate(username: str, text: str, key: asyncssh.SSHKey) -> SSHCertificate:
    try:
        certificate = load_ssh_public_identity(text.encode())
        certified_key = asyncssh.import_certificate(text).key
    except (ValueError, asyncssh.KeyImportError) as error:
        raise ConfigError(f"the certificate of user {username} cannot be read: {error}") from None
    if not isinstance(certificate, SSHCertificate) or certified_key != key.convert_to_public():
        raise ConfigError(f"the certificate of user {username} is not for the private key")
    return certificate
