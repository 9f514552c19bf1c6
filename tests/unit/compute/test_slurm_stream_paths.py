"""What the symbols in the paths of a job's streams stand for: as files of a real Slurm 22.05 were named."""

from dataclasses import replace

import pytest

from passerelle.compute.schedulers.slurm.stream_paths import (
    PatternValues,
    Streams,
    expanded,
    streams,
    submitted_patterns,
)

JOB = PatternValues("1", None, None, "na me", "alice", "cn01", "/tmp/pat")
TASK = PatternValues("11", "2", "1", "nam", "alice", "cn[03-04,07]", "/tmp/pat")
OURS = "/usr/bin/sbatch --parsable --chdir=/tmp/pat --job-name=a b"


@pytest.mark.parametrize(
    ("place", "pattern", "path"),
    [
        (JOB, "o-%j-%4j-%A-%a-%x-%u-%N-%t-%n-%s-%J-%%.txt",
         "/tmp/pat/o-1-0001-1-4294967294-na me-alice-cn01-0-0-batch-1-%.txt"),
        (TASK, "o-%j-%4j-%A-%a-%x-%N-%J.txt", "/tmp/pat/o-11-0011-2-1-nam-cn03-11.txt"),
        (JOB, "pad-%3t-%5A-%4x", "/tmp/pat/pad-000-00001-na me"),
        (JOB, "x-%q-%z-%", "/tmp/pat/x-%q-%z-%"),
        (JOB, r"\\lit-%j", r"/tmp/pat/\lit-%j"),
        (JOB, "/abs/%j", "/abs/1"),
        (replace(JOB, nodes="None assigned"), "%N.txt", "/tmp/pat/%N.txt"),
        (replace(JOB, nodes=""), "%N.txt", "/tmp/pat/%N.txt"),
        (replace(JOB, nodes="gpu1.site.org"), "%N.txt", "/tmp/pat/gpu1.txt"),
        (JOB, "", None),
    ],
)  # fmt: skip
def test_a_pattern_means_a_path(place: PatternValues, pattern: str, path: str | None) -> None:
    assert expanded(pattern, place) == path


def test_errors_go_where_the_output_goes() -> None:
    assert streams(("/dev/null", "o-%j", ""), JOB) == Streams(
        "/dev/null", "/tmp/pat/o-1", "/tmp/pat/o-1"
    )
    assert streams(("", "o", "e"), JOB) == Streams(None, "/tmp/pat/o", "/tmp/pat/e")
    assert streams((None, "o", None), JOB) == Streams(None, "/tmp/pat/o", None)


@pytest.mark.parametrize(
    ("line", "script", "patterns"),
    [
        (OURS, "#!/bin/sh\n", ("/dev/null", "slurm-%j.out", "")),
        (f"{OURS} --output=o x --error=e --time=5 -- /s.sh", "", ("/dev/null", "o x", "e")),
        (f"{OURS} --input=i --output=o --export-file=/dev/fd/3", "#SBATCH -o other -e err\n",
         ("i", "o", "err")),
        ("sbatch -p debug run.sh", "#!/bin/sh\n#SBATCH --output other\n", ("/dev/null", "other", "")),
        ("sbatch run.sh --output=x", "#SBATCH -o other\n", ("/dev/null", None, "")),
        ("sbatch -o x run.sh", "", ("/dev/null", None, "")),
        ("sbatch run.sh", None, (None, None, None)),
    ],
)  # fmt: skip
def test_patterns_by_the_line_that_submitted(
    line: str, script: str | None, patterns: tuple[str | None, ...]
) -> None:
    assert submitted_patterns(line, script, task=False) == patterns


def test_an_arrays_tasks_have_a_pattern_of_their_own() -> None:
    assert submitted_patterns(OURS, "", task=True)[1] == "slurm-%A_%a.out"
