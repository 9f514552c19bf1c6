"""Slurm's words for the states of jobs, by the "JOB STATE CODES" of squeue(1) and sacct(1), Slurm 21.08 to 26.05."""

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


def state_of(word: str) -> State:
    """Our state for Slurm's word, such as `CANCELLED by 1000`; a word we do not know is not an error."""
    return STATES.get(word.split(" ", 1)[0].rstrip("+"), State.UNSPECIFIED)


def plain_state(word: str) -> str:
    """Slurm's word without who did it, which accounting adds: `CANCELLED` for `CANCELLED by 1000`."""
    return word.partition(_BY)[0]


def cancelled_by(word: str) -> str | None:
    """Who cancelled a job, as accounting's word for its state tells: `1000` for `CANCELLED by 1000`."""
    return word.partition(_BY)[2] or None
