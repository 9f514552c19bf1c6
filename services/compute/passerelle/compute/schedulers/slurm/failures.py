"""What Slurm's error messages mean to a caller. The texts are those of slurm_errno.c, 21.08 to 26.05."""

import re

from passerelle.runtime.command import Output
from passerelle.runtime.errors import (
    ApiError,
    BackendError,
    BackendUnavailable,
    FailedPrecondition,
    Forbidden,
    InvalidArgument,
    NotFound,
    Unsupported,
)

_LIMIT = re.compile(r"\b(QOS|Assoc)(Max|Min)\w*Limit\b", re.IGNORECASE)
_TERMINATING = re.compile(r"^scancel: Terminating .*\n?", re.MULTILINE)

# First match wins.
_MEANINGS: tuple[tuple[re.Pattern[str], type[ApiError]], ...] = tuple(
    (re.compile(words, re.IGNORECASE), error)
    for words, error in (
        (
            r"unable to contact slurm controller|socket timed out|zero bytes were transmitted"
            r"|connection refused|connection timed out|problem talking to the database"
            r"|unable to connect to database|rate limit exceeded|standby mode|job can not be altered now",
            BackendUnavailable,
        ),
        (
            r"authentication (error|credential)|munge|slurm internal error|i/o error writing",
            BackendError,
        ),
        (r"accounting storage is disabled|supported accounting_storage plugin", Unsupported),
        (r"invalid job id|bad job/step", NotFound),
        (
            r"access/permission denied|access denied|not permitted|permission denied"
            r"|invalid user id|user's group",
            Forbidden,
        ),
    )
)
_OVER = re.compile(r"pending execution|has expired|already (completing|finished)|is not running")
_NOT_FOUND = "Job not found."  # clients look for these very words


def job_not_found() -> NotFound:
    """The error for a job that Slurm does not know (any more)."""
    return NotFound(_NOT_FOUND)


def failed(output: Output) -> ApiError:
    """The error that a failed Slurm command means."""
    words = output.stderr.strip()
    kind = _meaning(words) or BackendError
    if kind is NotFound:
        return job_not_found()
    return kind(words or f"Slurm's command failed with exit status {output.status}.")


def refused_submission(output: Output) -> ApiError:
    """The error that a failed sbatch means: what is neither trouble nor a limit is a mistake in the request.

    That includes what a site's own submission filters say.
    """
    words = output.stderr.strip()
    if _LIMIT.search(words):
        rejected = "Job submission rejected: accounting/QOS policy limit exceeded."
        return Forbidden(f"{rejected} {words}")
    kind = _meaning(words)
    if kind in (None, NotFound) and "sbatch:" in words:
        return InvalidArgument(words)
    return failed(output)


def refused_attachment(output: Output) -> ApiError:
    """The error that a failed srun means: besides the usual, a job not running, or a command that fails."""
    words = output.stderr.strip()
    if _OVER.search(words) or "Exited with exit code" in words:
        return FailedPrecondition(words)
    return failed(output)


def refused_cancellation(output: Output) -> ApiError | None:
    """The error in what `scancel -v` told, which it often does with exit status 0; None when all is well.

    A job that has ended already is as cancelled as it can be.
    """
    words = _TERMINATING.sub("", output.stderr).strip()
    if "already completing or completed" in words or not (output.status or "error:" in words):
        return None
    return failed(Output(output.status, "", words))


def controller_down(output: Output) -> BackendUnavailable:
    """The error that a failed ping means."""
    return BackendUnavailable(output.stdout.strip() or output.stderr.strip() or "Slurm is down.")


def _meaning(words: str) -> type[ApiError] | None:
    return next((error for pattern, error in _MEANINGS if pattern.search(words)), None)
