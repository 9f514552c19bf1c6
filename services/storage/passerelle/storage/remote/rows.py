"""The attributes of files as JSON objects."""

import grp
import os
import pwd
import stat
import time
from json.encoder import encode_basestring_ascii as quote

from passerelle.storage.remote.opening import stat_with_target
from passerelle.storage.remote.outcome import Call, Failure, described, raw, text
from passerelle.storage.remote.registry import BY_ARGUMENT, operation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


class Cache(dict):  # type: ignore[type-arg]  # no subscript before Python 3.9
    """Stores what `look_up` returned for each key."""

    def __init__(self, look_up: "Callable[[int], str]") -> None:
        super().__init__()
        self._look_up = look_up

    def __missing__(self, key: int) -> str:
        value = self[key] = self._look_up(key)
        return value


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


def _raw(name: bytes) -> str:
    try:
        name.decode()
    except UnicodeDecodeError:
        return f'"{name.hex()}"'
    return "null"


def _local_time(second: int) -> str:
    return time.strftime('"%Y-%m-%dT%H:%M:%S"', time.localtime(second))


USERS = Cache(_user)
GROUPS = Cache(_group)
PERMISSIONS = Cache(lambda mode: f'"{stat.filemode(mode)[1:]}"')
LETTERS = Cache(lambda mode: f'"{stat.filemode(mode)[0]}"')
TIMES = Cache(_local_time)

# The fields of an entry: each makes JSON of the entry's name, stat result and link target.
# st[8] is st_mtime in whole seconds: the float st_mtime rounds .999999999 up.
FIELDS: "dict[str, Callable[[bytes, os.stat_result, bytes | None], str]]" = {
    "name": lambda name, st, target: quote(text(name)),
    "raw_hex": lambda name, st, target: _raw(name),
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
    "mtime": lambda name, st, target: str(st[8]),
    "atime": lambda name, st, target: str(st[7]),
    "ctime": lambda name, st, target: str(st[9]),
    "inode": lambda name, st, target: str(st.st_ino),
    "device": lambda name, st, target: str(st.st_dev),
    "links": lambda name, st, target: str(st.st_nlink),
}


# Fields that depend only on mode, user and group. Most entries of a directory share them, so they are formatted once.
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


def row_of(
    call: Call, path: bytes, dereference: bool, columns: "Sequence[tuple[str, str]]"
) -> bytes:
    """One JSON object about a file."""
    st, target = stat_with_target(call, path, dereference)
    # One row is formatted faster without the templates of a row maker.
    pairs = [quote(key) + ":" + FIELDS[field](path, st, target) for key, field in columns]
    return ("{" + ",".join(pairs) + "}").encode()


@operation("stat", path=BY_ARGUMENT)
@operation("row", path=BY_ARGUMENT)
def stat_file(
    call: Call, path: bytes, dereference: bool, columns: "Sequence[tuple[str, str]]"
) -> bytes:
    """One JSON object about a file."""
    return row_of(call, path, dereference, columns)


@operation("stat_many")
def stat_files(
    call: Call, paths: "Sequence[str]", dereference: bool, columns: "Sequence[tuple[str, str]]"
) -> "Iterator[bytes]":
    """JSON objects about files, one a line: `{"file": …}`, or `{"failure": …}` with a failure from `described`."""
    for path in map(raw, paths):
        call.check()
        try:
            call.boundary.require(path, "path", dereference)
            yield b'{"file":%b}\n' % row_of(call, path, dereference, columns)
        except Failure as failure:
            yield b'{"failure":%b}\n' % described(failure)
