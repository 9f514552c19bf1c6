"""Parsers of Slurm's output about a job's script and standard streams."""

import re

from passerelle.compute.schedulers.command_line.errors import job_not_found
from passerelle.compute.schedulers.command_line.scheduler import id_order
from passerelle.compute.schedulers.command_line.tables import table_rows
from passerelle.compute.schedulers.slurm.ids import (
    is_component,
    is_task,
    script_owner,
    whole_job,
)
from passerelle.compute.schedulers.slurm.stream_paths import (
    Patterns,
    PatternValues,
    Streams,
    streams,
    submitted_patterns,
)

_OF_JOB = ("JobID", "JobIDRaw", "JobName", "User", "NodeList", "WorkDir")
STREAM_FIELDS = (*_OF_JOB, "StdIn", "StdOut", "StdErr")
LINE_FIELDS = (*_OF_JOB, "SubmitLine")

_STREAM = re.compile(r"^   (StdErr|StdIn|StdOut)=(.*)$", re.MULTILINE)
_HOST = re.compile(r"^   BatchHost=(\S+)$", re.MULTILINE)
_PLACE = re.compile(
    r"JobId=(\d+) (?:(?:HetJobId=\d+ HetJobOffset|ArrayJobId=(\d+) ArrayTaskId)=(\d+) )?"
)
_COMPONENT = re.compile(r"JobId=\d+ HetJobId=(\d+) HetJobOffset=(\d+) ")
_LAST = 1 << 40


def parse_streams(text: str, job_id: str) -> Streams:
    """The paths in `scontrol show job`: those of the first component, or of the first task that has run.

    They stand near a record's end, so that the last of each is no part of a name. slurmctld replaces only some of the
    symbols in them. Since 25.11 there is no path for errors that go where the output goes.
    """
    start = re.compile(
        rf"^(?=JobId=\d+ (?:HetJobId|ArrayJobId)={whole_job(job_id)} )", re.MULTILINE
    )
    _, *records = start.split(text)
    if is_component(job_id) and not any(_component(record) == job_id for record in records):
        raise job_not_found()
    first = min(records, key=_order) if records else text[max(0, text.find("JobId=")) :]
    by_name = dict(_STREAM.findall(first))
    paths = (by_name.get("StdIn"), by_name.get("StdOut"), by_name.get("StdErr", ""))
    return streams(paths, _values(first))


def _component(record: str) -> str | None:
    """The id of the component that a record is about."""
    match = _COMPONENT.match(record)
    return f"{match[1]}+{match[2]}" if match else None


def _order(record: str) -> int:
    """A sort key for the records of one job; the record of waiting tasks comes last."""
    match = _PLACE.match(record)
    return int(match[3]) if match and match[3] else _LAST


def _values(record: str) -> PatternValues:
    """The values of symbols that slurmctld does not replace; it fills in names and the directory itself."""
    match, hosts = _PLACE.match(record), _HOST.findall(record)
    job, array, task = match.groups() if match else ("", None, None)
    return PatternValues(
        job, array, task if array else None, "%x", "%u", hosts[-1] if hosts else "", "/"
    )


def parse_archived_streams(text: str, mark: str, job_id: str) -> Streams:
    """The paths by sacct's patterns, which it has since 24.05; NotFound without a record."""
    row = _record(text, STREAM_FIELDS, mark, job_id)
    return streams((row["StdIn"], row["StdOut"], row["StdErr"]), _recorded_values(row))


def parse_submit_line(text: str, mark: str, job_id: str, script: str | None) -> Streams:
    """The paths by the line that submitted a job, and its script; NotFound without a record."""
    row = _record(text, LINE_FIELDS, mark, job_id)
    values = _recorded_values(row)
    patterns: Patterns = submitted_patterns(row["SubmitLine"], script, task=values.task is not None)
    return streams(patterns, values)


def _record(text: str, fields: tuple[str, ...], mark: str, job_id: str) -> dict[str, str]:
    """The record of a job, or of the first of its tasks or components."""
    rows = [row for row in table_rows(text, fields, mark) if "." not in row["JobID"]]
    if not rows or (is_component(job_id) and job_id not in {row["JobID"] for row in rows}):
        raise job_not_found()
    exact = [row for row in rows if row["JobID"] == script_owner(job_id)]
    return min(exact or rows, key=lambda row: id_order(row["JobID"]))


def _recorded_values(row: dict[str, str]) -> PatternValues:
    array, _, task = row["JobID"].partition("_") if is_task(row["JobID"]) else (None, "", None)
    return PatternValues(
        job=row["JobIDRaw"],
        array=array,
        task=task,
        name=row["JobName"],
        user=row["User"],
        nodes=row["NodeList"],
        directory=row["WorkDir"],
    )


def parse_archived_script(text: str, job_id: str) -> str | None:
    """The script that `sacct --batch-script` prints under a heading; the first one for an array.

    Before 24.11 a line break follows each script; since then nothing does, so that a heading may stand on a script's
    last line.
    """
    heading = rf"Batch Script for {re.escape(job_id)}(?:[_+]\d+|_\[[^\]\n]*\])?\n-{{80}}\n"
    _, *parts = re.split(heading, text)
    if not parts:
        raise job_not_found()
    script = parts[0].removesuffix("\n") if parts[0].endswith("\n\n") else parts[0]
    return None if script.strip() in ("", "NONE") else script
