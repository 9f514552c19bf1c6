"""Virtual environments with clients of the field, one for each lock file here.

They are made once and kept under the user's cache directory (XDG_CACHE_HOME is honoured); a changed lock makes a new
one. Where the packages cannot be had, the tests that ask for them are skipped with the reason, or fail in the strict
mode.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from tests import real

INSTALL_SECONDS = 600


def python_with(name: str) -> Path:
    """The interpreter with the packages of `name`.lock, installed now if necessary."""
    lock = Path(__file__).with_name(f"{name}.lock")
    made_of = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "passerelle"
    directory = cache / f"{name}-{made_of[:12]}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f".{name}.lock").open("w") as one_at_a_time:
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        if not (directory / "complete").exists():
            _make(directory, name, lock)
    return directory / "bin" / "python"


def _make(directory: Path, name: str, lock: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    venv.create(directory, symlinks=True)
    python = directory / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check")
    done = subprocess.run(
        (*pip, "install", "--quiet", "--no-deps", "--require-hashes", "--requirement", str(lock)),
        capture_output=True,
        text=True,
        timeout=INSTALL_SECONDS,
        check=False,
    )
    if done.returncode:
        real.missing(name, done.stderr.strip()[-500:])
    (directory / "complete").touch()
