"""The space that trees take, and the quotas of filesystems."""

import errno
import json
import os
import stat

from passerelle.storage.remote.boundary import real_path
from passerelle.storage.remote.outcome import Call, Failure, raw
from passerelle.storage.remote.reading.attributes import run_to_end
from passerelle.storage.remote.registry import FOLLOWED, operation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import AnyStr

UNIT = 512  # bytes in one of `st_blocks`
# One line for each filesystem, times in seconds, and only the filesystem of the last argument.
QUOTA = ("env", "LC_ALL=C", "quota", "-v", "-w", "-p", "-f")


@operation("measure", path=FOLLOWED)
def measure(call: Call, path: bytes) -> bytes:
    """The space that a tree takes, as du(1) counts it: JSON with `entries`, `size` and `allocated` in bytes. A file
    with several hard links counts once."""
    measurement = Measurement(call)
    measurement.add(path, path, None, follow=True)
    return call.result(measurement.usage)


class Measurement:
    """Adds up the space of trees in `usage`."""

    def __init__(self, call: Call) -> None:
        self.usage = {"entries": 0, "size": 0, "allocated": 0}
        self._call = call
        self._counted: set[tuple[int, int]] = set()

    def add(
        self, name: "AnyStr", path: bytes, parent: "int | None", *, follow: bool = False
    ) -> None:
        """Add the entry `name` of the open directory `parent`, and what is below it."""
        try:
            st = os.stat(name, dir_fd=parent, follow_symlinks=follow)
        except FileNotFoundError:
            if parent is not None:
                return  # removed since its directory was read
            raise Failure("access", path, errno.ENOENT) from None
        except OSError as error:
            raise Failure("access", path, error.errno or 0) from None
        if not self._count(st):
            return
        if stat.S_ISDIR(st.st_mode):
            self._add_below(name, path, parent, 0 if follow else os.O_NOFOLLOW)

    def _count(self, st: os.stat_result) -> bool:
        identity = (st.st_dev, st.st_ino)
        if st.st_nlink > 1 and not stat.S_ISDIR(st.st_mode):
            if identity in self._counted:
                return False
            self._counted.add(identity)
        self.usage["entries"] += 1
        self.usage["size"] += st.st_size
        self.usage["allocated"] += st.st_blocks * UNIT
        self._call.advance(1, st.st_size)
        return True

    def _add_below(self, name: "AnyStr", path: bytes, parent: "int | None", flags: int) -> None:
        try:
            fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | flags, dir_fd=parent)
        except OSError as error:
            raise Failure("open", path, error.errno or 0) from None
        try:
            self._call.boundary.require_open(fd, path)
            for below in os.listdir(fd):
                self.add(below, os.path.join(path, os.fsencode(below)), fd)
        finally:
            os.close(fd)


@operation("quota", path=FOLLOWED)
def quota(call: Call, path: bytes) -> bytes:
    """JSON: the filesystem's `room` by statvfs(3), and `quota_output`, the user's quota as quota(1) prints it."""
    try:
        filesystem = os.statvfs(path)
        mount = _mount_point(real_path(path))
    except OSError as error:
        raise Failure("access", path, error.errno or 0) from None
    room = {
        "used": (filesystem.f_blocks - filesystem.f_bfree) * filesystem.f_frsize,
        "limit": filesystem.f_blocks * filesystem.f_frsize,
        "soft_limit": 0,
        "files_used": filesystem.f_files - filesystem.f_ffree,
        "files_limit": filesystem.f_files,
    }
    _, quota_output, _ = json.loads(run_to_end(call, [*map(raw, QUOTA), mount]).decode())
    return json.dumps({"room": room, "quota_output": quota_output}).encode()


def _mount_point(path: bytes) -> bytes:
    while not os.path.ismount(path):
        path = os.path.dirname(path)
    return path
