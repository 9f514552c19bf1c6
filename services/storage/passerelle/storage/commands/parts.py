"""The operations of `remote/changing/parts.py` by GNU coreutils, where no helper can run."""

from collections.abc import Awaitable, Callable

from passerelle.runtime.command import Output
from passerelle.storage.access.tool_errors import begins, failure_of

_MAKE = 'umask 077 && exec dd if=/dev/null of="$1" conv=excl status=none'
_WRITE = """\
base64 -d | dd of="$1" bs=64K seek="$2" oflag=seek_bytes conv=notrunc,nocreat iflag=fullblock status=none
"""


class PartCommands:
    """Operations on parts that content arrives in; `run` runs a program."""

    def __init__(self, run: Callable[..., Awaitable[Output]]) -> None:
        self._run = run

    async def make(self, part: str) -> bytes:
        """See `make_part`."""
        return _demand(await self._run("sh", "-c", _MAKE, "sh", part), "open", part)

    async def write(self, part: str, offset: int, content: str) -> bytes:
        """See `write_part`."""
        argv = ("sh", "-c", _WRITE, "sh", part, str(offset))
        output = await self._run(*argv, stdin=content)
        step = "open" if begins(output, "dd: failed to open ") else "write"
        return _demand(output, step, part)

    async def cut(self, part: str, size: int) -> bytes:
        """See `cut_part`."""
        # dd, which could do it, empties the whole file when `size` is less than a block (coreutils 9.1)
        output = await self._run("truncate", "-c", "-s", str(size), "--", part)
        return _demand(output, "write", part)

    async def drop(self, part: str) -> bytes:
        """See `drop_part`."""
        return _demand(await self._run("rm", "-f", "--", part), "unlink", part)


def _demand(output: Output, step: str, part: str) -> bytes:
    if output.status:
        raise failure_of(output, step, part)
    return b""
