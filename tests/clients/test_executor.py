"""firecrest-executor, unchanged: it runs Python functions as jobs, and reads their results in the jobs' output."""

import json
import subprocess
from dataclasses import asdict, replace
from pathlib import Path

from firecrest.v2 import Firecrest

from tests import real
from tests.clients.environments import python_with
from tests.clients.pyfirecrest_run import JOB_SECONDS, Site

TOP = Path(__file__).parents[2]


def test_a_function_is_sent_and_heard_from(site: Site, owner: Firecrest, directory: str) -> None:
    """The system's Python is not the caller's, and has no `dill`: the job says so by the executor's own words."""
    python = python_with("firecrest-executor-0.3.1")
    real.exercised("firecrest-executor", "0.3.1")
    done = subprocess.run(
        (str(python), "-m", "tests.clients.executor_call"),
        cwd=TOP,
        input=json.dumps(asdict(replace(site, directory=directory))),
        capture_output=True,
        text=True,
        timeout=JOB_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    reply = json.loads(done.stdout.splitlines()[-1])
    assert reply["error"].startswith("Error in remote execution: Failed to import dill")
    (job,) = [each for each in owner.job_info(site.system) if each["workingDirectory"] == directory]
    assert (job["name"], job["status"]["state"], job["account"]) == (
        "executor",
        "FAILED",
        site.account,
    )
