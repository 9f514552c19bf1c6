"""Names of users and groups. Runs on the system; see `exchange`."""

import grp
import pwd
from contextlib import suppress


def user_name(uid: int) -> str:
    """The user's name, or the number where it has none."""
    with suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return str(uid)


def group_name(gid: int) -> str:
    """The group's name, or the number where it has none."""
    with suppress(KeyError):
        return grp.getgrgid(gid).gr_name
    return str(gid)
