"""Where paths may point: into the system's filesystems, also after symbolic links are followed, as the user sees them.

One table says which arguments of an operation are paths and whether a link at a path's end is followed. What is checked
is what the path leads to when the operation begins; its own calls are made with no more rights than the user has.
"""

import errno
import os
from contextlib import suppress
from itertools import chain

from passerelle.storage.remote.outcome import Failure, raw

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

_LOOKS = 100  # at a path that is being changed
FOLLOWED = "followed"
ITSELF = "itself"
ASKED = "asked"  # followed when the argument `dereference` says so
WORDS = "words"  # of a link that shall be made at `path`

PATHS: "Mapping[str, Mapping[str, str]]" = {
    "stat": {"path": ASKED},
    "stat_many": {},  # looks at each path by itself
    "list": {"path": ASKED},
    "table": {"path": ASKED},
    "walk": {"path": ASKED},
    "remove": {"path": ITSELF},
    "run_program": {"path": ASKED},
    "copy": {"path": ASKED, "target": ITSELF},
    "move": {"path": ITSELF, "target": ITSELF},
    "make_symlink": {"path": ITSELF, "target": WORDS},
    # stand in for SFTP, which nobody asks either: where a part belongs is judged before anything arrives in it
    "make_part": {},
    "write_part": {},
    "cut_part": {},
    "drop_part": {},
}
"""The path arguments by operation. What is not listed has one, `path`, and a link at its end is followed."""
USUAL = {"path": FOLLOWED}


class Outside(Failure):
    """A path leads out of the filesystems; `field` is the argument that gave it."""

    def __init__(self, path: bytes, field: str) -> None:
        super().__init__("boundary", path, errno.EXDEV, field)


class Boundary:
    """The filesystems by the paths that the configuration gives them; with none, everything is inside."""

    def __init__(self, roots: "Sequence[bytes]" = ()) -> None:
        self._roots = roots
        self._real: dict[bytes, bytes] = {}

    def require(self, path: bytes, field: str = "path", follow: bool = True) -> None:
        """Raise Outside when `path` leads out; unless `follow`, a link at its end is taken as itself."""
        if self._roots and not self._holds(resolved(path, follow)):
            raise Outside(path, field)

    def require_open(self, fd: int, path: bytes, name: bytes = b"", field: str = "path") -> None:
        """Raise Outside when the open file `fd`, or `name` in that directory, has turned out to be out of them."""
        if self._roots and not self._holds(os.path.join(opened_path(fd, path), name)):
            raise Outside(path, field)

    def _holds(self, real: bytes) -> bool:
        # The configured paths first: a filesystem that hangs must not delay what lies in others.
        return any(inside(real, root) for root in chain(self._roots, self._resolved()))

    def _resolved(self) -> "Iterator[bytes]":
        yield from list(self._real.values())
        for root in self._roots:  # they may have changed since, or have been mounted only now
            self._real[root] = real_path(root)
            yield self._real[root]


def opened_path(fd: int, path: bytes) -> bytes:
    """Where an open file is now, in the kernel's words; where those cannot be had, what `path` leads to."""
    try:
        return os.readlink(b"/proc/self/fd/%d" % fd)
    except OSError:
        return real_path(path)


def real_path(path: bytes) -> bytes:
    """The path without links, which need not exist; raises Failure when its links do not stand still."""
    for _ in range(_LOOKS):
        with suppress(OSError):  # what was a link is none any more
            return os.path.realpath(path)
    raise Failure("access", path, errno.ENOENT)


def inside(path: bytes, root: bytes) -> bool:
    """Whether a path without links is `root` or below it, by components."""
    return path == root or path.startswith(root.rstrip(b"/") + b"/")


def resolved(path: bytes, follow: bool) -> bytes:
    """The path without links; unless `follow`, without those before its last component."""
    directory, name = os.path.split(path)
    if follow or name in (b"", b".", b".."):
        return real_path(path)
    return os.path.join(real_path(directory), name)


def take_paths(operation: str, arguments: "dict[str, Any]", boundary: Boundary) -> None:
    """Check the paths among an operation's arguments, and make them bytes."""
    for field, kind in PATHS.get(operation, USUAL).items():
        path = raw(arguments[field])
        if kind == WORDS:
            boundary.require(os.path.join(os.path.dirname(arguments["path"]), path), field)
            continue
        follow = kind == FOLLOWED or (kind == ASKED and arguments["dereference"])
        boundary.require(path, field, follow)
        arguments[field] = path
