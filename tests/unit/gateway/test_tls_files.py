"""The certificate and key of the public port, looked at before Envoy is."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from passerelle.gateway.config import Tls
from passerelle.gateway.tls_files import require_pair
from passerelle.runtime.config import ConfigError

Pem = Callable[[KeySerializationEncryption], bytes]


def pair() -> tuple[bytes, Pem]:
    """A certificate, and its key as it is asked for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gateway")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )

    def pem(encryption: KeySerializationEncryption) -> bytes:
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)

    return made.public_bytes(Encoding.PEM), pem


def written(directory: Path, certificate: bytes, key: bytes) -> Tls:
    """The configured files with that in them."""
    tls = Tls(cert=directory / "cert.pem", key=directory / "key.pem")
    tls.cert.write_bytes(certificate)
    tls.key.write_bytes(key)
    return tls


def test_what_belongs_together_is_taken(tmp_path: Path) -> None:
    certificate, key = pair()
    require_pair(written(tmp_path, certificate, key(NoEncryption())))


def test_the_key_of_another_certificate(tmp_path: Path) -> None:
    (certificate, _), (_, other) = pair(), pair()
    with pytest.raises(ConfigError, match=r"gateway\.tls\.key: .*does not belong to"):
        require_pair(written(tmp_path, certificate, other(NoEncryption())))


def test_a_key_with_a_password(tmp_path: Path) -> None:
    certificate, key = pair()
    with pytest.raises(ConfigError, match=r"gateway\.tls\.key: .*without a password"):
        require_pair(written(tmp_path, certificate, key(BestAvailableEncryption(b"secret"))))


def test_what_is_no_pem(tmp_path: Path) -> None:
    certificate, key = pair()
    with pytest.raises(ConfigError, match=r"gateway\.tls\.cert: .*no certificates in PEM"):
        require_pair(written(tmp_path, b"nothing", key(NoEncryption())))
    with pytest.raises(ConfigError, match=r"gateway\.tls\.key: .*no private key in PEM"):
        require_pair(written(tmp_path, certificate, b"nothing"))
