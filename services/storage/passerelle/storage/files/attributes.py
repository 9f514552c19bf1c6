"""The attributes of files: links, modes, owners, and file types by file(1).

chmod(1), chown(1) and file(1) are run on the system, so that they accept its names and formats.
"""

import errno
import re

from passerelle.runtime.command import Output
from passerelle.runtime.errors import ApiError, Field, InvalidArgument, Unsupported
from passerelle.storage.access.system_access import SystemAccess
from passerelle.storage.access.tool_errors import begins, complaint, failure_of
from passerelle.storage.errors import FileError

_NOT_THERE = 127  # the exit status of env(1) for a program that does not exist
_OCTAL = r"0*[0-7]{1,4}"
_CLAUSE = r"([ugoa]*([-+=]([rwxXst]*|[ugo]))+|[-+=]0*[0-7]{1,4})"
_MODE = re.compile(rf"{_OCTAL}|{_CLAUSE}(,{_CLAUSE})*", re.ASCII)
_UNKNOWN = re.compile(r"chown: (invalid (?:user|group|spec): .*)")


class InvalidAttribute(InvalidArgument):
    """chmod(1) or chown(1) refused its arguments; the text is the program's message."""


class Attributes:
    """The attributes of one system's files, as the current caller.

    Every method raises FileError when the system refuses, Unsupported when a program is missing, and ConnectionFailed,
    Overloaded or DeadlineExceeded when the system cannot be reached. A final link is followed for modes and owners.
    """

    def __init__(self, access: SystemAccess) -> None:
        self._access = access

    async def make_symlink(self, path: str, target: str) -> None:
        """Make a symbolic link to `target` at `path`."""
        await self._access.change(lambda files: files.make_symlink(path, target))

    async def change_mode(self, path: str, mode: str) -> None:
        """Change permission bits as chmod(1) does (`644`, `u+x,go-w`); InvalidAttribute names the field `mode`."""
        if not _MODE.fullmatch(mode):
            violation = "must be octal digits or changes as for chmod(1)"
            raise InvalidAttribute(f"invalid mode: '{mode}'", (Field("body", "mode", violation),))
        await self._change(path, "chmod", mode)

    async def change_owner(self, path: str, user: str, group: str) -> None:
        """Change a file's user and group: names or numbers, empty to leave them as they are.

        Raises InvalidAttribute for a user or group that the system does not have.
        """
        for kind, name in (("user", user), ("group", group)):
            if ":" in name or "\0" in name:
                raise InvalidAttribute(f"invalid {kind}: '{name}'")
        # `user:` would change the group too, to that user's own.
        await self._change(path, "chown", f"{user}:{group}" if group or not user else user)

    async def kind(self, path: str) -> str:
        """The output of file(1), which also reports a missing or unreadable file."""
        # UTF-8, so that names in descriptions of links keep their characters.
        argv = ("env", "LC_ALL=C.UTF-8", "file", "-b", "--")
        output = await self._access.query(
            lambda files: files.run_program(path, argv, dereference=False)
        )
        _require_program("file", output)
        if output.status:
            raise failure_of(output, "open", path)
        return output.stdout.strip()

    async def _change(self, path: str, program: str, how: str) -> None:
        argv = ("env", "LC_ALL=C", program, "--", how)
        output = await self._access.change(
            lambda files: files.run_program(path, argv, dereference=True)
        )
        _require_program(program, output)
        if output.status:
            raise _failure(program, path, output)


def _failure(program: str, path: str, output: Output) -> ApiError:
    if unknown := _UNKNOWN.match(complaint(output)):
        return InvalidAttribute(unknown[1])
    if begins(output, "chmod: cannot operate on dangling symlink "):
        return FileError("access", path, errno.ENOENT)
    step = "access" if begins(output, f"{program}: cannot access ") else program
    return failure_of(output, step, path)


def _require_program(program: str, output: Output) -> None:
    if output.status == _NOT_THERE:
        raise Unsupported(f"The system has no program {program}.")
