"""The `Range` header (RFC 9110, section 14): single byte ranges; other ranges are ignored, as the RFC allows."""

import re
from dataclasses import dataclass

import grpc

from passerelle.runtime.errors import ApiError

_RANGE = re.compile(r"\s*bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*", re.ASCII | re.IGNORECASE)


class RangeNotSatisfiable(ApiError):
    """The range begins beyond the file's end; `size` in the metadata is the file's size in bytes."""

    code = grpc.StatusCode.OUT_OF_RANGE
    reason = "RANGE_NOT_SATISFIABLE"
    http = 416


@dataclass(frozen=True, slots=True)
class Span:
    """Part of a file, in bytes; `partial` when a `Range` header requested it."""

    offset: int
    length: int
    partial: bool = False


def span_of(header: str, size: int) -> Span | None:
    """The part that a `Range` header requests of a file of `size` bytes; None for all of it."""
    match = _RANGE.fullmatch(header)
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        length = min(int(match[2]), size)
        return Span(size - length, _some(length, size), partial=True)
    offset = int(match[1])
    last = min(int(match[2]), size - 1) if match[2] else size - 1
    if match[2] and int(match[2]) < offset:
        return None
    return Span(offset, _some(last - offset + 1, size), partial=True)


def _some(length: int, size: int) -> int:
    if length <= 0:
        raise RangeNotSatisfiable("The range is beyond the end of the file.", size=str(size))
    return length
