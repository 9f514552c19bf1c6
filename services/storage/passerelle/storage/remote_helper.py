"""What runs on the systems: answers file questions over stdin and stdout, for one user, as long as its channel lives.

The storage service sends this very file to a `python3` (3.6 or newer, standard library only) over one SSH channel and
talks to it in frames. A request is `id, length` (two 32-bit numbers, big-endian) and that many bytes of JSON
`[operation, arguments]`; an answer is `id, status, length` (32, 8 and 32 bits) and that many bytes: the last of the
result (status 0), a piece of it with more to come (2), or a JSON description of what failed (1), which makes earlier
pieces void. Answers come in any order. The process ends when its input ends.

Paths are bytes inside, so that no locale can spoil them; in JSON they are UTF-8 text, in which a byte that is not UTF-8
stands as a backslash and three octal digits.
"""

import codecs
import errno
import grp
import json
import os
import pwd
import stat
import struct
import sys
import threading
import time
from json.encoder import encode_basestring_ascii as quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, AnyStr, BinaryIO

GREETING = b"\0passerelle-helper-1\n"
"""Sent first, so that whatever a login script printed before can be told from answers."""

REQUEST = struct.Struct(">II")
ANSWER = struct.Struct(">IBI")
LAST, FAILED, MORE = 0, 1, 2
MAX_THREADS = 64  # a call that hangs in a dead filesystem keeps its thread; others must go on
BLOCK = 1 << 18
PIECE = 1 << 16  # of a long answer; what has been sent travels while the rest is being made
DOT = ord(".")


class Failure(Exception):
    """A system call failed: what was tried (`access`, `open`, `read` …), on which path, with which errno."""

    def __init__(self, step: str, path: bytes, code: int) -> None:
        super().__init__(step, path, code)
        self.step = step
        self.path = path
        self.code = code


class Cancelled(Exception):
    """The service does not want the answer any more."""


class Call:
    """One request being answered."""

    def __init__(self) -> None:
        self.cancelled = False

    def check(self) -> None:
        """Raise Cancelled when nobody waits for the answer any more; long work asks now and then."""
        if self.cancelled:
            raise Cancelled


# ---- text -----------------------------------------------------------------------------------------------------------


def _octal(error: "Any") -> "tuple[str, int]":
    wrong = error.object[error.start : error.end]
    return "".join(f"\\{byte:03o}" for byte in wrong), error.end


codecs.register_error("octal", _octal)


def text(name: bytes) -> str:
    """A name as people and JSON can carry it."""
    return name.decode("utf-8", "octal")


# ---- what is known about a file -------------------------------------------------------------------------------------


class Cache(dict):  # type: ignore[type-arg]  # no subscript before Python 3.9
    """Remembers what `find` returned for a key."""

    def __init__(self, find: "Callable[[int], str]") -> None:
        super().__init__()
        self._find = find

    def __missing__(self, key: int) -> str:
        found = self[key] = self._find(key)
        return found


def _user(uid: int) -> str:
    try:
        return quote(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return f'"{uid}"'


def _group(gid: int) -> str:
    try:
        return quote(grp.getgrgid(gid).gr_name)
    except KeyError:
        return f'"{gid}"'


def _local_time(second: int) -> str:
    return time.strftime('"%Y-%m-%dT%H:%M:%S"', time.localtime(second))


USERS = Cache(_user)
GROUPS = Cache(_group)
PERMISSIONS = Cache(lambda mode: f'"{stat.filemode(mode)[1:]}"')
LETTERS = Cache(lambda mode: f'"{stat.filemode(mode)[0]}"')
TIMES = Cache(_local_time)

# Every field that can be asked for, as JSON, from an entry's name, stat result and link target.
# st[8] is the whole second of the last change: a float would round .999999999 up.
FIELDS: "dict[str, Callable[[bytes, os.stat_result, bytes | None], str]]" = {
    "name": lambda name, st, target: quote(text(name)),
    "letter": lambda name, st, target: LETTERS[st.st_mode],
    "target": lambda name, st, target: "null" if target is None else quote(text(target)),
    "permissions": lambda name, st, target: PERMISSIONS[st.st_mode],
    "mode": lambda name, st, target: str(st.st_mode),
    "user": lambda name, st, target: USERS[st.st_uid],
    "group": lambda name, st, target: GROUPS[st.st_gid],
    "uid": lambda name, st, target: str(st.st_uid),
    "gid": lambda name, st, target: str(st.st_gid),
    "uid_text": lambda name, st, target: f'"{st.st_uid}"',
    "gid_text": lambda name, st, target: f'"{st.st_gid}"',
    "size": lambda name, st, target: str(st.st_size),
    "size_text": lambda name, st, target: f'"{st.st_size}"',
    "local_time": lambda name, st, target: TIMES[st[8]],
    "mtime_ns": lambda name, st, target: str(st.st_mtime_ns),
    "atime_ns": lambda name, st, target: str(st.st_atime_ns),
    "ctime_ns": lambda name, st, target: str(st.st_ctime_ns),
    "inode": lambda name, st, target: str(st.st_ino),
    "device": lambda name, st, target: str(st.st_dev),
    "links": lambda name, st, target: str(st.st_nlink),
}


# What depends on mode, user and group alone: the same for most entries of a directory, so it is put together once.
SHARED = {"letter", "permissions", "mode", "user", "group", "uid", "gid", "uid_text", "gid_text"}


def row_maker(columns: "Sequence[tuple[str, str]]") -> "Callable[..., str]":
    """A function from name, stat result and link target to a JSON object with these (key, field) columns."""
    own = [FIELDS[field] for _, field in columns if field not in SHARED]
    templates: dict[tuple[int, int, int], str] = {}

    def template(st: os.stat_result) -> str:
        pairs = []
        for key, field in columns:
            value = FIELDS[field](b"", st, None).replace("%", "%%") if field in SHARED else "%s"
            pairs.append(quote(key).replace("%", "%%") + ":" + value)
        return "{" + ",".join(pairs) + "}"

    def row(name: bytes, st: os.stat_result, target: "bytes | None") -> str:
        kind = (st.st_mode, st.st_uid, st.st_gid)
        if kind not in templates:
            templates[kind] = template(st)
        return templates[kind] % tuple([get(name, st, target) for get in own])

    return row


def _look(path: bytes, dereference: bool) -> os.stat_result:
    try:
        return os.stat(path) if dereference else os.lstat(path)
    except OSError as error:
        raise Failure("access", path, error.errno or 0) from None


def _link_target(path: bytes) -> bytes:
    try:
        return os.readlink(path)
    except OSError:
        return b""  # it went away meanwhile


def _row(path: bytes, dereference: bool, columns: "Sequence[tuple[str, str]]") -> bytes:
    st = _look(path, dereference)
    target = _link_target(path) if stat.S_ISLNK(st.st_mode) else None
    return row_maker(columns)(path, st, target).encode()


def stat_file(
    call: Call, path: bytes, dereference: bool, columns: "Sequence[tuple[str, str]]"
) -> bytes:
    """One JSON object about a file."""
    return _row(path, dereference, columns)


# ---- listing --------------------------------------------------------------------------------------------------------


def list_files(
    call: Call,
    path: bytes,
    columns: "Sequence[tuple[str, str]]",
    hidden: bool,
    recursive: bool,
    dereference: bool,
    limit: int,
) -> "Iterator[bytes]":
    """A JSON array in the order of GNU `ls` in the C locale, piece by piece; what is no directory is listed itself."""
    top = _look(path, dereference)
    if not stat.S_ISDIR(top.st_mode):
        yield b"[" + _row(path, dereference, columns) + b"]"
        return
    row = row_maker(columns)
    above = ((top.st_dev, top.st_ino),)
    rows: list[str] = []
    opening, size, total = "[", 0, 0
    for name, st, target in _walk(call, path, above, hidden, recursive, dereference):
        rows.append(row(name, st, target))
        size += len(rows[-1])
        if size > PIECE:
            yield (opening + ",".join(rows)).encode()
            opening, size, total, rows = ",", 0, total + size, []
            if total > limit:
                raise Failure("limit", path, errno.EFBIG)
    yield ((opening if rows or opening == "[" else "") + ",".join(rows) + "]").encode()


def _walk(
    call: Call,
    path: bytes,
    above: "tuple[tuple[int, int], ...]",
    hidden: bool,
    recursive: bool,
    dereference: bool,
) -> "Iterator[tuple[bytes, os.stat_result, bytes | None]]":
    """A directory's entries, then those of each directory in it, with their names relative to `path`."""
    pending = [(path, b"", above)]
    while pending:
        directory, prefix, above = pending.pop()
        below = []
        for name, st, target in _entries(call, directory, hidden, dereference):
            yield prefix + name, st, target
            if recursive and stat.S_ISDIR(st.st_mode):
                identity = (st.st_dev, st.st_ino)
                if identity not in above:  # a link may lead back up
                    deeper = os.path.join(directory, name)
                    below.append((deeper, prefix + name + b"/", (*above, identity)))
        pending.extend(reversed(below))


def _entries(
    call: Call, directory: bytes, hidden: bool, dereference: bool
) -> "Iterator[tuple[bytes, os.stat_result, bytes | None]]":
    try:
        names = os.listdir(directory)
    except OSError as error:
        raise Failure("open", directory, error.errno or 0) from None
    base = directory.rstrip(b"/") + b"/"
    look = os.stat if dereference else os.lstat
    for name in sorted(name for name in names if hidden or name[0] != DOT):
        if call.cancelled:
            raise Cancelled
        try:
            st = look(base + name)
        except OSError as error:
            if error.errno == errno.ENOENT and not dereference:
                continue  # removed since the directory was read
            raise Failure("access", base + name, error.errno or 0) from None
        linked = stat.S_ISLNK(st.st_mode)
        yield name, st, _link_target(base + name) if linked else None


# ---- content --------------------------------------------------------------------------------------------------------


def _open(path: bytes) -> "tuple[int, int]":
    """An open regular file and its size; never waits for a pipe's other end."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        raise Failure("open", path, error.errno or 0) from None
    st = os.fstat(fd)
    if stat.S_ISREG(st.st_mode):
        return fd, st.st_size
    os.close(fd)
    raise Failure("read", path, errno.EISDIR if stat.S_ISDIR(st.st_mode) else errno.EINVAL)


def _between(call: Call, fd: int, start: int, end: int) -> bytes:
    blocks = []
    while start < end:
        call.check()
        block = os.pread(fd, min(BLOCK, end - start), start)
        if not block:
            break
        blocks.append(block)
        start += len(block)
    return b"".join(blocks)


def read_file(call: Call, path: bytes, offset: int, length: int, limit: "int | None") -> bytes:
    """At most `length` bytes from `offset` on; a file of more than `limit` bytes is refused."""
    fd, size = _open(path)
    try:
        if limit is not None and size > limit:
            raise Failure("limit", path, errno.EFBIG)
        return _between(call, fd, offset, min(size, offset + length))
    except OSError as error:
        raise Failure("read", path, error.errno or 0) from None
    finally:
        os.close(fd)


def excerpt(
    call: Call, path: bytes, unit: str, count: int, from_end: bool, before: bool, limit: int
) -> bytes:
    """What lies before, or else after, the mark `count` lines or bytes from the file's beginning, or else its end."""
    fd, size = _open(path)
    try:
        if unit == "bytes":
            mark = max(0, size - count) if from_end else min(size, count)
        elif from_end:
            mark = _lines_from_end(call, fd, size, count)
        else:
            mark = _lines_from_start(call, fd, size, count)
        start, end = (0, mark) if before else (mark, size)
        if end - start > limit:
            raise Failure("limit", path, errno.EFBIG)
        return _between(call, fd, start, end)
    except OSError as error:
        raise Failure("read", path, error.errno or 0) from None
    finally:
        os.close(fd)


def _lines_from_start(call: Call, fd: int, size: int, count: int) -> int:
    """Where line `count` (from 0) begins."""
    position = 0
    while count and position < size:
        call.check()
        block = os.pread(fd, BLOCK, position)
        if not block:
            break
        found = block.count(b"\n")
        if found >= count:
            return position + _after_newline(block, count)
        count -= found
        position += len(block)
    return position


def _lines_from_end(call: Call, fd: int, size: int, count: int) -> int:
    """Where the last `count` lines begin; a last line without its newline is a line."""
    position = size
    if size and os.pread(fd, 1, size - 1) == b"\n":
        count += 1
    while count and position:
        call.check()
        start = max(0, position - BLOCK)
        block = os.pread(fd, position - start, start)
        found = block.count(b"\n")
        if found >= count:
            return start + _after_newline(block, found - count + 1)
        count -= found
        position = start
    return position


def _after_newline(block: bytes, number: int) -> int:
    """Where the text after the `number`th newline (from 1) of `block` begins."""
    position = 0
    for _ in range(number):
        position = block.index(b"\n", position) + 1
    return position


# ---- changes --------------------------------------------------------------------------------------------------------


def make_directory(
    call: Call, path: bytes, parents: bool, columns: "Sequence[tuple[str, str]]"
) -> bytes:
    """Make a directory, with `parents` the missing ones above it too; one JSON object about it."""
    try:
        os.mkdir(path)
    except OSError as error:
        if parents and error.errno == errno.ENOENT and os.path.dirname(path) != path:
            make_directory(call, os.path.dirname(path), True, ())
            return make_directory(call, path, False, columns)
        if not (parents and os.path.isdir(path)):
            raise Failure("mkdir", path, error.errno or 0) from None
    return _row(path, True, columns) if columns else b""


def remove(call: Call, path: bytes) -> bytes:
    """Remove a file, or a directory with all that can be removed in it; the first failure is raised at the end."""
    failures: list[Failure] = []
    _remove(call, path, path, None, failures)
    if failures:
        raise failures[0]
    return b""


def _remove(
    call: Call, name: "AnyStr", path: bytes, parent: "int | None", failures: "list[Failure]"
) -> None:
    """Remove entry `name` of the directory open as `parent`: nobody can swap a directory above it for a link."""
    call.check()
    try:
        if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            _empty(call, name, path, parent, failures)
            os.rmdir(name, dir_fd=parent)
        else:
            os.unlink(name, dir_fd=parent)
    except OSError as error:
        failures.append(Failure("unlink", path, error.errno or 0))


def _empty(
    call: Call, name: "AnyStr", path: bytes, parent: "int | None", failures: "list[Failure]"
) -> None:
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        for below in os.listdir(fd):
            _remove(call, below, os.path.join(path, os.fsencode(below)), fd, failures)
    finally:
        os.close(fd)


def write_target(call: Call, path: bytes) -> bytes:
    """Where writing to `path` would write: `real` without links, and the `mode` of what is there, or null."""
    try:
        mode: int | None = os.stat(path).st_mode
    except FileNotFoundError:
        mode = None
    except OSError as error:
        raise Failure("open", path, error.errno or 0) from None
    if mode is not None and not stat.S_ISREG(mode):
        raise Failure("open", path, errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL)
    real = os.path.realpath(path)
    _demand_writable(path, os.path.dirname(real), real if mode is not None else None)
    return json.dumps({"real": real.decode("utf-8", "surrogateescape"), "mode": mode}).encode()


def _demand_writable(path: bytes, directory: bytes, real: "bytes | None") -> None:
    try:
        os.stat(directory)
    except OSError as error:
        raise Failure("open", path, error.errno or 0) from None
    if not os.path.isdir(directory):
        raise Failure("open", path, errno.ENOTDIR)
    if not os.access(directory, os.W_OK | os.X_OK) or (real and not os.access(real, os.W_OK)):
        raise Failure("open", path, errno.EACCES)


OPERATIONS: "dict[str, Callable[..., bytes | Iterator[bytes]]]" = {
    "stat": stat_file,
    "list": list_files,
    "read": read_file,
    "excerpt": excerpt,
    "mkdir": make_directory,
    "remove": remove,
    "target": write_target,
}
"""What can be asked for: adding an operation to the helper is adding a function here."""


# ---- the conversation -----------------------------------------------------------------------------------------------


class Conversation:
    """Threads that take turns: one reads the next request, then answers it while another one reads."""

    def __init__(self, source: "BinaryIO", sink: int) -> None:
        self._source = source
        self._sink = sink
        self._reading = threading.Lock()
        self._writing = threading.Lock()
        self._counting = threading.Lock()
        self._threads = 0
        self._free = 0
        self._calls: dict[int, Call] = {}

    def begin(self) -> None:
        """Greet, and start the first thread."""
        self._write(GREETING)
        self._one_more()

    def _one_more(self) -> None:
        self._threads += 1
        self._free += 1
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._reading:
                number, operation, arguments = self._request()
                call = self._calls[number] = Call()
            with self._counting:
                self._free -= 1
                if not self._free and self._threads < MAX_THREADS:
                    self._one_more()
            self._answer(number, call, operation, arguments)
            with self._counting:
                self._free += 1

    def _request(self) -> "tuple[int, str, dict[str, Any]]":
        while True:
            head = self._source.read(REQUEST.size)
            if len(head) < REQUEST.size:
                os._exit(0)
            number, length = REQUEST.unpack(head)
            operation, arguments = json.loads(self._source.read(length).decode())
            if operation != "cancel":
                return number, operation, arguments
            unwanted = self._calls.get(number)
            if unwanted:
                unwanted.cancelled = True

    def _answer(self, number: int, call: Call, operation: str, arguments: "dict[str, Any]") -> None:
        try:
            arguments["path"] = arguments["path"].encode()
            status, result = LAST, OPERATIONS[operation](call, **arguments)
            if not isinstance(result, bytes):
                for piece in result:
                    self._write(ANSWER.pack(number, MORE, len(piece)) + piece)
                result = b""
        except Cancelled:
            status, result = FAILED, described("cancelled", b"", errno.ECANCELED)
        except Failure as error:
            status, result = FAILED, described(error.step, error.path, error.code)
        except Exception as error:  # a fault of this program; the service logs it
            status, result = FAILED, described("fault " + repr(error), b"", 0)
        del self._calls[number]
        self._write(ANSWER.pack(number, status, len(result)) + result)

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        with self._writing:
            while left:
                try:
                    left = left[os.write(self._sink, left) :]
                except OSError:
                    os._exit(0)  # nobody listens any more


def described(step: str, path: bytes, code: int) -> bytes:
    """A failure as it travels."""
    return json.dumps({"step": step, "path": text(path), "errno": code}).encode()


if __name__ == "__main__":
    sys.setrecursionlimit(10000)  # directories may be nested deeper than 1000
    Conversation(sys.stdin.buffer, sys.stdout.fileno()).begin()
    threading.Event().wait()
