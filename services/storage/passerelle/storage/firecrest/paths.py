"""The paths of requests, checked as FirecREST checks them."""

import posixpath

from passerelle.runtime.config.site import System
from passerelle.runtime.errors import InvalidArgument
from passerelle.storage.paths import inside


def checked_path(system: System, path: str | None) -> str:
    """The path of a request, after FirecREST's checks, normalised. Errors have FirecREST's words.

    Raises InvalidArgument when it is absent, relative, or outside the system's filesystems.
    """
    if path is None:
        raise InvalidArgument(
            "Unable to decode request and retreive the required path or source_path parameter."
        )
    if "\0" in path:
        raise InvalidArgument("The provided path contains a NUL character.")
    if not path.startswith("/"):
        raise InvalidArgument(f"The provided path ({path}) is not an absolute path.")
    normal = posixpath.normpath("/" + path.lstrip("/"))
    if system.filesystems and not any(inside(normal, fs.path) for fs in system.filesystems):
        raise InvalidArgument(
            f"The provided path ({normal}) does not match any of the defined filesystem paths "
            f"for the requested system ({system.name})."
        )
    return normal
