"""The job of the staging method `wormhole`: one file by magic-wormhole's own program.

The code is in no command line: the program's entry point runs in a process that is told its arguments on stdin.
Its parameters besides those of all jobs with one file (`remote/one_file.py`): `code`; `python`, which has
magic-wormhole or shall make an environment that does; `pypi_index_url`, `relay_url`, `transit_helper`, each may be
null; `time_limit` in seconds.
Runs on the system, on Python 3.6 and newer.
"""

import json
import os
import shutil
import signal
import subprocess
from contextlib import contextmanager

from passerelle.storage.staging.remote.arriving import absent, appear, sync
from passerelle.storage.staging.remote.job import parameters, say
from passerelle.storage.staging.remote.one_file import Broken, opened, require_regular, run_job
from passerelle.storage.staging.wormhole.remote.environment import NoWormhole, interpreter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from passerelle.storage.remote.changing.targets import Target

# Click, which reads the arguments, finds those of the process in sys.argv only when it is given none.
_ENTRY = """\
import json, sys
arguments = json.loads(sys.stdin.read())
from wormhole.cli.cli import wormhole
wormhole(arguments, prog_name="wormhole")
"""
_LAST_LINES = 12


def main() -> None:
    """Receive or send the file that the parameters name, and say how that went."""
    asked = parameters()
    signal.signal(signal.SIGALRM, _late)
    signal.alarm(asked["time_limit"])
    run_job(asked, _receive, _send, NoWormhole)


def _late(_number: int, _frame: "Any") -> None:
    raise Broken("The transfer took too long.")


def _receive(asked: "dict[str, Any]") -> None:
    python = interpreter(asked["python"], asked["pypi_index_url"])
    with absent(asked) as target, _directory(target, asked["part"]) as directory:
        say("Waiting for the file ...")
        received = os.path.join(directory, b"file")
        where = received.decode("utf-8", "surrogateescape")
        _wormhole(python, asked, "receive", "--accept-file", "-o", where, asked["code"])
        if not os.path.lexists(received):
            raise Broken("what came is no file")
        file = os.open(received, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        require_regular(file)  # a directory may come, too
        size = os.fstat(file).st_size
        sync(file)
        appear(target, os.path.join(asked["part"].encode(), b"file"))
    say("File was successfully uploaded: %d bytes." % size)  # noqa: UP031


def _send(asked: "dict[str, Any]") -> None:
    python = interpreter(asked["python"], asked["pypi_index_url"])
    with opened(asked) as file:
        size = os.fstat(file.fileno()).st_size
    say("Waiting for the receiver ...")
    _wormhole(python, asked, "send", "--code", asked["code"], asked["path"])
    say("File was successfully downloaded: %d bytes." % size)  # noqa: UP031


@contextmanager
def _directory(target: "Target", name: str) -> "Iterator[bytes]":
    """The path of a hidden directory beside the target for whatever the program writes, gone when the block ends."""
    path = os.path.join(os.path.dirname(target.real), name.encode())
    shutil.rmtree(path, ignore_errors=True)  # of a run that ended with its node
    os.mkdir(name, 0o700, dir_fd=target.directory)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _wormhole(python: str, asked: "dict[str, Any]", command: str, *arguments: str) -> None:
    """Run magic-wormhole; raises Broken with its last words, without the code, when it fails."""
    where = []
    if asked["relay_url"]:
        where += ["--relay-url", asked["relay_url"]]
    if asked["transit_helper"]:
        where += ["--transit-helper", asked["transit_helper"]]
    words = [*where, command, "--hide-progress", *arguments]
    process = subprocess.Popen(
        [python, "-I", "-c", _ENTRY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(os.environ, WORMHOLE_QR="0", PYTHONUTF8="1"),
    )
    try:
        said, _ = process.communicate(json.dumps(words).encode())
    finally:
        process.kill()
        process.wait()
    if process.returncode:
        last = said.decode("utf-8", "replace").strip().splitlines()[-_LAST_LINES:]
        raise Broken("\n".join(last).replace(asked["code"], "(the code)"))


if __name__ == "__main__":
    main()
