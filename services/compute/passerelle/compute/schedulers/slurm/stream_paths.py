"""The paths of a job's standard streams: Slurm's patterns, their symbols replaced. See sbatch(1), "filename pattern".

slurmctld and accounting keep patterns, which only slurmd replaces in full; what it does was tried on 22.05.
"""

import posixpath
import re
from dataclasses import dataclass

from passerelle.compute.scheduler import JobMetadata
from passerelle.compute.schedulers.slurm.directives import directed

_SYMBOL = re.compile(r"%(\d*)([%AabJjNnstux])")
_FIRST_NODE = re.compile(r"([^\[,.]+)(?:\[(\d+))?")
# sbatch's options for the streams.
_OPTIONS = {"--input": "-i", "--output": "-o", "--error": "-e"}
# A submission of ours, and the text after an option's value in it.
_OURS = re.compile(r"\S*sbatch --parsable --chdir=")
_AFTER = r"(?: --(?:input|output|error|time|export-file)=| -- |$)"


@dataclass(frozen=True, slots=True)
class Streams:
    """The absolute paths of a job's standard streams; None where Slurm names none."""

    standard_input: str | None
    standard_output: str | None
    standard_error: str | None

    def metadata(self, job_id: str, script: str | None) -> JobMetadata:
        """The metadata of a job with these streams and this script."""
        paths = (self.standard_input, self.standard_output, self.standard_error)
        return JobMetadata(job_id, script, *paths)


@dataclass(frozen=True, slots=True)
class PatternValues:
    """The values of the symbols in a job's patterns. `array` and `task` are those of a job array's task."""

    job: str
    array: str | None
    task: str | None
    name: str
    user: str
    nodes: str
    directory: str


Patterns = tuple[str | None, str | None, str | None]
"""For input, output and errors; `""` for no stream, None for an unknown pattern."""


def expanded(pattern: str | None, values: PatternValues) -> str | None:
    """The path for a pattern of a batch script's stream; None for no pattern."""
    if not pattern:
        return None
    if "\\" in pattern:
        path = re.sub(r"\\(.)", r"\1", pattern)
    else:
        path = _SYMBOL.sub(lambda match: _value(match[1], match[2], values) or match[0], pattern)
    return posixpath.join(values.directory, path)


def _value(width: str, symbol: str, values: PatternValues) -> str | None:
    """The value of one symbol; None where it is unknown. Numbers have at least `width` digits."""
    task = values.task or "4294967294"  # "no value", as Slurm prints it
    numbers = {
        "A": values.array or values.job,
        "a": task,
        "b": task[-1],
        "J": values.job,
        "j": values.job,
        "n": "0",
        "t": "0",
    }
    if symbol in numbers:
        return numbers[symbol].zfill(int(width or 0))
    words = {"%": "%", "N": _first_node(values.nodes), "s": "batch", "u": values.user}
    return words.get(symbol, values.name)


def _first_node(nodes: str) -> str | None:
    """The first of `cn[01-02],gpu1`; None while there is none."""
    match = _FIRST_NODE.match(nodes)
    return f"{match[1]}{match[2] or ''}" if match and " " not in nodes else None


def streams(patterns: Patterns, values: PatternValues) -> Streams:
    """The streams by their patterns. Errors that have none go where the output goes."""
    source, output, errors = (expanded(pattern, values) for pattern in patterns)
    return Streams(source, output, output if patterns[2] == "" else errors)


def submitted_patterns(line: str, script: str | None, *, task: bool) -> Patterns:
    """The patterns by the line that submitted a job, or a `task` of an array, and its script.

    A login's SBATCH_OUTPUT and the like, which would count for more than the script, are not known any more.
    """
    source, output, errors = (_chosen(option, line, script) for option in _OPTIONS)
    default = "slurm-%A_%a.out" if task else "slurm-%j.out"
    return (
        "/dev/null" if source == "" else source,
        default if output == "" else output,
        errors,
    )


def _chosen(option: str, line: str, script: str | None) -> str | None:
    """The pattern for a stream, `""` for none; None where it is not known, or the line can be read in two ways."""
    short = _OPTIONS[option]
    command_line = None
    if _OURS.match(line):
        match = re.search(rf" {option}=(.*?){_AFTER}", line)
        command_line = match[1] if match else None
    elif any(word.startswith((option[:4], short)) for word in line.split(" ")):
        return None
    if command_line or script is None:
        return command_line
    return directed(script, option, short) or ""
