"""The job of the staging method `wormhole`: one file by magic-wormhole's own program.

The code must not be visible in a command line: the program's entry point reads its arguments from stdin.
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

from passerelle.storage.staging.remote.arriving import absent_target, place, sync
from passerelle.storage.staging.remote.job import log, read_parameters
from passerelle.storage.staging.remote.one_file import Broken, open_source, require_regular, run_job
from passerelle.storage.staging.wormhole.remote.environment import NoWormhole, interpreter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from passerelle.storage.remote.changing.targets import Target

# Click reads sys.argv only when it is called without arguments.
_ENTRY = """\
import json, sys
arguments = json.loads(sys.stdin.read())
from wormhole.cli.cli import wormhole
wormhole(arguments, prog_name="wormhole")
"""
_MAX_LINES = 12


def main() -> None:
    """Receive or send the file that the parameters name, and say how that went."""
    parameters = read_parameters()
    signal.signal(signal.SIGALRM, _raise_timeout)
    signal.alarm(parameters["time_limit"])
    run_job(parameters, _receive, _send, NoWormhole)


def _raise_timeout(_number: int, _frame: "Any") -> None:
    raise Broken("The transfer took too long.")


def _receive(parameters: "dict[str, Any]") -> None:
    python = interpreter(parameters["python"], parameters["pypi_index_url"])
    with absent_target(parameters) as target, _directory(target, parameters["part"]) as directory:
        log("Waiting for the file ...")
        received = os.path.join(directory, b"file")
        output = received.decode("utf-8", "surrogateescape")
        _wormhole(python, parameters, "receive", "--accept-file", "-o", output, parameters["code"])
        if not os.path.lexists(received):
            raise Broken("what came is no file")
        file = os.open(received, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        require_regular(file)  # the sender may have sent a directory
        size = os.fstat(file).st_size
        sync(file)
        place(target, os.path.join(parameters["part"].encode(), b"file"))
    log("File was successfully uploaded: %d bytes." % size)  # noqa: UP031


def _send(parameters: "dict[str, Any]") -> None:
    python = interpreter(parameters["python"], parameters["pypi_index_url"])
    with open_source(parameters) as file:
        size = os.fstat(file.fileno()).st_size
    log("Waiting for the receiver ...")
    _wormhole(python, parameters, "send", "--code", parameters["code"], parameters["path"])
    log("File was successfully downloaded: %d bytes." % size)  # noqa: UP031


@contextmanager
def _directory(target: "Target", name: str) -> "Iterator[bytes]":
    """A hidden directory beside the target, in which the program writes; its path. It is removed after the block."""
    path = os.path.join(os.path.dirname(target.real), name.encode())
    shutil.rmtree(path, ignore_errors=True)  # left by a run whose node failed
    os.mkdir(name, 0o700, dir_fd=target.directory)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _wormhole(python: str, parameters: "dict[str, Any]", command: str, *arguments: str) -> None:
    """Run magic-wormhole. When it fails, raises Broken with the end of its output, without the code."""
    options = []
    if parameters["relay_url"]:
        options += ["--relay-url", parameters["relay_url"]]
    if parameters["transit_helper"]:
        options += ["--transit-helper", parameters["transit_helper"]]
    command_line = [*options, command, "--hide-progress", *arguments]
    process = subprocess.Popen(
        [python, "-I", "-c", _ENTRY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(os.environ, WORMHOLE_QR="0", PYTHONUTF8="1"),
    )
    try:
        output, _ = process.communicate(json.dumps(command_line).encode())
    finally:
        process.kill()
        process.wait()
    if process.returncode:
        last_lines = output.decode("utf-8", "replace").strip().splitlines()[-_MAX_LINES:]
        raise Broken("\n".join(last_lines).replace(parameters["code"], "(the code)"))


if __name__ == "__main__":
    main()
