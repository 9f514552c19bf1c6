"""How what has arrived in a hidden part takes the place of a file: whole or not at all."""

import errno
import fcntl
import json
import os
import stat
import threading
import time
from contextlib import suppress

from passerelle.storage.remote.changing.targets import Target
from passerelle.storage.remote.outcome import Call, Failure, raw

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SUFFIX = b".passerelle-part"
BLOCK = 1 << 20
_MUCH = 64 << 20  # bytes that a disk may take longer for than anybody waits in silence
UMASK = os.umask(0o077)  # there is no other way to ask for it; this runs before there are threads
os.umask(UMASK)


def version(st: os.stat_result) -> str:
    """The ETag of a file's content; as `FileInfo.version`."""
    return f"{st.st_ino:x}-{st.st_size:x}-{st.st_mtime_ns:x}"


def write_target(call: Call, path: bytes) -> bytes:
    """Where writing to `path` would write: `real` without links, and the `version` of what is there, or null."""
    with Target(call.boundary, path) as target:
        there = target.require_writable()
    real = target.real.decode("utf-8", "surrogateescape")
    return json.dumps({"real": real, "version": there and version(there)}).encode()


def begin_part(call: Call, path: bytes, part: str, stale: float) -> bytes:
    """Make the empty `part` beside `path`; what its directory has of this user's parts untouched for `stale` seconds,
    goes."""
    with Target(call.boundary, path, resolved=True) as target:
        target.require_writable()
        try:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
            os.close(os.open(_name(part), flags, 0o600, dir_fd=target.directory))
            for entry in os.listdir(os.path.dirname(path)):
                if entry.startswith(b".") and entry.endswith(SUFFIX):
                    _sweep(entry, target.directory, stale)
        except OSError as error:
            raise Failure("open", path, error.errno or 0) from None
    return b""


def _name(part: str) -> bytes:
    return os.path.basename(raw(part))


def _sweep(name: bytes, directory: int, stale: float) -> None:
    with suppress(OSError):  # somebody else was faster
        st = os.stat(name, dir_fd=directory, follow_symlinks=False)
        mine = st.st_uid == os.geteuid() and stat.S_ISREG(st.st_mode)
        if mine and st.st_mtime < time.time() - stale:
            os.unlink(name, dir_fd=directory)


def place_part(
    call: Call,
    path: bytes,
    part: str,
    size: int,
    sha256: "str | None",
    mode: str,
    if_match: str,
) -> bytes:
    """Check `part`, and put it in the place of `path`, which is no link, or add it to its end.

    The result has `wrong` (`size`, `sha256` or `version`) and what was `found` when nothing was done for that reason;
    else the new `version`. Failures: `part` when there is none, `busy` when another call has it.
    """
    with Target(call.boundary, path, resolved=True) as target:
        name = _name(part)
        try:
            fd = os.open(name, os.O_RDWR | os.O_NOFOLLOW, dir_fd=target.directory)
        except OSError as error:
            raise Failure("part", path, error.errno or 0) from None
        try:
            _lock(fd, path)
            wrong = _wrong_part(call, fd, size, sha256) or _wrong_version(target, if_match)
            found = wrong or {"version": version(_put(call, fd, name, target, mode))}
        except OSError as error:
            raise Failure("rename", path, error.errno or 0) from None
        finally:
            os.close(fd)
        return call.result(found)


def _lock(fd: int, path: bytes) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Failure("busy", path, errno.EBUSY) from None
    except OSError:
        pass  # a filesystem without locks
    if not os.fstat(fd).st_nlink:  # somebody else has just placed it
        raise Failure("part", path, errno.ENOENT)


def _wrong_part(call: Call, fd: int, size: int, sha256: "str | None") -> "dict[str, Any] | None":
    actual = os.fstat(fd).st_size
    if actual != size:
        return {"wrong": "size", "found": str(actual)}
    if not sha256:
        return None
    import hashlib  # seldom needed, and slow to load

    digest, position = hashlib.sha256(), 0
    call.expect(size)
    block = os.pread(fd, BLOCK, 0)
    while block:
        digest.update(block)
        position += len(block)
        call.advance(size=len(block))
        block = os.pread(fd, BLOCK, position)
    if digest.hexdigest() != sha256:
        return {"wrong": "sha256", "found": digest.hexdigest()}
    return None


def _wrong_version(target: Target, if_match: str) -> "dict[str, Any] | None":
    if not if_match:
        return None
    old = target.require_writable()
    if old is None or if_match not in ("*", version(old)):
        return {"wrong": "version", "found": version(old) if old else ""}
    return None


def _put(call: Call, fd: int, name: bytes, target: Target, mode: str) -> os.stat_result:
    old = target.require_writable()
    os.fchmod(fd, 0o666 & ~UMASK if old is None else old.st_mode & 0o777)
    _sync(call, fd)
    if mode == "overwrite":
        target.require_writable()  # it may have taken long
        target.take(name)
        return os.fstat(fd)
    if mode == "append" and old is not None:
        return _append(call, fd, name, target)
    try:
        _create(name, target)
    except FileExistsError:
        if mode == "create":
            raise
        return _append(call, fd, name, target)
    return os.fstat(fd)


def _sync(call: Call, fd: int) -> None:
    """fsync(2), which may take minutes: meanwhile it is told that somebody is at work."""
    failures: list[OSError] = []

    def sync() -> None:
        try:
            os.fsync(fd)
        except OSError as error:
            failures.append(error)

    if os.fstat(fd).st_size < _MUCH:
        return os.fsync(fd)
    thread = threading.Thread(target=sync)
    thread.start()
    try:
        while thread.is_alive():
            call.advance()
            thread.join(1)
    finally:
        thread.join()  # whose file must not be closed before
    if failures:
        raise failures[0]
    return None


def _create(name: bytes, target: Target) -> None:
    """Give the part its name without ever taking it from another file: link(2) refuses a name that is there."""
    try:
        os.link(name, target.name, src_dir_fd=target.directory, dst_dir_fd=target.directory)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        # A filesystem without hard links: the name is taken with an empty file first, which the part then replaces.
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
        os.close(os.open(target.name, flags, 0o600, dir_fd=target.directory))
        target.take(name)
    else:
        os.unlink(name, dir_fd=target.directory)


def _append(call: Call, source: int, name: bytes, place: Target) -> os.stat_result:
    """Add the part to the end of the file; when that fails, or nobody wants it any more, the end is where it was."""
    flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW
    target = os.open(place.name, flags, dir_fd=place.directory)
    try:
        with suppress(OSError):  # a filesystem without locks
            fcntl.flock(target, fcntl.LOCK_EX)
        end = os.fstat(target).st_size
        try:
            _copy(call, source, target, end)
            _sync(call, target)
        except BaseException:
            os.ftruncate(target, end)
            raise
        os.unlink(name, dir_fd=place.directory)
        return os.fstat(target)
    finally:
        os.close(target)


def _copy(call: Call, source: int, target: int, position: int) -> None:
    offset = 0
    while True:
        block = os.pread(source, BLOCK, offset)
        if not block:
            return
        written = os.pwrite(target, block, position + offset)  # what was not taken is read again
        offset += written
        call.advance(size=written)
