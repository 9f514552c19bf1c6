"""Checks before tar(1) packs or unpacks, and moving an unpacked tree to its target."""

import errno
import json
import os
import stat

from passerelle.storage.remote.boundary import inside, opened_path, real_path
from passerelle.storage.remote.opening import open_parent, open_path, open_regular
from passerelle.storage.remote.outcome import Call, Failure, NotRegular, raw
from passerelle.storage.remote.registry import FOLLOWED, operation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

END_MARK = 1024
"""Zero bytes at least at the end of every tar archive (POSIX.1-2017, pax, ustar Interchange Format)."""
_MAGIC = slice(257, 262)
MAX_LINKS = 40  # Linux follows that many links in one path
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


@operation("pack_source", path=FOLLOWED)
def pack_source(call: Call, path: bytes, dereference: bool) -> bytes:
    """JSON about the file or directory to pack: `real` is its path without links, `parent` the path without links of
    the directory that holds `path`, `directory` whether it is a directory.

    With `dereference` the targets of links in it are packed too, and must be inside the filesystems.
    """
    fd = open_path(call, path, "access")
    try:
        st, real = os.fstat(fd), opened_path(fd, path)
    finally:
        os.close(fd)
    if not (stat.S_ISDIR(st.st_mode) or stat.S_ISREG(st.st_mode)):
        raise NotRegular("read", path, st.st_mode)
    if dereference:
        _require_links(call, real)
    with open_parent(call, path, "access") as (_, directory):
        parent = opened_path(directory, os.path.dirname(path))
    return _encode(real=real, parent=parent, directory=stat.S_ISDIR(st.st_mode))


@operation("unpack_source", path=FOLLOWED)
def unpack_source(call: Call, path: bytes) -> bytes:
    """JSON about the archive to unpack: `real` is its path without links, `truncated` whether it is an uncompressed tar
    archive without an end mark."""
    fd, st = open_regular(call, path)
    try:
        plain = os.pread(fd, _MAGIC.stop, 0)[_MAGIC] == b"ustar"
        truncated = plain and os.pread(fd, END_MARK, max(0, st.st_size - END_MARK)) != bytes(
            END_MARK
        )
        return _encode(real=opened_path(fd, path), truncated=truncated)
    except OSError as error:
        raise Failure("read", path, error.errno or 0) from None
    finally:
        os.close(fd)


def _encode(**values: "bytes | bool") -> bytes:
    encodable = {
        key: value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
        for key, value in values.items()
    }
    return json.dumps(encodable).encode()


def _require_links(call: Call, top: bytes) -> None:
    """Raise Outside for a link that leads out, in the tree or in a directory that one of its links leads to."""
    pending, visited = [top], {top}
    while pending:
        for entry in _entries(call, pending.pop()):
            real = entry.path
            if entry.is_symlink():
                call.boundary.require(entry.path)
                real = real_path(entry.path)
            if real not in visited and os.path.isdir(real):
                visited.add(real)
                pending.append(real)


def _entries(call: Call, directory: bytes) -> "Iterator[os.DirEntry[bytes]]":
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                call.check()
                yield entry
    except OSError as error:
        raise Failure("open", directory, error.errno or 0) from None


@operation("unpack_target", path=FOLLOWED)
def unpack_target(call: Call, path: bytes) -> bytes:
    """JSON about the directory to unpack into: `real` is its path without links, `exists` whether it exists.

    Raises Failure when it cannot be written to, or cannot be made.
    """
    real = real_path(path)
    exists = os.path.lexists(real)
    changed = real if exists else os.path.dirname(real)
    try:
        directory = stat.S_ISDIR(os.stat(changed).st_mode)
    except OSError as error:
        raise Failure("open", path, error.errno or 0) from None
    if not directory:
        raise Failure("open", path, errno.ENOTDIR)
    if not os.access(changed, os.W_OK | os.X_OK):
        raise Failure("open", path, errno.EACCES)
    return _encode(real=real, exists=exists)


@operation("place_tree", path=FOLLOWED)
def place_tree(call: Call, path: bytes, part: str, overwrite: bool, any_links: bool) -> bytes:
    """Rename the unpacked tree `part` to the directory `path`, or merge it into that directory where it exists.

    `part` is on the same filesystem. Nothing is changed when an entry is refused. Refused are devices; links that lead
    out of the tree, unless `any_links`; entries that exist already, unless `overwrite`; and files in the place of
    directories. The answer counts the entries.
    """
    tree = raw(part)
    for entry in _walk(call, tree):
        call.advance(entries=1)
        shown = os.path.join(path, os.path.relpath(entry.path, tree))
        kind = entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISBLK(kind) or stat.S_ISCHR(kind):
            raise Failure("device", shown, errno.EPERM)
        if stat.S_ISLNK(kind) and not any_links and leads_out(entry.path, tree, path):
            raise Failure("link", shown, errno.EXDEV)
    try:
        if os.path.lexists(path):
            _require_mergeable(call, tree, path, overwrite)
            _merge(tree, path)
        else:
            os.rename(tree, path)
    except OSError as error:
        raise Failure("rename", path, error.errno or 0) from None
    return call.result()


def _walk(call: Call, top: bytes) -> "Iterator[os.DirEntry[bytes]]":
    pending = [top]
    while pending:
        for entry in _entries(call, pending.pop()):
            yield entry
            if entry.is_dir(follow_symlinks=False):
                pending.append(entry.path)


def leads_out(link: bytes, tree: bytes, final: bytes) -> bool:
    """Whether a link in `tree` leads out of it, once the tree is at `final`. Both are paths without links."""
    directory = os.path.relpath(os.path.dirname(link), tree).split(b"/")
    directory = [name for name in directory if name != b"."]
    remaining = os.readlink(link).split(b"/")
    for _ in range(MAX_LINKS):
        if not remaining[0]:  # absolute
            return b".." in remaining or not inside(real_path(b"/".join(remaining)), final)
        next_link = _next_link(directory, remaining, tree)
        if next_link is None:
            return False
        if next_link == b"..":
            return True
        remaining = os.readlink(next_link).split(b"/") + remaining
    return False  # a loop, which leads nowhere


def _next_link(directory: "list[bytes]", remaining: "list[bytes]", tree: bytes) -> "bytes | None":
    """The next link on the path `remaining` from `directory`; `..` where the path leaves the tree, None at its end.

    Both lists of components are changed: they are those from the returned link on.
    """
    while remaining:
        name = remaining.pop(0)
        if name == b"..":
            if not directory:
                return name
            directory.pop()
        elif name not in (b"", b"."):
            path = os.path.join(tree, *directory, name)
            if os.path.islink(path):
                return path
            directory.append(name)
    return None


def _require_mergeable(call: Call, tree: bytes, path: bytes, overwrite: bool) -> None:
    """Raise Failure for the first entry that cannot be moved into the directory `path`."""
    pending = [(tree, path)]
    while pending:
        source, target = pending.pop()
        if not os.access(target, os.W_OK | os.X_OK):
            raise Failure("rename", target, errno.EACCES)
        for entry in _entries(call, source):
            replaced = os.path.join(target, entry.name)
            if not os.path.lexists(replaced):
                continue
            directory = os.path.isdir(replaced) and not os.path.islink(replaced)
            if directory and entry.is_dir(follow_symlinks=False):
                pending.append((entry.path, replaced))
            elif directory or not overwrite:
                raise Failure("exists", replaced, errno.EEXIST)


def _merge(source: bytes, target: bytes) -> None:
    """Move the entries of one directory into another, without following a link that is put there meanwhile."""
    os.chmod(source, 0o700)  # the archive may have given it a mode without write permission
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
        replaced = _mode(name, to_fd)
        if not stat.S_ISDIR(mode):
            os.rename(name, name, src_dir_fd=from_fd, dst_dir_fd=to_fd)
        elif replaced is not None and stat.S_ISDIR(replaced):
            os.chmod(name, 0o700, dir_fd=from_fd)
            _descend(name, from_fd, to_fd)
        else:
            if replaced is not None:
                os.unlink(name, dir_fd=to_fd)
            _move_directory(name, mode, from_fd, to_fd)


def _descend(name: str, from_fd: int, to_fd: int) -> None:
    source = os.open(name, FOLDER, dir_fd=from_fd)
    try:
        target = os.open(name, FOLDER, dir_fd=to_fd)
        try:
            _move_all(source, target)
        finally:
            os.close(target)
    finally:
        os.close(source)


def _move_directory(name: str, mode: int, from_fd: int, to_fd: int) -> None:
    """Move a directory. rename(2) needs write permission on it, to change its `..`, so its mode is changed for that."""
    os.chmod(name, stat.S_IMODE(mode) | 0o700, dir_fd=from_fd)
    os.rename(name, name, src_dir_fd=from_fd, dst_dir_fd=to_fd)
    os.chmod(name, stat.S_IMODE(mode), dir_fd=to_fd)


def _mode(name: str, directory: int) -> "int | None":
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return None
