"""A submit whose answer is lost on its way: the id all the same, if there is a job. On a real Slurm and OpenSSH."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from passerelle.compute.scheduler import JobDescription, JobFilter, Refused
from passerelle.compute.schedulers.slurm import Slurm
from passerelle.compute.schedulers.slurm.submission import (
    Session,
    submit_command,
    submitted_command,
)
from passerelle.runtime import caller
from passerelle.runtime.command import Command, Shell, T
from passerelle.runtime.errors import BackendError, BackendUnavailable, ConnectionFailed
from tests.cluster import Cluster
from tests.cluster_shell import cluster_shell

TIMED_OUT = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
TAKEN = '/usr/bin/sbatch "$@" >&3\n'
FULL = "sbatch: error: Slurm job queue full, sleeping and retrying"


class Behind:
    """A shell in whose login `directory` stands first in PATH, and also is the home."""

    def __init__(self, shell: Shell, directory: Path) -> None:
        self._shell = shell
        self._directory = directory

    async def run(self, command: Command[T]) -> T:
        """See `Shell.run`."""
        path = f"PATH={self._directory}:/usr/local/bin:/usr/bin:/bin"
        home = f"HOME={self._directory}"
        return await self._shell.run(replace(command, argv=("env", path, home, *command.argv)))


@pytest.fixture
async def slurm(cluster: Cluster, directory: Path) -> AsyncIterator[Slurm]:
    with caller.bind(caller.Caller("alice", "")):
        async with cluster_shell(cluster) as shell:
            yield Slurm(Behind(shell, directory), Slurm.Options())


def stand_in(directory: Path, text: str) -> None:
    """A program in place of sbatch; `/usr/bin/sbatch` is the real one, and its output goes into a file."""
    program = directory / "sbatch"
    program.write_text(f"#!/bin/bash\nexec 3>>{directory}/said\n{text}")
    program.chmod(0o755)


@pytest.mark.parametrize(
    "end",
    [
        f"echo '{TIMED_OUT}' >&2; exit 1",
        "echo 'sbatch: error: the site asks for a project, next time' >&2; exit 1",
        "exec sleep 60",
        "echo Welcome",  # in place of the id
    ],
)
@pytest.mark.parametrize(
    "more", ["", "#SBATCH --array=0-3\n", "#SBATCH -n1\n#SBATCH hetjob\n#SBATCH -n1\n"]
)
async def test_a_job_that_was_taken_is_answered_with_its_id(
    slurm: Slurm, directory: Path, end: str, more: str
) -> None:
    stand_in(directory, TAKEN + end)
    script = f"#!/bin/bash\n#SBATCH --begin=now+1hour\n{more}true\n"
    job = JobDescription(str(directory), script=script, environment={"A": "b"})
    job_id = await slurm.submit(job)
    assert (directory / "said").read_text() == f"{job_id}\n"
    await slurm.cancel(job_id)


@pytest.mark.parametrize(
    "text",
    [f"echo '{TIMED_OUT}' >&2; exit 1", f"echo '{FULL}' >&2; exec sleep 60", "exec sleep 60"],
)
async def test_without_a_job_it_is_to_be_tried_again(
    slurm: Slurm, directory: Path, text: str
) -> None:
    stand_in(directory, text)
    with pytest.raises(BackendUnavailable):
        await slurm.submit(JobDescription(str(directory), name="doubtful", script="#!/bin/sh\n"))
    assert not await slurm.jobs(JobFilter(user="alice", name="doubtful"))


# In a stand-in for sbatch: the login's process of sshd ends as it does when the connection breaks.
LOGIN = """
read -r _ _ _ _ _ session _ </proc/$$/stat
read -r _ _ _ login _ </proc/$session/stat
"""
BREAK = LOGIN + "kill -KILL $login\n"


@pytest.mark.parametrize("noise", ["echo Welcome", "printf '\\033]0;title\\a'", "echo session 1"])
async def test_what_bash_itself_prints_is_no_answer(
    slurm: Slurm, directory: Path, noise: str
) -> None:
    (directory / ".bashrc").write_text(f"{noise}\n")
    script = "#!/bin/sh\n#SBATCH --begin=now+1hour\n"
    for end in (f"echo '{TIMED_OUT}' >&2; exit 1", f"{BREAK}exec sleep 60"):
        stand_in(directory, TAKEN + end)
        job_id = await slurm.submit(JobDescription("/tmp", script=script))
        assert (directory / "said").read_text().split()[-1] == job_id
        await slurm.cancel(job_id)


@pytest.mark.parametrize("environment", [{}, {"A": "b" * 100_000}])
@pytest.mark.parametrize("more", ["", "#SBATCH --array=0-3\n"])
async def test_a_job_that_was_taken_when_the_connection_broke(
    slurm: Slurm, directory: Path, more: str, environment: dict[str, str]
) -> None:
    stand_in(directory, f"{TAKEN}{BREAK}exec sleep 60")
    script = f"#!/bin/bash\n#SBATCH --begin=now+1hour\n{more}true\n"
    job_id = await slurm.submit(
        JobDescription(str(directory), script=script, environment=environment)
    )
    assert (directory / "said").read_text() == f"{job_id}\n"
    await slurm.cancel(job_id)


async def test_a_connection_that_breaks_before_the_job_is_taken(
    slurm: Slurm, directory: Path
) -> None:
    stand_in(directory, f"{BREAK}sleep 60\n{TAKEN}")
    with pytest.raises(ConnectionFailed, match=r"was lost\. Slurm has no such job\.$"):
        await slurm.submit(JobDescription(str(directory), name="broken", script="#!/bin/sh\n"))
    assert not await slurm.jobs(JobFilter(user="alice", name="broken"))


@pytest.mark.parametrize("seconds", [0.3, 0.8, 1.1, 4])
async def test_an_sbatch_that_goes_on_without_the_connection(
    slurm: Slurm, directory: Path, seconds: float
) -> None:
    """No signal but KILL ends it: whether it comes to submit the job or not, the answer is true."""
    stand_in(directory, f"trap '' TERM; {BREAK}sleep {seconds}\n{TAKEN}")
    name = f"late-{seconds}-{os.getpid()}"
    script = "#!/bin/sh\n#SBATCH --begin=now+1hour\n"
    try:
        answered, reported = (
            [await slurm.submit(JobDescription("/tmp", name=name, script=script))],
            "",
        )
    except ConnectionFailed as error:
        answered, reported = [], error.detail
    assert "not known" not in reported
    await asyncio.sleep(seconds)
    queued = [job.id for job in await slurm.jobs(JobFilter(user="alice", name=name))]
    for job_id in queued:
        await slurm.cancel(job_id)
    assert queued == answered


async def test_a_job_of_an_earlier_session_with_the_same_number_is_another(
    slurm: Slurm, cluster: Cluster
) -> None:
    """Session numbers are numbers of processes, which come again."""
    sessions: list[Session] = []
    script = "#!/bin/sh\n#SBATCH --begin=now+1hour\n"
    command = submit_command(JobDescription("/tmp", script=script), "number", sessions.append)
    async with cluster_shell(cluster) as shell:
        job_id = await shell.run(command)
        assert await shell.run(submitted_command(sessions[0])) == {job_id}
        await asyncio.sleep(3.1)
        later = replace(sessions[0], since=int(time.time()))
        assert not await shell.run(submitted_command(later))
        assert await shell.run(submitted_command(sessions[0])) == {job_id}
    await slurm.cancel(job_id)


@pytest.mark.parametrize(
    ("number", "host"),
    [
        (os.getpid(), socket.gethostname()),  # it goes on
        (1 << 22, "another"),  # the question came to another login node
    ],
    ids=["goes on", "elsewhere"],  # the same for all workers
)
async def test_a_session_that_may_still_submit_leaves_it_open(
    cluster: Cluster, number: int, host: str
) -> None:
    session = Session(str(number), host, int(time.time()))
    with caller.bind(caller.Caller("alice", "")):
        async with cluster_shell(cluster) as shell:
            with pytest.raises(BackendError, match="has not ended"):
                await shell.run(submitted_command(session))


async def test_a_refusal_is_in_doubt_when_nobody_can_tell(slurm: Slurm, directory: Path) -> None:
    """A site's own sbatch can fail when Slurm has taken the job."""
    squeue = directory / "squeue"
    squeue.write_text("#!/bin/sh\nexit 1\n")
    squeue.chmod(0o755)
    stand_in(directory, f"{TAKEN}echo 'sbatch: error: a project is needed' >&2; exit 1")
    script = "#!/bin/sh\n#SBATCH --begin=now+1hour\n"
    with pytest.raises(Refused, match="look for it before you submit it again"):
        await slurm.submit(JobDescription("/tmp", script=script))
    await slurm.cancel((directory / "said").read_text().strip())


async def test_when_nobody_can_tell_the_error_says_so(slurm: Slurm, directory: Path) -> None:
    squeue = directory / "squeue"
    squeue.write_text("#!/bin/sh\necho 'slurm_load_jobs error: Invalid user id' >&2; exit 1\n")
    squeue.chmod(0o755)
    stand_in(directory, f"{BREAK}exec sleep 60")
    with pytest.raises(ConnectionFailed, match="look for it before you submit it again") as raised:
        await slurm.submit(JobDescription(str(directory), name="broken", script="#!/bin/sh\n"))
    assert raised.value.retry_after is None


async def test_half_a_script_is_never_submitted(slurm: Slurm, directory: Path) -> None:
    """The connection breaks while sbatch, which no signal ends at once, reads the script."""
    half = f"head -c 1000000 >{directory}/half; {BREAK}cat >>{directory}/half"
    stand_in(directory, f"trap '' TERM; {half}; /usr/bin/sbatch \"$@\" <{directory}/half >&3")
    script = "#!/bin/sh\n#SBATCH --begin=now+1hour\n" + "# a long way\n" * 200_000
    with pytest.raises(ConnectionFailed, match="Slurm has no such job"):
        await slurm.submit(JobDescription(str(directory), name="broken", script=script))
    assert not await slurm.jobs(JobFilter(user="alice", name="broken"))


@pytest.mark.parametrize("delay", [0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.15])
async def test_whenever_the_connection_breaks_the_answer_is_true(
    cluster: Cluster, delay: float, tmp_path: Path
) -> None:
    """The delay only spreads the breaks over a submit: what is asserted holds for each moment."""
    name = f"break-{delay}-{os.getpid()}"
    with caller.bind(caller.Caller("alice", "")):
        async with cluster_shell(cluster) as shell:
            slurm = Slurm(shell, Slurm.Options())
            login = int(await shell.run(Command(("bash", "-c", f"{LOGIN}echo $login"), str)))
            script = "#!/bin/sh\n#SBATCH --begin=now+1hour\n"
            submitting = asyncio.create_task(
                slurm.submit(JobDescription("/tmp", name=name, script=script))
            )
            await asyncio.sleep(delay)
            with suppress(ProcessLookupError):
                os.kill(login, signal.SIGKILL)
            try:
                answered, reported = [await submitting], ""
            except ConnectionFailed as error:
                answered, reported = [], error.detail
            assert "not known" not in reported
            queued = [job.id for job in await slurm.jobs(JobFilter(user="alice", name=name))]
            assert queued == answered
            for job_id in queued:
                await slurm.cancel(job_id)
