"""Checks of a path before a job is submitted for it, so that errors reach the caller and not only the job's log."""

import errno
import stat

from passerelle.runtime.config.site import System
from passerelle.storage.errors import FileError, Outside, TargetExists, not_regular
from passerelle.storage.files.port import Files


async def require_absent(files: Files, path: str) -> None:
    """Raise TargetExists when `path` exists, FileError when no file can be made there."""
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
    """Raise FileError for a pipe or a device, which a job must not open, as it might wait for ever."""
    try:
        mode = (await files.stat(path, dereference=True)).mode
    except FileError:  # the job's log will report a missing file
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise not_regular("read", path, mode)


async def require_inside(
    files: Files, system: System, path: str, *, follow: bool, field: str = "path"
) -> None:
    """Raise Outside when links on the way to `path`, which need not exist, lead out of the system's filesystems.

    `follow` says whether a final link counts, too. Only for paths of jobs; file operations check theirs themselves.
    """
    if not system.check_links:
        return
    try:
        await files.stat(path, dereference=follow)
    except Outside:
        raise Outside(field, path, system.name) from None
    except FileError:  # the job's log will report it
        return
