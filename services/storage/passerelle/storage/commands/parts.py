"""The operations on parts that content arrives in, by GNU coreutils: they stand in for SFTP."""

import base64

from passerelle.runtime.command import Output
from passerelle.storage.access.tool_errors import begins, failure_of
from passerelle.storage.commands.runner import CommandRunner

MAKE_PART = '(umask 077 && exec dd if=/dev/null of="$1" conv=excl status=none)'
"""Makes the part $1, which must not exist, readable by its user alone."""
_WRITE = """\
base64 -d | dd of="$1" bs=64K seek="$2" oflag=seek_bytes conv=notrunc,nocreat iflag=fullblock status=none
"""


class PartCommands(CommandRunner):
    """Writing parts; their paths are checked when they are made."""

    async def make_part(self, part: str) -> None:
        """See `FileOperations.make_part`."""
        await self._do("open", part, "sh", "-c", MAKE_PART, "sh", part)

    async def write_part(self, part: str, offset: int, content: bytes) -> None:
        """See `FileOperations.write_part`."""
        argv = ("sh", "-c", _WRITE, "sh", part, str(offset))
        output = await self._run(*argv, stdin=base64.b64encode(content).decode())
        if output.status:
            raise failure_of(output, _step(output), part)

    async def truncate_part(self, part: str, size: int) -> None:
        """See `FileOperations.truncate_part`."""
        # dd, which could do it, empties the whole file when `size` is less than a block (coreutils 9.1)
        await self._do("write", part, "truncate", "-c", "-s", str(size), "--", part)

    async def remove_part(self, part: str) -> None:
        """See `FileOperations.remove_part`."""
        await self._do("unlink", part, "rm", "-f", "--", part)


def _step(output: Output) -> str:
    return "open" if begins(output, "dd: failed to open ") else "write"
