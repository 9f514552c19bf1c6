"""The `local` scheduler, with its real programs and real processes, on this machine."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from passerelle.compute.scheduler import Job, JobDescription, JobFilter, State
from passerelle.compute.schedulers.local.scheduler import Local
from passerelle.runtime.errors import (
    ApiError,
    BackendError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unsupported,
)
from tests.unit.compute.local_shell import LocalShell

DEADLINE = 20.0  # seconds; nothing waits that long unless it is broken
# Any interpreter that a system may have: PASSERELLE_TEST_PYTHON=python3.6 make test ARGS=…
PYTHON = os.environ.get("PASSERELLE_TEST_PYTHON", sys.executable)


@pytest.fixture
def shell(tmp_path: Path) -> LocalShell:
    return LocalShell(tmp_path)


@pytest.fixture
async def local(shell: LocalShell) -> AsyncIterator[Local]:
    scheduler = Local(shell, Local.Options(python=PYTHON, kill_wait=0.2))
    yield scheduler
    for job in await scheduler.jobs(JobFilter()):
        await scheduler.cancel(job.id)


def description(home: Path, script: str = "#!/bin/sh\n", **fields: Any) -> JobDescription:
    fields.setdefault("working_directory", str(home))
    return JobDescription(script=None if "script_path" in fields else script, **fields)


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "it does not come"
        await asyncio.sleep(0.02)


async def finished(local: Local, job_id: str) -> Job:
    deadline = time.monotonic() + DEADLINE
    while not (job := (await local.job(job_id))[0]).status.state.ended:
        assert time.monotonic() < deadline, f"job {job_id} does not end"
    return job


async def ran(local: Local, job: JobDescription) -> Job:
    return await finished(local, await local.submit(job))


def record(home: Path, job_id: str) -> Any:
    return json.loads((home / f".local/state/passerelle/jobs/{job_id}/record.json").read_text())


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_a_job_runs_and_is_remembered(local: Local, tmp_path: Path) -> None:
    script = "#!/bin/sh\necho out $SLURM_JOB_ID\necho err >&2\n"
    job = await ran(local, description(tmp_path, script, name="first"))
    assert (job.id, job.name, job.partition, job.cluster) == ("1", "first", "local", "local")
    assert (job.status.state, job.status.word, job.status.reason) == (
        State.SUCCEEDED,
        "COMPLETED",
        "None",
    )
    assert (job.status.exit_code, job.status.signal) == (0, 0)
    assert (tmp_path / "job-1.out").read_text() == "out 1\nerr\n"
    assert job.time.start is not None
    assert job.time.end is not None
    assert job.time.elapsed == job.time.end - job.time.start
    assert job.nodes == os.uname().nodename
    assert (job.node_count, job.working_directory, job.account) == (1, str(tmp_path), None)
    assert [(step.id, step.name) for step in job.steps] == [("1.batch", "batch")]
    metadata = await local.metadata("1")
    assert metadata.script == script
    assert metadata.standard_input == "/dev/null"
    assert metadata.standard_output == metadata.standard_error == str(tmp_path / "job-1.out")


async def test_a_submitted_job_is_running_at_once(local: Local, tmp_path: Path) -> None:
    job_id = await local.submit(description(tmp_path, "#!/bin/sh\nsleep 60\n", time_limit=600))
    [job] = await local.job(job_id)
    assert (job.status.word, job.time.end, job.time.limit) == ("RUNNING", None, 600)
    assert job.steps[0].status.word == "RUNNING"


async def test_what_a_job_leaves_is_private(local: Local, tmp_path: Path) -> None:
    job_id = await local.submit(description(tmp_path, environment={"TOKEN": "s3cret"}))
    await finished(local, job_id)
    jobs = tmp_path / ".local/state/passerelle/jobs"
    assert jobs.stat().st_mode & 0o777 == 0o700
    paths = list((jobs / job_id).iterdir())
    assert sorted(path.name for path in paths) == ["record.json", "script"]
    assert all(path.stat().st_mode & 0o077 == 0 for path in [jobs / job_id, *paths])
    assert not [path for path in paths if "s3cret" in path.read_text()]


async def test_nothing_secret_is_in_argv(local: Local, shell: LocalShell, tmp_path: Path) -> None:
    script = "#!/bin/sh\n# hidden in the script\ncat /proc/$PPID/cmdline\n"
    job_id = await local.submit(description(tmp_path, script, environment={"TOKEN": "s3cret"}))
    await finished(local, job_id)
    observed = "".join(shell.lines) + (tmp_path / f"job-{job_id}.out").read_text()
    assert "python" in observed
    assert "s3cret" not in observed
    assert "hidden" not in observed


@pytest.mark.parametrize(
    ("last", "code", "number"), [("exit 3", 3, 0), ("kill -9 $$", 0, 9), ("kill -TERM $$", 0, 15)]
)
async def test_failures_tell_how(
    local: Local, tmp_path: Path, last: str, code: int, number: int
) -> None:
    job = await ran(local, description(tmp_path, f"#!/bin/sh\n{last}\n"))
    assert (job.status.state, job.status.word) == (State.FAILED, "FAILED")
    assert (job.status.exit_code, job.status.signal) == (code, number)


async def test_a_missing_interpreter_fails_the_job(local: Local, tmp_path: Path) -> None:
    job = await ran(local, description(tmp_path, "#!/no/such/interpreter\n"))
    assert (job.status.word, job.status.exit_code) == ("FAILED", 127)
    assert "No such file" in (tmp_path / "job-1.out").read_text()


async def test_the_environment_is_the_login_s_and_the_given_one_exactly(
    local: Local, tmp_path: Path
) -> None:
    variables = {
        "A": "two\nlines",
        "B": 'it\'s "quoted" $HOME `id`',
        "C": "日本 é",
        "D": "",
        "E": "a=b,c",
    }
    script = f"#!{sys.executable}\nimport json, os\nprint(json.dumps(dict(os.environ)))\n"
    await ran(local, description(tmp_path, script, environment=variables))
    observed = json.loads((tmp_path / "job-1.out").read_text())
    assert {name: observed[name] for name in variables} == variables
    assert (observed["FROM_LOGIN"], observed["PASSERELLE_JOB_ID"]) == ("yes", "1")
    assert "LC_ALL" not in observed


async def test_streams_go_where_they_are_asked_to(local: Local, tmp_path: Path) -> None:
    (tmp_path / "in put").write_text("fed")
    job = description(
        tmp_path,
        "#!/bin/sh\ncat\necho err >&2\n",
        standard_input="in put",
        standard_output="out-%j-100%%.txt",
        standard_error=str(tmp_path / "err é"),
    )
    await ran(local, job)
    assert (tmp_path / "out-1-100%.txt").read_text() == "fed"
    assert (tmp_path / "err é").read_text() == "err\n"


async def test_output_of_a_pipe_that_nobody_reads_is_refused(local: Local, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidArgument, match="No such device"):
        await local.submit(description(tmp_path, standard_output="pipe"))


async def test_programs_get_their_signals_as_usual(local: Local, tmp_path: Path) -> None:
    await ran(local, description(tmp_path, "#!/bin/sh\ngrep -E 'Sig(Blk|Ign)' /proc/self/status\n"))
    masks = [line.split()[1] for line in (tmp_path / "job-1.out").read_text().splitlines()]
    # Signals 32 and 33 are the C library's own: whoever started the tests may have left them ignored, and nobody may
    # change that (signal(7)).
    ours = ~(0b11 << 31)
    assert [int(mask, 16) & ours for mask in masks] == [0, 0]


@pytest.mark.parametrize(
    "name", ["a'; touch pwned; '", "$(touch pwned)", "../../x", 'q"\n\\', "日本"]
)
async def test_hostile_names_are_just_names(local: Local, tmp_path: Path, name: str) -> None:
    job = await ran(local, description(tmp_path, name=name))
    assert job.name == name
    assert [one_job.name for one_job in await local.jobs(JobFilter(name=name))] == [name]
    assert not list(tmp_path.rglob("pwned"))


async def test_a_script_may_be_large(local: Local, tmp_path: Path) -> None:
    script = "#!/bin/sh\n" + "# filling\n" * (1024 * 1024 // 10) + "echo end\n"
    await ran(local, description(tmp_path, script))
    assert (tmp_path / "job-1.out").read_text() == "end\n"
    assert (await local.metadata("1")).script == script


async def test_a_script_on_the_system(local: Local, tmp_path: Path) -> None:
    (tmp_path / "my job.sh").write_bytes(b"#!/bin/sh\n#SBATCH -o frompath.txt\necho yes # \xff\n")
    job = await ran(local, description(tmp_path, script_path=str(tmp_path / "my job.sh")))
    assert job.name == "my job.sh"
    assert (tmp_path / "frompath.txt").read_text() == "yes\n"
    assert "�" in ((await local.metadata("1")).script or "")


async def test_explicit_fields_win_over_directives(local: Local, tmp_path: Path) -> None:
    script = "#!/bin/sh\n#SBATCH -J theirs --time=1:00\n#SBATCH --output=out.txt\n"
    job = await ran(local, description(tmp_path, script, name="ours"))
    assert (job.name, job.time.limit) == ("ours", 60)
    assert (tmp_path / "out.txt").exists()


REFUSALS = [
    ({"working_directory": "/no/such"}, "working_directory", "/no/such: No such file"),
    ({"script_path": "/no/such.sh"}, "script_path", "No such file or directory: /no/such.sh"),
    ({"script_path": "/dev/zero"}, "script_path", "Not a regular file"),
    ({"script": "echo hi\n"}, "script", "does not look like a batch script"),
    ({"script": ""}, "script", "does not look like a batch script"),
    ({"script": "#!/bin/sh\r\n"}, "script", "DOS line breaks"),
    ({"script": "#!/bin/sh\n\0"}, "script", "NUL"),
    ({"script": "#!/bin/sh\n#SBATCH -t soon\n"}, "script", "Invalid time limit: soon"),
    ({"standard_output": "no/such/dir"}, "standard_output", "No such file"),
    ({"standard_input": "none"}, "standard_input", "No such file"),
    ({"partition": "gpu"}, "partition", "Invalid partition: gpu"),
    ({"reservation": "r"}, "reservation", "no reservations"),
    ({"constraints": "gpu"}, "constraints", "no node features"),
]


@pytest.mark.parametrize(("fields", "name", "words"), REFUSALS)
async def test_what_is_wrong_is_named(
    local: Local, tmp_path: Path, fields: dict[str, Any], name: str, words: str
) -> None:
    with pytest.raises(InvalidArgument, match=words) as refused:
        await local.submit(description(tmp_path, **fields))
    assert [field.name for field in refused.value.fields] == [f"job.{name}"]
    assert await local.jobs(JobFilter()) == ()
    assert not list(tmp_path.glob(".local/state/passerelle/jobs/*"))


async def test_job_arrays_are_unsupported(local: Local, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="--array"):
        await local.submit(description(tmp_path, "#!/bin/sh\n#SBATCH --array=0-3\n"))


async def test_ids_are_not_given_twice(local: Local, tmp_path: Path) -> None:
    jobs = [local.submit(description(tmp_path, "#!/bin/sh\nsleep 60\n")) for _ in range(64)]
    ids = await asyncio.gather(*jobs)
    assert len(set(ids)) == 64
    assert [job.id for job in await local.jobs(JobFilter())] == sorted(ids, key=int)
    await asyncio.gather(*(local.cancel(job_id) for job_id in ids))


async def test_cancel_ends_all_processes(local: Local, tmp_path: Path) -> None:
    script = "#!/bin/bash\nset -m\ntrap '' TERM\nsleep 61 & timeout 62 sleep 63 &\necho $$ $! > pids\nwait\n"
    job_id = await local.submit(description(tmp_path, script))
    await until(lambda: (tmp_path / "pids").exists() and bool((tmp_path / "pids").read_text()))
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    await local.cancel(job_id)
    job = await finished(local, job_id)
    assert (job.status.state, job.status.word) == (State.CANCELLED, "CANCELLED")
    assert (job.status.exit_code, job.status.signal) == (0, 0)
    assert job.steps[0].status.signal == 9  # it ignored TERM
    assert not [pid for pid in pids if alive(pid)]
    await local.cancel(job_id)
    assert (await local.job(job_id))[0] == job


async def test_a_stopped_job_is_cancelled_by_term(local: Local, tmp_path: Path) -> None:
    job_id = await local.submit(description(tmp_path, "#!/bin/sh\nkill -STOP $$\nsleep 60\n"))
    leader = record(tmp_path, job_id)["leader"][0]
    await until(lambda: ") T " in Path(f"/proc/{leader}/stat").read_text())
    await local.cancel(job_id)
    assert (await finished(local, job_id)).steps[0].status.signal == signal.SIGTERM


async def test_a_time_limit_ends_the_job(local: Local, tmp_path: Path) -> None:
    job = await ran(local, description(tmp_path, "#!/bin/sh\nsleep 60\n", time_limit=1))
    assert (job.status.state, job.status.word) == (State.TIMEOUT, "TIMEOUT")
    assert (job.steps[0].status.word, job.steps[0].status.signal) == ("CANCELLED", 15)
    assert job.time.limit == 1


async def test_the_default_time_limit(shell: LocalShell, tmp_path: Path) -> None:
    local = Local(shell, Local.Options(python=PYTHON, default_time_limit=90))
    assert (await ran(local, description(tmp_path))).time.limit == 90
    assert (await ran(local, description(tmp_path, "#!/bin/sh\n#SBATCH -t 2\n"))).time.limit == 120
    assert (await ran(local, description(tmp_path, "#!/bin/sh\n#SBATCH -t 0\n"))).time.limit is None


async def test_what_a_script_leaves_behind_ends_with_it(local: Local, tmp_path: Path) -> None:
    await ran(local, description(tmp_path, "#!/bin/sh\nsleep 60 &\necho $! > pid\n"))
    assert not alive(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("job_id", ["7", "0", "01", "abc", "../1", "1;id", "9" * 300, "", "１"])
async def test_unknown_jobs_are_not_found(local: Local, tmp_path: Path, job_id: str) -> None:
    await ran(local, description(tmp_path))
    for call in (local.job, local.metadata, local.cancel):
        with pytest.raises(NotFound, match="Job not found"):
            await call(job_id)
    with pytest.raises(NotFound):
        await local.attach(job_id, "true")


async def test_attach_runs_beside_the_job(local: Local, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    script = "#!/bin/sh\nsleep 60\n"
    job = description(
        tmp_path, script, environment={"A": "it's"}, working_directory=f"{tmp_path}/work"
    )
    job_id = await local.submit(job)
    await local.attach(job_id, 'echo "$A" $SLURM_JOB_ID > attached; cat; echo lots; echo more >&2')
    assert (tmp_path / "work/attached").read_text() == f"it's {job_id}\n"
    with pytest.raises(FailedPrecondition, match="exit status 3"):
        await local.attach(job_id, "exit 3")
    await local.cancel(job_id)
    with pytest.raises(FailedPrecondition, match="not running"):
        await local.attach(job_id, "true")


async def test_a_killed_runner_is_noticed(local: Local, tmp_path: Path) -> None:
    job_id = await local.submit(description(tmp_path, "#!/bin/sh\nsleep 60\n"))
    pids = {role: record(tmp_path, job_id)[role][0] for role in ("runner", "leader")}
    os.kill(pids["runner"], signal.SIGKILL)
    await until(lambda: not alive(pids["runner"]))
    [job] = await local.job(job_id)
    assert (job.status.state, job.status.word) == (State.FAILED, "FAILED")
    assert job.status.reason == "NodeFail"
    assert job.time.end is not None
    await local.cancel(job_id)
    assert not alive(pids["leader"])


async def test_a_terminated_runner_takes_its_job_along(local: Local, tmp_path: Path) -> None:
    job_id = await local.submit(description(tmp_path, "#!/bin/sh\nsleep 60\n"))
    os.kill(record(tmp_path, job_id)["runner"][0], signal.SIGTERM)
    job = await finished(local, job_id)
    assert (job.status.word, job.status.reason) == ("FAILED", "NodeFail")
    assert not alive(record(tmp_path, job_id)["leader"][0])


async def test_jobs_are_filtered(local: Local, tmp_path: Path) -> None:
    for name in ("a", "b", "a"):
        await ran(local, description(tmp_path, name=name))
    me = (await local.user_info()).user.name
    observed = {
        "all": JobFilter(),
        "a": JobFilter(name="a"),
        "mine": JobFilter(user=me, name="", account=""),
        "theirs": JobFilter(user="somebody"),
        "charged": JobFilter(account="project"),
    }
    ids = {key: [job.id for job in await local.jobs(wanted)] for key, wanted in observed.items()}
    everything = ["1", "2", "3"]
    assert ids == {
        "all": everything,
        "a": ["1", "3"],
        "mine": everything,
        "theirs": [],
        "charged": [],
    }


async def test_the_machine(local: Local, tmp_path: Path) -> None:
    [idle] = await local.nodes()
    assert (idle.name, idle.cpus, idle.states) == (os.uname().nodename, os.cpu_count(), ("IDLE",))
    assert idle.memory is not None
    assert 0 < (idle.free_memory or 0) < idle.memory
    await local.submit(description(tmp_path, "#!/bin/sh\nsleep 60\n"))
    [busy] = await local.nodes()
    assert busy.states == (("MIXED",) if busy.cpus > 1 else ("ALLOCATED",))
    assert (busy.allocated_cpus, busy.idle_cpus) == (1, busy.cpus - 1)
    [partition] = await local.partitions()
    assert (partition.name, partition.state, partition.cpus) == ("local", "UP", busy.cpus)
    assert await local.reservations() == ()
    assert os.uname().nodename in await local.ping()


async def test_the_user(local: Local) -> None:
    user_info = await local.user_info()
    assert user_info.user.id == str(os.getuid())
    assert user_info.group.id == str(os.getgid())
    assert {int(group.id) for group in user_info.groups} == {os.getgid(), *os.getgroups()}
    assert user_info.accounts is None


async def test_noise_of_login_scripts_is_passed_over(tmp_path: Path) -> None:
    noisy = tmp_path / "python"
    noisy.write_text(f'#!/bin/sh\necho "Welcome!"\nexec {PYTHON} "$@"\n')
    noisy.chmod(0o700)
    assert (
        "local scheduler"
        in await Local(LocalShell(tmp_path), Local.Options(python=str(noisy))).ping()
    )


async def test_a_system_without_python_is_named(shell: LocalShell) -> None:
    with pytest.raises(ApiError, match=r"exit status 127.*no-such-python") as failed:
        await Local(shell, Local.Options(python="no-such-python")).ping()
    assert type(failed.value) is BackendError


async def test_a_directory_open_to_others_is_refused(shell: LocalShell, tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(BackendError, match="not the user's alone"):
        await Local(shell, Local.Options(python=PYTHON, directory="~/open")).submit(
            description(tmp_path)
        )


@pytest.mark.parametrize("options", [{"keep_day": 3}, {"kill_wait": -1}, {"directory": "jobs"}])
def test_wrong_options_stop_the_start(shell: LocalShell, options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Local.Options(**options)
