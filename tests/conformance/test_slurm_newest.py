"""What the slurm plugin makes of a real Slurm 26.05 where it tells other things than 22.05, value by value."""

import pytest

from passerelle.compute.schedulers.slurm import Slurm
from passerelle.compute.schedulers.slurm.stream_paths import (
    PatternValues,
    Streams,
    expanded,
    streams,
)
from tests.conformance.recordings import RECORDED, ReplayShell, recordings

pytestmark = pytest.mark.usefixtures("alice")


def slurm(*files: str) -> Slurm:
    """Slurm with what these files of recordings tell."""
    recordings_of_files = [recordings(RECORDED / "slurm-26.05" / f"{file}.txt") for file in files]
    return Slurm(
        ReplayShell(one for several in recordings_of_files for one in several), Slurm.Options()
    )


async def test_errors_go_where_the_output_goes_unless_they_have_a_path() -> None:
    scheduler = slurm("scontrol-show-job", "scontrol-write-batch-script")
    array = await scheduler.metadata("51")
    assert array.standard_output == array.standard_error == "/home/alice/slurm-51_0.out"
    task = await scheduler.metadata("51_1")
    assert task.standard_output == task.standard_error == "/home/alice/slurm-51_1.out"
    whole = await scheduler.metadata("53")
    assert whole.standard_output == whole.standard_error == "/home/alice/slurm-53.out"
    assert {array.script, task.script} == {
        "#!/bin/bash\n#SBATCH --array=0-3%2\n#SBATCH --time=20\nsleep 900\n"
    }


def told_of_streams(state: str) -> dict[str, list[str]]:
    """What sacct told of the streams of jobs that slurmctld has forgotten, by the job's id."""
    (only,) = (
        one
        for one in recordings(RECORDED / "slurm-26.05" / "sacct-streams.txt")
        if one.state.startswith(state)
    )
    rows = [line.split("|") for line in only.output.stdout.splitlines()]
    return {row[0]: row[1:] for row in rows if row[0] and "." not in row[0]}


def test_patterns_mean_what_slurm_itself_makes_of_them() -> None:
    patterns, paths = told_of_streams("without"), told_of_streams("jobs that slurmctld")
    assert patterns["75"][1] == "/home/alice/o-%j.txt"
    for job_id in patterns.keys() & paths.keys():
        place = PatternValues(job_id, None, None, "stderr", "alice", "cn02", paths[job_id][3])
        source, output, errors = patterns[job_id][:3]
        assert streams((source, output, errors), place) == Streams(*paths[job_id][:3])
    task = PatternValues("146", "145", "1", "nonl", "alice", "cn01", "/home/alice")
    assert expanded("slurm-%A_%a.out", task) == paths["145_1"][1]
