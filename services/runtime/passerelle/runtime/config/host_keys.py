"""Types for public keys in OpenSSH's one-line format (RFC 4253 §6.6, RFC 8709, RFC 5656), which refuse anything else.

They do not use asyncssh: it takes 20 MB in every process, also in those that open no connection.
"""

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

_SSH = 22  # the port that a known_hosts file does not name
_ANY = 0
# What follows the type in a key of that type: the sizes of the parts, bytes.
_PARTS = {
    "ssh-ed25519": (32,),
    "ssh-ed448": (57,),
    "ssh-rsa": (_ANY, _ANY),
    "ecdsa-sha2-nistp256": (8, 65),
    "ecdsa-sha2-nistp384": (8, 97),
    "ecdsa-sha2-nistp521": (8, 133),
}
_MARKERS = ("@cert-authority", "@revoked")
_RIGHT = "write it as `ssh-ed25519 AAAA…`, as the host's /etc/ssh/ssh_host_*_key.pub has it"


def _host_key(line: str) -> str:
    words = line.split()
    if words and words[0] in _MARKERS:
        words = words[1:]
    if len(words) > 1 and words[0] not in _PARTS and words[1] in _PARTS:
        raise ValueError(f"begins with a host name; leave {words[0]} away: {_RIGHT}")
    if not _is_key(words):
        raise ValueError(f"not an OpenSSH public key: {_RIGHT}")
    return line


def _public_key(line: str) -> str:
    if not _is_key(line.split()):
        raise ValueError("not an OpenSSH public key, such as `ssh-ed25519 AAAA…`")
    return line


HostKey = Annotated[str, AfterValidator(_host_key)]
"""A host's public key, or that of a certificate authority with `@cert-authority` before it."""

PublicKey = Annotated[str, AfterValidator(_public_key)]
"""A public key, with or without a comment."""


def known_hosts_faults(path: Path) -> Iterator[str]:
    """The lines of an OpenSSH known_hosts file that hold no key, as `path:line: reason`.

    Unknown types of keys are ignored, as ssh does. Raises OSError, and ValueError for a file that is not text.
    """
    for number, line in enumerate(path.read_text().splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0].startswith("@"):
            words = words[1:]
        key = words[1:]
        if len(key) < 2 or (key[0] in _PARTS and not _is_key(key)):
            yield f"{path}:{number}: not `HOST ssh-ed25519 AAAA…`, as ssh-keyscan prints it"


def unknown_hosts(path: Path, hosts: Mapping[str, int]) -> Iterator[str]:
    """The hosts, by their names in such a file, for which it has no key; `hosts` are ports by host. Raises as above."""
    import asyncssh  # imported here: processes that only read a configuration do not need it

    known_hosts = asyncssh.read_known_hosts(str(path))
    for host, port in hosts.items():
        if not any(known_hosts.match(host, "", port)[:2]):
            yield host if port == _SSH else f"[{host}]:{port}"


def _is_key(words: Sequence[str]) -> bool:
    if len(words) < 2 or words[0] not in _PARTS:
        return False
    try:
        kind, *parts = _parts(base64.b64decode(words[1], validate=True))
    except (ValueError, binascii.Error):
        return False
    sizes = _PARTS[words[0]]
    return (
        kind == words[0].encode()
        and len(parts) == len(sizes)
        and all(size in (_ANY, len(part)) for size, part in zip(sizes, parts, strict=True))
    )


def _parts(blob: bytes) -> Iterator[bytes]:
    """The parts of a key, each with its size before it (RFC 4251 §5, `string`); ValueError when they do not fit."""
    while blob:
        size = int.from_bytes(blob[:4])
        part, blob = blob[4 : 4 + size], blob[4 + size :]
        if len(part) != size or not size:
            raise ValueError("a part is cut off")
        yield part
