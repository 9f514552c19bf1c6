"""Recorded answers of commands on a real system, in files, and a `Shell` that replays them.

A recording is a header of `# key: value` lines (`system`, with version; `date`; `argv`, a JSON list; `status`; and
where it matters the `state` of the system), an empty line, stdout, and, where there is any, a line `--- stderr` and
stderr. A file holds one, or several with a line `=====` between them. `{mark}` stands for a word that a plugin makes up
anew for each command.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import dropwhile
from pathlib import Path

from passerelle.runtime.command import Command, Output, T
from tests.lines import line_of

RECORDED = Path(__file__).parent / "recorded"
"""Recorded outputs, a folder for each system."""
MARK = re.compile("\x1f[0-9a-f]{12}\x1f")
_STDERR = "\n--- stderr\n"
_NEXT = "\n=====\n"


@dataclass(frozen=True)
class Recording:
    """One command, and its answer."""

    system: str
    date: str
    argv: tuple[str, ...]
    output: Output
    state: str = ""
    """The circumstances of the recording, as a sentence."""

    def write(self, file: Path) -> None:
        """Write it to a file."""
        header = {
            "system": self.system,
            "date": self.date,
            "argv": json.dumps(self.argv, ensure_ascii=False),
            "status": str(self.output.status),
        }
        text = "".join(f"# {key}: {value}\n" for key, value in header.items())
        stderr = _STDERR + self.output.stderr if self.output.stderr else ""
        file.write_text(f"{text}\n{self.output.stdout}{stderr}")

    def result(self, command: Command[T]) -> T:
        """The value that `command` parses from the recorded answer."""
        stdout = self.output.stdout.replace("{mark}", mark_of(command.argv))
        return command.result(replace(self.output, stdout=stdout))

    @classmethod
    def read(cls, text: str) -> "Recording":
        """The recording in a text."""
        header, _, rest = text.partition("\n\n")
        stdout, _, stderr = rest.partition(_STDERR)
        lines = dict(line.removeprefix("# ").split(": ", 1) for line in header.splitlines())
        output = Output(int(lines["status"]), stdout, stderr)
        argv = tuple(json.loads(lines["argv"]))
        return cls(lines["system"], lines["date"], argv, output, lines.get("state", ""))


def recordings(file: Path) -> list[Recording]:
    """The recordings in a file, in order."""
    return [Recording.read(text) for text in file.read_text().split(_NEXT)]


def marked(argv: tuple[str, ...]) -> tuple[str, ...]:
    """`argv` with `{mark}` for the word made up for it, and `{program}` for the text of a shell's own program."""
    argv = bare(argv)
    if argv[0] in ("sh", "bash") and argv[1] == "-c":
        argv = (*argv[:2], "{program}", *argv[3:])
    return tuple(MARK.sub("{mark}", word) for word in argv)


def bare(argv: tuple[str, ...]) -> tuple[str, ...]:
    """`argv` without `env`, by which recordings say in what environment a question was asked."""
    if argv[0] != "env":
        return argv
    return tuple(dropwhile(lambda word: "=" in word, argv[1:]))


def mark_of(argv: tuple[str, ...]) -> str:
    """The word made up for a command; empty when there is none."""
    match = MARK.search("".join(argv))
    return match[0] if match else ""


class ReplayShell:
    """Answers every command as it was answered when recorded; a command that was not recorded is an error."""

    def __init__(self, recorded: Iterable[Recording]) -> None:
        self._by_command: Mapping[tuple[str, ...], Recording] = {
            marked(one.argv): one for one in recorded
        }
        self.lines: list[str] = []
        """The command lines that were run."""

    async def run(self, command: Command[T]) -> T:
        """See `Shell.run`."""
        self.lines.append(line_of(command))
        return self._by_command[marked(command.argv)].result(command)
