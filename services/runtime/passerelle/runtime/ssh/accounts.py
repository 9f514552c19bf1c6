"""Whose an account of a system is: a user's, or the system's own, which its uid tells (`ssh.least_uid`)."""

import logging
import re

import asyncssh

from passerelle.runtime.command import Request
from passerelle.runtime.config.site import Ssh
from passerelle.runtime.errors import BackendError, BackendUnavailable, DeadlineExceeded, Forbidden
from passerelle.runtime.ssh.connection import Connection, NoSftp

log = logging.getLogger(__name__)

_STATUS = "/proc/self/status"  # proc(5), as an SFTP server reads it of itself
_EFFECTIVE = re.compile(r"^Uid:\s+\d+\s+(\d+)", re.MULTILINE)


async def demand_user(connection: Connection, settings: Ssh) -> None:
    """Raise Forbidden unless the account that is logged in is a user's; what `Connection.run` raises when it cannot be
    asked.
    """
    if not settings.least_uid:
        return
    uid = await _uid(connection, settings.timeout.command)
    if uid < settings.least_uid:
        log.warning(
            "system %s: uid %d is below ssh.least_uid %d",
            *(connection.system, uid, settings.least_uid),
        )
        raise Forbidden(
            f"System {connection.system}: the account has the uid {uid} there; below {settings.least_uid} accounts are "
            "the system's own, which may not be used.",
            system=connection.system,
        )


async def _uid(connection: Connection, limit: float) -> int:
    try:
        output = await connection.run(Request(("id", "-u")), "", limit, at_once=True)
        return int(output.stdout)
    except (BackendError, DeadlineExceeded, ValueError) as error:
        # An account that runs no commands may have SFTP all the same: the system's own are such.
        try:
            return await _uid_of_sftp(connection)
        except (NoSftp, BackendUnavailable):  # which then is slow for the same reason
            raise error from None


async def _uid_of_sftp(connection: Connection) -> int:
    """That of the SFTP server's process, which it reads itself; Forbidden where it does not tell."""
    client = await connection.sftp()
    try:
        async with client.open(_STATUS, encoding="ascii", errors="replace") as file:
            told = await file.read(4096, 0)
    except asyncssh.SFTPError:
        told = ""
    found = _EFFECTIVE.search(str(told))
    if found is None:
        raise Forbidden(
            f"System {connection.system}: the account runs no commands and does not tell its uid; `ssh.least_uid: 0` "
            "would let it be used.",
            system=connection.system,
        )
    return int(found[1])
