"""What the remote helper does when nobody listens any more: it cleans up behind itself, and ends."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from passerelle.runtime.shipping import from_input
from passerelle.storage.access.helper import SOURCE
from passerelle.storage.remote.frames import GREETING, REQUEST


def test_what_is_under_way_cleans_up_when_the_connection_is_lost(tmp_path: Path) -> None:
    _big(tmp_path / "source")
    with _helper() as helper:
        assert helper.stdin
        arguments = {"path": f"{tmp_path}/source", "target": f"{tmp_path}/copy", "columns": []}
        question = ["copy", {**arguments, "overwrite": False, "dereference": False}, True]
        words = json.dumps(question).encode()
        helper.stdin.write(REQUEST.pack(1, len(words)) + words)
        helper.stdin.flush()
        while len(os.listdir(tmp_path)) == 1:
            time.sleep(0.001)
        helper.stdin.close()
        assert helper.wait(60) == 0
    assert os.listdir(tmp_path) == ["source"]


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
