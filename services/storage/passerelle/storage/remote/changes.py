"""What changes files."""

import errno
import os

from passerelle.storage.remote.outcome import Call, Failure
from passerelle.storage.remote.rows import row_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


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
    return row_of(call, path, True, columns) if columns else b""
