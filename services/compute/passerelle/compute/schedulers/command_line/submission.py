"""Submitting a job, and saying what is known of it when the scheduler gives no id.

For schedulers that read a script on stdin. The script, or that in a file on the system, goes to the program's stdin,
and the job's variables into its environment, which a scheduler hands on to the job: neither is seen in a list of
processes.
"""

from collections.abc import Callable

from passerelle.compute.scheduler import JobDescription, Refused
from passerelle.runtime.command import Command, Output
from passerelle.runtime.errors import ApiError, Field

# Says that it begins, and reads one line before it does, so that whoever has not heard it knows that nothing was
# submitted. LC_ALL is our own doing and no business of the job, unless the job asks for one.
_BEGIN = 'echo passerelle-submits; read -r passerelle_go; [ "$1" = keep ] || unset LC_ALL; shift; '
_FROM_STDIN = _BEGIN + 'exec "$@"'
_FROM_FILE = (
    _BEGIN + '[ -f "$1" ] && [ -r "$1" ] || { echo "Unable to open file $1" >&2; exit 66; }; '
    'passerelle_script=$1; shift; exec "$@" <"$passerelle_script"'
)
_GREETING = "passerelle-submits"
_NO_INPUT = 66  # of sysexits.h


class Submission:
    """One submission, and whether its program was started."""

    def __init__(self) -> None:
        self.begun = False
        """Whether a program was started that may have submitted the job."""

    def command(
        self,
        job: JobDescription,
        argv: tuple[str, ...],
        parse: Callable[[str], str],
        failure: Callable[[Output], ApiError],
    ) -> Command[str]:
        """Runs `argv` with the job's script on stdin; `parse` makes the id of what it prints.

        Never repeated: the first try may have come through. `failure` makes the error of a run that failed.
        """
        path = () if job.script_path is None else (job.script_path,)
        locale = "keep" if "LC_ALL" in job.environment else "unset"
        program = _FROM_FILE if path else _FROM_STDIN
        return Command(
            ("sh", "-c", program, "sh", locale, *path, *argv),
            lambda text: parse(text.partition(f"{_GREETING}\n")[2]),
            stdin=f"\n{job.script or ''}",
            failure=lambda output: _no_script(output) or failure(output),
            repeatable=False,
            unset=(),  # a login's variables are the job's, too
            environment=job.environment,
            greeted=self._greeted,
        )

    def _greeted(self, line: str) -> bool:
        self.begun = self.begun or line.endswith(_GREETING)
        return self.begun


def _no_script(output: Output) -> ApiError | None:
    if output.status != _NO_INPUT:
        return None
    return refused("script_path", output.stderr.strip().rpartition("\n")[2])


def refused(field: str, words: str) -> Refused:
    """The refusal of a job for what stands in this field of its description, in the scheduler's words."""
    return Refused(words, (Field("body", f"job.{field}", words),))


def in_doubt(error: ApiError) -> ApiError:
    """The error of a submit with an unknown outcome: a second attempt may make a second job."""
    error.retry_after = None
    return error.extended(
        "Whether the job was queued is not known: look for it before you submit it again."
    )
