"""Tables that nobody can forge: every field ends in a mark that was made up for that one command.

Job names, directories and comments may hold any character, line breaks too, and other users choose theirs. A mark
that did not exist when they chose cannot stand in them.
"""

import secrets
from collections.abc import Iterator, Sequence

from passerelle.runtime.errors import BackendError


def new_mark() -> str:
    """A mark that nobody can know beforehand. It begins with no digit: squeue would read that as a width."""
    return f"\x1f{secrets.token_hex(6)}\x1f"


def table_rows(text: str, fields: Sequence[str], mark: str) -> Iterator[dict[str, str]]:
    """The records in a command's output, by field name; BackendError when they do not come out even.

    A record is its fields, each followed by the mark, and a line break. Notices that a program prints before a record
    are no part of its first field, which must be one that holds no line breaks.
    """
    values = text.split(mark)
    if (len(values) - 1) % len(fields):
        raise BackendError("The scheduler answered in a form that is not known here.")
    for start in range(0, len(values) - 1, len(fields)):
        first, *rest = values[start : start + len(fields)]
        yield dict(zip(fields, (first.rpartition("\n")[2], *rest), strict=True))
