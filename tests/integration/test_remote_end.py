"""What the remote helper does when nobody listens any more: it cleans up behind itself, and ends."""

import errno
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from passerelle.runtime.shipping import from_input
from passerelle.storage.access.helper import SOURCE
from passerelle.storage.remote.frames import ANSWER, FAILED, GREETING, REQUEST


def test_what_is_under_way_cleans_up_when_the_connection_is_lost(tmp_path: Path) -> None:
    _big(tmp_path / "source")
    with _helper() as helper:
        assert helper.stdin
        arguments = {"path": f"{tmp_path}/source", "target": f"{tmp_path}/copy", "columns": []}
        question = ["copy", {**arguments, "overwrite": False, "dereference": False}, True]
        words = json.dumps(question).encode()
        helper.stdin.write(REQUEST.pack(1, len(words), 0) + words)
        helper.stdin.flush()
        while len(os.listdir(tmp_path)) == 1:
            time.sleep(0.001)
        helper.stdin.close()
        assert helper.wait(60) == 0
    assert os.listdir(tmp_path) == ["source"]


def test_content_that_is_cut_off_is_not_written(tmp_path: Path) -> None:
    with _helper() as helper:
        assert helper.stdin
        helper.stdin.write(_write_file(tmp_path / "file", 2 << 20) + bytes(1 << 20))
        helper.stdin.close()
        assert helper.wait(60) == 0
    assert os.listdir(tmp_path) == []


def test_content_that_the_filesystem_does_not_take_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with _helper() as helper:
        assert helper.stdin
        assert helper.stdout
        resource.prlimit(helper.pid, resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        helper.stdin.write(_write_file(tmp_path / "file", 2 << 20) + bytes(2 << 20))
        helper.stdin.flush()
        _, number, status, length = ANSWER.unpack(helper.stdout.read(ANSWER.size))
        failure = json.loads(helper.stdout.read(length))
        assert (number, status) == (1, FAILED)
        assert (failure["step"], failure["errno"]) == ("write", errno.EFBIG)
        helper.stdin.close()
        assert helper.wait(60) == 0
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def _write_file(path: Path, size: int) -> bytes:
    arguments = {
        "path": str(path),
        "sha256": "",
        "mode": "overwrite",
        "if_match": "",
        "digest": True,
    }
    words = json.dumps(["write_file", arguments, False]).encode()
    return REQUEST.pack(1, len(words), size) + words


def _big(directory: Path) -> None:
    directory.mkdir()
    for number in range(3):
        with open(directory / f"{number}", "wb") as file:
            for _ in range(100):
                file.write(os.urandom(1 << 20))
        (directory / f"{number}").chmod(0o400)


def _helper() -> "subprocess.Popen[bytes]":
    """A running helper that has greeted."""
    argv = (sys.executable, "-I", "-S", *from_input(SOURCE))
    helper = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert helper.stdin
    assert helper.stdout
    helper.stdin.write(SOURCE.encode())
    helper.stdin.flush()
    assert helper.stdout.read(len(GREETING)) == GREETING
    return helper
