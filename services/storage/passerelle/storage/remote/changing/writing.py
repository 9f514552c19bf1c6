"""Writing a file whose complete content comes with the request."""

import errno
import json
import os
from contextlib import suppress

from passerelle.storage.remote.changing.placing import place, version, version_mismatch
from passerelle.storage.remote.changing.renaming import part_name
from passerelle.storage.remote.changing.targets import Target
from passerelle.storage.remote.outcome import Call, Failure
from passerelle.storage.remote.registry import FOLLOWED, operation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@operation("write_file", path=FOLLOWED)
def write_file(
    call: Call,
    path: bytes,
    sha256: str,
    mode: str,
    if_match: str,
    digest: bool,
    content: bytes = b"",
) -> bytes:
    """Write `content` to a hidden part, check it, and rename it to `path`, or append it to that file.

    The result is JSON with `size`, `sha256` and the new `version`. Where a condition does not hold, nothing is changed,
    and the result has `mismatch` (`sha256` or `version`) and `actual`, its value. Without `digest`, the content is only
    hashed to be compared with `sha256`.
    """
    import hashlib  # slow to load

    with Target(call.boundary, path) as target:
        target.require_writable()
        actual = hashlib.sha256(content).hexdigest() if sha256 or digest else ""
        if sha256 and actual != sha256:
            return json.dumps({"mismatch": "sha256", "actual": actual}).encode()
        result = _placed(call, target, content, mode, if_match)
    if "mismatch" not in result:
        result.update(size=len(content), sha256=actual)
    return json.dumps(result).encode()


def _placed(
    call: Call, target: Target, content: bytes, mode: str, if_match: str
) -> "dict[str, Any]":
    name = part_name(target.name)
    try:
        fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=target.directory)
    except OSError as error:
        raise Failure("open", target.path, error.errno or 0) from None
    try:
        _write(call, fd, target.path, content)
        return version_mismatch(target, if_match) or {
            "version": version(place(call, fd, name, target, mode))
        }
    except OSError as error:
        raise Failure("rename", target.path, error.errno or 0) from None
    finally:
        with suppress(OSError):  # it has been renamed
            os.unlink(name, dir_fd=target.directory)
        os.close(fd)


def _write(call: Call, fd: int, path: bytes, content: bytes) -> None:
    remaining = memoryview(content)
    try:
        while remaining:
            call.check()
            remaining = remaining[os.write(fd, remaining) :]
        if os.fstat(fd).st_size != len(content):
            raise Failure("write", path, errno.EIO)
    except OSError as error:
        raise Failure("write", path, error.errno or 0) from None
    call.check()
