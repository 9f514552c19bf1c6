"""The helper's answers, extracted from its channel's data; processes of start-up files may print there, too."""

from collections.abc import Iterator

from passerelle.storage.remote.frames import ANSWER, END, MARK


class Spoiled(Exception):
    """Foreign output was found in the middle of an answer."""


class Answers:
    """A parser of the data that a helper's channel has received."""

    def __init__(self) -> None:
        self._left = b""  # of the data before: in it, a head or END may begin
        # Of the answer that is being received: its id and status, the payload so far, and the bytes that are missing.
        self._head: tuple[int, int] | None = None
        self._payload: list[bytes] = []
        self._missing = 0

    def take(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """The answers that `data` completes: id, status and payload. Raises Spoiled.

        A large payload is kept in the pieces in which it was received, and copied once.
        """
        data = self._left + data
        position = 0
        try:
            while True:
                if self._head is None:
                    start = data.find(MARK, position)
                    if start < 0:
                        position = max(position, len(data) - len(MARK) + 1)
                        return
                    position = start
                    if len(data) < start + ANSWER.size:
                        return
                    _, number, status, self._missing = ANSWER.unpack_from(data, start)
                    self._head = number, status
                    position += ANSWER.size
                if self._missing:
                    piece = data[position : position + self._missing]
                    self._payload.append(piece)
                    position += len(piece)
                    self._missing -= len(piece)
                if self._missing or len(data) < position + len(END):
                    return
                if not data.startswith(END, position):
                    raise Spoiled
                position += len(END)
                number, status = self._head
                payload = b"".join(self._payload)
                self._head, self._payload = None, []
                yield number, status, payload
        finally:
            self._left = data[position:]
