"""What is asked of a path before a job is submitted for it: errors then reach the caller, not only the job's log."""

import errno

from passerelle.runtime.errors import Forbidden
from passerelle.storage.files import FileError, Files


async def demand_absent(files: Files, path: str) -> None:
    """Raise Forbidden (FirecREST's status and words) when there is something at `path`, FileError where none can be."""
    try:
        await files.stat(path)
    except FileError as error:
        if error.errno != errno.ENOENT:
            raise
        await files.demand_writable(path)
    else:
        raise Forbidden(f"Target file '{path}' already exists.")


async def demand_readable(files: Files, path: str) -> None:
    """Raise FileError when the file at `path` cannot be read."""
    await files.read(path, 0, 1)
