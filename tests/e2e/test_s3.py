"""Large files by pyfirecrest, unchanged, through a real object store and jobs of a real Slurm."""

import random
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from firecrest.FirecrestException import TransferJobFailedException
from firecrest.v2 import AsyncFirecrest, Firecrest

from tests.cluster import RECIPE, Cluster
from tests.e2e.sites import output_of
from tests.e2e.target import Target
from tests.e2e.test_pyfirecrest_cli import Cli
from tests.minio import ACCESS_KEY, SECRET_KEY, MinioServer
from tests.stack import PASSERELLE, running_site

# pyfirecrest hands httpx text as `data`.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

MIB = 1 << 20
SECRET = re.compile(r"X-Amz-|uploadId=|http://", re.IGNORECASE)


@pytest.fixture(scope="module")
def target(cluster: Cluster, minio: MinioServer) -> Iterator[Target]:
    """Alice on the real Slurm, which stages with the store; jobs and callers know that by different names."""
    site = yaml.safe_load(output_of(sys.executable, RECIPE / "configuration.py", cluster.directory))
    options = {
        "private_url": minio.url,
        "public_url": minio.url.replace("127.0.0.1", "localhost"),
        "access_key_id": ACCESS_KEY,
        "secret_access_key": "env:PASSERELLE_TEST_S3_KEY",
        "part_size": 5 * MIB,
        "parallel": 2,
    }
    site["systems"][0]["data_operation"]["staging"] = [{"type": "s3", "options": options}]
    with tempfile.TemporaryDirectory() as name:
        configuration = Path(name) / "site.yaml"
        configuration.write_text(yaml.safe_dump(site))
        key = {"PASSERELLE_TEST_S3_KEY": SECRET_KEY}
        with running_site("--config", str(configuration), environment=key) as ready:
            token = (PASSERELLE, "token", "--config", configuration, "--client", "alice")
            yield Target(
                base_url=ready["ready"],
                system="cluster",
                user="alice",
                token=lambda: output_of(*token, **key).strip(),
                directory="/home/alice",
                partition="debug",
                account="proj1sub",
            )


@pytest.fixture
def local(tmp_path: Path) -> Path:
    """A file of three parts."""
    path = tmp_path / "local.bin"
    path.write_bytes(random.Random(1).randbytes(11 * MIB + 3))  # noqa: S311
    return path


def test_up_and_down(target: Target, client: Firecrest, directory: str, local: Path) -> None:
    up: Any = client.upload(target.system, str(local), directory, "it's up.bin", target.account)
    assert len(up.transfer_data["transferDirectives"]["partsUploadUrls"]) == 3
    back = local.with_name("back.bin")
    path = f"{directory}/it's up.bin"
    client.download(target.system, path, str(back), target.account)
    assert back.read_bytes() == local.read_bytes()
    assert client.checksum(target.system, path)["checksum"]


def test_without_waiting(target: Target, client: Firecrest, directory: str, local: Path) -> None:
    up: Any = client.upload(
        target.system, str(local), directory, "x", target.account, blocking=False
    )
    up.upload_file_to_stage()
    up.wait_for_transfer_job(timeout=120)
    assert client.stat(target.system, f"{directory}/x")["size"] == local.stat().st_size
    back = local.with_name("back.bin")
    down: Any = client.download(
        target.system, f"{directory}/x", str(back), target.account, blocking=False
    )
    down.wait_for_transfer_job(timeout=120)
    down.download_file_from_stage()
    assert back.read_bytes() == local.read_bytes()


async def test_asynchronously(target: Target, directory: str, local: Path) -> None:
    client = AsyncFirecrest(firecrest_url=target.base_url, authorization=target)
    await client.upload(target.system, str(local), directory, "x", target.account)
    back = local.with_name("back.bin")
    await client.download(target.system, f"{directory}/x", str(back), target.account)
    assert back.read_bytes() == local.read_bytes()
    await client.close_session()


def test_as_a_command(target: Target, directory: str, local: Path, tmp_path: Path) -> None:
    firecrest = Cli(target, tmp_path / "token")
    back = local.with_name("back.bin")
    firecrest("upload", str(local), directory, "x", "--account", str(target.account))
    firecrest("download", f"{directory}/x", str(back), "--account", str(target.account))
    assert back.read_bytes() == local.read_bytes()


def test_no_secret_is_where_others_look(
    target: Target, client: Firecrest, cluster: Cluster, directory: str, local: Path
) -> None:
    up: Any = client.upload(
        target.system, str(local), directory, "x", target.account, blocking=False
    )
    job = up.transfer_data["transferJob"]
    _wait_for(client, target, job, "Waiting till the file")
    slurm = {"SLURM_CONF": str(cluster.slurm_conf)}
    job_record = output_of("scontrol", "show", "job", "-d", job["jobId"], **slurm)
    job_record += output_of("scontrol", "write", "batch_script", job["jobId"], "-", **slurm)
    job_record += _processes("alice")
    assert f"JobId={job['jobId']}" in job_record
    assert "staging.s3.remote.ingress" in job_record
    assert _unmentioned(job_record, up)
    up.upload_file_to_stage()
    up.wait_for_transfer_job(timeout=120)
    assert _unmentioned(_logs(client, target, job), up)
    number = job["logs"]["outputLog"].rpartition("_")[2].removesuffix(".log")
    assert f".f7t_file_handling_job_{number}.log" in _names(client, target)
    assert f".passerelle-transfer-{number}" not in _names(client, target)


def _unmentioned(text: str, up: Any) -> bool:
    """Whether the text has no URL of the store, nor any part of one."""
    port = re.search(r":(\d+)/", up.transfer_data["transferDirectives"]["completeUploadUrl"])
    assert port
    return f":{port.group(1)}/" not in text and "X-Amz-Signature=" not in text


def test_cancelled_by_its_user(
    target: Target, client: Firecrest, directory: str, local: Path, minio: MinioServer
) -> None:
    up: Any = client.upload(
        target.system, str(local), directory, "x", target.account, blocking=False
    )
    job = up.transfer_data["transferJob"]
    _wait_for(client, target, job, "Waiting till the file")
    client.cancel_job(target.system, job["jobId"])
    with pytest.raises(TransferJobFailedException):
        up.wait_for_transfer_job(timeout=120)
    assert "cancelled" in _logs(client, target, job)
    reply = httpx.put(up.transfer_data["transferDirectives"]["partsUploadUrls"][0], content=b"1")
    assert (reply.status_code, "NoSuchUpload" in reply.text) == (404, True)
    assert _names(client, target, directory) == []


def test_wrong_requests(target: Target, directory: str) -> None:
    url = f"{target.base_url}/filesystem/{target.system}/transfer/upload"
    headers = {"Authorization": f"Bearer {target.token()}"}
    body: dict[str, Any] = {
        "path": f"{directory}/x",
        "account": target.account,
        "transferDirectives": {"transferMethod": "s3"},
    }
    reply = httpx.post(url, json=body, headers=headers, timeout=60)
    assert (reply.status_code, "fileSize" in reply.text) == (400, True)
    body["transferDirectives"] = {"transferMethod": "s3", "fileSize": 5, "account": None}
    body["account"] = "nosuch"
    reply = httpx.post(url, json=body, headers=headers, timeout=60)
    assert reply.status_code >= 400
    assert not SECRET.search(reply.text)


def test_an_empty_file_and_one_of_ten_thousand_parts(
    target: Target, client: Firecrest, directory: str
) -> None:
    url = f"{target.base_url}/filesystem/{target.system}/transfer/upload"
    headers = {"Authorization": f"Bearer {target.token()}"}
    for size, parts, part_size in ((0, 1, 5 * MIB), (10_000 * 6 * MIB, 10_000, 6 * MIB)):
        directives = {"transferMethod": "s3", "fileSize": size}
        body = {
            "path": f"{directory}/x",
            "account": target.account,
            "transferDirectives": directives,
        }
        reply = httpx.post(url, json=body, headers=headers, timeout=120)
        assert reply.status_code == 201, reply.text
        got = reply.json()["transferDirectives"]
        assert (len(got["partsUploadUrls"]), got["maxPartSize"]) == (parts, part_size)
        job = reply.json()["transferJob"]
        _wait_for(client, target, job, "Waiting till the file")
        client.cancel_job(target.system, job["jobId"])


def test_by_the_native_api(target: Target, client: Firecrest, directory: str, local: Path) -> None:
    files = f"{target.base_url}/v1/systems/{target.system}/files"
    headers = {"Authorization": f"Bearer {target.token()}"}
    request = {"path": f"{directory}/x", "method": "s3", "account": target.account}
    content = local.read_bytes()
    with httpx.Client(headers=headers, timeout=120) as native:
        reply = native.post(f"{files}:stageUpload", json={**request, "sizeBytes": len(content)})
        staged = reply.raise_for_status().json()
        size, tags = int(staged["s3"]["partSize"]), []
        for number, url in enumerate(staged["s3"]["partUrls"]):
            part = content[number * size :][:size]
            tags.append(httpx.put(url, content=part, timeout=60).raise_for_status().headers["ETag"])
        listed = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>"
            for number, tag in enumerate(tags, 1)
        )
        body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>"
        httpx.post(staged["s3"]["completeUrl"], content=body, timeout=60).raise_for_status()
        client.wait_for_job(target.system, staged["job"]["jobId"], timeout=120)
        staged = native.post(f"{files}:stageDownload", json=request).raise_for_status().json()
        client.wait_for_job(target.system, staged["job"]["jobId"], timeout=120)
        assert httpx.get(staged["s3"]["downloadUrl"], timeout=60).content == content
        large = {**request, "sizeBytes": str(10_000 * 5 * MIB)}
        staged = native.post(f"{files}:stageUpload", json=large).raise_for_status().json()
        assert len(staged["s3"]["partUrls"]) == 10_000
        client.cancel_job(target.system, staged["job"]["jobId"])


def _wait_for(client: Firecrest, target: Target, job: dict[str, Any], words: str) -> None:
    """Until the job's log has the words."""
    deadline = time.monotonic() + 120
    while words not in _logs(client, target, job):
        assert time.monotonic() < deadline, _logs(client, target, job)
        time.sleep(0.3)


def _logs(client: Firecrest, target: Target, job: dict[str, Any]) -> str:
    there = _names(client, target)
    paths = job["logs"].values()
    return "".join(
        str(client.view(target.system, path)) for path in paths if Path(path).name in there
    )


def _names(client: Firecrest, target: Target, directory: str | None = None) -> list[str]:
    listed = client.list_files(target.system, directory or target.directory, show_hidden=True)
    return [entry["name"] for entry in listed]


def _processes(user: str) -> str:
    """The command lines and environments of a user's processes, as far as we may see them."""
    reported = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.owner() == user:
                reported += [(process / name).read_text() for name in ("cmdline", "environ")]
        except (OSError, KeyError):
            continue
    return "\n".join(reported)
