"""Batch scripts: whether one is valid, and the `#SBATCH` lines in it.

The rules and spellings are Slurm's (https://slurm.schedmd.com/sbatch.html), so that its scripts run here as well.
Runs on the system; see `local_program`.
"""

import re
import shlex

from passerelle.compute.schedulers.local.remote.exchange import Refused, text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_SCRIPT = 4 * 1024 * 1024  # bytes; Slurm's default `max_script_size`

# The directives that mean something to a single machine, and the request's field that each one stands for.
_DIRECTIVES = {
    "-J": "name",
    "--job-name": "name",
    "-o": "standard_output",
    "--output": "standard_output",
    "-e": "standard_error",
    "--error": "standard_error",
    "-i": "standard_input",
    "--input": "standard_input",
    "-t": "time_limit",
    "--time": "time_limit",
    "-D": "working_directory",
    "--chdir": "working_directory",
}
_ARRAY = ("-a", "--array")
_UNLIMITED = ("unlimited", "infinite", "-1", "0")
_TIME = re.compile(
    r"(?P<days>\d+)-(?P<dhours>\d+)(:(?P<dminutes>\d+)(:(?P<dseconds>\d+))?)?"
    r"|((?P<hours>\d+):(?=\d+:))?(?P<minutes>\d+)(:(?P<seconds>\d+))?",
    re.ASCII,
)


def check(script: bytes, field: str) -> None:
    """Raise Refused, naming `field`, for a script that sbatch would refuse."""
    if len(script) > MAX_SCRIPT:
        raise Refused("invalid", "The batch script is larger than 4 MiB.", field)
    if not script.startswith(b"#!"):
        words = (
            "This does not look like a batch script: its first line must be #! and an interpreter."
        )
        raise Refused("invalid", words, field)
    if b"\r\n" in script:
        words = (
            "The batch script contains DOS line breaks (\\r\\n) instead of UNIX line breaks (\\n)."
        )
        raise Refused("invalid", words, field)
    if b"\0" in script:
        raise Refused("invalid", "The batch script contains a NUL character.", field)


def directives(script: bytes, field: str) -> "dict[str, str]":
    """The options in the script's `#SBATCH` lines, by the request's field names; the last of several wins.

    Those that a single machine has no use for are passed over; a job array is Refused.
    """
    values = {}
    for line in _directive_lines(script):
        try:
            words = iter(shlex.split(line, comments=True))
        except ValueError as error:
            raise Refused("invalid", f"#SBATCH{line}: {error}", field) from None
        for option, value in _options(words):
            if option in _ARRAY:
                raise Refused("unsupported", "The local scheduler has no job arrays (--array).")
            if option in _DIRECTIVES:
                values[_DIRECTIVES[option]] = value
    return values


def seconds(text: str, field: str) -> "int | None":
    """A time limit in any of Slurm's spellings, such as `90`, `1:30:00` or `2-12`, in seconds; None for no limit."""
    if text.lower() in _UNLIMITED:
        return None
    match = _TIME.fullmatch(text)
    if match is None:
        raise Refused("invalid", f"Invalid time limit: {text}", field)
    part = {name: int(value or 0) for name, value in match.groupdict().items()}
    hours = part["days"] * 24 + part["dhours"] + part["hours"]
    minutes = hours * 60 + part["dminutes"] + part["minutes"]
    return minutes * 60 + part["dseconds"] + part["seconds"] or None


def _directive_lines(script: bytes) -> "Iterator[str]":
    """What follows `#SBATCH`, line by line, up to the first line that is neither blank nor a comment."""
    for line in script.split(b"\n"):
        if line.strip() and not line.startswith(b"#"):
            return
        if line.startswith((b"#SBATCH ", b"#SBATCH\t")):
            yield text_of(line[len(b"#SBATCH") :])


def _options(words: "Iterator[str]") -> "Iterator[tuple[str, str]]":
    for word in words:
        if word.startswith("--"):
            option, equals, value = word.partition("=")
            wants = option in _DIRECTIVES and not equals
            yield option, next(words, "") if wants else value
        elif word.startswith("-"):
            value = word[2:] or (next(words, "") if word in _DIRECTIVES else "")
            yield word[:2], value
