"""Writing files: content arrives in a hidden part, which then replaces the file in one step."""

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
from passerelle.storage.remote.registry import FOLLOWED, operation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SUFFIX = b".passerelle-part"
BLOCK = 1 << 20
_SLOW_SYNC = 64 << 20  # bytes: fsync(2) of more may take longer than the service waits for progress
UMASK = os.umask(0o077)  # it can only be read by changing it; this runs before there are threads
os.umask(UMASK)


def version(st: os.stat_result) -> str:
    """The ETag of a file's content, the same as `FileInfo.version`."""
    return f"{st.st_ino:x}-{st.st_size:x}-{st.st_mtime_ns:x}"


@operation("write_target", path=FOLLOWED)
def write_target(call: Call, path: bytes) -> bytes:
    """JSON about the file that writing to `path` writes: `real` is its path without links, `version` its version, null
    when it does not exist."""
    with Target(call.boundary, path) as target:
        old = target.require_writable()
    real = target.real.decode("utf-8", "surrogateescape")
    return json.dumps({"real": real, "version": old and version(old)}).encode()


@operation("begin_part", path=FOLLOWED)
def begin_part(call: Call, path: bytes, part: str, stale: float) -> bytes:
    """Make the empty file `part` beside `path`, and remove old parts of this user from its directory: those that were
    not changed for `stale` seconds."""
    with Target(call.boundary, path, resolved=True) as target:
        target.require_writable()
        try:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
            os.close(os.open(_name(part), flags, 0o600, dir_fd=target.directory))
            for entry in os.listdir(os.path.dirname(path)):
                if entry.startswith(b".") and entry.endswith(SUFFIX):
                    _remove_stale(entry, target.directory, stale)
        except OSError as error:
            raise Failure("open", path, error.errno or 0) from None
    return b""


def _name(part: str) -> bytes:
    return os.path.basename(raw(part))


def _remove_stale(name: bytes, directory: int, stale: float) -> None:
    with suppress(OSError):  # another call has removed it
        st = os.stat(name, dir_fd=directory, follow_symlinks=False)
        mine = st.st_uid == os.geteuid() and stat.S_ISREG(st.st_mode)
        if mine and st.st_mtime < time.time() - stale:
            os.unlink(name, dir_fd=directory)


@operation("place_part", path=FOLLOWED)
def place_part(
    call: Call,
    path: bytes,
    part: str,
    size: int,
    sha256: "str | None",
    mode: str,
    if_match: str,
) -> bytes:
    """Check `part`, and rename it to `path`, which is no link, or append it to that file.

    The result has the new `version`. Where a condition does not hold, nothing is changed, and the result has `mismatch`
    (`size`, `sha256` or `version`) and `actual`, its value. Failures: `part` when it does not exist, `busy` when
    another call uses it.
    """
    with Target(call.boundary, path, resolved=True) as target:
        name = _name(part)
        try:
            fd = os.open(name, os.O_RDWR | os.O_NOFOLLOW, dir_fd=target.directory)
        except OSError as error:
            raise Failure("part", path, error.errno or 0) from None
        try:
            _lock(fd, path)
            mismatch = _part_mismatch(call, fd, size, sha256) or version_mismatch(target, if_match)
            result = mismatch or {"version": version(place(call, fd, name, target, mode))}
        except OSError as error:
            raise Failure("rename", path, error.errno or 0) from None
        finally:
            os.close(fd)
        return call.result(result)


def _lock(fd: int, path: bytes) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Failure("busy", path, errno.EBUSY) from None
    except OSError:
        pass  # a filesystem without locks
    if not os.fstat(fd).st_nlink:  # another call has just placed it
        raise Failure("part", path, errno.ENOENT)


def _part_mismatch(call: Call, fd: int, size: int, sha256: "str | None") -> "dict[str, Any] | None":
    actual = os.fstat(fd).st_size
    if actual != size:
        return {"mismatch": "size", "actual": str(actual)}
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
        return {"mismatch": "sha256", "actual": digest.hexdigest()}
    return None


def version_mismatch(target: Target, if_match: str) -> "dict[str, Any] | None":
    """What `place_part` answers when the target is not the version that it must be; None when it is."""
    if not if_match:
        return None
    old = target.require_writable()
    if old is None or if_match not in ("*", version(old)):
        return {"mismatch": "version", "actual": version(old) if old else ""}
    return None


def place(call: Call, fd: int, name: bytes, target: Target, mode: str) -> os.stat_result:
    """Rename the part `name`, open as `fd`, to the target, or append it to that; stat(2) of the target."""
    old = target.require_writable()
    os.fchmod(fd, 0o666 & ~UMASK if old is None else old.st_mode & 0o777)
    _sync(call, fd)
    if mode == "overwrite":
        target.require_writable()  # again, because the sync may have taken long
        target.replace_by(name)
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
    """Run fsync(2), and report progress while it runs, because it may take minutes."""
    failures: list[OSError] = []

    def sync() -> None:
        try:
            os.fsync(fd)
        except OSError as error:
            failures.append(error)

    if os.fstat(fd).st_size < _SLOW_SYNC:
        return os.fsync(fd)
    thread = threading.Thread(target=sync)
    thread.start()
    try:
        while thread.is_alive():
            call.advance()
            thread.join(1)
    finally:
        thread.join()  # the file must not be closed before
    if failures:
        raise failures[0]
    return None


def _create(name: bytes, target: Target) -> None:
    """Rename the part to the target; FileExistsError when that exists. link(2) never replaces a file."""
    try:
        os.link(name, target.name, src_dir_fd=target.directory, dst_dir_fd=target.directory)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        # A filesystem without hard links: an empty file is created exclusively first, which the part then replaces.
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
        os.close(os.open(target.name, flags, 0o600, dir_fd=target.directory))
        target.replace_by(name)
    else:
        os.unlink(name, dir_fd=target.directory)


def _append(call: Call, part: int, name: bytes, target: Target) -> os.stat_result:
    """Append the part to the target. When that fails or is cancelled, the target gets its old size again."""
    flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW
    file = os.open(target.name, flags, dir_fd=target.directory)
    try:
        with suppress(OSError):  # a filesystem without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        end = os.fstat(file).st_size
        try:
            _copy(call, part, file, end)
            _sync(call, file)
        except BaseException:
            os.ftruncate(file, end)
            raise
        os.unlink(name, dir_fd=target.directory)
        return os.fstat(file)
    finally:
        os.close(file)


def _copy(call: Call, source: int, target: int, position: int) -> None:
    offset = 0
    while True:
        block = os.pread(source, BLOCK, offset)
        if not block:
            return
        written = os.pwrite(
            target, block, position + offset
        )  # may write less; the rest is read again
        offset += written
        call.advance(size=written)
