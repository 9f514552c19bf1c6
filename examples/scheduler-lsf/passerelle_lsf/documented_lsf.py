"""LSF's programs as IBM documents them, for tests: a fake, because no LSF can be had without a licence.

Names, options, output forms and messages are those of the pages in README.md, of LSF 10.1.0, read on 2026-11-28. Jobs
are processes on this machine, and start at once; a minute of a run limit lasts a second. Run as
`documented_lsf.py DIRECTORY PROGRAM ARGUMENT...`; the directory holds a file for each job.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

PROGRAMS = ("bsub", "bjobs", "bkill", "bqueues", "bhosts", "lsid")
QUEUES = ("normal", "short")
FIRST_ID = 930
_OPTIONS = ("-cwd", "-J", "-P", "-q", "-U", "-R", "-W", "-i", "-o", "-e", "-u")
_LSID = """\
IBM Spectrum LSF Standard 10.1.0, Jan 5 2016
Copyright IBM Corp. 1992, 2022. All rights reserved.
US Government Users Restricted Rights - Use, duplication or disclosure restricted by GSA ADP Schedule Contract with IBM Corp.

My cluster name is lsf10
My master name is hosta.company.com
"""  # noqa: E501


def main(directory: Path, program: str, arguments: list[str]) -> int:
    """Run one of the programs; its exit status."""
    programs: Mapping[str, Callable[[Path, list[str]], int]] = {
        "bsub": bsub,
        "bjobs": bjobs,
        "bkill": bkill,
        "bqueues": bqueues,
        "bhosts": bhosts,
        "lsid": lsid,
        "run": run,
    }
    return programs[program](directory, arguments)


def bsub(directory: Path, arguments: list[str]) -> int:
    """Submit the script on stdin."""
    options = dict(zip(arguments[::2], arguments[1::2], strict=True))
    if unknown := set(options) - set(_OPTIONS):
        sys.stderr.write(f"{unknown}: Illegal option. Job not submitted.\n")
        return 255
    queue = options.get("-q", "normal")
    if queue not in QUEUES:
        sys.stderr.write(f"{queue}: No such queue. Job not submitted.\n")
        return 255
    job_id = str(FIRST_ID + len([*directory.glob("*.json")]))
    script = directory / f"{job_id}.sh"
    script.write_text(sys.stdin.read())
    script.chmod(0o700)
    job = {"id": job_id, "options": options, "queue": queue, "start": time.time()}
    _write(directory, job | {"pid": 0, "code": None, "end": None, "reason": ""})
    subprocess.Popen(
        (sys.executable, __file__, str(directory), "run", job_id),
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    where = f"queue <{queue}>" if "-q" in options else f"default queue <{queue}>"
    print(f"Job <{job_id}> is submitted to {where}.")
    return 0


def run(directory: Path, arguments: list[str]) -> int:
    """Be the job: run its script to its end, or to its run limit."""
    job = _read(directory, arguments[0])
    options = job["options"]
    cwd = Path(options["-cwd"])
    output = cwd / options["-o"].replace("%J", job["id"])
    limit = float(options["-W"]) if "-W" in options else None
    with (
        open(cwd / options["-i"] if "-i" in options else os.devnull) as stdin,
        output.open("a") as stdout,
        (cwd / options["-e"] if "-e" in options else output).open("a") as stderr,
    ):
        process = subprocess.Popen(
            (str(directory / f"{job['id']}.sh"),),
            cwd=cwd,
            env={**os.environ, "LSB_JOBID": job["id"]},
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
        _write(directory, job | {"pid": process.pid})
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGUSR2)
            process.wait()
            reason = "TERM_RUNLIMIT: job killed after reaching LSF run time limit"
            _write(directory, _read(directory, job["id"]) | {"reason": reason})
    code = process.returncode
    ended = {"code": code if code >= 0 else 128 - code, "end": time.time()}
    _write(directory, _read(directory, job["id"]) | ended)
    return 0


def bjobs(directory: Path, arguments: list[str]) -> int:
    """Jobs by `-o FIELDS -json`."""
    fields = arguments[arguments.index("-o") + 1].split()
    last = arguments[-1]
    if last.isdecimal():
        if not (directory / f"{last}.json").exists():
            _print("bjobs", "JOBS", [{"JOBID": last, "ERROR": f"Job <{last}> is not found"}])
            return 255
        result = [_read(directory, last)]
    else:
        result = [_read(directory, path.stem) for path in sorted(directory.glob("*.json"))]
    rows = [_row(job) for job in result]
    user = arguments[arguments.index("-u") + 1] if "-u" in arguments else "all"
    shown = [row for row in rows if last.isdecimal() or user in ("all", row["USER"])]
    _print("bjobs", "JOBS", [{name.upper(): row[name.upper()] for name in fields} for row in shown])
    return 0


def _row(job: Mapping[str, Any]) -> dict[str, str]:
    code, options = job["code"], job["options"]
    ended = code is not None
    seconds = int((job["end"] or time.time()) - job["start"])
    return {
        "JOBID": job["id"],
        "JOBINDEX": "0",
        "STAT": "RUN" if not ended else "EXIT" if code else "DONE",
        "JOB_NAME": options.get("-J", "script"),
        "USER": _user(),
        "QUEUE": job["queue"],
        "PROJ_NAME": options.get("-P", "default"),
        "EXEC_HOST": "hostA",
        "NEXEC_HOST": "1",
        "START_TIME": _time(job["start"]),
        "FINISH_TIME": _time(job["end"]) + " L" if ended else "",
        "RUN_TIME": f"{seconds} second(s)",
        "RUNTIMELIMIT": f"{float(options['-W'])}" if "-W" in options else "",
        "EXIT_CODE": str(code) if code else "",
        "EXIT_REASON": job["reason"],
        "PEND_REASON": "",
        "SUB_CWD": options["-cwd"],
        "EXEC_CWD": options["-cwd"],
    }


def bkill(directory: Path, arguments: list[str]) -> int:
    """Kill a job."""
    (job_id,) = arguments
    if not (directory / f"{job_id}.json").exists():
        sys.stderr.write(f"Job <{job_id}>: No matching job found\n")
        return 255
    job = _read(directory, job_id)
    if job["code"] is not None:
        sys.stderr.write(f"Job <{job_id}>: Job has already finished\n")
        return 255
    while not job["pid"]:
        time.sleep(0.02)
        job = _read(directory, job_id)
    _write(directory, job | {"reason": "TERM_OWNER: job killed by owner"})
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(ProcessLookupError):  # the first may have ended it
            os.killpg(job["pid"], number)
    print(f"Job <{job_id}> is being terminated")
    return 0


def bqueues(directory: Path, arguments: list[str]) -> int:
    """Queues by `-o "queue_name status max" -json`."""
    rows = [{"QUEUE_NAME": name, "STATUS": "Open:Active", "MAX": "-"} for name in QUEUES]
    _print("bqueues", "QUEUES", rows)
    return 0


def bhosts(directory: Path, arguments: list[str]) -> int:
    """Hosts by `-o "host_name status max njobs run" -json`."""
    hosts = (("hostA", "ok", "55", "2", "2"), ("hostB", "closed_Adm", "20", "16", "16"))
    names = ("HOST_NAME", "STATUS", "MAX", "NJOBS", "RUN")
    _print("bhosts", "HOSTS", [dict(zip(names, host, strict=True)) for host in hosts])
    return 0


def lsid(directory: Path, arguments: list[str]) -> int:
    """The cluster's name."""
    sys.stdout.write(_LSID)
    return 0


def _print(command: str, what: str, rows: list[dict[str, str]]) -> None:
    print(json.dumps({"COMMAND": command, what: len(rows), "RECORDS": rows}, indent=2))


def _time(seconds: float) -> str:
    return time.strftime("%b %e %H:%M", time.localtime(seconds))


def _user() -> str:
    return subprocess.run(("id", "-un"), capture_output=True, text=True, check=True).stdout.strip()


def _read(directory: Path, job_id: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((directory / f"{job_id}.json").read_text())
    return document


def _write(directory: Path, job: Mapping[str, Any]) -> None:
    new = directory / f"{job['id']}.new"
    new.write_text(json.dumps(job))
    new.replace(directory / f"{job['id']}.json")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
