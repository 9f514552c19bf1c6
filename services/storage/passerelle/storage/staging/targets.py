"""What is asked of a path before a job is submitted for it: errors then reach the caller, not only the job's log."""

import errno
import stat

from passerelle.runtime.config.site import System
from passerelle.storage.errors import FileError, Outside, TargetExists, not_regular
from passerelle.storage.files.port import Files


async def require_absent(files: Files, path: str) -> None:
    """Raise TargetExists when there is something at `path`, FileError where there can be no file."""
    try:
        await files.stat(path)
    except FileError as error:
        if error.errno != errno.ENOENT:
            raise
        await files.require_writable(path)
    else:
        raise TargetExists(f"Target file '{path}' already exists.")


async def require_readable(files: Files, path: str) -> None:
    """Raise FileError when the file at `path` cannot be read."""
    await files.read(path, 0, 1)


async def refuse_pipe(files: Files, path: str) -> None:
    """Raise FileError for what no job should open, because it would wait for somebody or for a device."""
    try:
        mode = (await files.stat(path, dereference=True)).mode
    except FileError:  # the job's log will tell of what is not there
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise not_regular("read", path, mode)


async def require_inside(
    files: Files, system: System, path: str, *, follow: bool, field: str = "path"
) -> None:
    """Raise Outside when links on the way to `path`, which need not exist, lead out of the system's filesystems.

    `follow`: also those that the path itself is. For what is then done by a job; operations look by themselves.
    """
    if not system.check_links:
        return
    try:
        await files.stat(path, dereference=follow)
    except Outside:
        raise Outside(field, path, system.name) from None
    except FileError:  # the job will tell
        return
