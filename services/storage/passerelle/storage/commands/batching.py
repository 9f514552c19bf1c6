"""Splitting lists of paths for command lines."""

from collections.abc import Iterator, Sequence

from passerelle.storage.remote.outcome import raw

# Of paths. Linux takes megabytes, but the shell that passes them on reads them byte by byte.
_MOST_BYTES = 48 << 10


def batches(paths: Sequence[str]) -> Iterator[Sequence[str]]:
    """The paths in parts that fit into a command each."""
    some: list[str] = []
    room = _MOST_BYTES
    for path in paths:
        size = len(raw(path)) + 1
        if size > room:
            yield some
            some, room = [], _MOST_BYTES
        some.append(path)
        room -= size
    yield some
