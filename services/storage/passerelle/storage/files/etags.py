"""Conditional requests (RFC 9110, section 13): reading and comparing the ETags of a header."""

import re
from collections.abc import Iterable

_TAG = re.compile(r'\s*(W/)?"([^"]*)"\s*(?:,|$)')


def tags(header: str, *, weak: bool) -> tuple[str, ...]:
    """The ETags in an `If-Match` or `If-None-Match` header, without quotes; `*` stands for itself.

    `weak` also accepts weak ones, since a proxy may have weakened ours. Text that is not an ETag is ignored.
    """
    if header.strip() == "*":
        return ("*",)
    return tuple(tag for mark, tag in _TAG.findall(header) if weak or not mark)


def among(version: str | None, wanted: Iterable[str]) -> bool:
    """Whether the version of a file (None when there is no file) is one of the ETags `wanted`."""
    return version is not None and any(tag in ("*", version) for tag in wanted)
