"""A client that openapi-python-client makes of `/openapi-3.0.json`, as a running site serves it, calls that site."""

import subprocess
from pathlib import Path

import httpx

from tests.clients.environments import python_with
from tests.e2e.target import Target

PROGRAM = """
import sys
from site_client import AuthenticatedClient
from site_client.api.native_compute import compute_service_get_job, compute_service_submit_job
from site_client.api.native_systems import systems_service_list_systems
from site_client.models import Error, JobDescription

client = AuthenticatedClient(base_url=sys.argv[1], token=sys.argv[2])
listed = systems_service_list_systems.sync(client=client)
print(*(system.name for system in listed.systems))
job = JobDescription(working_directory=sys.argv[3], script="#!/bin/sh\\ntrue\\n", name="generated")
submitted = compute_service_submit_job.sync("local", client=client, body=job)
print(submitted.job_id.isdigit(), submitted.name)
missing = compute_service_get_job.sync("local", "0", client=client)
print(isinstance(missing, Error) and missing.error.status)
"""


def test_a_generated_client_calls_the_site(local_target: Target, tmp_path: Path) -> None:
    document, settings = tmp_path / "openapi.json", tmp_path / "settings.yaml"
    reply = httpx.get(f"{local_target.base_url}/openapi-3.0.json", timeout=30)
    document.write_bytes(reply.raise_for_status().content)
    settings.write_text("post_hooks: []\n")
    python = python_with("openapi-python-client-0.29.1")
    made = subprocess.run(
        (
            *(python.with_name("openapi-python-client"), "generate", "--meta", "none"),
            *("--path", document, "--config", settings, "--output-path", tmp_path / "site_client"),
        ),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    assert "WARNING" not in made.stdout + made.stderr  # which leave something out
    arguments = (local_target.base_url, local_target.token(), local_target.directory)
    done = subprocess.run(
        (python, "-c", PROGRAM, *arguments),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["local", "True generated", "NOT_FOUND"]
