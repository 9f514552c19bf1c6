"""Content in replies."""

# The keys of the fields 1 and 2 of HttpBody, which have a length.
_CONTENT_TYPE, _DATA = b"\x0a", b"\x12"


def serialized_body(content_type: str, data: bytes) -> bytes:
    """A serialized google.api.HttpBody, made with one copy of `data`; the class HttpBody copies it several times.

    The format is https://protobuf.dev/programming-guides/encoding.
    """
    kind = content_type.encode()
    return b"".join((_CONTENT_TYPE, _varint(len(kind)), kind, _DATA, _varint(len(data)), data))


def _varint(value: int) -> bytes:
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)
