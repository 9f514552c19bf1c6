"""Command lines that carry any path: whatever its bytes, and however many there are."""

import re
import shlex
from collections.abc import Iterator, Sequence

from passerelle.storage.remote.outcome import raw

_MOST_BYTES = 48 << 10  # of paths in one line; Linux takes 128 KiB for what a shell is asked to do
_WRONG_BYTES = re.compile("[\udc80-\udcff]+")


def command_line(argv: Sequence[str]) -> str:
    """A line that runs `argv` in the C locale. It is UTF-8, which is all that every SSH server takes: other bytes,
    lone surrogates here (PEP 383), are printed by the shell that runs it."""
    return _WRONG_BYTES.sub(_printed, shlex.join(("env", "LC_ALL=C", *argv)))


def _printed(wrong: re.Match[str]) -> str:
    octal = "".join(f"\\{byte:03o}" for byte in raw(wrong[0]))
    return f"""'"$(printf '{octal}')"'"""  # shlex has put it between single quotes


def batches(paths: Sequence[str]) -> Iterator[Sequence[str]]:
    """The paths in parts that fit into a command line each."""
    some: list[str] = []
    room = _MOST_BYTES
    for path in paths:
        size = len(raw(shlex.quote(path))) + 1
        if size > room:
            yield some
            some, room = [], _MOST_BYTES
        some.append(path)
        room -= size
    yield some
