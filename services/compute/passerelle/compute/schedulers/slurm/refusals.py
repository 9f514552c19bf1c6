"""The errors of an sbatch that prints no id: an invalid field, a limit, a failure, or an unknown outcome."""

import re
from collections.abc import Mapping

from passerelle.compute.scheduler import LimitExceeded
from passerelle.compute.schedulers.command_line.submission import in_doubt, refused
from passerelle.compute.schedulers.slurm.failures import ERRORS
from passerelle.runtime.command import Output
from passerelle.runtime.errors import (
    ApiError,
    BackendUnavailable,
    FailedPrecondition,
    NotFound,
)

_LIMITS = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
_LIMIT = re.compile(r"sbatch: error: (?:QOS|Assoc)(?:Grp|Max|Min)\w*Limit", re.IGNORECASE)
_OUT_OF_TIME = (137, 143)  # it was told to end

# The field that a reason of slurm_errno.c, or the beginning of a line of sbatch's own, is about. What is not here can
# only stand in the script.
_FIELDS: Mapping[str, str] = {
    "Invalid account or account/partition combination specified": "account",
    "Invalid partition name specified": "partition",
    "Requested partition configuration not available now": "partition",
    "Required partition not available (inactive or drain)": "partition",
    "User's group not permitted to use this partition": "partition",
    "Requested reservation is invalid": "reservation",
    "Requested reservation not usable now": "reservation",
    "Invalid feature specification": "constraints",
    "Requested time limit is invalid (missing or exceeds some limit)": "time_limit",
}
_SCRIPT_PATH = "sbatch: error: Unable to open file "


def refused_submission(output: Output) -> ApiError:
    """The error of a failed sbatch: unless it is trouble or a limit, a mistake in the request.

    Refusals by a site's own submission filters are mistakes, too.
    """
    message = ERRORS.words(output.stderr)
    own = [*ERRORS.own_lines(output.stderr)]
    if any(_LIMIT.fullmatch(line) or ERRORS.reason(line) == _LIMITS for line in own):
        return LimitExceeded(message)
    kind = ERRORS.kind(output.stderr)
    if kind is None and output.status in _OUT_OF_TIME:
        return BackendUnavailable(f"Slurm did not take the job in time. {message}".strip())
    if kind in (None, NotFound, FailedPrecondition) and own:
        return refused(_field(own), message)
    return ERRORS.error(output)


def _field(own: list[str]) -> str:
    """The field of a job description that these lines are about."""
    if own[0].startswith(_SCRIPT_PATH):
        return "script_path"
    reasons = {ERRORS.reason(line) or "" for line in own}
    return next((field for reason, field in _FIELDS.items() if reason in reasons), "script")


def unsubmitted(error: ApiError, *, certain: bool) -> ApiError:
    """The error to answer a submit with for which no job was found; `certain` when slurmctld said that there is none.

    Otherwise there may be a job, and trying again may make a second one: a site's own sbatch may fail after Slurm has
    accepted the job.
    """
    if not certain:
        return in_doubt(error)
    return error if error.http < 500 else error.extended("Slurm has no such job.")
