"""The job of the staging method `wormhole`: one file by magic-wormhole's own program.

The code is in no command line: the program's entry point runs in a process that is told its arguments on stdin.
Its parameters: `operation` (`receive` or `send`); `path`, and the `roots` that it must not lead out of; `part`, the
name beside it under which content arrives; `code`; `python`, which has magic-wormhole or shall make an
environment that does; `pypi_index_url`, `relay_url`, `transit_helper`, each may be null; `time_limit` in seconds.
Runs on the system, on Python 3.6 and newer.
"""

import json
import os
import shutil
import signal
import stat
import subprocess
from contextlib import contextmanager

from passerelle.storage.remote.outcome import Failure
from passerelle.storage.staging.remote.arriving import absent, appear, leaves_part, sync
from passerelle.storage.staging.remote.job import (
    Stopped,
    boundary,
    encoded,
    fail,
    nothing_is_left,
    parameters,
    refusal,
    say,
    stop_listening,
)
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


class Broken(Exception):
    """The transfer did not succeed; the text says why."""


def main() -> None:
    """Receive or send the file that the parameters name, and say how that went."""
    asked = parameters()
    signal.signal(signal.SIGALRM, _late)
    signal.alarm(asked["time_limit"])
    failure = ""
    try:
        python = interpreter(asked["python"], asked["pypi_index_url"])
        if asked["operation"] == "receive":
            _receive(python, asked)
        else:
            _send(python, asked)
        stop_listening()
    except (Broken, NoWormhole) as error:
        failure = "The transfer failed: %s" % error  # noqa: UP031
    except Failure as error:
        failure = "The transfer failed: " + refusal(asked["path"], error)
    except OSError as error:
        failure = "The transfer failed: %s" % (error.strerror or error)
    except Stopped:
        failure = "The job was cancelled."
    if not leaves_part(asked):
        nothing_is_left()
    if failure:
        fail(failure)


def _late(_number: int, _frame: "Any") -> None:
    raise Broken("The transfer took too long.")


def _receive(python: str, asked: "dict[str, Any]") -> None:
    with absent(asked) as target, _directory(target, asked["part"]) as directory:
        say("Waiting for the file ...")
        received = os.path.join(directory, b"file")
        where = received.decode("utf-8", "surrogateescape")
        _wormhole(python, asked, "receive", "--accept-file", "-o", where, asked["code"])
        if not os.path.lexists(received):
            raise Broken("what came is no file")
        file = os.open(received, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        size = _size(file)
        sync(file)
        appear(target, os.path.join(asked["part"].encode(), b"file"))
    say("File was successfully uploaded: %d bytes." % size)  # noqa: UP031


def _send(python: str, asked: "dict[str, Any]") -> None:
    path = encoded(asked["path"])
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        boundary(asked).demand_open(file, path)
        size = _size(file)
    finally:
        os.close(file)
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


def _size(file: int) -> int:
    """The size in bytes of an open regular file; raises Broken for a directory, which may come, too."""
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode):
        raise Broken("it is not a regular file")
    return found.st_size


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
