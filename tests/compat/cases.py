"""The recorded request/reply pairs, and the jobs that have to be submitted before them."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RECORDING = Path(__file__).parent / "golden" / "firecrest-2.5.7.jsonl"


@dataclass(frozen=True)
class Request:
    """One recorded request; `<token>` in `headers` stands for the access token of `user`."""

    method: str
    path: str
    headers: dict[str, str]
    user: str | None = None
    query: dict[str, Any] | None = None
    body: Any = None
    """JSON; a text is sent as it is; {"multipart": {field: {filename, bytes}}} is a form with a file
    of so many bytes."""


@dataclass(frozen=True)
class Case:
    """One recorded request with its reply."""

    name: str
    request: Request
    status: int
    headers: dict[str, str]
    """Lower-case name -> value, of the reply's headers that mean something."""
    body: Any
    note: str = ""

    def __str__(self) -> str:
        return self.name


def recorded() -> list[Case]:
    """All cases, in the order in which they are to be replayed."""
    return [_case(json.loads(line)) for line in RECORDING.read_text().splitlines()]


def _case(row: dict[str, Any]) -> Case:
    request = Request(**row["request"])
    return Case(
        name=row["case"],
        request=request,
        status=row["status"],
        headers=row["headers"],
        body=row["body"],
        note=row.get("note", ""),
    )


@dataclass(frozen=True)
class Submission:
    """A job that cases speak of but whose submission is not among them: inferred from its recorded description."""

    script: str
    fields: dict[str, Any] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        """The request body of the submission."""
        return {
            "job": {"workingDirectory": "/home/alice/golden", "script": self.script, **self.fields}
        }


_ECHO = "#!/bin/bash\necho out $SLURM_JOB_ID\necho err >&2\n"

SUBMISSIONS: dict[str, Submission] = {
    "4": Submission(
        "#!/bin/bash\n#SBATCH --time=2\nenv | grep ^GREETING=\n",
        {
            "name": "full job",
            "account": "proj1sub",
            "partition": "debug",
            "constraints": "mc",
            "standardInput": "/dev/null",
            "standardOutput": "full.out",
            "standardError": "full.err",
            "env": {"GREETING": "hello"},
        },
    ),
    "5": Submission(_ECHO, {"name": "resv", "reservation": "alice_now"}),
    "7": Submission("#!/bin/bash\n#SBATCH --job-name=frompath\necho from path\n"),
    "11": Submission("#!/bin/bash\n#SBATCH --time=1\nexec sleep 300\n", {"name": "tmo"}),
    "12": Submission(
        "#!/bin/bash\n#SBATCH --time=10\nsleep 600\n",
        {"name": "run", "standardOutput": "run-%j.out"},
    ),
    "13": Submission("#!/bin/bash\n#SBATCH --begin=now+1hour\nhostname\n", {"name": "pend"}),
    "14": Submission("#!/bin/bash\nsleep 1\nkill -TERM $$\n", {"name": "sig"}),
    "15": Submission("#!/bin/bash\nexec sleep 600\n", {"name": "can"}),
}
"""Recorded job id -> the job to submit as alice."""

CANCELLED_BEFORE = {
    "compute_job_cancelled_ok": "15",
    "compute_job_array_pending_cancelled_ok": "9",
}
"""Case -> recorded id of the job that alice cancels before it."""
