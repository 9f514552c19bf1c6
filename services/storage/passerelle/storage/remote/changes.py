"""What changes files."""

import errno
import os
import stat

from passerelle.storage.remote.outcome import Call, Failure
from passerelle.storage.remote.rows import row_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import AnyStr


def make_directory(
    call: Call, path: bytes, parents: bool, columns: "Sequence[tuple[str, str]]"
) -> bytes:
    """Make a directory, with `parents` the missing ones above it too; one JSON object about it."""
    try:
        os.mkdir(path)
    except OSError as error:
        if parents and error.errno == errno.ENOENT and os.path.dirname(path) != path:
            make_directory(call, os.path.dirname(path), True, ())
            return make_directory(call, path, False, columns)
        if not (parents and os.path.isdir(path)):
            raise Failure("mkdir", path, error.errno or 0) from None
    return row_of(path, True, columns) if columns else b""


def remove(call: Call, path: bytes) -> bytes:
    """Remove a file, or a directory with all that can be removed in it; the first failure is raised at the end."""
    failures: list[Failure] = []
    _remove(call, path, path, None, failures)
    if failures:
        raise failures[0]
    return b""


def _remove(
    call: Call, name: "AnyStr", path: bytes, parent: "int | None", failures: "list[Failure]"
) -> None:
    """Remove entry `name` of the directory open as `parent`: nobody can swap a directory above it for a link."""
    call.check()
    try:
        if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            _empty(call, name, path, parent, failures)
            os.rmdir(name, dir_fd=parent)
        else:
            os.unlink(name, dir_fd=parent)
    except OSError as error:
        failures.append(Failure("unlink", path, error.errno or 0))


def _empty(
    call: Call, name: "AnyStr", path: bytes, parent: "int | None", failures: "list[Failure]"
) -> None:
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        for below in os.listdir(fd):
            _remove(call, below, os.path.join(path, os.fsencode(below)), fd, failures)
    finally:
        os.close(fd)
