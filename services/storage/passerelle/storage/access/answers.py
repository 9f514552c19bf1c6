"""The helper's answers, taken out of what its channel brings: what start-up files left running may print there, too."""

from collections.abc import Iterator

from passerelle.storage.remote.frames import ANSWER, END, MARK


class Spoiled(Exception):
    """Something else was printed into the middle of an answer."""


class Answers:
    """What has come of a helper's channel."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def take(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """The answers that are whole now: id, status and payload; raises Spoiled."""
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
