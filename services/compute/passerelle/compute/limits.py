"""Limits of job descriptions, whatever the scheduler. They are checked before anything is executed."""

from collections.abc import Iterator

from passerelle.compute.scheduler import JobDescription
from passerelle.runtime.errors import Field, InvalidArgument

MAX_NAME = 235
"""Longest job name, in characters; FirecREST's limit."""
MAX_WORD = 1024
"""Longest name of an account, partition and the like, in characters."""
_MAX_PATH = 4096
_MAX_COMMAND = 65536
_MAX_SCRIPT = 4 << 20
_MAX_ENVIRONMENT = 1 << 20
_MAX_SECONDS = 10 * 365 * 86400

_MAX_VARIABLE_NAME = 255  # bytes; Slurm drops variables with longer names
_MAX_VARIABLE = 128 * 1024 - 2  # bytes of name and value: Linux starts no program with a longer one

_LONGEST = {
    "name": MAX_NAME,
    "account": MAX_WORD,
    "reservation": MAX_WORD,
    "partition": MAX_WORD,
    "constraints": MAX_WORD,
    "working_directory": _MAX_PATH,
    "standard_input": _MAX_PATH,
    "standard_output": _MAX_PATH,
    "standard_error": _MAX_PATH,
    "script_path": _MAX_PATH,
}

Violation = tuple[str, str]
"""The name of a field of `JobDescription`, and how its value violates a limit."""


def violations(job: JobDescription) -> Iterator[Violation]:
    """All violations of a job description."""
    if not job.working_directory:
        yield "working_directory", "must not be empty"
    for name, longest in _LONGEST.items():
        yield from ((name, reason) for reason in word_faults(getattr(job, name) or "", longest))
    yield from _source_faults(job)
    yield from _environment_faults(job)
    if job.time_limit is not None and not 0 < job.time_limit <= _MAX_SECONDS:
        yield "time_limit", f"must be more than 0 and at most {_MAX_SECONDS} s"


def word_faults(text: str, longest: int) -> Iterator[str]:
    """The faults of a text that becomes a word of a command line; `longest` is in characters."""
    if len(text) > longest:
        yield f"must have at most {longest} characters"
    if "\0" in text:
        yield "must not contain NUL characters"
    if "\n" in text or "\r" in text:
        yield "must not contain line breaks"


def _source_faults(job: JobDescription) -> Iterator[Violation]:
    if job.script is not None and job.script_path is not None:
        yield "script_path", "must not be given together with a script"
    elif not job.script and not job.script_path:
        yield "script", "must not be empty, unless the path of a script is given"
    if "\0" in (job.script or ""):
        yield "script", "must not contain NUL characters"
    if len(job.script or "") > _MAX_SCRIPT:
        yield "script", f"must have at most {_MAX_SCRIPT} characters"


def _environment_faults(job: JobDescription) -> Iterator[Violation]:
    size = 0
    for name, value in job.environment.items():
        size += len(name) + len(value)
        if not name or "=" in name or "\0" in name:
            yield "environment", f"{name[:100]!r} is no name of a variable"
        elif len(name.encode()) > _MAX_VARIABLE_NAME:
            yield (
                "environment",
                f"the name {name[:100]!r}… is longer than {_MAX_VARIABLE_NAME} bytes",
            )
        elif "\0" in value:
            yield "environment", f"the value of {name} must not contain NUL characters"
        elif len(name.encode()) + len(value.encode()) > _MAX_VARIABLE:
            yield "environment", f"{name} must have at most {_MAX_VARIABLE} bytes, with its name"
    if size > _MAX_ENVIRONMENT:
        yield "environment", f"must have at most {_MAX_ENVIRONMENT} characters in all"


def check_command(command: str) -> None:
    """Raise InvalidArgument, naming the field `command`, for a command that cannot be run in a job."""
    fault = None
    if not command.strip():
        fault = "must not be empty"
    elif "\0" in command:
        fault = "must not contain NUL characters"
    elif len(command) > _MAX_COMMAND:
        fault = f"must have at most {_MAX_COMMAND} characters"
    if fault:
        raise InvalidArgument(f"command: {fault}", (Field("body", "command", fault),))
