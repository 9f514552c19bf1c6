"""Where writing to a path writes: asked by every way of writing, before content moves and when it is put in place.

Runs on the system, on Python 3.6 and newer; transfer jobs take it along, too.
"""

import errno
import os
import stat

from passerelle.storage.remote.boundary import real_path
from passerelle.storage.remote.outcome import Failure, NotRegular

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from passerelle.storage.remote.boundary import Boundary

# What link(2) says where a filesystem has no hard links.
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY  # it need not be readable


class Target:
    """The file that writing to `path` writes: `name` in the open `directory`; `real` is its path without links.

    `resolved` says that the path has been found to have none.

    What is asked of it and done to it is asked of and done in that very directory, whatever its path leads to
    meanwhile. Raises Failure when there is no such directory.
    """

    def __init__(self, boundary: "Boundary", path: bytes, resolved: bool = False) -> None:
        self.path = path
        self.real = path if resolved else real_path(path)
        self._boundary = boundary
        directory, name = os.path.split(self.real)
        self.name = name or b"."
        try:
            self.directory = os.open(directory, _FOLDER)
        except OSError as error:
            raise Failure("open", path, error.errno or 0) from None

    def __enter__(self) -> "Target":
        return self

    def __exit__(
        self,
        kind: "type[BaseException] | None",
        error: "BaseException | None",
        where: "TracebackType | None",
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the directory."""
        os.close(self.directory)

    def require_writable(self) -> "os.stat_result | None":
        """What is there now, or None; Failure unless it is a regular file that may be replaced, or can be made."""
        self.require_inside()
        try:
            there = self.there()
        except OSError as error:
            raise Failure("open", self.path, error.errno or 0) from None
        self._require_file(there)
        wrong = self._forbidden(there)
        if wrong:
            raise Failure("open", self.path, wrong)
        return there

    def require_absent(self) -> None:
        """Raise Failure unless there is nothing yet, not even a link, and a file can be made."""
        self.require_inside()
        if self.there() is not None:
            raise Failure("open", self.path, errno.EEXIST)
        self.require_writable()

    def require_inside(self) -> None:
        """Raise Outside when the directory is out of the filesystems."""
        self._boundary.require_open(self.directory, self.path, self.name)

    def there(self) -> "os.stat_result | None":
        """What has the name now; raises OSError."""
        try:
            return os.stat(self.name, dir_fd=self.directory, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def take(self, name: bytes) -> None:
        """Put the file `name` of the directory in the target's place; raises OSError."""
        os.rename(name, self.name, src_dir_fd=self.directory, dst_dir_fd=self.directory)

    def become(self, name: bytes) -> None:
        """Give what is `name` in the directory the target's own; FileExistsError when something has that."""
        try:
            os.link(name, self.name, src_dir_fd=self.directory, dst_dir_fd=self.directory)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if self.there() is not None:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), self.path) from None
            self.take(name)

    def _require_file(self, there: "os.stat_result | None") -> None:
        if there is None or stat.S_ISREG(there.st_mode):
            return
        if stat.S_ISLNK(there.st_mode):  # to itself, or made since the path was resolved
            raise Failure("open", self.path, errno.ELOOP)
        raise NotRegular("open", self.path, there.st_mode)

    def _forbidden(self, there: "os.stat_result | None") -> int:
        if not os.access(".", os.W_OK | os.X_OK, dir_fd=self.directory):
            return errno.EACCES
        if there is None:
            return 0
        if not os.access(self.name, os.W_OK, dir_fd=self.directory):
            return errno.EACCES
        folder = os.fstat(self.directory)
        owners = (0, folder.st_uid, there.st_uid)
        kept = folder.st_mode & stat.S_ISVTX and os.geteuid() not in owners
        return errno.EPERM if kept else 0
