"""The name of a job, as sbatch finds it: the request's, else a directive's, else the script's."""

import posixpath
import shlex
from collections.abc import Iterator

_LONG = "--job-name"
# What follows one of these is about the next component of a heterogeneous job.
_COMPONENTS = ("hetjob", "packjob")


def job_name(name: str | None, script: str, script_path: str | None) -> str:
    """The job's name; `script` is its text, or at least its directives. See sbatch(1), `--job-name`."""
    default = posixpath.basename(script_path) if script_path else "sbatch"
    return name or directed_name(script) or default


def directed_name(script: str) -> str | None:
    """The name in a script's `#SBATCH` lines, the last of several; None without one."""
    found = None
    for words in _directives(script):
        if words and words[0] in _COMPONENTS:
            break
        for word, following in zip(words, [*words[1:], ""], strict=True):
            option, equals, value = word.partition("=")
            if len(option) > 2 and _LONG.startswith(option):  # getopt_long takes any beginning
                found = value if equals else following
            elif word.startswith("-J"):
                found = word[2:] or following
    return found


def _directives(script: str) -> Iterator[list[str]]:
    """The words of each `#SBATCH` line, up to the first line that is neither blank nor a comment."""
    for line in script.splitlines():
        if line.strip() and not line.startswith("#"):
            return
        if line.startswith("#SBATCH"):
            try:
                yield shlex.split(line.removeprefix("#SBATCH"), comments=True)
            except ValueError:  # sbatch will say what is wrong with it
                continue
