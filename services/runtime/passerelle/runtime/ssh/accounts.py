"""Whether an account belongs to a user or to the system itself, by its uid there (`ssh.least_uid`)."""

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


async def require_user(connection: Connection, settings: Ssh) -> None:
    """Raise Forbidden unless the account that is logged in belongs to a user.

    Raises what `Connection.run` does when the account's uid cannot be read.
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
        # An account that may run no commands, as the system's own often may not, may have SFTP all the same.
        try:
            return await _uid_of_sftp(connection)
        except (NoSftp, BackendUnavailable):  # SFTP is slow then for the same reason
            raise error from None


async def _uid_of_sftp(connection: Connection) -> int:
    """The uid of the SFTP server's process, read from /proc over SFTP; raises Forbidden where that is not possible."""
    client = await connection.sftp()
    try:
        async with client.open(_STATUS, encoding="ascii", errors="replace") as file:
            status = await file.read(4096, 0)
    except asyncssh.SFTPError:
        status = ""
    match = _EFFECTIVE.search(str(status))
    if match is None:
        raise Forbidden(
            f"System {connection.system}: the account runs no commands and does not tell its uid; `ssh.least_uid: 0` "
            "would let it be used.",
            system=connection.system,
        )
    return int(match[1])
