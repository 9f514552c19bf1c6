"""The certificate and key of the public port, looked at before Envoy is."""

from pathlib import Path

import pytest

from passerelle.gateway.certificates import require_pair
from passerelle.gateway.config import Tls
from passerelle.runtime.config.site import ConfigError
from tests.certificates import certificate


def written(directory: Path, certificate: bytes, key: bytes) -> Tls:
    """The configured files with that in them."""
    tls = Tls(cert=directory / "cert.pem", key=directory / "key.pem")
    tls.cert.write_bytes(certificate)
    tls.key.write_bytes(key)
    return tls


def test_what_belongs_together_is_taken(tmp_path: Path) -> None:
    shown = certificate()
    require_pair(written(tmp_path, shown.pem, shown.key()))


def test_the_key_of_another_certificate(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gateway\.tls\.key: .*does not belong to"):
        require_pair(written(tmp_path, certificate().pem, certificate().key()))


def test_a_key_with_a_password(tmp_path: Path) -> None:
    shown = certificate()
    with pytest.raises(ConfigError, match=r"gateway\.tls\.key: .*without a password"):
        require_pair(written(tmp_path, shown.pem, shown.key(b"secret")))


def test_what_is_no_pem(tmp_path: Path) -> None:
    shown = certificate()
    with pytest.raises(ConfigError, match=r"gateway\.tls\.cert: .*no certificates in PEM"):
        require_pair(written(tmp_path, b"nothing", shown.key()))
    with pytest.raises(ConfigError, match=r"gateway\.tls\.key: .*no private key in PEM"):
        require_pair(written(tmp_path, shown.pem, b"nothing"))
