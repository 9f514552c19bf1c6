"""Findings of `passerelle config check` that go beyond the values of one section.

Each section, and each plugin's `Options`, yields its own in `Section.findings`, beside the keys that they are about.
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
    """One finding about the value at `key`; `fatal` when the site cannot work with it."""

    key: Key
    text: str
    fatal: bool

    def below(self, key: Key) -> "Finding":
        """The same finding, with `key` before its own key."""
        return replace(self, key=(*key, *self.key))


@dataclass(frozen=True, slots=True)
class SectionContext:
    """What a section is part of: the whole site, the configuration file, and the system if it belongs to one."""

    site: "SiteBase"
    file: Path
    system: "System | None" = None


def problem(text: str, *key: str | int) -> Finding:
    """A fatal finding; `key` is counted from the section that yields it."""
    return Finding(key, text, fatal=True)


def note(text: str, *key: str | int) -> Finding:
    """A finding about what works, but may surprise; `key` is counted from the section that yields it."""
    return Finding(key, text, fatal=False)


def unreadable(path: Path) -> str | None:
    """Why a file cannot be read, with its name; None when it can."""
    try:
        with path.open("rb") as file:
            file.read(1)
    except PermissionError:
        return f"{path}: {account(os.geteuid())} may not read it{_ownership(path)}"
    except OSError as error:
        return f"{path}: {error.strerror}"
    return None


def _ownership(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return ", or may not enter its directory"
    return f": it belongs to {account(status.st_uid)}, mode {stat.S_IMODE(status.st_mode):04o}"


def foreign_owner(path: Path) -> str | None:
    """Who owns a file, and what to do about it; None when this account or root does."""
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
    return foreign_owner(path)


def account(uid: int) -> str:
    """The name of an account of this machine; its number when it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
