"""The receiver of large uploads, run as on a system: whatever ends it, the part has the beginning of what was sent."""

import errno
import fcntl
import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest

from passerelle.runtime.shipping import from_input
from passerelle.runtime.ssh.bootstrap import frame
from passerelle.storage.access.receiver import SOURCE
from passerelle.storage.remote import locking
from passerelle.storage.remote.frames import END, MARK

CONTENT = random.Random(9).randbytes(3_000_000)  # noqa: S311  # content, no secret
SEEDS = range(12)
ARGV = (sys.executable, "-I", "-S", "-B", *from_input(SOURCE))


@pytest.fixture
def part(tmp_path: Path) -> Path:
    path = tmp_path / ".part"
    path.touch()
    return path


def receiver() -> "subprocess.Popen[bytes]":
    """One that waits for its request."""
    process = subprocess.Popen(ARGV, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    _input(process).write(SOURCE.encode())
    return process


def _input(process: "subprocess.Popen[bytes]") -> IO[bytes]:
    assert process.stdin is not None
    return process.stdin


def request(part: Path, start: int = 0, offset: int = 0) -> bytes:
    return json.dumps({"part": str(part), "start": start, "offset": offset}).encode() + b"\n"


def stream(content: bytes, sha256: str, seed: int = 0) -> bytes:
    """The content in pieces of any size, and its end."""
    sizes, pieces, start = random.Random(seed), [], 0  # noqa: S311
    while start < len(content):
        size = sizes.choice((1, 4_096, 70_000, 261_120, 1_500_000))
        pieces.append(frame(content[start : start + size]))
        start += size
    return b"".join(pieces) + frame(b"") + sha256.encode() + b"\n"


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def answer(process: "subprocess.Popen[bytes]", *sent: bytes) -> Any:
    """What it answers, or None, when that is all of its input."""
    output = process.communicate(b"".join(sent), timeout=60)[0]
    if not output:
        return None
    assert (output[: len(MARK)], output[-len(END) :]) == (MARK, END)
    return json.loads(output[len(MARK) : -len(END)])


@pytest.mark.parametrize("seed", SEEDS)
def test_input_that_ends_anywhere_leaves_a_beginning_to_go_on_from(part: Path, seed: int) -> None:
    sent = stream(CONTENT, digest(CONTENT), seed)
    cut = random.Random(seed).randrange(len(sent))  # noqa: S311
    assert answer(receiver(), request(part), sent[:cut]) is None
    arrived = part.read_bytes()
    assert arrived == CONTENT[: len(arrived)]
    assert len(arrived) > cut - 1000  # all but the lines between the pieces
    rest = stream(CONTENT[len(arrived) :], digest(CONTENT[len(arrived) :]), seed)
    offset = len(arrived)
    assert answer(receiver(), request(part, offset, offset), rest) == {"size": len(CONTENT)}
    assert part.read_bytes() == CONTENT


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_at_any_time_it_leaves_a_beginning(part: Path, tmp_path: Path, seed: int) -> None:
    content, sent = CONTENT * 8, tmp_path / "sent"
    sent.write_bytes(SOURCE.encode() + request(part) + stream(content, digest(content), seed))
    enough = random.Random(seed).randrange(len(content))  # noqa: S311
    with (
        sent.open("rb") as source,
        subprocess.Popen(ARGV, stdin=source, stdout=subprocess.DEVNULL) as process,
    ):
        until(lambda: part.stat().st_size > enough)
        process.kill()
    arrived = part.read_bytes()
    assert arrived == content[: len(arrived)]


def test_what_came_before_it_is_in_the_checksum_and_what_lay_behind_is_given_up(part: Path) -> None:
    part.write_bytes(b"kept" + CONTENT[:500_000] + b"of another call")
    sent = stream(CONTENT[500_000:], digest(CONTENT))
    assert answer(receiver(), request(part, 4, 500_004), sent) == {"size": 4 + len(CONTENT)}
    assert part.read_bytes() == b"kept" + CONTENT


def test_another_checksum_gives_up_what_this_call_brought(part: Path) -> None:
    part.write_bytes(b"kept" + CONTENT[:100])
    sent = stream(CONTENT[100:], digest(b"another content"))
    failure = answer(receiver(), request(part, 4, 104), sent)
    assert (failure["step"], failure["errno"]) == ("sha256", errno.EIO)
    assert part.read_bytes() == b"kept"


def test_it_writes_only_where_the_part_ends(part: Path) -> None:
    """Another one has truncated the part, as one does that goes on with an upload."""
    process = receiver()
    source = _input(process)
    source.write(request(part) + frame(CONTENT[:1000]))
    source.flush()
    until(lambda: part.stat().st_size == 1000)
    os.truncate(part, 10)
    failure = answer(process, frame(CONTENT[1000:]))
    assert (failure["step"], failure["errno"]) == ("busy", errno.EBUSY)
    assert part.read_bytes() == CONTENT[:10]
    failure = answer(receiver(), request(part, 0, 11), frame(b"behind the end"))
    assert failure["step"] == "busy"
    assert part.read_bytes() == CONTENT[:10]


def test_it_waits_for_the_end_of_another_writer(part: Path) -> None:
    with part.open("r+b") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        process = receiver()
        _input(process).write(request(part) + stream(b"new", digest(b"new")))
        _input(process).flush()
        time.sleep(1)
        other.write(b"the end of the old one")
        other.flush()
        assert process.poll() is None
        fcntl.flock(other, fcntl.LOCK_UN)
        assert answer(process) == {"size": 3}
    assert part.read_bytes() == b"new"


def test_a_writer_that_never_ends_is_not_waited_for(
    part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locking, "SECONDS", 0.1)
    with part.open("rb") as other, part.open("r+b") as mine:
        fcntl.flock(other, fcntl.LOCK_EX)
        locking.lock(mine.fileno())


def test_what_cannot_be_written_is_told(part: Path) -> None:
    part.unlink()
    assert answer(receiver(), request(part), b"")["errno"] == errno.ENOENT
    part.symlink_to("elsewhere")
    assert answer(receiver(), request(part), b"")["errno"] == errno.ELOOP


def until(happened: Callable[[], bool]) -> None:
    """Return when it has happened."""
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.005)
