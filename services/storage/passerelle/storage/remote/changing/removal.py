"""Removing files and trees."""

import os
import stat

from passerelle.storage.remote.opening import open_parent
from passerelle.storage.remote.outcome import Call, Failure
from passerelle.storage.remote.registry import NOT_FOLLOWED, operation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import AnyStr


@operation("remove", path=NOT_FOLLOWED)
def remove(call: Call, path: bytes) -> bytes:
    """Remove a file, or a directory with all that can be removed below it. The first failure is raised at the end."""
    removal = Removal(call)
    with open_parent(call, path, "unlink") as (name, directory):
        removal.remove(name, path, directory)
    if removal.failure:
        raise removal.failure
    return call.result()


class Removal:
    """Removes trees, with `force` also directories that their owner may not write to. It continues after a failure;
    `failure` is the first one, or None."""

    def __init__(self, call: Call, force: bool = False) -> None:
        self.failure: Failure | None = None
        self._call = call
        self._force = force

    def remove(self, name: "AnyStr", path: bytes, parent: "int | None" = None) -> None:
        """Remove the entry `name` of the open directory `parent`. Links that replace directories meanwhile have no
        effect."""
        self._call.check()
        try:
            if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                self._empty(name, path, parent)
                os.rmdir(name, dir_fd=parent)
            else:
                os.unlink(name, dir_fd=parent)
        except OSError as error:
            self.failure = self.failure or Failure("unlink", path, error.errno or 0)
        else:
            self._call.advance(1)

    def _empty(self, name: "AnyStr", path: bytes, parent: "int | None") -> None:
        if self._force:
            os.chmod(name, stat.S_IRWXU, dir_fd=parent)
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        try:
            for below in os.listdir(fd):
                self.remove(below, os.path.join(path, os.fsencode(below)), fd)
        finally:
            os.close(fd)
