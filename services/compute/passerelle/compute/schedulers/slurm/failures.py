"""The errors for Slurm's messages; see `ErrorTable` for the lines that count.

The reasons are those of slurm_errno.c, word for word. The texts are those of Slurm 21.08 to 26.05.
"""

import re
from collections.abc import Mapping

from passerelle.compute.schedulers.command_line.errors import ErrorTable, Kind
from passerelle.runtime.command import Output
from passerelle.runtime.errors import (
    ApiError,
    BackendError,
    BackendUnavailable,
    FailedPrecondition,
    Forbidden,
    NotFound,
    Unsupported,
)


class Heterogeneous(FailedPrecondition):
    """A step was requested in a heterogeneous job without naming a component."""


_PROGRAMS = (*("sbatch", "squeue", "scancel", "scontrol", "sinfo", "srun", "sacct", "sacctmgr"),)
# How they begin a line of their own; getopt puts the path before a program's name.
_OWN = re.compile(
    r"(?:/\S+/)?(?:sacct|sacctmgr|sbatch|scancel|scontrol|sinfo|squeue|srun): "
    r"|slurm_\w+(?: error)?: |scontrol_print_job error: |job script retrieval failed: "
    r"|Job \S+ not found$|Slurm accounting storage is disabled$"
    r"|You are not running a supported accounting_storage plugin$"
)
# What stands before a reason of slurm_errno.c.
_HEADING = re.compile(
    r"(?:sbatch: error: Batch job submission failed"
    r"|scancel: error: Kill job error on job id [\d_+.]+"
    r"|srun: error: Unable to (?:confirm allocation for|create step for) job [\d_+]+"
    r"|slurm_\w+(?: error)?|scontrol_print_job error|job script retrieval failed): (?P<reason>.+)"
)


def _each(kind: Kind, *reasons: str) -> dict[str, Kind]:
    return dict.fromkeys(reasons, kind)


_REASONS: Mapping[str, Kind] = {
    **_each(
        BackendUnavailable,
        "Authentication does not apply to request",
        "Authentication credential expired",
        "Authentication credential invalid",
        "Authentication failure",
        "Broken pipe",
        "Communication connection failure",
        "Communication shutdown failure",
        "Connection forced closed by quiesce timeout",
        "Connection refused",
        "Connection rejected by handler",
        "Connection reset by peer",
        "Connection timed out",
        "Connection timed out establishing",
        "Connection timed out reading",
        "Connection timed out writing",
        "Controller is in standby mode, try a different controller",
        "Failed to connect to authentication agent",
        "Failed to open authentication public key",
        "Header lengths are longer than data received",
        "Invalid authentication credential",
        "Job can not be altered now, try again later",
        "Job update not available right now, the DB index is being set, try again in a bit",
        "MaxJobCount limit reached",
        "Message receive failure",
        "Message send failure",
        "Network is unreachable",
        "No route to host",
        "Process is shutting down and closing all communications",
        "Protocol authentication error",
        "Rate limit exceeded, please retry later",
        "Rate limit exceeded, please retry momentarily",
        "Read would block",
        "Rejecting authentication of user nobody",
        "Rejecting authentication of user nobody or group nobody",
        "Resource temporarily unavailable",
        "Slurm backup controller in standby mode",
        "Socket timed out on send/recv operation",
        "System submissions disabled",
        "Transport endpoint is not connected",
        "Unable to connect to database",
        "Unable to contact slurm controller (connect failure)",
        "Unable to contact slurm controller (receive failure)",
        "Unable to contact slurm controller (send failure)",
        "Unable to contact slurm controller (shutdown failure)",
        "Unable to create job record, try again",  # before 23.02: MaxJobCount is reached
        "Unexpected message received",
        "Unexpected missing socket error",
        "Write would block",
        "Zero Bytes were transmitted or received",
    ),
    **_each(
        BackendError,
        "I/O error writing script/environment to file",
        "Incompatible versions of client and server code",
        "Slurm internal error, contact system administrator",
    ),
    **_each(
        Forbidden,
        "Access denied to requested reservation",
        "Access/permission denied",
        "Burst Buffer permission denied",
        "Invalid user id",
        "Operation not permitted",
        "Permission denied",
        "User's group not permitted to use this partition",
    ),
    **_each(NotFound, "Invalid job id specified"),
    **_each(
        FailedPrecondition,
        "Cannot cancel scrontab jobs without --cron flag.",
        "Job has already finished",
        "Job is in held state, pending scheduler release",
        "Job is not running",
        "Job is pending execution",
        "Job/step already completing or completed",
        "Operation not permitted on individual component of heterogeneous job",
    ),
}

# Whole lines that no heading and reason make up.
_LINES: Mapping[str, Kind] = {
    r"(?:sacct|sacctmgr|squeue): error: Problem talking to (?:the )?database\b.*": BackendUnavailable,
    r"(?:sacct|sacctmgr): error: _open_persist_conn: .*": BackendUnavailable,
    r"\w+: (?:error|fatal): (?:fetch_config: |_establish_config_source: |_fetch_child: ).*": BackendUnavailable,
    r"\w+: fatal: Could not establish a configuration source": BackendUnavailable,
    r"\w+: fatal: Unable to process configuration file": BackendError,
    r"\S+: error while loading shared libraries: .*": BackendError,  # ld.so(8)
    r"\S+: (?:symbol lookup|relocation) error: .*": BackendError,
    r"sbatch: error: Slurm job queue full, sleeping and retrying\.?": BackendUnavailable,
    r"sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying\.?": BackendUnavailable,
    r"squeue: error: Invalid job id: .*": NotFound,
    r"(?:sacct|srun): fatal: Bad job/step specified: .*": NotFound,
    r"scancel: error: Invalid job id .*": NotFound,
    r"sacct: error: Invalid field requested: .*": Unsupported,
    r"Job \S+ not found": NotFound,
    r"srun: error: Slurm job \S+ has expired": FailedPrecondition,
    r"srun: error: No directives to start application on any available hetjob components": Heterogeneous,
    r"srun: error: \S+: tasks? \S+: .+": FailedPrecondition,  # how the command ended
    r"srun: Force Terminated \S+": FailedPrecondition,
    r"Slurm accounting storage is disabled": Unsupported,
    r"You are not running a supported accounting_storage plugin": Unsupported,
}  # fmt: skip

ERRORS = ErrorTable("Slurm", _PROGRAMS, _LINES, reasons=_REASONS, heading=_HEADING, own=_OWN)


def failed_to_show(output: Output) -> ApiError:
    """The error that a failed `scontrol show job` means: before 26.05 it said on stdout that there is no such task."""
    return ERRORS.error(Output(output.status, "", f"{output.stdout}{output.stderr}"))


def refused_attachment(output: Output) -> ApiError:
    """The error for a failed srun: besides the usual ones, a job that does not run, or a command that fails."""
    kind = ERRORS.kind(output.stderr)
    if kind is not None and issubclass(kind, FailedPrecondition):
        return kind(ERRORS.words(output.stderr))
    return ERRORS.error(output)


def refused_cancellation(output: Output) -> ApiError | None:
    """The error that `scancel -v` reports, often with exit status 0; None when there is none.

    Cancelling a job that has ended is not an error.
    """
    errors = [
        line for line in ERRORS.own_lines(output.stderr) if line.startswith("scancel: error: ")
    ]
    if not errors and output.status == 0:
        return None
    if errors and all(
        ERRORS.reason(line) == "Job/step already completing or completed" for line in errors
    ):
        return None
    return ERRORS.error(Output(output.status, "", "\n".join(errors) or output.stderr))


def controller_down(output: Output) -> ApiError:
    """The error that a failed ping means."""
    missing = ERRORS.missing(output)
    if missing is not None:
        return missing
    down = [line for line in output.stdout.splitlines() if line.startswith("Slurmctld(")]
    message = "\n".join(down) or ERRORS.words(output.stderr)
    return BackendUnavailable(message or "Slurm is down.")
