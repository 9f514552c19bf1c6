"""Jobs that move data on a system, submitted through the compute service like anyone else's."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class SubmittedJob:
    """A transfer job that the scheduler accepted; all paths are absolute, on its system."""

    job_id: str
    system: str
    working_directory: str
    output_log: str
    error_log: str


@dataclass(frozen=True, slots=True)
class ShellWork:
    """Work done by commands of the system: `script` is bash, whose only inputs are words quoted by `shlex`."""

    script: str


@dataclass(frozen=True, slots=True)
class AgentWork:
    """Work done by a Python program that is sent along: `source` is made by `shipping.program`.

    `parameters` are JSON that nobody else may see. They reach the program in a file that only the user can read, whose
    path is the program's only argument and which the program removes before it does anything else.
    """

    source: str
    parameters: Mapping[str, Any] = field(repr=False)
