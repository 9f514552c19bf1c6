"""Every public method of every pyfirecrest of the field, unchanged, on a real site: synchronous, asynchronous and as a
command.

All calls of a version are made by a program that its own interpreter runs (`pyfirecrest_calls.py`,
`pyfirecrest_commands.py`); what came back is looked at here. A method that the program forgets fails.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from importlib.metadata import version as installed
from pathlib import Path
from stat import S_IFLNK, S_IFREG
from typing import Any

import pytest
from firecrest.v2 import Firecrest

from tests import real
from tests.clients.directories import new_directory
from tests.clients.environments import python_with
from tests.clients.pyfirecrest_run import LARGE, LINES, Site
from tests.mailbox import Mailbox

TOP = Path(__file__).parents[2]
RUN_SECONDS = 240
HERE = installed("pyfirecrest")
VERSIONS = ("3.0.1", "3.6.0", "3.7.0", "3.8.1", HERE)
KINDS = ("sync", "async", "command")

LINE = [f"line {number}" for number in range(13)]
FILE, LINK = S_IFREG | 0o640, S_IFLNK | 0o777
DIGEST = sha256(LARGE).hexdigest()

CALLS: Mapping[str, Any] = {
    "attach_to_job": True,
    "cancel_job": "CANCELLED",
    "checksum": sha256(LINES.encode()).hexdigest(),
    "chmod": "rw-r-----",
    "chown": "alice",
    "download": LINES,
    "download s3": True,
    "download s3, in steps": [True, "cluster", "cluster"],
    "extract": LINES,
    "file_type": "ASCII text",
    "head": LINE[1:11],
    "head num_bytes=4": ["line"],
    "head num_lines=2": LINE[1:3],
    "head num_lines=9 exclude_trailing=True": LINE[1:4],
    "job_info": ["COMPLETED", "alice", "proj1"],
    "job_info listed": True,
    "job_info of nothing": [404, "Job not found."],
    "job_metadata": '#!/bin/bash\necho "hello $GREETING"\n',
    "list_files": ["- it's 1.txt", "l link"],
    "list_files dereference": ["- it's 1.txt", "- link"],
    "list_files numeric_uid": True,
    "list_files recursive": ["- it's 1.txt", "l link"],
    "list_files show_hidden": ["d .b", "- it's 1.txt", "l link"],
    "mkdir": "d",
    "mv": LINES,
    "nodes": ["cn01", "cn02"],
    "partitions": ["normal", "debug"],
    "reservations": ["training", "alice_now"],
    "session": [True, False, ["cluster"]],
    "submit": "hello a, b = 'c'\n",
    "submit script_local_path": ["FAILED", 3],
    "systems": ["cluster"],
    "tail": LINE[3:13],
    "tail num_bytes=4": [" 12"],
    "tail num_lines=2": LINE[11:13],
    "tail num_lines=9 exclude_beginning=True": LINE[9:13],
    "transfer job": ["cluster", "jobId", "logs", "system", "workingDirectory"],
    "userinfo": ["alice", "alice"],
    "view": LINES,
}
"""What the calls of every version give; what `stat` gives is looked at for itself."""

SINCE: Mapping[tuple[str, str], Any] = {
    ("3.6.0", "extract matching"): ["tree/some/one"],
    ("3.6.0", "job_info listed allusers"): True,
    ("3.6.0", "server_version"): "2.6.0",
    ("3.6.0", "submit script_remote_path"): [3, "proj1sub"],
    ("3.7.0", "download streamer"): True,
    ("3.7.0", "download streamer, method"): "streamer",
    ("3.7.0", "job_info listed account"): True,
    ("3.8.1", "download streamer, in steps"): True,
    ("3.8.1", "download wormhole, code"): 3,
    ("3.8.1", "upload wormhole"): [None, DIGEST],
    ("3.10.0", "job_info listed name"): True,
    ("3.10.0", "job_info listed time_window"): True,
    ("3.10.0", "submit partition reservation"): "debug",
}
"""What later versions can do besides."""

FAULTS: Mapping[tuple[str, str], Any] = {
    # It sends `skipEnding` and `skipBeginning`: FirecREST v2 never knew them, and ignores them as it does all others.
    ("3.0.1", "head num_lines=9 exclude_trailing=True"): LINE[1:10],
    ("3.0.1", "tail num_lines=9 exclude_beginning=True"): LINE[4:13],
    # Its `download` asks for `s3`, whatever the caller wants.
    ("3.7.0", "download streamer, method"): "s3",
    # They call `wormhole receive --code CODE`: magic-wormhole has no such option.
    ("3.8.1", "download wormhole"): "MultipartUploadException",
    ("3.10.0", "download wormhole"): "MultipartUploadException",
}
"""What versions do wrong by themselves, against FirecREST v2 too."""

UNREACHABLE: Mapping[str, set[str]] = {
    # No streaming download is ever asked for: see FAULTS.
    "3.7.0": {"download.wait_for_streamer_job_to_listen", "download.download_file_streamer"},
    # `upload` has sent the file when it returns, and FirecREST's reply has no code that it could send by.
    "3.8.1": {"upload.send_file_wormhole"},
    "3.10.0": {"upload.send_file_wormhole"},
}
"""Methods that nobody can come to use."""

COMMANDS: Mapping[str, Any] = {
    "attach-to-job": "empty",
    "cancel": "CANCELLED",
    "checksum": sha256(LINES.encode()).hexdigest(),
    "download": LINES,
    "file": "ASCII text",
    "get-nodes": ["cn01", "cn02"],
    "get-partitions": ["normal", "debug"],
    "get-reservations": ["training", "alice_now"],
    "head": "line 1",
    "head -": "line 1\nline 2",
    "id --json": "alice",
    "job-info": True,
    "job-metadata": "hello you",
    "large": True,
    "ls": ["link", "one two"],
    "ls -a": [".b", "link", "one two"],
    "rm": ["one two"],
    "server-version": "2.6.0",
    "stat": FILE,
    "stat -L": len(LINES),
    "systems": ["cluster"],
    "tail": "line 12",
    "tail +": "line 12",
    "wait-for-job": "COMPLETED",
}
"""What the commands of every version say."""


@dataclass(frozen=True)
class Report:
    """What a program that makes all calls said."""

    public: set[str]
    called: set[str]
    results: dict[str, Any]


@pytest.fixture(scope="module", params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def reports(
    version: str, site: Site, owner: Firecrest, mailbox: Mailbox
) -> Iterator[dict[str, Report]]:
    """By kind. All kinds run at once, for they mostly wait for jobs."""
    kinds = KINDS[:2] if version == "3.0.1" else KINDS  # its commands are for FirecREST v1
    with new_directory(site, owner) as directory, ExitStack() as running:
        programs = {}
        for kind in kinds:
            own = replace(site, directory=f"{directory}/{kind}")
            owner.mkdir(site.system, own.directory)
            programs[kind] = running.enter_context(_program(version, kind, own, mailbox))
            running.callback(programs[kind].kill)
        yield {kind: _report_of(program) for kind, program in programs.items()}


def _program(version: str, kind: str, site: Site, mailbox: Mailbox) -> "subprocess.Popen[str]":
    python = sys.executable if version == HERE else str(python_with(f"pyfirecrest-{version}"))
    real.exercised(f"pyfirecrest {version}", "all its methods")
    module = "pyfirecrest_commands" if kind == "command" else "pyfirecrest_calls"
    with tempfile.TemporaryFile("w+") as given:  # it has a secret
        json.dump(asdict(site), given)
        given.seek(0)
        return subprocess.Popen(
            (python, "-m", f"tests.clients.{module}", kind),
            cwd=TOP,
            env=mailbox.environment,
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def _report_of(program: "subprocess.Popen[str]") -> Report:
    output, complaints = program.communicate(timeout=RUN_SECONDS)
    assert program.returncode == 0, complaints
    result = json.loads(output)
    return Report(set(result["public"]), set(result["called"]), result["results"])


def _number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_every_method(reports: dict[str, Report], version: str, kind: str) -> None:
    result = reports[kind].results
    expected = dict(CALLS)
    expected |= {
        name: value for (since, name), value in SINCE.items() if _number(since) <= _number(version)
    }
    expected |= {name: value for (only, name), value in FAULTS.items() if only == version}
    if kind == "sync" and version != "3.0.1":
        expected["upload of an open file"] = DIGEST
    stats = [result.pop(name) for name in ("stat", "stat of a link", "stat dereference")]
    assert [each["mode"] for each in stats] == [FILE, LINK, FILE]
    assert (stats[0]["size"], stats[0]["nlink"]) == (len(LINES), 1)
    status, message = result.pop("stat of nothing")
    assert (status, "cannot statx" in message) == (404, True)
    assert result == expected
    assert reports[kind].public - reports[kind].called == UNREACHABLE.get(version, set())


def test_every_command(reports: dict[str, Report], version: str) -> None:
    if version == "3.0.1":
        assert "command" not in reports
        return
    result = reports["command"].results
    assert re.match(r"uid=\d+\(alice\) gid=\d+\(alice\) groups=.*\(alice\)", result.pop("id"))
    assert result == COMMANDS
    assert reports["command"].public == reports["command"].called
