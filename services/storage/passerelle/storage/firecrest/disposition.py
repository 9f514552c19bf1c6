r"""The header `Content-Disposition` of a part of a form (RFC 7578, section 4.2), read without losing a byte of a name.

Clients put names into it in many ways. Browsers write UTF-8 and `%22` for a quotation mark, curl `\"`; the latter is
undone here and the former is not, as Starlette and so FirecREST have it. Any other backslash is part of the name.
`filename*` (RFC 8187) is against the rules in forms, and is read all the same when it is all there is, or stands beside
a name in the code of RFC 2047, as .NET has it where a name is not ASCII.
"""

import re
from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

from passerelle.runtime.errors import Field, InvalidArgument

_PARAMETER = re.compile(
    rb"""\s*;\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s;"]*)""", re.DOTALL
)
_CHARSETS = ("utf-8", "iso-8859-1")  # of RFC 8187, and of RFC 5987 before it
_ESCAPED = re.compile(rb'\\([\\"])')
_EXTENDED = re.compile(rb"([A-Za-z0-9_.:+-]+)'[A-Za-z0-9-]*'((?:%[0-9A-Fa-f]{2}|[^%\s;\"'])*)")


def file_name(header: bytes, field: str) -> str | None:
    """The name of the file that the header is of, when that is of form field `field`; else None.

    Raises InvalidArgument for a name that is not UTF-8: two of them must not become one.
    """
    parameters = _parameters(header)
    if parameters.get(b"name") != field.encode():
        return None
    plain, extended = parameters.get(b"filename"), parameters.get(b"filename*")
    if plain is not None and not (extended and plain.startswith(b"=?")):
        return _text(plain, "utf-8", field) or None
    if extended is None:
        return None
    match = _EXTENDED.fullmatch(extended)
    if match is None:
        raise _invalid(field, "must be written as in RFC 8187: UTF-8''name")
    return _text(unquote_to_bytes(match[2]), match[1].decode(), field) or None


def _parameters(header: bytes) -> Mapping[bytes, bytes]:
    """The parameters by their names in lower case; of several the first."""
    kind, _, _ = header.partition(b";")
    parameters: dict[bytes, bytes] = {}
    for match in _PARAMETER.finditer(header, len(kind)):
        parameters.setdefault(match[1].lower(), _value(match[2]))
    return parameters


def _value(text: bytes) -> bytes:
    return _ESCAPED.sub(rb"\1", text[1:-1]) if text.startswith(b'"') else text


def _text(name: bytes, charset: str, field: str) -> str:
    if charset.lower() not in _CHARSETS:
        raise _invalid(field, f"is in another character set than {' or '.join(_CHARSETS)}")
    try:
        return name.decode(charset)
    except UnicodeError:
        raise _invalid(field, f"is not {charset.upper()}") from None


def _invalid(field: str, why: str) -> InvalidArgument:
    violation = f"The file name {why}"
    return InvalidArgument(f"{violation}.", (Field("body", field, violation),))
