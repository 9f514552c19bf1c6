"""Shared code for schedulers with a command line: a plugin adds tables, commands and parsers, and no I/O.

Here belongs what a second batch system needs as well. It knows the port, and no scheduler by name. The names below are
what a plugin needs as a rule; `history`, `tables` and `concurrency` are for those with more than one source of jobs.
"""

from passerelle.compute.schedulers.command_line.commands import the_line, whole_command
from passerelle.compute.schedulers.command_line.errors import ErrorTable, job_not_found
from passerelle.compute.schedulers.command_line.scheduler import CommandLineScheduler
from passerelle.compute.schedulers.command_line.submission import Submission, refused

__all__ = [
    "CommandLineScheduler",
    "ErrorTable",
    "Submission",
    "job_not_found",
    "refused",
    "the_line",
    "whole_command",
]
