"""A Python with magic-wormhole: the configured one, or else that of a virtual environment made once for each user.

Runs on the system, on Python 3.6 and newer.
"""

import os
import shutil
import subprocess
import tempfile

from passerelle.storage.staging.remote.job import log

_REQUIREMENT = "magic-wormhole>=0.12,<1"
_IMPORT = "import wormhole.cli.cli"
# Every Python version gets an environment of its own.
_IDENTITY = (
    "import hashlib, os, sys; one = os.path.realpath(sys.executable) + sys.version;"
    "print(hashlib.sha256(one.encode()).hexdigest()[:16])"
)


class NoWormhole(Exception):
    """There is no magic-wormhole, and none could be installed; the text says why."""


def interpreter(python: str, index_url: "str | None") -> str:
    """The path of a Python that can import `wormhole`; `python` itself if it can. Raises NoWormhole."""
    if _imports(python):
        return python
    name = "magic-wormhole-" + _run(python, "-I", "-c", _IDENTITY).strip()
    environment = os.path.join(_cache(), name)
    interpreter_path = os.path.join(environment, "bin", "python")
    if not _imports(interpreter_path):
        shutil.rmtree(environment, ignore_errors=True)
        _install(python, index_url, environment)
    return interpreter_path


def _cache() -> str:
    """A directory for all jobs of the user, that only the user can use."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    directory = os.path.join(home, "passerelle")
    os.makedirs(directory, mode=0o700, exist_ok=True)
    return directory


def _install(python: str, index_url: "str | None", environment: str) -> None:
    """Make the environment under a temporary name, and rename it. Of jobs that do so at the same time, the first wins.

    A virtual environment can be moved as long as only its Python is run.
    """
    log("Installing magic-wormhole for the first time ...")
    making = tempfile.mkdtemp(prefix=".", dir=os.path.dirname(environment))
    try:
        _run(python, "-I", "-m", "venv", making)
        index = {"PIP_INDEX_URL": index_url} if index_url else {}
        quiet = ("--quiet", "--no-input", "--disable-pip-version-check")
        pip = (os.path.join(making, "bin", "python"), "-I", "-m", "pip", "install")
        _run(*pip, *quiet, _REQUIREMENT, **index)
        os.rename(making, environment)
    except OSError:
        if not os.path.isdir(environment):
            raise
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _imports(python: str) -> bool:
    try:
        _run(python, "-I", "-c", _IMPORT)
    except NoWormhole:
        return False
    return True


def _run(*command: str, **environment: str) -> str:
    """Run a command; its output. Raises NoWormhole with its last line when it fails."""
    try:
        completed = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(os.environ, **environment),
            check=False,
        )
    except OSError as error:
        raise NoWormhole("%s: %s" % (command[0], error.strerror)) from None  # noqa: UP031
    text = completed.stdout.decode("utf-8", "replace")
    if completed.returncode:
        last_line = (text.strip().splitlines() or ["it failed"])[-1]
        raise NoWormhole("%s: %s" % (command[0], last_line))  # noqa: UP031
    return text
