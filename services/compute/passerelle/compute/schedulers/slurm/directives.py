"""The options in a script's `#SBATCH` lines, as sbatch reads them."""

import posixpath
import shlex
from collections.abc import Iterator

# The lines after one of these are for the next component of a heterogeneous job.
_COMPONENTS = ("hetjob", "packjob")


def job_name(name: str | None, script: str, script_path: str | None) -> str:
    """The job's name: the request's, else a directive's, else the script's. See sbatch(1), `--job-name`.

    `script` is its text, or at least its directives.
    """
    default = posixpath.basename(script_path) if script_path else "sbatch"
    return name or directed(script, "--job-name", "-J") or default


def directed(script: str, long: str, short: str) -> str | None:
    """The value that a script gives to an option with these names, the last of several; None when it gives none."""
    requested = None
    for words in _directives(script):
        if words and words[0] in _COMPONENTS:
            break
        for word, following in zip(words, [*words[1:], ""], strict=True):
            option, equals, value = word.partition("=")
            if len(option) > 2 and long.startswith(option):  # getopt_long takes any beginning
                requested = value if equals else following
            elif word.startswith(short):
                requested = word[2:] or following
    return requested


def _directives(script: str) -> Iterator[list[str]]:
    """The words of each `#SBATCH` line, up to the first line that is neither blank nor a comment."""
    for line in script.splitlines():
        if line.strip() and not line.startswith("#"):
            return
        if line.startswith("#SBATCH"):
            try:
                yield shlex.split(line.removeprefix("#SBATCH"), comments=True)
            except ValueError:  # sbatch will refuse it
                continue
