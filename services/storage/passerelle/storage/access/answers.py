"""The helper's answers, extracted from its channel's data; processes of start-up files may print there, too."""

from collections.abc import Iterator

from passerelle.storage.remote.frames import ANSWER, END, MARK


class Spoiled(Exception):
    """Foreign output was found in the middle of an answer."""


class Answers:
    """A parser of the data that a helper's channel has received."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def take(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """The answers that `data` completes: id, status and payload. Raises Spoiled."""
        self._buffer += data
        position = 0
        try:
            while (start := self._buffer.find(MARK, position)) >= 0:
                position = start
                if len(self._buffer) < start + ANSWER.size:
                    return
                _, number, status, length = ANSWER.unpack_from(self._buffer, start)
                end = start + ANSWER.size + length
                if len(self._buffer) < end + len(END):
                    return
                if not self._buffer.startswith(END, end):
                    raise Spoiled
                payload = bytes(memoryview(self._buffer)[start + ANSWER.size : end])
                position = end + len(END)
                yield number, status, payload
            position = max(position, len(self._buffer) - len(MARK) + 1)
        finally:
            del self._buffer[:position]
