"""Pages of List methods (AIP-158). The service keeps nothing between two pages.

A page token holds the key of the page's last item, its position, and a digest of what was asked for.
"""

import base64
import binascii
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, TypeVar

from google.protobuf.message import Message

from passerelle.runtime.errors import Field, InvalidArgument

T = TypeVar("T")

LARGEST = 100_000
"""The most items of a page, and the default, for lists that are read whole for every page."""

_UNKNOWN = "is not one that was given out"
_HEAD = struct.Struct(">8sI")  # the digest, and the position


@dataclass(frozen=True)
class Mark:
    """Where a page ended: the key of its last item, and how many items came up to there."""

    key: str
    position: int


def page_size(request: Any, largest: int) -> int:
    """How many items the page of a List request may have: as many as it asks for, at most and by default `largest`.

    Raises InvalidArgument for a negative size.
    """
    if request.page_size < 0:
        raise _invalid("page_size", "must not be negative")
    return min(request.page_size or largest, largest)


def mark_of(request: Any) -> Mark | None:
    """Where the page before the one asked for ended; None for the first page.

    Raises InvalidArgument for a token that was not given out, or was given out for a request that asked for something
    else; only `page_size` may change from page to page.
    """
    if not request.page_token:
        return None
    try:
        data = base64.b64decode(request.page_token, altchars=b"-_", validate=True)
        digest, position = _HEAD.unpack_from(data)
    except (binascii.Error, ValueError, struct.error):
        raise _invalid("page_token", _UNKNOWN) from None
    key = data[_HEAD.size :].decode("utf-8", "surrogateescape")
    if not key or "\0" in key:
        raise _invalid("page_token", _UNKNOWN)
    if digest != _digest(request):
        raise _invalid("page_token", "was given out for another request")
    return Mark(key, position)


def token_for(request: Any, mark: Mark) -> str:
    """The token with which a request goes on after `mark`."""
    key = mark.key.encode("utf-8", "surrogateescape")
    return base64.urlsafe_b64encode(_HEAD.pack(_digest(request), mark.position) + key).decode()


def page_of(
    request: Any, items: Sequence[T], key: Callable[[T], str], largest: int = LARGEST
) -> tuple[Sequence[T], str]:
    """The page of `items` that a List request asks for, and the token for the next one; empty on the last one.

    `items` are all items, in a fixed order, and `key` returns the key of one. When the last item of the previous page
    no longer exists, the page begins at its position.
    """
    size, mark = page_size(request, largest), mark_of(request)
    start = 0 if mark is None else _start(items, key, mark)
    end = start + size
    if end >= len(items):
        return items[start:], ""
    return items[start:end], token_for(request, Mark(key(items[end - 1]), end))


def _start(items: Sequence[T], key: Callable[[T], str], mark: Mark) -> int:
    if 0 < mark.position <= len(items) and key(items[mark.position - 1]) == mark.key:
        return mark.position
    return next((i for i, item in enumerate(items, 1) if key(item) == mark.key), mark.position)


def _digest(request: Message) -> bytes:
    """A digest of a request without its page, the same for all pages of one list."""
    query = type(request)()
    query.CopyFrom(request)
    query.ClearField("page_size")
    query.ClearField("page_token")
    name = request.DESCRIPTOR.full_name.encode()
    return sha256(name + query.SerializeToString(deterministic=True)).digest()[:8]


def _invalid(field: str, violation: str) -> InvalidArgument:
    return InvalidArgument(f"{field} {violation}", (Field("query", field, violation),))
