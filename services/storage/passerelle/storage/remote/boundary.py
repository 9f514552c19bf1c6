"""Paths must lie in the system's filesystems, also after symbolic links are followed. Links are read as the user.

`registry.py` knows which arguments of an operation are paths, and whether a link at the end of the path is followed.
A path is checked when the operation begins. The operation itself runs with the rights of the user.
"""

import errno
import os
from contextlib import suppress
from itertools import chain

from passerelle.storage.remote.outcome import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_ATTEMPTS = 100  # to resolve a path whose links are changed meanwhile


class Outside(Failure):
    """A path leads out of the filesystems; `field` is the argument with the path."""

    def __init__(self, path: bytes, field: str) -> None:
        super().__init__("boundary", path, errno.EXDEV, field)


class Boundary:
    """The filesystems, by their configured paths. Without any, every path is inside."""

    def __init__(self, roots: "Sequence[bytes]" = ()) -> None:
        self._roots = roots
        self._real: dict[bytes, bytes] = {}

    def require(self, path: bytes, field: str = "path", follow: bool = True) -> None:
        """Raise Outside when `path` leads out. A link at its end is followed if `follow`."""
        if self._roots and not self._holds(resolved(path, follow)):
            raise Outside(path, field)

    def require_open(self, fd: int, path: bytes, name: bytes = b"", field: str = "path") -> None:
        """Raise Outside when the open file `fd`, or `name` in the open directory `fd`, is outside."""
        if self._roots and not self._holds(os.path.join(opened_path(fd, path), name)):
            raise Outside(path, field)

    def _holds(self, real: bytes) -> bool:
        # The configured paths are compared first: a filesystem that hangs must not delay requests for others.
        return any(inside(real, root) for root in chain(self._roots, self._resolved()))

    def _resolved(self) -> "Iterator[bytes]":
        yield from list(self._real.values())
        for (
            root
        ) in self._roots:  # links in it may have changed, or it may have been mounted meanwhile
            self._real[root] = real_path(root)
            yield self._real[root]


def opened_path(fd: int, path: bytes) -> bytes:
    """The path of an open file according to the kernel; without /proc, `path` without links."""
    try:
        return os.readlink(b"/proc/self/fd/%d" % fd)
    except OSError:
        return real_path(path)


def real_path(path: bytes) -> bytes:
    """The path without links. It need not exist. Raises Failure when its links change all the time."""
    for _ in range(_ATTEMPTS):
        with suppress(OSError):  # a link was replaced while it was read
            return os.path.realpath(path)
    raise Failure("access", path, errno.ENOENT)


def inside(path: bytes, root: bytes) -> bool:
    """Whether a path without links is `root` or below it."""
    return path == root or path.startswith(root.rstrip(b"/") + b"/")


def resolved(path: bytes, follow: bool) -> bytes:
    """The path without links. Its last component is resolved only if `follow`."""
    directory, name = os.path.split(path)
    if follow or name in (b"", b".", b".."):
        return real_path(path)
    return os.path.join(real_path(directory), name)
