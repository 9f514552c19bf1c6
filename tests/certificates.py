"""Certificates of this machine for tests, each signed by itself."""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, both in PEM."""

    pem: bytes
    _key: ec.EllipticCurvePrivateKey

    def key(self, password: bytes | None = None) -> bytes:
        """The key, encrypted when there is a password."""
        encryption = BestAvailableEncryption(password) if password else NoEncryption()
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)

    def served(self, directory: Path) -> ssl.SSLContext:
        """The server's TLS context; its files are in `directory`."""
        cert, key = directory / "cert.pem", directory / "key.pem"
        cert.write_bytes(self.pem)
        key.write_bytes(self.key())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        return context

    @property
    def trusted(self) -> ssl.SSLContext:
        """What a client trusts it with."""
        return ssl.create_default_context(cadata=self.pem.decode())


def certificate(
    names: Sequence[str] = ("localhost",), *, begins: float = -1, ends: float = 365
) -> Certificate:
    """A new one for host names and addresses, valid between two times in days from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now + timedelta(days=begins))
        .not_valid_after(now + timedelta(days=ends))
        .add_extension(x509.SubjectAlternativeName([_name(name) for name in names]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Certificate(made.public_bytes(Encoding.PEM), key)


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        return x509.DNSName(text)
