"""The files that the recorded cases read: rebuilt as they were when the cases were recorded.

Made by root in the homes of the cluster's users alice and bob. Names, sizes, modes and owners follow from the recorded
`ls`, `stat`, `head` and `view` replies; contents that no case shows are arbitrary.
"""

import fcntl
import os
import pwd
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

RECORDED = datetime(2026, 1, 2, 3, 4, 5)
"""Local time of the last change of every file that the recording did not make itself."""

ALICE = Path("/home/alice")
GOLDEN = ALICE / "golden"
DIR = GOLDEN / "dir"
PRIVATE = Path("/home/bob/private")

FILES: dict[Path, tuple[bytes, int]] = {
    GOLDEN / "big6M.bin": (b"\x01" * 6291456, 0o644),
    GOLDEN / "bytes.bin": (bytes(range(256)) * 4, 0o644),
    GOLDEN / "empty.txt": (b"", 0o644),
    GOLDEN / "just_under_b64_limit.bin": (b"\x02" * 3900000, 0o644),
    GOLDEN / "latin1.txt": ("café\n".encode("latin-1"), 0o644),
    GOLDEN / "lines.txt": (b"".join(b"line %02d\n" % n for n in range(1, 31)), 0o644),
    GOLDEN / "max5M.bin": (b"\x03" * 5242880, 0o644),
    GOLDEN / "mid4M.bin": (b"\x04" * 4194304, 0o644),
    GOLDEN / "nonl.txt": (b"one\ntwo\nno newlin", 0o644),
    GOLDEN / "script file.sh": (
        b"#!/bin/bash\n#SBATCH --job-name=frompath\necho from path\n",
        0o755,
    ),
    GOLDEN / "utf8.txt": ("héllo wörld — 日本語\n".encode(), 0o644),
    DIR / ".hidden": (b"h\n", 0o644),
    DIR / "a.txt": (b"aaa\n", 0o644),
    DIR / 'dq".txt': (b"d\n", 0o644),
    DIR / "exec.sh": (b"#!/bin/sh\necho hi\n", 0o755),
    DIR / "name with space.txt": (b"s\n", 0o644),
    DIR / "nl\nx.txt": (b"n\n", 0o644),
    DIR / "sq'.txt": (b"q\n", 0o644),
    DIR / "suid": (b"s", 0o4755),
    DIR / "uni-çø-日本.txt": (b"u\n", 0o644),
    DIR / "subdir" / "d.txt": (b"d\n", 0o644),
}
LINKS = {
    DIR / "broken": "nowhere",
    DIR / "link_dir": "/home/alice/golden/dir/subdir",
    DIR / "link_rel": "a.txt",
}
LOCK = Path("/home/.passerelle-golden-tree.lock")
MADE_BY_CASES = (ALICE / "escaped.txt", Path("/var/tmp/alice_link"))
"""Files that some cases leave outside the tree."""


@contextmanager
def golden_tree() -> Iterator[None]:
    """The tree, fresh, for as long as the block runs; needs root.

    A second test run on this machine waits until the first is through.
    """
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        remove()
        _make_alices()
        _make_roots()
        _make_bobs()
        try:
            yield
        finally:
            remove()


def remove() -> None:
    """Remove the tree, and the files that cases may have left beside it."""
    for directory in (GOLDEN, ALICE / "ls2000", PRIVATE):
        shutil.rmtree(directory, ignore_errors=True)
    logs = [log for log in ALICE.glob(".f7t_file_handling_job_*") if _is_old(log)]
    leftovers = [*logs, *Path("/home/bob").glob("slurm-*.out")]
    for path in (*MADE_BY_CASES, *leftovers):
        path.unlink(missing_ok=True)


def give(path: Path, owner: str = "alice") -> None:
    """Make `path` itself (not what a link points to) belong to `owner` and its group."""
    os.chown(path, *_ids(owner), follow_symlinks=False)


def write(path: Path, content: bytes, mode: int = 0o644, owner: str = "alice") -> None:
    """Write a file of `owner` with exactly these permission bits."""
    path.write_bytes(content)
    give(path, owner)
    path.chmod(mode)  # after the change of owner, which clears the set-user-id bit


def _make_alices() -> None:
    for directory in (GOLDEN, DIR, DIR / "subdir", GOLDEN / "empty_dir", GOLDEN / "sticky"):
        directory.mkdir(mode=0o755)
        give(directory)
    (GOLDEN / "sticky").chmod(0o1777)
    for path, (content, mode) in FILES.items():
        write(path, content, mode)
    for path, target in LINKS.items():
        path.symlink_to(target)
        give(path)
    os.link(DIR / "a.txt", DIR / "hard.txt")
    os.mkfifo(DIR / "fifo", 0o644)
    give(DIR / "fifo")
    for path in (*FILES, *LINKS, DIR / "fifo", DIR / "subdir", DIR):
        _date(path)
    _make_long_directory()


def _make_long_directory() -> None:
    directory = ALICE / "ls2000"
    directory.mkdir()
    give(directory)
    for number in range(1, 2001):
        write(directory / f"file_{number:04}.dat", b"")


def _make_roots() -> None:
    (GOLDEN / "rodir").mkdir(mode=0o755)
    (GOLDEN / "rodir" / "f").write_bytes(b"f\n")
    write(GOLDEN / "rootonly.txt", b"r\n", 0o600, owner="root")
    _date(GOLDEN / "rootonly.txt")


def _make_bobs() -> None:
    PRIVATE.mkdir(mode=0o700)
    give(PRIVATE, "bob")


def _date(path: Path) -> None:
    when = RECORDED.timestamp()
    os.utime(path, (when, when), follow_symlinks=False)


def _ids(owner: str) -> tuple[int, int]:
    account_entry = pwd.getpwnam(owner)
    return account_entry.pw_uid, account_entry.pw_gid


def _is_old(log: Path) -> bool:
    """Whether it is of an earlier run: tests that run beside these read those of their own jobs."""
    try:
        return time.time() - log.stat().st_mtime > 3600
    except FileNotFoundError:
        return False
