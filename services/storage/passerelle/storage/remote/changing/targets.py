"""The file that writing to a path writes. Everything that writes checks it, before content arrives and at the end.

It runs on the system, on Python 3.6 and newer, also as a part of transfer jobs.
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

# The errors of link(2) where a filesystem has no hard links.
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY  # it need not be readable


class Target:
    """The file that writing to `path` writes: `name` in the open `directory`. `real` is its path without links.

    `resolved` says that `path` has no links. All methods act in the opened directory, even if its path leads elsewhere
    by then. Raises Failure when there is no such directory.
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
        """Close the directory."""
        os.close(self.directory)

    def require_writable(self) -> "os.stat_result | None":
        """stat(2) of the existing file, or None. Raises Failure unless the file can be written or made; Outside."""
        self.require_inside()
        try:
            existing = self.stat()
        except OSError as error:
            raise Failure("open", self.path, error.errno or 0) from None
        self._require_file(existing)
        code = self._write_errno(existing)
        if code:
            raise Failure("open", self.path, code)
        return existing

    def require_absent(self) -> None:
        """Raise Failure when the file, or a link, exists already, or when it cannot be made; Outside."""
        self.require_inside()
        if self.stat() is not None:
            raise Failure("open", self.path, errno.EEXIST)
        self.require_writable()

    def require_inside(self) -> None:
        """Raise Outside when the file is outside of the filesystems."""
        self._boundary.require_open(self.directory, self.path, self.name)

    def stat(self) -> "os.stat_result | None":
        """stat(2) of the file without following links; None when it does not exist. Raises OSError."""
        try:
            return os.stat(self.name, dir_fd=self.directory, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def replace_by(self, name: bytes) -> None:
        """Rename the file `name` in the same directory to the target, replacing that. Raises OSError."""
        os.rename(name, self.name, src_dir_fd=self.directory, dst_dir_fd=self.directory)

    def create_from(self, name: bytes) -> None:
        """Give the file `name` in the same directory the target's name; FileExistsError when the target exists.

        Where the filesystem has hard links, `name` stays as a second name of the file.
        """
        try:
            os.link(name, self.name, src_dir_fd=self.directory, dst_dir_fd=self.directory)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if self.stat() is not None:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), self.path) from None
            self.replace_by(name)

    def _require_file(self, existing: "os.stat_result | None") -> None:
        if existing is None or stat.S_ISREG(existing.st_mode):
            return
        if stat.S_ISLNK(existing.st_mode):  # a link to itself, or made since the path was resolved
            raise Failure("open", self.path, errno.ELOOP)
        raise NotRegular("open", self.path, existing.st_mode)

    def _write_errno(self, existing: "os.stat_result | None") -> int:
        """The errno of writing to the file, 0 when it is allowed."""
        if not os.access(".", os.W_OK | os.X_OK, dir_fd=self.directory):
            return errno.EACCES
        if existing is None:
            return 0
        if not os.access(self.name, os.W_OK, dir_fd=self.directory):
            return errno.EACCES
        directory = os.fstat(self.directory)
        owners = (0, directory.st_uid, existing.st_uid)
        protected = directory.st_mode & stat.S_ISVTX and os.geteuid() not in owners
        return errno.EPERM if protected else 0
