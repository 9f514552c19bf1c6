"""Batch scripts as the `local` scheduler reads them: Slurm's directives and time limits."""

import pytest

from passerelle.compute.schedulers.local.remote.exchange import Refused
from passerelle.compute.schedulers.local.remote.script import MAX_SCRIPT, check, directives, seconds


@pytest.mark.parametrize(
    ("line", "result"),
    [
        ("-J name", {"name": "name"}),
        ("-Jname", {"name": "name"}),
        ("--job-name=name", {"name": "name"}),
        ("--job-name 'two words' # why", {"name": "two words"}),
        (
            "-o out -e err -i in",
            dict.fromkeys(("standard_output",), "out")
            | {"standard_error": "err", "standard_input": "in"},
        ),
        ("--output=a=b", {"standard_output": "a=b"}),
        ("-t1-0 -D /tmp", {"time_limit": "1-0", "working_directory": "/tmp"}),
        ("-n 4 --mem=3G --exclusive -J x", {"name": "x"}),
        ("--output", {"standard_output": ""}),
    ],
)
def test_directives(line: str, result: dict[str, str]) -> None:
    assert directives(f"#!/bin/sh\n\n# a comment\n#SBATCH {line}\n".encode(), "script") == result


def test_directives_end_with_the_first_command() -> None:
    script = b"#!/bin/sh\n##SBATCH -J no\n#SBATCHX\n#SBATCH -J one\n#SBATCH -J two\ntrue\n#SBATCH -J no\n"
    assert directives(script, "script") == {"name": "two"}


@pytest.mark.parametrize("line", ["-a 1-3", "--array=1", "--array 1"])
def test_arrays_are_refused(line: str) -> None:
    with pytest.raises(Refused, match="no job arrays"):
        directives(f"#!/bin/sh\n#SBATCH {line}\n".encode(), "script")


def test_an_open_quote_is_refused() -> None:
    with pytest.raises(Refused, match="No closing quotation"):
        directives(b"#!/bin/sh\n#SBATCH -J 'x\n", "script")


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("90", 90 * 60),
        ("1:30", 90),
        ("2:01:30", 2 * 3600 + 90),
        ("1-0", 24 * 3600),
        ("1-2:3", 26 * 3600 + 180),
        ("1-2:3:4", 26 * 3600 + 184),
        ("0:01", 1),
        ("unlimited", None),
        ("INFINITE", None),
        ("0", None),
        ("-1", None),
    ],
)
def test_time_limits(text: str, result: int | None) -> None:
    assert seconds(text, "script") == result


@pytest.mark.parametrize("text", ["", "soon", "1-", "1:2:3:4", "-5", "1.5", " 5", "٣"])
def test_wrong_time_limits(text: str) -> None:
    with pytest.raises(Refused, match="Invalid time limit"):
        seconds(text, "script")


def test_a_script_has_a_largest_size() -> None:
    check(b"#!".ljust(MAX_SCRIPT, b"x"), "script")
    with pytest.raises(Refused, match="4 MiB"):
        check(b"#!".ljust(MAX_SCRIPT + 1, b"x"), "script")
