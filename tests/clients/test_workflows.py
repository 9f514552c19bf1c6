"""What programs on top of pyfirecrest do with it, call by call: they are not to be had as packages.

Sources, as read in November 2026: ReFrame's scheduler `firecrest-slurm` in eth-cscs/cscs-reframe-tests
(config/utilities/firecrest_slurm.py, 2f813557); the Airflow operators in eth-cscs/firecrest-training
(use-case-airflow-operator, 178430d) and the CI script there (use-case-CI-pipeline); FirecRESTSpawner for JupyterHub in
eth-cscs/firecrestspawner (2c4587f).
"""

import asyncio
import base64
import os
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest
from firecrest import FirecrestException
from firecrest.v2 import AsyncFirecrest, Firecrest

from tests.clients.pyfirecrest_run import JOB_SECONDS, LARGE, Site

# pyfirecrest hands httpx text as `data`.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def _ended(client: Firecrest, system: str, job_id: str) -> Any:
    return client.wait_for_job(system, job_id, timeout=JOB_SECONDS)


def test_reframe_pushes_runs_and_pulls(
    site: Site, owner: Firecrest, directory: str, tmp_path: Path
) -> None:
    """A stage directory larger than one request; no account anywhere; the script lies on the system."""
    system, stage, remote = site.system, tmp_path / "stage", f"{directory}/output/test one"
    stage.mkdir()
    (stage / "rfm_job.sh").write_text(
        "#!/bin/bash\n#SBATCH -o rfm_job.out\nwc -c < data > counted\n"
    )
    (stage / "data").write_bytes(LARGE)
    with pytest.raises(FirecrestException) as absent:
        owner.rm(system, remote)
    assert absent.value.responses[-1].status_code == 404
    owner.mkdir(system, remote, create_parents=True)
    archive = tmp_path / "push.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(stage, ".")
    owner.upload(system, str(archive), remote, archive.name)
    owner.extract(system, f"{remote}/{archive.name}", remote)
    owner.rm(system, f"{remote}/{archive.name}")
    job = owner.submit(system, working_dir=remote, script_remote_path=f"{remote}/rfm_job.sh")
    request = owner.job_info(system, str(job["jobId"]))
    assert ",".join(part["nodes"] for part in request) in ("", "cn01", "cn02")
    ended = _ended(owner, system, str(job["jobId"]))
    assert ",".join(part["status"]["state"] for part in ended) == "COMPLETED"
    assert max(int(part["status"].get("exitCode") or 0) for part in ended) == 0
    assert all(part["time"]["end"] >= part["time"]["start"] for part in ended)
    owner.compress(system, remote, f"{remote}_pull.tar.gz")
    owner.download(system, f"{remote}_pull.tar.gz", str(tmp_path / "pull.tar.gz"))
    with tarfile.open(tmp_path / "pull.tar.gz") as packed:
        counted = packed.extractfile("test one/counted")
        assert counted is not None
        assert int(counted.read()) == len(LARGE)
    owner.rm(system, f"{remote}_pull.tar.gz")


def test_reframe_looks_for_nodes(site: Site, owner: Firecrest) -> None:
    nodes = owner.nodes(site.system)
    partitions = {
        node["name"]: (node["partitions"], node["features"], node["state"]) for node in nodes
    }
    assert set(partitions["cn01"][0]) >= {"debug", "normal"}
    assert partitions["cn01"][1].split(",") == ["mc", "cpu"]
    assert partitions["cn01"][2]
    lists = {each["name"]: each["nodeList"] for each in owner.reservations(site.system)}
    assert lists["training"] == "cn02"


def test_airflow_uploads_submits_and_downloads(
    site: Site, owner: Firecrest, directory: str, tmp_path: Path
) -> None:
    source, back = tmp_path / "si.scf.in", tmp_path / "out"
    source.write_bytes(LARGE)
    owner.upload(site.system, str(source), directory, source.name)
    script = (
        "#!/bin/bash -l\n#SBATCH --output=job-%j.out\n#SBATCH --time=00:05:00\nwc -c < si.scf.in\n"
    )
    job = owner.submit(site.system, script_str=script, working_dir=directory)
    assert _ended(owner, site.system, job["jobId"])[0]["status"]["state"] == "COMPLETED"
    workdir = owner.job_info(site.system, job["jobId"])[0]["workingDirectory"]
    owner.download(site.system, os.path.join(workdir, f"job-{job['jobId']}.out"), str(back))
    assert int(back.read_text()) == len(LARGE)


def test_a_ci_pipeline_asks_for_health_and_reads_the_end(
    site: Site, owner: Firecrest, directory: str
) -> None:
    (system,) = owner.systems()
    healthy = {each["serviceType"]: each["healthy"] for each in system["servicesHealth"]}
    assert healthy["scheduler"] is True
    script = '#!/bin/bash -l\n#SBATCH --job-name="ci_job"\n#SBATCH --output=job.out\n#SBATCH --error=job.err\n'
    job = owner.submit(site.system, directory, script_str=f"{script}seq 2000\necho done >&2\n")
    assert _ended(owner, site.system, job["jobId"])[0]["status"]["state"] == "COMPLETED"
    body = owner.tail(site.system, f"{directory}/job.out", num_lines=1000)["content"]
    assert (body[:5], body.count("\n")) == ("1001\n", 1000)
    assert owner.tail(site.system, f"{directory}/job.err", num_lines=1000)["content"] == "done\n"


async def test_jupyterhub_spawns_polls_and_cancels(
    site: Site, owner: Firecrest, directory: str
) -> None:
    """The hub's variables have quotes, commas and JSON; the server's address is the job's first node."""
    client = AsyncFirecrest(site.url, authorization=owner._authorization)
    client.timeout = 30
    scopes = '["access:servers!server=alice/", "access:servers!user=alice"]'
    environment = {
        "JUPYTERHUB_API_TOKEN": "0" * 32,
        "JUPYTERHUB_OAUTH_SCOPES": base64.b64encode(scopes.encode()).decode(),
        "JUPYTERHUB_SERVICE_URL": "http://0.0.0.0:0/user/alice/",
        "MEM_LIMIT": "",
        "PLAIN_SCOPES": scopes,
    }
    group = (await client.userinfo(site.system))["group"]["name"]
    assert group == "alice"
    script = (
        "#!/bin/bash\n#SBATCH --job-name=jupyterhub\n#SBATCH --output=hub.log\nenv\nsleep 300\n"
    )
    job = await client.submit(
        site.system, script_str=script, env_vars=environment, working_dir=directory
    )
    job_id = f"{job['jobId']}"
    status = ""
    async with asyncio.timeout(JOB_SECONDS):
        while not re.search(r"^(?:RUNNING|COMPLETING) cn0[12]$", status):
            (one_job,) = await client.job_info(site.system, job_id)
            assert one_job["status"]["state"] in ("PENDING", "CONFIGURING", "RUNNING")
            status = f"{one_job['status']['state']} {one_job['nodes']}"
    (metadata,) = await client.job_metadata(site.system, job_id)
    output = ""
    async with asyncio.timeout(JOB_SECONDS):
        while "SLURM_JOB_ID" not in output:
            output = await client.view(site.system, metadata["standardOutput"])
    assert {f"{name}={value}" for name, value in environment.items()} <= set(output.splitlines())
    assert await client.cancel_job(site.system, job_id) == {}
    await client.close_session()
