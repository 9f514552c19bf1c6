"""What `passerelle config check` finds out beside what a model says of its own values.

Each section, and each plugin's `Options`, says it itself: `Section.findings`, beside the keys that it is about.
"""

import os
import pwd
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from passerelle.runtime.config.site import SiteBase, System

Key = tuple[str | int, ...]
"""A key of the file, part by part: names, and numbers in lists."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found out about what stands at `key`; `fatal` when it cannot work so."""

    key: Key
    text: str
    fatal: bool

    def below(self, key: Key) -> "Finding":
        """The same, of a section that stands at `key`."""
        return replace(self, key=(*key, *self.key))


@dataclass(frozen=True, slots=True)
class Around:
    """What a section is part of: the whole site, the file in which it stands, and the system if it belongs to one."""

    site: "SiteBase"
    file: Path
    system: "System | None" = None


def wrong(text: str, *key: str | int) -> Finding:
    """It cannot work so; `key` is counted from the section that says it."""
    return Finding(key, text, fatal=True)


def note(text: str, *key: str | int) -> Finding:
    """It works, but not as everybody would expect; `key` is counted from the section that says it."""
    return Finding(key, text, fatal=False)


def unreadable(path: Path) -> str | None:
    """Why a file cannot be read, with its name; None when it can."""
    try:
        with path.open("rb") as file:
            file.read(1)
    except PermissionError:
        return f"{path}: {account(os.geteuid())} may not read it{_owned(path)}"
    except OSError as error:
        return f"{path}: {error.strerror}"
    return None


def _owned(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return ", or may not enter its directory"
    return f": it belongs to {account(status.st_uid)}, mode {stat.S_IMODE(status.st_mode):04o}"


def foreign(path: Path) -> str | None:
    """Whose a file is, when it is neither ours nor root's, and what to do about it."""
    owner = path.stat().st_uid
    if owner in (0, os.geteuid()):
        return None
    us = account(os.geteuid())
    return f"{path}: belongs to {account(owner)}, but passerelle runs as {us}: chown {us} it"


def exposed(path: Path) -> str | None:
    """Who else may read or change a file that holds a secret, and what to do about it; None when nobody may."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o007:
        return f"{path}: everybody may read or change it (mode {mode:04o}): chmod 600 it"
    if mode & 0o020:
        return f"{path}: its group may change it (mode {mode:04o}): chmod 600 it"
    return foreign(path)


def account(uid: int) -> str:
    """The name of an account of this machine; its number when it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
