"""Slurm's names for the states of jobs and nodes, of Slurm 21.08 to 26.05.

Sources: "JOB STATE CODES" in squeue(1) and sacct(1), "NODE STATE CODES" in sinfo(1).
"""

from collections.abc import Mapping

from passerelle.compute.scheduler import NodeState, State

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

NODE_STATES: Mapping[str, NodeState] = {
    "IDLE": NodeState.IDLE,
    "ALLOCATED": NodeState.ALLOCATED,
    "ALLOCATED+": NodeState.ALLOCATED,
    "MIXED": NodeState.MIXED,
    "DOWN": NodeState.DOWN,
    "ERROR": NodeState.DOWN,
    "FAIL": NodeState.DOWN,
    "FAILING": NodeState.DOWN,
    "DRAIN": NodeState.DRAIN,
    "DRAINED": NodeState.DRAIN,
    "DRAINING": NodeState.DRAIN,
    "COMPLETING": NodeState.COMPLETING,
    "MAINT": NodeState.OFFLINE,
    "BLOCKED": NodeState.DOWN,
    "INVAL": NodeState.DOWN,
    "INVALID": NodeState.DOWN,
    "INVALID_REG": NodeState.DOWN,
    "NO_RESPOND": NodeState.DOWN,
    "REBOOT": NodeState.OFFLINE,
    "REBOOT_ISSUED": NodeState.OFFLINE,
    "POWERED_DOWN": NodeState.POWERING_DOWN,
    "PLANNED": NodeState.IDLE,
    "EXTERNAL": NodeState.IDLE,
    "OFFLINE": NodeState.OFFLINE,
    "RESERVED": NodeState.RESERVED,
    "BUSY": NodeState.BUSY,
    "POWER_DOWN": NodeState.POWERING_DOWN,
    "POWERING_DOWN": NodeState.POWERING_DOWN,
    "POWER_UP": NodeState.POWERING_UP,
    "POWERING_UP": NodeState.POWERING_UP,
}
"""By words in upper case, without the flags that sinfo appends. The meanings are FirecREST's."""

_BY = " by "


def state_of(word: str) -> State:
    """Our state for Slurm's, such as `CANCELLED by 1000`; an unknown one is not an error."""
    return STATES.get(word.split(" ", 1)[0].rstrip("+"), State.UNSPECIFIED)


def plain_state(word: str) -> str:
    """Slurm's state without the user that accounting adds: `CANCELLED` for `CANCELLED by 1000`."""
    return word.partition(_BY)[0]


def cancelled_by(word: str) -> str | None:
    """The id of the user who cancelled a job, from accounting's state: `1000` for `CANCELLED by 1000`."""
    return word.partition(_BY)[2] or None
