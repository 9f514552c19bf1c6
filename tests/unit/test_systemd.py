"""The systemd units, judged by systemd's own tool. It needs no systemd that runs."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import real

TOP = Path(__file__).parents[2]
UNITS = TOP / "deploy" / "systemd"
NAMES = ("passerelle.service", "passerelle@.service")
# In tenths of what `systemd-analyze security` says; a service that uses the machine's network has 8 for that alone.
EXPOSURE = 13

_OF_UP = {"ExecStart", "StateDirectory", "StateDirectoryMode", "LogsDirectory", "LogsDirectoryMode"}
_DIFFERENT = _OF_UP | {"KillMode", "MemoryMax"}


@pytest.fixture(scope="module")
def analyze() -> str:
    """The program; skips or fails the test where it cannot be had."""
    program = shutil.which("systemd-analyze")
    if program is None:
        real.missing("systemd-analyze", "it is not on PATH; Debian: apt install systemd")
    version = subprocess.run((program, "--version"), capture_output=True, text=True, check=True)
    real.exercised("systemd-analyze", version.stdout.splitlines()[0])
    return program


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units and drop-ins where a program is, at least, in the place of ours."""
    shutil.copytree(UNITS, tmp_path / "units")
    for name in NAMES:
        path = tmp_path / "units" / name
        path.write_text(
            path.read_text().replace("/opt/passerelle/current/bin/passerelle", "/bin/true")
        )
    return tmp_path / "units"


@pytest.mark.parametrize("name", ["passerelle.service", "passerelle@auth.service"])
def test_systemd_takes_it(analyze: str, installed: Path, name: str) -> None:
    done = subprocess.run(
        (analyze, "verify", "--man=no", installed / name), capture_output=True, text=True
    )
    ours = [line for line in done.stderr.splitlines() if "passerelle" in line]
    assert (done.returncode, ours) == (0, [])


@pytest.mark.parametrize("name", ["passerelle.service", "passerelle@auth.service"])
def test_what_a_unit_leaves_open(analyze: str, installed: Path, name: str) -> None:
    command = (analyze, "security", "--offline=yes", f"--threshold={EXPOSURE}", "--no-pager")
    done = subprocess.run((*command, installed / name), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_both_units_are_hardened_alike() -> None:
    one, other = (
        {k: v for k, v in _settings(name).items() if k not in _DIFFERENT} for name in NAMES
    )
    assert one == other
    assert _settings("passerelle.service")["RestartPreventExitStatus"] == ["78"]


def _settings(name: str) -> dict[str, list[str]]:
    collected: dict[str, list[str]] = {}
    section = (UNITS / name).read_text().partition("[Service]\n")[2].partition("\n[Install]")[0]
    for line in section.splitlines():
        if line and not line.startswith("#"):
            key, _, value = line.partition("=")
            collected.setdefault(key, []).append(value)
    return collected


def test_the_guide_installs_every_file() -> None:
    named = set(re.findall(r"deploy/systemd/(\S+)", (TOP / "docs" / "operating.md").read_text()))
    there = {str(path.relative_to(UNITS)) for path in UNITS.rglob("*") if path.is_file()}
    assert named == there
