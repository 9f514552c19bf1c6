"""Conditional requests (RFC 9110, section 13): whether an ETag is among those that a header names."""

import re
from collections.abc import Iterable

_TAG = re.compile(r'\s*(W/)?"([^"]*)"\s*(?:,|$)')


def tags(header: str, *, weak: bool) -> tuple[str, ...]:
    """The ETags in an `If-Match` or `If-None-Match` header, without quotes; `*` stands for itself.

    `weak` also takes weak ones, of which a proxy may have made ours. What cannot be understood is none.
    """
    if header.strip() == "*":
        return ("*",)
    return tuple(tag for mark, tag in _TAG.findall(header) if weak or not mark)


def among(version: str | None, wanted: Iterable[str]) -> bool:
    """Whether the version of a file, None when there is none, is one of those."""
    return version is not None and any(tag in ("*", version) for tag in wanted)
