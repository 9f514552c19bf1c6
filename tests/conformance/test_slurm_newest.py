"""What the slurm plugin makes of a real Slurm 26.05 where it tells other things than 22.05, value by value."""

from collections.abc import Iterator

import pytest

from passerelle.compute.scheduler import State
from passerelle.compute.schedulers.slurm import Slurm
from passerelle.runtime import caller
from tests.conformance.recordings import ReplayShell, recordings
from tests.conformance.systems import RECORDED


@pytest.fixture(autouse=True)
def alice() -> Iterator[None]:
    with caller.bind(caller.Caller("alice", "")):
        yield


def slurm(*files: str) -> Slurm:
    """Slurm with what these files of recordings tell."""
    found = [recordings(RECORDED / "slurm-26.05" / f"{file}.txt") for file in files]
    return Slurm(ReplayShell(one for several in found for one in several), Slurm.Options())


async def test_a_heterogeneous_job_has_its_components_and_their_steps() -> None:
    first, second = await slurm("squeue-het").job("53")
    assert (first.id, first.nodes, [step.id for step in first.steps]) == (
        "53+0",
        "cn01",
        ["53+0.batch"],
    )
    assert (second.id, second.nodes, second.steps) == ("53+1", "cn02", ())
    assert {first.status.state, second.status.state} == {State.RUNNING}


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
