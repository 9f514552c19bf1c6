"""What commands answered on a real system, kept as files, and a `Shell` that answers from them.

A recording is a text file: a header of `# key: value` lines (`system`, with version; `date`; `argv`, a JSON list;
`status`), an empty line, stdout, and, where there is any, a line `--- stderr` and stderr. `{mark}` stands for a word
that a plugin makes up anew for each command.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import dropwhile
from pathlib import Path

from passerelle.runtime.command import Command, Output, T
from tests.lines import line_of

MARK = re.compile("\x1f[0-9a-f]{12}\x1f")
_STDERR = "\n--- stderr\n"


@dataclass(frozen=True)
class Recording:
    """One command, and what it answered."""

    system: str
    date: str
    argv: tuple[str, ...]
    output: Output

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

    @classmethod
    def read(cls, file: Path) -> "Recording":
        """The recording in a file."""
        header, _, rest = file.read_text().partition("\n\n")
        stdout, _, stderr = rest.partition(_STDERR)
        found = dict(line.removeprefix("# ").split(": ", 1) for line in header.splitlines())
        output = Output(int(found["status"]), stdout, stderr)
        return cls(found["system"], found["date"], tuple(json.loads(found["argv"])), output)


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
    found = MARK.search("".join(argv))
    return found[0] if found else ""


class ReplayShell:
    """Answers every command as it was answered when recorded; a command that was not recorded is an error."""

    def __init__(self, directory: Path) -> None:
        found = [Recording.read(file) for file in sorted(directory.glob("*.txt"))]
        self._outputs: Mapping[tuple[str, ...], Output] = {marked(r.argv): r.output for r in found}
        self.lines: list[str] = []
        """The command lines that were run."""

    async def run(self, command: Command[T]) -> T:
        """See `Shell.run`."""
        self.lines.append(line_of(command))
        output = self._outputs[marked(command.argv)]
        stdout = output.stdout.replace("{mark}", mark_of(command.argv))
        return command.result(Output(output.status, stdout, output.stderr))
