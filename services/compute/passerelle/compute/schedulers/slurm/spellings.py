"""How Slurm spells states, durations, times, exit codes and job ids, turned into our values.

Sources: the manual pages squeue(1), sacct(1), sbatch(1) and job_state_codes of Slurm 21.08 to 26.05.
"""

import re
from collections.abc import Mapping

from passerelle.compute.scheduler import State

STATES: Mapping[str, State] = {
    "PENDING": State.PENDING,
    "REQUEUED": State.PENDING,
    "REQUEUE_FED": State.PENDING,
    "REQUEUE_HOLD": State.PENDING,
    "RESV_DEL_HOLD": State.PENDING,
    "SPECIAL_EXIT": State.PENDING,  # requeued, and held in that state
    "CONFIGURING": State.RUNNING,
    "RUNNING": State.RUNNING,
    "RESIZING": State.RUNNING,
    "SIGNALING": State.RUNNING,
    "STAGE_OUT": State.RUNNING,
    "COMPLETING": State.RUNNING,
    "EXPEDITING": State.PENDING,  # requeued, and to start before others (25.11)
    "SUSPENDED": State.SUSPENDED,
    "STOPPED": State.SUSPENDED,
    "COMPLETED": State.SUCCEEDED,
    "FAILED": State.FAILED,
    "BOOT_FAIL": State.FAILED,
    "LAUNCH_FAILED": State.FAILED,
    "NODE_FAIL": State.FAILED,
    "OUT_OF_MEMORY": State.FAILED,
    "RECONFIG_FAIL": State.FAILED,
    "CANCELLED": State.CANCELLED,
    "PREEMPTED": State.CANCELLED,
    "REVOKED": State.CANCELLED,
    "TIMEOUT": State.TIMEOUT,
    "DEADLINE": State.TIMEOUT,
}

_BY = " by "
_DURATION = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?(?:\.\d+)?")
_JOB_ID = re.compile(r"([1-9]\d{0,9})(?:[_+]\d{1,9})?")
_MAX_JOB_ID = 0xFFFFFFFD  # the two numbers above it mean "infinite" and "no value" to Slurm
_MAX_NUMBER = 0xFFFFFFFFFFFFFFFD  # the same for 64 bits


def state_of(word: str) -> State:
    """Our state for Slurm's word, such as `CANCELLED by 1000`; a word we do not know is not an error."""
    return STATES.get(word.split(" ", 1)[0].rstrip("+"), State.UNSPECIFIED)


def number(text: str) -> int | None:
    """A decimal number; None for any other text, such as `N/A`, and for Slurm's "no value"."""
    digits = text.strip()
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 20):
        return None
    value = int(digits)
    return value if value <= _MAX_NUMBER else None


def epoch(text: str) -> int | None:
    """A time printed with SLURM_TIME_FORMAT=%s, in seconds since the epoch; None for `Unknown`, `N/A`, `None`."""
    return number(text) or None


def duration(text: str) -> int | None:
    """Seconds of a time span: `minutes`, `MM:SS`, `HH:MM:SS`, `D-HH`, `D-HH:MM` or `D-HH:MM:SS`.

    None for `UNLIMITED`, `Partition_Limit`, `NOT_SET`, `INVALID` and whatever else is no time span.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None or not text.isascii():
        return None
    days, *rest = found.groups()
    parts = [int(part) for part in rest if part is not None]
    if days is None and len(parts) < 3:
        parts.insert(0, 0)  # MM or MM:SS: there is no hour
    hours, minutes, seconds = (*parts, 0, 0)[:3]
    return int(days or 0) * 86400 + hours * 3600 + minutes * 60 + seconds


def exit_status(text: str) -> tuple[int | None, int | None]:
    """Exit code and signal of `code:signal`, or of the plain wait status that squeue printed before 23.02."""
    code, colon, signal = text.partition(":")
    if colon:
        return number(code), number(signal)
    status = number(code)
    if status is None:
        return None, None
    return (status >> 8) & 0xFF, status & 0x7F


def is_job_id(text: str) -> bool:
    """Whether Slurm could have given out this id: `77`, `14_1` for a task, `53+0` for a component."""
    found = _JOB_ID.fullmatch(text)
    return found is not None and text.isascii() and int(found[1]) <= _MAX_JOB_ID


def array_of(job_id: str) -> str:
    """The id of a task's array, and of a job that is no task, its own: `9` for `9_1` and `9_[2-4%1]`."""
    return job_id.split("_", 1)[0]


def whole_job(job_id: str) -> str:
    """The id of the array or heterogeneous job that a task or component is of; of any other job, its own."""
    return re.split("[_+]", job_id, maxsplit=1)[0]


def script_owner(job_id: str) -> str:
    """The id of the job whose batch script runs: the components of a heterogeneous job have one together."""
    return whole_job(job_id) if is_component(job_id) else job_id


def is_task(job_id: str) -> bool:
    """Whether an id names tasks of an array: `9_1` or `9_[2-4%1]`."""
    return "_" in job_id


def is_component(job_id: str) -> bool:
    """Whether an id names one component of a heterogeneous job: `53+0`."""
    return "+" in job_id


def plain_state(word: str) -> str:
    """Slurm's word without who did it, which accounting adds: `CANCELLED` for `CANCELLED by 1000`."""
    return word.partition(_BY)[0]


def cancelled_by(word: str) -> str | None:
    """Who cancelled a job, as accounting's word for its state tells: `1000` for `CANCELLED by 1000`."""
    return word.partition(_BY)[2] or None


def order(job_id: str) -> tuple[int, ...]:
    """A sort key by the numbers in an id: `9` before `10`, `9_2` before `9_10`."""
    return tuple(int(digits) for digits in re.findall(r"[0-9]{1,20}", job_id))
