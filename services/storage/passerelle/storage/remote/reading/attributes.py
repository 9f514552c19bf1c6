"""What files are beside their content: links, and what programs of the system do to them or say of them."""

import json
import os

from passerelle.storage.remote.opening import named, opened
from passerelle.storage.remote.outcome import Call, Cancelled, Failure, raw, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from subprocess import Popen

LOOK = 0.2  # seconds between looks at whether the answer is still wanted


def make_symlink(call: Call, path: bytes, target: str) -> bytes:
    """Make a link at `path` that says `target`."""
    with named(call, path, "symlink") as (name, directory):
        try:
            os.symlink(raw(target), name, dir_fd=directory)
        except OSError as error:
            raise Failure("symlink", path, error.errno or 0) from None
    return b""


def run_program(call: Call, path: bytes, argv: "Sequence[str]", dereference: bool) -> bytes:
    """Run `argv` and `path` as its last argument; a JSON array of its exit status, stdout and stderr.

    `dereference` says whether the program follows a link at the path's end: then its target is what is checked, and
    the program is given that very file, where there is a /proc to name it in.
    """
    if not dereference:
        return ended(call, [*map(raw, argv), path])
    fd = opened(call, path, "access")
    try:
        name = b"/proc/self/fd/%d" % fd
        return ended(call, [*map(raw, argv), name if os.path.exists(name) else path], fd)
    finally:
        os.close(fd)


def ended(call: Call, argv: "Sequence[bytes]", *kept: int) -> bytes:
    """Run `argv` to its end; the result of `run_program`. The descriptors `kept` are open there, too."""
    import subprocess  # takes as long to load as all the rest, and is seldom needed

    process = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=kept,
    )
    with process:
        stdout, stderr = _output(call, process)
    return json.dumps([process.returncode, text(stdout), text(stderr)]).encode()


def _output(call: Call, process: "Popen[bytes]") -> "tuple[bytes, bytes]":
    from subprocess import TimeoutExpired

    while True:
        try:
            return process.communicate(timeout=LOOK)
        except TimeoutExpired:
            if call.cancelled:
                process.kill()
                raise Cancelled from None
