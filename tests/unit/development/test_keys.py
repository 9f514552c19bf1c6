"""The keys that are made at the first start: what is wrong with one is told with its place in the configuration."""

from collections.abc import Callable
from pathlib import Path

import asyncssh
import pytest

from passerelle.development.config import DevelopmentIssuer
from passerelle.development.keys import kept_key
from passerelle.runtime.config.findings import SectionContext
from passerelle.runtime.config.site import ConfigError, SiteBase

ALGORITHM = "ssh-rsa"


def written(path: Path, algorithm: str, mode: int = 0o600) -> None:
    path.write_bytes(asyncssh.generate_private_key(algorithm).export_private_key())
    path.chmod(mode)


def a_directory(path: Path) -> None:
    path.mkdir()


def open_to_others(path: Path) -> None:
    written(path, ALGORITHM, 0o644)


def of_another_kind(path: Path) -> None:
    written(path, "ssh-ed25519")


def no_key(path: Path) -> None:
    path.touch(0o600)


@pytest.mark.parametrize(
    ("spoil", "output"),
    [
        (a_directory, "Is a directory"),
        (open_to_others, "others may read this private key (mode 0644): chmod 600 it"),
        (of_another_kind, "a key of type ssh-rsa is needed"),
        (no_key, "Invalid private key"),
    ],
)
def test_what_is_wrong_is_told_by_a_check_and_at_the_start(
    tmp_path: Path, spoil: Callable[[Path], None], output: str
) -> None:
    path = tmp_path / "issuer.key"
    settings = DevelopmentIssuer(listen="127.0.0.1:0", key_file=path)
    context = SectionContext(SiteBase(), tmp_path / "site.yaml")
    assert list(settings.findings(context)) == []  # it is made at the first start
    spoil(path)
    (finding,) = settings.findings(context)
    assert (finding.key, finding.text, finding.fatal) == (("key_file",), f"{path}: {output}", True)
    with pytest.raises(ConfigError) as error:
        kept_key(path, ALGORITHM, "development.issuer.key_file")
    assert str(error.value) == f"development.issuer.key_file: {path}: {output}"


def test_a_place_where_no_key_can_be_kept(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"here: .*/file: File exists"):
        kept_key(tmp_path / "file" / "key", ALGORITHM, "here")
