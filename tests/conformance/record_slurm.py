"""Records `recorded/slurm-22.05` anew, as root on a machine where Slurm runs and has the users alice and bob.

    python -m tests.conformance.record_slurm [id of a job that slurmctld has forgotten]

It submits jobs that come to every state (a time limit takes a minute), asks the plugin everything about them, and
writes down what the commands answered.
"""

import asyncio
import datetime
import json
import subprocess
import sys
from collections.abc import Awaitable, Iterable
from pathlib import Path
from typing import Any

from passerelle.compute.scheduler import JobDescription, JobFilter
from passerelle.compute.schedulers.slurm import Slurm
from passerelle.runtime import caller
from passerelle.runtime.command import Command, Output, T
from passerelle.runtime.errors import ApiError
from tests.conformance.recordings import Recording, mark_of, marked
from tests.lines import line_of

DIRECTORY = Path(__file__).parent / "recorded" / "slurm-22.05"
HOSTILE_NAME = "a|b=c \"q\" 's'\nJobId=1 JobName=forged\t日本"
SLEEP = "#!/bin/bash\nsleep 900\n"


class RecordingShell:
    """Runs commands as a user, and records their first answers."""

    def __init__(self, system: str) -> None:
        self._system = system
        self.recordings: dict[tuple[str, ...], Recording] = {}

    async def run(self, command: Command[T]) -> T:
        """See `Shell.run`."""
        user = caller.current().username
        process = await asyncio.create_subprocess_exec(
            *("su", "--login", user, "--command", line_of(command)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        stdout, stderr = await process.communicate(command.stdin.encode())
        output = Output(process.returncode or 0, stdout.decode(), stderr.decode())
        self._keep(command, output)
        return command.result(output)

    def _keep(self, command: Command[Any], output: Output) -> None:
        mark = mark_of(command.argv)
        reported = output.stdout.replace(mark, "{mark}") if mark else output.stdout
        recorded_output = Output(output.status, reported, output.stderr)
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        argv = marked(command.argv)
        self.recordings.setdefault(argv, Recording(self._system, today, argv, recorded_output))


def _script(*lines: str) -> str:
    return "\n".join(("#!/bin/bash", *lines, ""))


JOBS: dict[str, dict[str, Any]] = {
    "succeeded": {"script": _script("echo hello")},
    "failed": {"script": _script("srun --overlap true", "exit 3")},
    "signalled": {"script": _script("kill -TERM $$")},
    "timeout": {"script": SLEEP, "time_limit": 60},
    "cancelled": {"script": SLEEP},
    "running": {"script": _script("srun --overlap true", "srun --overlap sleep 900")},
    "suspended": {"script": SLEEP},
    "hostile": {"script": SLEEP, "name": HOSTILE_NAME},
    "pending": {"script": _script("#SBATCH --begin=now+1hour", "true"), "time_limit": 93784},
    "held": {"script": _script("#SBATCH --hold", "true")},
    "dropped": {"script": _script("#SBATCH --begin=now+1hour", "true")},
    "array": {"script": _script("#SBATCH --array=0-2", "exit $SLURM_ARRAY_TASK_ID")},
    "array_waiting": {"script": _script("#SBATCH --array=1-4%1", "sleep 900")},
    "array_dropped": {
        "script": _script("#SBATCH --array=5-7", "#SBATCH --begin=now+1hour", "true")
    },
}
MISTAKES: tuple[dict[str, Any], ...] = (
    {"account": "nosuch"},
    {"account": "tiny"},  # its limit of submitted jobs is 0
    {"partition": "nosuch"},
    {"constraints": "nosuch"},
    {"reservation": "nosuch"},
    {"script": "echo no shebang\n", "name": "no shebang"},
    {"script": "#!/bin/bash\r\n", "name": "DOS"},
    {"script": "#!/bin/bash\n#SBATCH --nosuch=1\n", "name": "directive"},
    {"script": None, "script_path": "/home/alice/nosuch.sh"},
)


def described(**fields: Any) -> JobDescription:
    """A job to submit, with defaults for missing fields."""
    return JobDescription(**{"working_directory": "/tmp", "script": SLEEP, **fields})


async def _print_error_of(call: Awaitable[Any]) -> None:
    """Ask, whatever the answer."""
    try:
        await call
    except ApiError as error:
        print("  error:", error)


async def _submit(slurm: Slurm) -> dict[str, str]:
    jobs = {
        kind: await slurm.submit(described(**{"name": kind, **fields}))
        for kind, fields in JOBS.items()
    }
    with caller.bind(caller.Caller("bob", "")):
        jobs["foreign"] = await slurm.submit(described(name="foreign"))
    return jobs


async def _ask(slurm: Slurm, jobs: dict[str, str]) -> None:
    for job_id in (*jobs.values(), "99999999"):
        await _print_error_of(slurm.job(job_id))
        await _print_error_of(slurm.metadata(job_id))
    await _print_error_of(slurm.job(f"{jobs['array_waiting']}_1"))
    for wanted in (JobFilter(user="alice"), JobFilter(), JobFilter(user="alice", account="tiny")):
        await _print_error_of(slurm.jobs(wanted))
    for call in (slurm.nodes, slurm.partitions, slurm.reservations, slurm.user_info, slurm.ping):
        await _print_error_of(call())
    for job_id in (jobs["foreign"], jobs["succeeded"], jobs["pending"], "99999999"):
        await _print_error_of(slurm.attach(job_id, "true"))
        await _print_error_of(slurm.cancel(job_id))
    await _print_error_of(slurm.attach(jobs["running"], "exit 3"))
    await _print_error_of(slurm.cancel(jobs["hostile"]))
    for mistake in MISTAKES:
        await _print_error_of(slurm.submit(described(**mistake)))


async def _as_root(*argv: str) -> str:
    process = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE)
    stdout, _ = await process.communicate()
    return stdout.decode().strip()


def _write(recordings: Iterable[Recording], jobs: dict[str, str]) -> None:
    for file in DIRECTORY.glob("*"):
        file.unlink()
    for number, recording in enumerate(recordings):
        recording.write(DIRECTORY / f"{number:03}.txt")
    (DIRECTORY / "jobs.json").write_text(json.dumps(jobs, indent=1) + "\n")


async def main(forgotten: str | None = None) -> None:
    """Record everything."""
    shell = RecordingShell(await _as_root("sinfo", "--version"))
    slurm = Slurm(shell, Slurm.Options())
    with caller.bind(caller.Caller("alice", "")):
        jobs = await _submit(slurm)
        await asyncio.sleep(5)
        for kind in ("cancelled", "dropped", "array_dropped"):
            await slurm.cancel(jobs[kind])
        await _as_root("scontrol", "suspend", jobs["suspended"])
        await asyncio.sleep(100)
        if forgotten is not None:
            jobs["forgotten"] = forgotten
        await _ask(slurm, jobs)
    await _as_root("scancel", *jobs.values())
    _write(shell.recordings.values(), jobs)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
