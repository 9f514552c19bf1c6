"""The distribution of a run over the workers of pytest-xdist, and their shared state.

What is worth sharing (a cluster) is started by the first worker that needs it, in the run's own directory, and ended by
the process that began the run, when all workers are done. Where that process was killed, the next run ends and removes
what it left.
"""

import fcntl
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NoReturn

import pytest
from xdist.scheduler import LoadScopeScheduling

FOLDERS = ("compat", "e2e", "clients", "integration", "conformance", "unit")
"""Of tests, in their order on several workers: what waits long comes first, and small pieces fill up the end."""
_IN_PIECES = ("tests/conformance/", "tests/unit/")
_WHOLE = {"tests/conformance/test_schedulers.py", "tests/unit/test_distributions.py"}
"""But these stay together: what they set up for the module would be set up again for each piece."""
_TOGETHER = {
    "tests/integration/test_login_shells.py": "tests/e2e/test_login_shells.py",
}
"""Modules that run with another, on one worker: both make the same users of this machine."""
_DIRECTORY = "PASSERELLE_TEST_RUN"
_PREFIX = "passerelle-run-"
_OWNER = "owner"
"""A file of a run's directory, which the process that began the run keeps locked."""
_OWNED = pytest.StashKey[IO[str]]()


def is_worker(config: pytest.Config) -> bool:
    """Whether this process is one of several that run the tests of another."""
    return hasattr(config, "workerinput")


class ByModule(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """A module's tests stay together, in their order, for they share servers; the others are spread singly."""

    def _split_scope(self, nodeid: str) -> str:
        module, _, name = nodeid.partition("::")
        if module.startswith(_IN_PIECES) and module not in _WHOLE:
            return f"{module}::{name.partition('[')[0]}"
        return _TOGETHER.get(module, module)


def pytest_xdist_auto_num_workers() -> int:
    """Of `-n auto`: twice the processors, for the tests of real things wait half of their time."""
    return 2 * len(os.sched_getaffinity(0))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByModule:
    """Spread the tests by modules, in their order."""
    config.option.loadscopereorder = False
    return ByModule(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On a worker, sort the tests by their folders; within one they keep their order."""
    if is_worker(config):
        items.sort(key=lambda item: FOLDERS.index(item.nodeid.split("/")[1]))


def pytest_configure(config: pytest.Config) -> None:
    """Make the directory of this run, which its workers find in their environment."""
    if not is_worker(config):
        signal.signal(signal.SIGTERM, _interrupt)
        made = Path(tempfile.mkdtemp(prefix=_PREFIX))
        made.chmod(0o711)  # servers of other accounts live below it
        os.environ[_DIRECTORY] = str(made)
        config.stash[_OWNED] = owned(made)


def _interrupt(*_: object) -> NoReturn:
    """End as on Ctrl-C, with everything that was begun."""
    raise KeyboardInterrupt


def owned(run: Path) -> IO[str]:
    """The lock of a run's directory, which the process now holds until it closes it or ends."""
    lock = (run / "new").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    (run / "new").rename(run / _OWNER)  # nobody finds it unlocked
    return lock


def abandoned(place: Path) -> Iterator[Path]:
    """Directories of our runs in `place` whose process is gone; each is removed when the next one is asked for."""
    for owner in place.glob(f"{_PREFIX}*/{_OWNER}"):
        with suppress(OSError), owner.open() as lock:  # it is in use, somebody else's, or just gone
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(lock.fileno()).st_uid == os.getuid():
                yield owner.parent
                shutil.rmtree(owner.parent)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the directory, when its processes have ended."""
    if not is_worker(config):
        shutil.rmtree(os.environ.pop(_DIRECTORY))
        config.stash[_OWNED].close()


def directory() -> Path:
    """The directory that the workers of this run share."""
    return Path(os.environ[_DIRECTORY])


@contextmanager
def one_at_a_time(name: str) -> Iterator[None]:
    """Inside the block no other worker of this run is in a block of that name."""
    with (directory() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
