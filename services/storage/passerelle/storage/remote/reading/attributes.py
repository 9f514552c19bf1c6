"""Symbolic links, and programs of the system that read or change attributes of files."""

import json
import os

from passerelle.storage.remote.opening import open_parent, open_path
from passerelle.storage.remote.outcome import Call, Cancelled, Failure, raw, text
from passerelle.storage.remote.registry import BY_ARGUMENT, LINK_TARGET, NOT_FOLLOWED, operation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from subprocess import Popen

POLL_INTERVAL = 0.2  # seconds between checks whether the call was cancelled


@operation("make_symlink", path=NOT_FOLLOWED, target=LINK_TARGET)
def make_symlink(call: Call, path: bytes, target: str) -> bytes:
    """Make a symbolic link at `path` with the content `target`."""
    with open_parent(call, path, "symlink") as (name, directory):
        try:
            os.symlink(raw(target), name, dir_fd=directory)
        except OSError as error:
            raise Failure("symlink", path, error.errno or 0) from None
    return b""


@operation("run_program", path=BY_ARGUMENT)
def run_program(call: Call, path: bytes, argv: "Sequence[str]", dereference: bool) -> bytes:
    """Run `argv` with `path` as its last argument; a JSON array of its exit status, stdout and stderr.

    `dereference` says whether the program follows a link at the end of the path. If it does, the link's target is
    checked, and the program gets the path of the opened target in /proc, where there is a /proc.
    """
    if not dereference:
        return run_to_end(call, [*map(raw, argv), path])
    fd = open_path(call, path, "access")
    try:
        name = b"/proc/self/fd/%d" % fd
        return run_to_end(call, [*map(raw, argv), name if os.path.exists(name) else path], fd)
    finally:
        os.close(fd)


def run_to_end(call: Call, argv: "Sequence[bytes]", *descriptors: int) -> bytes:
    """Run `argv` to its end; the result of `run_program`. The program inherits `descriptors`."""
    import subprocess  # takes as long to load as all other modules together, and is seldom needed

    process = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=descriptors,
    )
    with process:
        stdout, stderr = _output(call, process)
    return json.dumps([process.returncode, text(stdout), text(stderr)]).encode()


def _output(call: Call, process: "Popen[bytes]") -> "tuple[bytes, bytes]":
    from subprocess import TimeoutExpired

    while True:
        try:
            return process.communicate(timeout=POLL_INTERVAL)
        except TimeoutExpired:
            if call.cancelled:
                process.kill()
                raise Cancelled from None
