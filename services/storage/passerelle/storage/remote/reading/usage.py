"""How much room there is, and who takes it."""

import errno
import json
import os
import stat

from passerelle.storage.remote.boundary import real_path
from passerelle.storage.remote.outcome import Call, Failure, raw
from passerelle.storage.remote.reading.attributes import ended

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import AnyStr

UNIT = 512  # bytes in one of `st_blocks`
# One line for each filesystem, times in seconds, and only the filesystem that is named after that.
QUOTA = ("env", "LC_ALL=C", "quota", "-v", "-w", "-p", "-f")


def measure(call: Call, path: bytes) -> bytes:
    """What a tree takes, as du(1) counts: `entries`, `size` and `allocated` bytes, a file of many names once."""
    measuring = Measuring(call)
    measuring.add(path, path, None, follow=True)
    return call.result(measuring.found)


class Measuring:
    """Adds up trees."""

    def __init__(self, call: Call) -> None:
        self.found = {"entries": 0, "size": 0, "allocated": 0}
        self._call = call
        self._seen: set[tuple[int, int]] = set()

    def add(
        self, name: "AnyStr", path: bytes, parent: "int | None", *, follow: bool = False
    ) -> None:
        """Add entry `name` of the directory open as `parent`, and what is in it."""
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
            if identity in self._seen:
                return False
            self._seen.add(identity)
        self.found["entries"] += 1
        self.found["size"] += st.st_size
        self.found["allocated"] += st.st_blocks * UNIT
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


def quota(call: Call, path: bytes) -> bytes:
    """JSON: the filesystem's `room` as statvfs(3) tells it, and what quota(1) `said` of the user, if anything."""
    try:
        found = os.statvfs(path)
        mount = _mount_point(real_path(path))
    except OSError as error:
        raise Failure("access", path, error.errno or 0) from None
    room = {
        "used": (found.f_blocks - found.f_bfree) * found.f_frsize,
        "limit": found.f_blocks * found.f_frsize,
        "soft_limit": 0,
        "files_used": found.f_files - found.f_ffree,
        "files_limit": found.f_files,
    }
    said = json.loads(ended(call, [*map(raw, QUOTA), mount]).decode())[1]
    return json.dumps({"room": room, "said": said}).encode()


def _mount_point(path: bytes) -> bytes:
    while not os.path.ismount(path):
        path = os.path.dirname(path)
    return path
