"""Slurm's job ids: `77`, `9_1` for a task of an array, `53+0` for a component of a heterogeneous job."""

import re

from passerelle.compute.scheduler import Job

_JOB_ID = re.compile(r"([1-9]\d{0,9})(?:[_+]\d{1,9})?")
_MAX_JOB_ID = 0xFFFFFFFD  # the two numbers above it mean "infinite" and "no value" to Slurm


def is_job_id(text: str) -> bool:
    """Whether the text has the form of a job id. To sacct, `0` means all jobs, and a comma separates ids."""
    match = _JOB_ID.fullmatch(text)
    return match is not None and text.isascii() and int(match[1]) <= _MAX_JOB_ID


def array_of(job_id: str) -> str:
    """The id of a task's array, and of a job that is no task, its own: `9` for `9_1` and `9_[2-4%1]`."""
    return job_id.split("_", 1)[0]


def whole_job(job_id: str) -> str:
    """The id of the array or heterogeneous job that a task or component is of; of any other job, its own."""
    return re.split("[_+]", job_id, maxsplit=1)[0]


def script_owner(job_id: str) -> str:
    """The id of the job whose batch script runs: the components of a heterogeneous job share one."""
    return whole_job(job_id) if is_component(job_id) else job_id


def is_task(job_id: str) -> bool:
    """Whether an id names tasks of an array: `9_1` or `9_[2-4%1]`."""
    return "_" in job_id


def is_component(job_id: str) -> bool:
    """Whether an id names one component of a heterogeneous job: `53+0`."""
    return "+" in job_id


def of_requested(jobs: tuple[Job, ...], requested: str) -> tuple[Job, ...]:
    """The jobs of the requested id: Slurm lists all components of a heterogeneous job for any one of them."""
    return tuple(job for job in jobs if job.id == requested or not is_component(requested))
