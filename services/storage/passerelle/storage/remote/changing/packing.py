"""What tar(1) needs to know before it packs or unpacks, and how a tree that it has unpacked is put in its place."""

import errno
import json
import os
import stat

from passerelle.storage.remote.boundary import inside, opened_path, real_path
from passerelle.storage.remote.opening import named, open_regular, opened
from passerelle.storage.remote.outcome import Call, Failure, NotRegular, raw

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

END_MARK = 1024
"""Zero bytes at least at the end of every tar archive (POSIX.1-2017, pax, ustar Interchange Format)."""
_MAGIC = slice(257, 262)
MAX_LINKS = 40  # one after the other, as Linux follows them
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def pack_source(call: Call, path: bytes, dereference: bool) -> bytes:
    """JSON about what shall be packed, a regular file or a directory: `real` is its path without links, `parent` that
    of the directory which its path names it in, `directory` whether it is one.

    With `dereference`, what links in it lead to is packed too, and must be inside the filesystems.
    """
    fd = opened(call, path, "access")
    try:
        st, real = os.fstat(fd), opened_path(fd, path)
    finally:
        os.close(fd)
    if not (stat.S_ISDIR(st.st_mode) or stat.S_ISREG(st.st_mode)):
        raise NotRegular("read", path, st.st_mode)
    if dereference:
        _require_links(call, real)
    with named(call, path, "access") as (_, directory):
        parent = opened_path(directory, os.path.dirname(path))
    return _found(real=real, parent=parent, directory=stat.S_ISDIR(st.st_mode))


def unpack_source(call: Call, path: bytes) -> bytes:
    """JSON about the archive that shall be unpacked: `real` is its path without links, `cut` whether it is a plain tar
    archive without its end."""
    fd, st = open_regular(call, path)
    try:
        plain = os.pread(fd, _MAGIC.stop, 0)[_MAGIC] == b"ustar"
        cut = plain and os.pread(fd, END_MARK, max(0, st.st_size - END_MARK)) != bytes(END_MARK)
        return _found(real=opened_path(fd, path), cut=cut)
    except OSError as error:
        raise Failure("read", path, error.errno or 0) from None
    finally:
        os.close(fd)


def _found(**facts: "bytes | bool") -> bytes:
    told = {
        key: fact.decode("utf-8", "surrogateescape") if isinstance(fact, bytes) else fact
        for key, fact in facts.items()
    }
    return json.dumps(told).encode()


def _require_links(call: Call, top: bytes) -> None:
    """Raise Outside for a link in the tree, or in a directory that one leads to, that leads out."""
    pending, seen = [top], {top}
    while pending:
        for entry in _entries(call, pending.pop()):
            real = entry.path
            if entry.is_symlink():
                call.boundary.require(entry.path)
                real = real_path(entry.path)
            if real not in seen and os.path.isdir(real):
                seen.add(real)
                pending.append(real)


def _entries(call: Call, directory: bytes) -> "Iterator[os.DirEntry[bytes]]":
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                call.check()
                yield entry
    except OSError as error:
        raise Failure("open", directory, error.errno or 0) from None


def unpack_target(call: Call, path: bytes) -> bytes:
    """JSON about the directory that an archive shall be unpacked into: `real` is its path without links, `there`
    whether it exists. What would have to be written to must be writable."""
    real = real_path(path)
    there = os.path.lexists(real)
    changed = real if there else os.path.dirname(real)
    try:
        directory = stat.S_ISDIR(os.stat(changed).st_mode)
    except OSError as error:
        raise Failure("open", path, error.errno or 0) from None
    if not directory:
        raise Failure("open", path, errno.ENOTDIR)
    if not os.access(changed, os.W_OK | os.X_OK):
        raise Failure("open", path, errno.EACCES)
    return _found(real=real, there=there)


def settle(call: Call, path: bytes, part: str, overwrite: bool, any_links: bool) -> bytes:
    """Put the unpacked tree `part` in the place of the directory `path`, or into it where it is there.

    `part` is on the same filesystem. Nothing is changed when something in it is refused: devices; links that lead out
    of the tree, unless `any_links`; what is there already, unless `overwrite`. No file replaces a directory.
    The answer counts the entries.
    """
    tree = raw(part)
    for entry in _all(call, tree):
        call.advance(entries=1)
        shown = os.path.join(path, os.path.relpath(entry.path, tree))
        kind = entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISBLK(kind) or stat.S_ISCHR(kind):
            raise Failure("device", shown, errno.EPERM)
        if stat.S_ISLNK(kind) and not any_links and leads_out(entry.path, tree, path):
            raise Failure("link", shown, errno.EXDEV)
    try:
        if os.path.lexists(path):
            _require_room(call, tree, path, overwrite)
            _merge(tree, path)
        else:
            os.rename(tree, path)
    except OSError as error:
        raise Failure("rename", path, error.errno or 0) from None
    return call.result()


def _all(call: Call, top: bytes) -> "Iterator[os.DirEntry[bytes]]":
    pending = [top]
    while pending:
        for entry in _entries(call, pending.pop()):
            yield entry
            if entry.is_dir(follow_symlinks=False):
                pending.append(entry.path)


def leads_out(link: bytes, tree: bytes, final: bytes) -> bool:
    """Whether a link in `tree`, which will be at `final`, leads anywhere else. Both are paths without links."""
    at = os.path.relpath(os.path.dirname(link), tree).split(b"/")
    at = [name for name in at if name != b"."]
    ahead = os.readlink(link).split(b"/")
    for _ in range(MAX_LINKS):
        if not ahead[0]:  # absolute
            there = b"/".join(ahead)
            return b".." in ahead or not inside(real_path(there), final)
        found = _next_link(at, ahead, tree)
        if found is None:
            return False
        if found == b"..":
            return True
        ahead = os.readlink(found).split(b"/") + ahead
    return False  # nowhere at all


def _next_link(at: "list[bytes]", ahead: "list[bytes]", tree: bytes) -> "bytes | None":
    """Follow `ahead` from the directory `at` up to the next link; `..` where it leaves the tree, None at its end."""
    while ahead:
        name = ahead.pop(0)
        if name == b"..":
            if not at:
                return name
            at.pop()
        elif name not in (b"", b"."):
            here = os.path.join(tree, *at, name)
            if os.path.islink(here):
                return here
            at.append(name)
    return None


def _require_room(call: Call, tree: bytes, path: bytes, overwrite: bool) -> None:
    """Raise for the first entry that cannot be put where it belongs."""
    pending = [(tree, path)]
    while pending:
        source, target = pending.pop()
        if not os.access(target, os.W_OK | os.X_OK):
            raise Failure("rename", target, errno.EACCES)
        for entry in _entries(call, source):
            there = os.path.join(target, entry.name)
            if not os.path.lexists(there):
                continue
            directory = os.path.isdir(there) and not os.path.islink(there)
            if directory and entry.is_dir(follow_symlinks=False):
                pending.append((entry.path, there))
            elif directory or not overwrite:
                raise Failure("exists", there, errno.EEXIST)


def _merge(source: bytes, target: bytes) -> None:
    """Move what is in one directory into another; no link that somebody puts there meanwhile is followed."""
    os.chmod(source, 0o700)  # it may have come without the right to take something out of it
    from_fd = os.open(source, FOLDER)
    try:
        to_fd = os.open(target, FOLDER)
        try:
            _move_all(from_fd, to_fd)
        finally:
            os.close(to_fd)
    finally:
        os.close(from_fd)


def _move_all(from_fd: int, to_fd: int) -> None:
    for name in os.listdir(from_fd):
        mode = os.stat(name, dir_fd=from_fd, follow_symlinks=False).st_mode
        there = _mode(name, to_fd)
        if not stat.S_ISDIR(mode):
            os.rename(name, name, src_dir_fd=from_fd, dst_dir_fd=to_fd)
        elif there is not None and stat.S_ISDIR(there):
            os.chmod(name, 0o700, dir_fd=from_fd)
            _descend(name, from_fd, to_fd)
        else:
            if there is not None:
                os.unlink(name, dir_fd=to_fd)
            _move_directory(name, mode, from_fd, to_fd)


def _descend(name: str, from_fd: int, to_fd: int) -> None:
    below = os.open(name, FOLDER, dir_fd=from_fd)
    try:
        beside = os.open(name, FOLDER, dir_fd=to_fd)
        try:
            _move_all(below, beside)
        finally:
            os.close(beside)
    finally:
        os.close(below)


def _move_directory(name: str, mode: int, from_fd: int, to_fd: int) -> None:
    """A directory that may not be written to cannot change its parent: it may for that long."""
    os.chmod(name, stat.S_IMODE(mode) | 0o700, dir_fd=from_fd)
    os.rename(name, name, src_dir_fd=from_fd, dst_dir_fd=to_fd)
    os.chmod(name, stat.S_IMODE(mode), dir_fd=to_fd)


def _mode(name: str, directory: int) -> "int | None":
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return None
