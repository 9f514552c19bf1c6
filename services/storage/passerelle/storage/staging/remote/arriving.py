"""A file that appears under its name whole, or not at all.

Runs on the system, on Python 3.6 and newer.
"""

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
def absent(given: "dict[str, Any]") -> "Iterator[Target]":
    """The target that the parameters `path` and `roots` name, which is not there, not even as a link.

    Raises Failure when it is, leads out of the filesystems, or cannot be made.
    """
    path = resolved(encoded(given["path"]), follow=False)
    with Target(boundary(given), path, resolved=True) as target:
        target.require_absent()
        yield target


def leaves_part(given: "dict[str, Any]") -> bool:
    """Whether what has arrived is still there, by the parameters `path` and `part` (empty when nothing arrives)."""
    part = os.path.join(os.path.dirname(encoded(given["path"])), given["part"].encode())
    return bool(given["part"]) and os.path.lexists(part)


class ArrivingFile:
    """A new file `name` beside `target`, that `appear` gives the target's name; it is gone when the block ends.

    Raises OSError for what the system refuses.
    """

    def __init__(self, target: Target, name: str) -> None:
        self._target = target
        self._name = name.encode()
        self._unlink()  # of a run that ended with its node
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

    def appear(self) -> None:
        """Put it on the disk and give it its name; Failure when that may not be any more."""
        os.fsync(self._fd)
        appear(self._target, self._name)

    def _unlink(self) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self._name, dir_fd=self._target.directory)


def appear(target: Target, name: bytes) -> None:
    """Give the finished file `name`, in the target's directory, the target's name, durably.

    What it had to be when its content was still to come is asked again: raises Failure, or FileExistsError.
    """
    target.require_absent()
    target.create_from(name)
    with suppress(PermissionError):  # names can be made in a directory that cannot be read
        sync(os.open(b".", os.O_RDONLY, dir_fd=target.directory))


def sync(fd: int) -> None:
    """Put an open file, or the names in a directory, on the disk, and close it."""
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
