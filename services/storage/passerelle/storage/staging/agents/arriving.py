"""A file that appears under its name whole, or not at all.

Runs on the system, on Python 3.6 and newer.
"""

import errno
import os
import uuid
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

# What link(2) says where a filesystem has no hard links.
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class ArrivingFile:
    """A new file beside `target`, under a hidden name, that `appear` gives its own; it is gone when the block ends.

    Raises OSError for what the system refuses.
    """

    def __init__(self, target: str) -> None:
        # Bytes: on Python 3.6 without a locale, names would have to be ASCII.
        self.target = target.encode("utf-8", "surrogateescape")
        name = ".%s.passerelle-part" % uuid.uuid4().hex  # noqa: UP031  # as long as any name may be
        self.path = os.path.join(os.path.dirname(self.target), name.encode())
        self.file = open(self.path, "xb", buffering=0)  # noqa: SIM115  # closed when the block ends

    def __enter__(self) -> "ArrivingFile":
        return self

    def __exit__(
        self,
        kind: "type[BaseException] | None",
        error: "BaseException | None",
        where: "TracebackType | None",
    ) -> None:
        self.file.close()
        unlink(self.path)

    def write(self, data: bytes) -> None:
        """Append all of `data`."""
        view = memoryview(data)
        while view:
            view = view[self.file.write(view) :]

    def appear(self) -> None:
        """Put it on the disk and give it its name; FileExistsError when something has that name."""
        os.fsync(self.file.fileno())
        appear(self.path, self.target)


def appear(path: bytes, target: bytes) -> None:
    """Give the finished file `path` the name `target`, durably; FileExistsError when something has that name."""
    try:
        os.link(path, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target) from None
        os.rename(path, target)
    sync(os.path.dirname(target))


def sync(path: bytes) -> None:
    """Put a file, or the names in a directory, on the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def unlink(path: bytes) -> None:
    """Remove a file, if it is there."""
    with suppress(FileNotFoundError):
        os.unlink(path)
