"""Errors from the messages of a scheduler's programs, by a table.

Only a program's own words at their own place count: whole lines of stderr, or a known reason behind a known heading.
Everything else on stderr may be anybody's: a start-up file's, a site filter's, or the caller's own text in a message.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

from passerelle.compute.scheduler import ProgramMissing
from passerelle.runtime.command import Output
from passerelle.runtime.errors import ApiError, BackendError, NotFound

Kind = type[ApiError]

_COMMAND_NOT_FOUND = 127  # of a shell, and of env(1)
_MISSING = re.compile(
    r"(?:env: ['‘]?|.*: )(?P<program>[\w.-]+)['’]?: "
    r"(?:No such file or directory|(?:command )?not found)"
)


def job_not_found() -> NotFound:
    """The error for a job that a scheduler does not know (any more). Clients look for these very words."""
    return NotFound("Job not found.")


@dataclass(frozen=True)
class ErrorTable:
    """The error messages of one scheduler's programs, and their meanings.

    `scheduler` is its name, and `programs` are its programs. `lines` are regular expressions for whole lines, with the
    kind of error that each means; the first match counts. `heading` matches a line that gives a reason, in its group
    `reason`, and `reasons` says what each of those means. `own` matches how a program begins a line; without it only
    the lines of the table are taken for a program's own.
    """

    scheduler: str
    programs: Sequence[str]
    lines: Mapping[str, Kind]
    reasons: Mapping[str, Kind] = field(default_factory=lambda: MappingProxyType({}))
    heading: re.Pattern[str] | None = None
    own: re.Pattern[str] | None = None

    def error(self, output: Output) -> ApiError:
        """The error that a failed program means: BackendError, in its own words, where the table has none."""
        missing = self.missing(output)
        if missing is not None:
            return missing
        kind = self.kind(output.stderr) or BackendError
        if kind is NotFound:
            return job_not_found()
        message = self.words(output.stderr)
        return kind(
            message or f"{self.scheduler}'s command failed with exit status {output.status}."
        )

    def kind(self, stderr: str) -> Kind | None:
        """The kind of the last line that has one: a program ends with why it gave up. None when there is none."""
        kinds = (self._kind(line) for line in reversed([*self.own_lines(stderr)]))
        return next((kind for kind in kinds if kind is not None), None)

    def own_lines(self, stderr: str) -> Iterator[str]:
        """The lines that the scheduler's programs wrote themselves."""
        return (line for line in stderr.splitlines() if self._is_own(line))

    def words(self, stderr: str) -> str:
        """The message for the caller: from the programs' first own line on, or all of it where there is none."""
        all_lines = stderr.strip().splitlines()
        first = next((at for at, line in enumerate(all_lines) if self._is_own(line)), 0)
        return "\n".join(all_lines[first:])

    def reason(self, line: str) -> str | None:
        """The reason that a line gives behind a known heading; None without one."""
        match = self.heading.fullmatch(line) if self.heading else None
        return match["reason"] if match else None

    def missing(self, output: Output) -> ProgramMissing | None:
        """The scheduler's program that a shell or `env` did not find; None when that is not what failed."""
        if output.status != _COMMAND_NOT_FOUND or any(self.own_lines(output.stderr)):
            return None
        match = _MISSING.fullmatch(output.stderr.strip().rpartition("\n")[2])
        if match is None or match["program"] not in self.programs:
            return None
        return ProgramMissing(match["program"])

    def _is_own(self, line: str) -> bool:
        return bool(self.own.match(line)) if self.own else self._kind(line) is not None

    def _kind(self, line: str) -> Kind | None:
        reason = self.reason(line)
        if reason is not None:
            return self.reasons.get(reason)
        return next((kind for pattern, kind in self._patterns if pattern.fullmatch(line)), None)

    @cached_property
    def _patterns(self) -> tuple[tuple[re.Pattern[str], Kind], ...]:
        return tuple((re.compile(line), kind) for line, kind in self.lines.items())
