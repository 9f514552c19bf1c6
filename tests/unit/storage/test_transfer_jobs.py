"""Transfer jobs: what is submitted, and that secrets are nowhere in it."""

import asyncio
import json
from pathlib import Path

import pytest

from passerelle.runtime.config.site import System
from passerelle.runtime.errors import (
    BackendUnavailable,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
)
from passerelle.storage.access.system_access import SystemAccess
from passerelle.storage.commands.plain_commands import PlainCommands
from passerelle.storage.config import StorageSection
from passerelle.storage.jobs.port import (
    AgentWork,
    BatchJob,
    Leftovers,
    ShellWork,
    SubmittedJob,
    TransferJobs,
    hidden_part,
)
from passerelle.storage.jobs.private_files import PrivateFiles
from passerelle.storage.staging.programs import job_program
from tests.unit.storage.bash_jobs import BashJobs
from tests.unit.storage.world import World, as_alice

SECRET = "hush-7f3a"
AGENT = """\
import json, os, sys
from passerelle.storage.staging.remote.job import log, read_parameters, remove_parameters
path = sys.argv[1]
mode = oct(os.stat(path).st_mode & 0o7777) if os.path.exists(path) else ""
parameters = read_parameters()
stays = os.path.exists(path)
remove_parameters()
log(json.dumps({
    "parameters": len(parameters["secret"]), "mode": mode, "stays": stays, "there": os.path.exists(path),
    "argv": len(sys.argv), "secret in environment": parameters["secret"] in str(os.environ),
}))
"""


class NoPrivateFiles:
    """Transfer jobs of commands need none."""

    async def put(self, directory: str, name: str, content: object) -> str:
        raise AssertionError("a private file was asked for")

    async def record(self, path: str, job_id: str) -> None:
        raise AssertionError("a private file was asked for")

    async def discard(self, path: str) -> None:
        raise AssertionError("a private file was asked for")


def system(*directives: str, work_dir: str = "{filesystem}", root: Path | None = None) -> System:
    filesystem = {"path": str(root), "data_type": "users", "default_work_dir": True}
    return System.model_validate(
        {
            "name": "lab",
            "ssh": {"host": "127.0.0.1"},
            "scheduler": {"type": "local"},
            "filesystems": [filesystem] if root else [],
            "data_operation": {"datatransfer_jobs_directives": directives, "work_dir": work_dir},
        }
    )


async def submitted(
    where: System, account: str | None = None, work: ShellWork | None = None
) -> tuple[SubmittedJob, BashJobs]:
    compute = BashJobs()
    jobs = TransferJobs(where, compute, NoPrivateFiles(), "LSB_JOBID")
    with as_alice():
        return await jobs.submit("MoveFiles", work or ShellWork("echo done\n"), account), compute


async def test_a_job_logs_where_clients_of_firecrest_look(tmp_path: Path) -> None:
    (tmp_path / "alice").mkdir()
    job, compute = await submitted(system(root=tmp_path, work_dir="{filesystem}/{user}"))
    assert job.working_directory == f"{tmp_path}/alice"
    assert Path(job.output_log).parent == Path(job.error_log).parent == tmp_path / "alice"
    assert Path(job.output_log).name.startswith(".f7t_file_handling_job_")
    assert Path(job.error_log).name.startswith(".f7t_file_handling_job_error_")
    greeting, done = Path(job.output_log).read_text().splitlines()
    assert greeting.endswith("Move Files Job (id:unknown)")
    assert (done, Path(job.error_log).read_text()) == ("done", "")
    assert [item.name for item in compute.submitted] == ["MoveFiles"]


async def test_its_log_begins_with_its_id_where_the_scheduler_tells_it(tmp_path: Path) -> None:
    job, _ = await submitted(system("export LSB_JOBID=930", root=tmp_path))
    assert Path(job.output_log).read_text().splitlines()[0].endswith("Move Files Job (id:930)")


async def test_the_sites_directives_come_first_with_the_account_in_them(tmp_path: Path) -> None:
    where = system("#SBATCH -p xfer", "#SBATCH -A {account}", root=tmp_path)
    _, compute = await submitted(where, "proj.1@lab")
    lines = compute.submitted[0].script.splitlines()
    assert lines[:3] == ["#!/bin/bash", "#SBATCH -p xfer", "#SBATCH -A proj.1@lab"]


async def test_without_an_account_it_is_the_schedulers_default_one(tmp_path: Path) -> None:
    where = system("#SBATCH -A {account}", root=tmp_path)
    compute = BashJobs(account="proj1")
    with as_alice():
        jobs = TransferJobs(where, compute, NoPrivateFiles(), "LSB_JOBID")
        for account in (None, "", "other"):
            await jobs.submit("MoveFiles", ShellWork("true\n"), account)
    lines = [job.script.splitlines()[1] for job in compute.submitted]
    assert lines == ["#SBATCH -A proj1", "#SBATCH -A proj1", "#SBATCH -A other"]


@pytest.mark.parametrize("account", [None, ""])
async def test_an_account_that_a_directive_wants_is_required(
    tmp_path: Path, account: str | None
) -> None:
    with pytest.raises(InvalidArgument, match=r"^Account parameter is required on this system\.$"):
        await submitted(system("#SBATCH -A {account}", root=tmp_path), account)


@pytest.mark.parametrize("account", ["a b", "a\nid", "-p", "a;id", "$(id)", "ä", "a" * 256])
async def test_what_is_no_account_is_refused(tmp_path: Path, account: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        await submitted(system("#SBATCH -A {account}", root=tmp_path), account)
    assert raised.value.fields[0].name == "account"


async def test_an_account_that_no_directive_wants_is_ignored(tmp_path: Path) -> None:
    _, compute = await submitted(system("#SBATCH -N 1", root=tmp_path), "a\nid")
    assert "id\n" not in compute.submitted[0].script.split("echo")[0]


async def test_a_site_that_names_no_working_directory_is_told() -> None:
    with pytest.raises(FailedPrecondition, match="default_work_dir"):
        await submitted(system())


async def agent_job(world: World, secret: str = SECRET) -> SubmittedJob:
    shared = job_program()
    return await world.parts.jobs.submit(
        "IngressFileTransfer", AgentWork(shared + AGENT, {"secret": secret}), None
    )


async def test_an_agent_finds_its_parameters_in_a_file_that_it_removes_at_its_end(
    world: World,
) -> None:
    with as_alice():
        job = await agent_job(world)
    assert world.compute.statuses == [0], Path(job.error_log).read_text()
    output = Path(job.output_log).read_text().splitlines()[-1]
    assert json.loads(output[output.index("{") :]) == {
        "parameters": len(SECRET),
        "mode": "0o600",
        "stays": True,
        "there": False,
        "argv": 2,
        "secret in environment": False,
    }
    assert SECRET not in repr(world.compute.submitted)
    assert {path.name for path in world.root.iterdir()} == {
        Path(job.output_log).name,
        Path(job.error_log).name,
    }


@pytest.mark.parametrize("secret", ["it's", "a\nb", "é" * 100_000])
async def test_parameters_are_any_json(world: World, secret: str) -> None:
    with as_alice():
        job = await agent_job(world, secret)
    assert f'"parameters": {len(secret)}' in Path(job.output_log).read_text()


async def test_an_agent_that_is_started_again_says_that_it_cannot_go_on(world: World) -> None:
    with as_alice():
        job = await agent_job(world)
    again = await asyncio.create_subprocess_exec(
        "bash", "-c", world.compute.submitted[0].script, stderr=asyncio.subprocess.PIPE
    )
    _, output = await again.communicate()
    assert again.returncode == 1
    assert b"parameters of this transfer are gone" in output
    assert job.job_id == "1"


@pytest.mark.parametrize("refusal", [BackendUnavailable("away"), DeadlineExceeded("late")])
async def test_a_submission_that_fails_leaves_no_secret(
    world: World, refusal: BackendUnavailable | DeadlineExceeded
) -> None:
    world.compute.refusal = refusal
    with as_alice(), pytest.raises(type(refusal)):
        await agent_job(world)
    assert len(world.compute.submitted) == 1  # asked once only
    assert not list(world.root.iterdir())


async def test_an_agent_that_is_killed_leaves_what_there_is_to_tidy_up(world: World) -> None:
    killed = job_program() + (
        "import os, signal\n"
        "from passerelle.storage.staging.remote.job import read_parameters\n"
        "read_parameters()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    left = Leftovers(hidden_part("/data/x"), {"key": "k"})
    with as_alice():
        await world.parts.jobs.submit("Transfer", AgentWork(killed, {"secret": SECRET}, left), None)
        [only] = await world.private.unfinished(str(world.root), (), 9)
    assert (only.job_id, only.leftovers) == ("1", left)
    assert SECRET in Path(only.path).read_text()


async def test_a_node_without_python_says_so_and_keeps_no_secret(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = tmp_path / "bin"
    bare.mkdir()
    (bare / "bash").symlink_to("/bin/bash")
    monkeypatch.setenv("PATH", str(bare))
    left = Leftovers(hidden_part("/data/x"))
    with as_alice():
        work = AgentWork("", {"secret": SECRET}, left)
        job = await world.parts.jobs.submit("IngressFileTransfer", work, None)
        [only] = await world.private.unfinished(str(world.root), (), 9)
    assert world.compute.statuses == [1]
    assert "this node has no Python 3" in Path(job.error_log).read_text()
    assert (only.job_id, only.leftovers) == ("1", left)
    assert SECRET not in Path(only.path).read_text()


async def test_a_job_whose_caller_has_gone_before_its_answer_is_ended(world: World) -> None:
    class Late(BashJobs):
        """Answers when it is told to."""

        queued, answer = asyncio.Event(), asyncio.Event()

        async def submit(self, system: str, job: BatchJob) -> str:
            self.queued.set()
            await self.answer.wait()
            return "77"

    late = Late()
    jobs = TransferJobs(world.system, late, world.private, "LSB_JOBID")
    with as_alice():
        request = asyncio.create_task(jobs.submit("Transfer", AgentWork("", {}), None))
        await late.queued.wait()
        request.cancel()
        late.answer.set()
        with pytest.raises(asyncio.CancelledError):
            await request
    assert late.cancelled == ["77"]
    assert not list(world.root.iterdir())


async def test_a_working_directory_that_cannot_be_used_is_no_missing_file(world: World) -> None:
    where = world.system.model_copy(
        update={
            "data_operation": world.system.data_operation.model_copy(
                update={"work_dir": "{filesystem}/nowhere"}
            )
        }
    )
    access = SystemAccess(world.pool, where, StorageSection(), PlainCommands)
    jobs = TransferJobs(where, world.compute, PrivateFiles(access, "lab"), "LSB_JOBID")
    with as_alice(), pytest.raises(FailedPrecondition, match="nowhere: No such file"):
        await jobs.submit("IngressFileTransfer", AgentWork("", {}), None)
    assert not world.compute.submitted
