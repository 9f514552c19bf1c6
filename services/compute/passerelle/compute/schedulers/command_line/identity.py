"""The caller's account and groups on a system, by id(1) and getent(1), for all schedulers."""

import re
from collections.abc import Mapping

from passerelle.compute.scheduler import PosixName, UserInfo
from passerelle.runtime.command import Command
from passerelle.runtime.errors import BackendError

IDENTITY = (
    'echo "passerelle-user $(id -u) $(id -g) $(id -G)" && { id -un 2>/dev/null || id -u; }'
    " && { getent group $(id -G); echo passerelle-accounts; }"
)
"""A shell script that prints the identity; a scheduler may append a script that prints the accounts."""

# What it prints, each part on a line of its own; the last part has as many as there are groups with names.
_IDENTITY = re.compile(
    r"^passerelle-user (?P<user>\d+) (?P<group>\d+) (?P<groups>[\d ]+)\n"
    r"(?P<name>[^\n]+)\n(?P<names>(?:[^\n]*\n)*?)passerelle-accounts\n",
    re.MULTILINE,
)


def identity_command() -> Command[UserInfo]:
    """The caller, without accounts."""
    return Command(("sh", "-c", IDENTITY), lambda text: parse_identity(text)[0])


def parse_identity(text: str) -> tuple[UserInfo, str]:
    """The caller, and the output after that. Raises BackendError when the identity is missing."""
    match = _IDENTITY.search(text)
    if match is None:
        raise BackendError("The system did not tell who the user is.")
    names = _group_names(match["names"])
    user = UserInfo(
        PosixName(match["user"], match["name"]),
        _group(match["group"], names),
        tuple(_group(number, names) for number in match["groups"].split()),
    )
    return user, text[match.end() :]


def _group_names(lines: str) -> Mapping[str, str]:
    """Names by number, from lines of group(5). A name holds no colon; a number without a line has none."""
    rows = (line.split(":") for line in lines.splitlines())
    return {row[2]: row[0] for row in rows if len(row) > 2 and row[0]}


def _group(number: str, names: Mapping[str, str]) -> PosixName:
    return PosixName(number, names.get(number, number))
