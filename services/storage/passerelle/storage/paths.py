"""Paths on a system: absolute and normalised. A byte of one that is not UTF-8 is a lone surrogate (PEP 383)."""

import posixpath

from passerelle.runtime.config.site import System
from passerelle.runtime.errors import Field, InvalidArgument
from passerelle.storage.remote.outcome import text


def shown(path: str) -> str:
    """A path for display: a byte that is not UTF-8 becomes a backslash and three octal digits."""
    return text(path.encode("utf-8", "surrogateescape"))


def inside(path: str, root: str) -> bool:
    """Whether a normalised path is `root` or below it, by components."""
    return path == root or path.startswith(root.rstrip("/") + "/")


def checked_path(system: System, path: str, field: str = "path") -> str:
    """An absolute path inside the system's filesystems as it is spelt, normalised; InvalidArgument names the field."""
    if not path.startswith("/"):
        raise _invalid(field, "must be an absolute path")
    if "\0" in path:
        raise _invalid(field, "must not contain NUL characters")
    normal = posixpath.normpath("/" + path.lstrip("/"))
    if system.filesystems and not any(
        inside(normal, filesystem.path) for filesystem in system.filesystems
    ):
        raise _invalid(field, f"is in none of the filesystems of system {system.name}")
    return normal


def _invalid(field: str, why: str) -> InvalidArgument:
    return InvalidArgument(f"{field} {why}", (Field("query", field, why),))
