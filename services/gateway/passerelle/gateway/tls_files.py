"""Whether the public port's certificate and key can be served."""

import ssl
from pathlib import Path

from cryptography import x509

from passerelle.gateway.config import Tls
from passerelle.runtime.config import ConfigError


def require_pair(tls: Tls) -> None:
    """Raise ConfigError, naming the key, unless both files are there, readable, PEM, and belong together."""
    certificates = _read("gateway.tls.cert", tls.cert)
    _read("gateway.tls.key", tls.key)
    try:
        x509.load_pem_x509_certificates(certificates)
    except ValueError:
        raise ConfigError(f"gateway.tls.cert: {tls.cert}: no certificates in PEM") from None
    try:
        # An empty password, so that OpenSSL does not ask for one at a terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls.cert, tls.key, password="")
    except ssl.SSLError as error:
        raise ConfigError(f"gateway.tls.key: {tls.key}: {_fault(error)}") from None


def _read(key: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{key}: {path}: {error.strerror}") from None


def _fault(error: ssl.SSLError) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return "does not belong to the certificate in gateway.tls.cert"
    return "no private key in PEM, without a password"
