"""Command lines for a shell: for tests that run them without SSH, or compare them."""

import shlex
from typing import Any

from passerelle.runtime.command import Command


def line_of(command: Command[Any]) -> str:
    """The command as a line for a POSIX shell."""
    settings = [f"{name}={value}" for name, value in command.environment.items()]
    return shlex.join(("env", "LC_ALL=C", *settings, *command.argv))
