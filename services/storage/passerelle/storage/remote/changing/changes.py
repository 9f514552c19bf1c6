"""Making directories."""

import errno
import os

from passerelle.storage.remote.boundary import Outside
from passerelle.storage.remote.opening import open_parent
from passerelle.storage.remote.outcome import Call, Failure
from passerelle.storage.remote.registry import FOLLOWED, operation
from passerelle.storage.remote.rows import row_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


@operation("make_directory", path=FOLLOWED)
def make_directory(
    call: Call, path: bytes, parents: bool, columns: "Sequence[tuple[str, str]]"
) -> bytes:
    """Make a directory, with `parents` also the missing ones above it; a JSON object with its attributes."""
    try:
        with open_parent(call, path, "mkdir") as (name, directory):
            _make(name, directory, path)
    except Failure as failure:
        if parents and failure.code == errno.ENOENT and os.path.dirname(path) != path:
            make_directory(call, os.path.dirname(path), True, ())
            return make_directory(call, path, False, columns)
        if isinstance(failure, Outside) or not (parents and os.path.isdir(path)):
            raise
    return row_of(call, path, True, columns) if columns else b""


def _make(name: bytes, directory: int, path: bytes) -> None:
    try:
        os.mkdir(name, dir_fd=directory)
    except OSError as error:
        raise Failure("mkdir", path, error.errno or 0) from None
