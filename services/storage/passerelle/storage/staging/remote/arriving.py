"""New files that get their name when they are complete. Runs on the system, on Python 3.6 and newer."""

import os
from contextlib import contextmanager, suppress

from passerelle.storage.remote.boundary import resolved
from passerelle.storage.remote.changing.targets import Target
from passerelle.storage.staging.remote.job import boundary, encoded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


@contextmanager
def absent_target(parameters: "dict[str, Any]") -> "Iterator[Target]":
    """The target that the parameters `path` and `roots` name, which must not exist, not even as a link.

    Raises Failure when it exists or cannot be made, and Outside.
    """
    path = resolved(encoded(parameters["path"]), follow=False)
    with Target(boundary(parameters), path, resolved=True) as target:
        target.require_absent()
        yield target


def part_exists(parameters: "dict[str, Any]") -> bool:
    """Whether the file `part` beside `path` exists (parameters of the job). `part` is empty for jobs that send."""
    part = os.path.join(os.path.dirname(encoded(parameters["path"])), parameters["part"].encode())
    return bool(parameters["part"]) and os.path.lexists(part)


class ArrivingFile:
    """A new file `name` in the directory of `target`. `place` gives it the target's name. `name` is removed when the
    block ends. Raises OSError.
    """

    def __init__(self, target: Target, name: str) -> None:
        self._target = target
        self._name = name.encode()
        self._unlink()  # left by a run whose node failed
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        self._fd = os.open(self._name, flags, 0o666, dir_fd=target.directory)

    def __enter__(self) -> "ArrivingFile":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
        self._unlink()

    def write(self, data: bytes) -> None:
        """Append all of `data`."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def place(self) -> None:
        """Sync the file to disk, and give it the target's name. Raises as the function `place`."""
        os.fsync(self._fd)
        place(self._target, self._name)

    def _unlink(self) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self._name, dir_fd=self._target.directory)


def place(target: Target, name: bytes) -> None:
    """Give the complete file `name` in the target's directory the target's name, and sync the directory.

    The target is checked again as by `absent_target`. Raises Failure, FileExistsError.
    """
    target.require_absent()
    target.create_from(name)
    with suppress(PermissionError):  # the directory may be writable but not readable
        sync(os.open(b".", os.O_RDONLY, dir_fd=target.directory))


def sync(fd: int) -> None:
    """Sync an open file or directory to disk, and close it."""
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
