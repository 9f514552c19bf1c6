"""The file in a multipart/form-data body (RFC 7578), parsed as it arrives, in constant memory."""

from collections.abc import AsyncIterator
from email.message import Message
from typing import Any

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser

from passerelle.runtime.errors import Field, InvalidArgument, TooLarge
from passerelle.storage.firecrest.disposition import file_name

_OTHER_PARTS = 1 << 16  # bytes; forms may have fields besides the file
_REQUIRED = "1 validation error: body.file: Field required"
_TOO_LARGE = "File to upload is too large."


class FormFile:
    """The part `file` of a form, at most `limit` bytes of it."""

    def __init__(self, content_type: str, chunks: AsyncIterator[bytes], limit: int) -> None:
        """Raises InvalidArgument for a body that is no form."""
        kind = Message()
        kind["content-type"] = content_type
        boundary = kind.get_boundary()
        if kind.get_content_type() != "multipart/form-data" or not boundary:
            raise _required()
        self._part = _Part()
        self._parser = MultipartParser(boundary.encode(), self._part.callbacks())
        self._chunks = chunks
        self._limit = limit

    async def name(self) -> str:
        """The file's name, once it has arrived; InvalidArgument when it cannot be one or there is no file."""
        while self._part.filename is None:
            if not await self._more():
                raise _required()
        return _plain(self._part.filename)

    async def content(self) -> AsyncIterator[bytes]:
        """The file's bytes; raises TooLarge beyond the limit, InvalidArgument when the form is cut off."""
        size = 0
        more = True
        while more:
            arrived, self._part.arrived = b"".join(self._part.arrived), []
            size += len(arrived)
            if size > self._limit:
                raise TooLarge(_TOO_LARGE)
            if arrived:
                yield arrived
            more = await self._more()
        if not self._part.complete:
            raise InvalidArgument("The form is cut off: its closing boundary is missing.")

    async def _more(self) -> bool:
        chunk = await anext(self._chunks, None)
        if chunk is None:
            return False
        try:
            self._parser.write(chunk)
        except MultipartParseError:
            raise InvalidArgument("The body is not a well-formed multipart form.") from None
        return True


class _Part:
    """The parser's state; only the first part `file` with a file name counts."""

    def __init__(self) -> None:
        self.filename: str | None = None
        self.arrived: list[bytes] = []
        self.complete = False
        self._wanted = False
        self._other = 0
        self._field = b""
        self._value = b""

    def callbacks(self) -> Any:
        """For MultipartParser."""
        return {
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._field.lower() == b"content-disposition" and self.filename is None:
            self.filename = file_name(self._value, "file")
            self._wanted = self.filename is not None
        self._field = self._value = b""

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._wanted:
            self.arrived.append(data[start:end])
            return
        self._other += end - start
        if self._other > _OTHER_PARTS:
            raise TooLarge(_TOO_LARGE)

    def _on_part_end(self) -> None:
        self._wanted = False

    def _on_end(self) -> None:
        self.complete = True


def _plain(name: str) -> str:
    if "/" in name or "\0" in name or name in (".", ".."):
        violation = "The file name must be a plain name, without a directory"
        raise InvalidArgument(f"{violation}.", (Field("body", "file", violation),))
    return name


def _required() -> InvalidArgument:
    return InvalidArgument(_REQUIRED, (Field("body", "file", "Field required"),))
