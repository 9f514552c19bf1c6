"""Large files by pyfirecrest, unchanged, straight between it and jobs of a real Slurm."""

import base64
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from firecrest.FirecrestException import TransferJobFailedException, UnexpectedStatusException
from firecrest.v2 import AsyncFirecrest, Firecrest

from tests.cluster import RECIPE, Cluster
from tests.e2e.sites import output_of
from tests.e2e.target import Target
from tests.mailbox import Mailbox
from tests.ports import free_ports
from tests.stack import PASSERELLE, running_site

MIB = 1 << 20
LIMIT = 20 * MIB


@pytest.fixture(scope="module")
def target(cluster: Cluster, mailbox: Mailbox) -> Iterator[Target]:
    """Alice on the real Slurm, whose jobs are reached on loopback."""
    site = yaml.safe_load(output_of(sys.executable, RECIPE / "configuration.py", cluster.directory))
    first = free_ports(5)
    streamer = {"host": "127.0.0.1", "public_ips": ["127.0.0.1"], "port_range": [first, first + 4]}
    wormhole = {"relay_url": mailbox.relay_url, "transit_helper": mailbox.transit_helper}
    site["systems"][0]["data_operation"]["staging"] = [
        {"type": "streamer", "options": streamer | {"inbound_transfer_limit": 20 * MIB}},
        {"type": "wormhole", "options": wormhole},
    ]
    with tempfile.TemporaryDirectory() as name:
        configuration = Path(name) / "site.yaml"
        configuration.write_text(yaml.safe_dump(site))
        with running_site("--config", str(configuration), environment={}) as ready:
            token = (PASSERELLE, "token", "--config", configuration, "--client", "alice")
            yield Target(
                base_url=ready["ready"],
                system="cluster",
                user="alice",
                token=lambda: output_of(*token).strip(),
                directory="/home/alice",
                partition="debug",
                account="proj1sub",
            )


@pytest.fixture
def local(tmp_path: Path) -> Path:
    """A file of three messages."""
    path = tmp_path / "local.bin"
    path.write_bytes(random.Random(1).randbytes(11 * MIB + 3))  # noqa: S311
    return path


def test_up_and_down(target: Target, client: Firecrest, directory: str, local: Path) -> None:
    """The job runs before it listens, and the client tries but once: several, so that one would be lost."""
    for number in range(4):
        client.upload(
            target.system,
            str(local),
            directory,
            f"it's {number}",
            target.account,
            transfer_method="streamer",
        )
        back = local.with_name(f"back {number}")
        client.download(
            target.system,
            f"{directory}/it's {number}",
            str(back),
            target.account,
            transfer_method="streamer",
        )
        assert back.read_bytes() == local.read_bytes()


def test_what_asks_for_s3_without_having_been_told_to_takes_what_there_is(
    target: Target, client: Firecrest, directory: str, local: Path
) -> None:
    back = local.with_name("back")
    client.upload(target.system, str(local), directory, "x", target.account)
    client.download(target.system, f"{directory}/x", str(back), target.account)
    assert back.read_bytes() == local.read_bytes()


def test_clients_that_know_s3_alone_are_told_what_there_is(target: Target, directory: str) -> None:
    url = f"{target.base_url}/filesystem/{target.system}/transfer/upload"
    request = {
        "path": f"{directory}/x",
        "account": target.account,
        "transferDirectives": {"transferMethod": "s3", "fileSize": 5 * MIB},
    }
    bearer = {"Authorization": f"Bearer {target.token()}"}
    reply = httpx.post(url, json=request, headers=bearer, timeout=60)
    assert reply.status_code == 400
    assert reply.json()["message"].endswith("Available on this system: streamer, wormhole.")


def test_without_waiting(target: Target, client: Firecrest, directory: str, local: Path) -> None:
    up: Any = client.upload(
        target.system,
        str(local),
        directory,
        "x",
        target.account,
        blocking=False,
        transfer_method="streamer",
    )
    up.wait_for_streamer_job_to_listen()
    up.upload_file_streamer()
    assert client.stat(target.system, f"{directory}/x")["size"] == local.stat().st_size
    up.wait_for_transfer_job(timeout=120)
    back = local.with_name("back.bin")
    down: Any = client.download(
        target.system,
        f"{directory}/x",
        str(back),
        target.account,
        blocking=False,
        transfer_method="streamer",
    )
    down.wait_for_streamer_job_to_listen()
    down.download_file_streamer()
    down.wait_for_transfer_job(timeout=120)
    assert back.read_bytes() == local.read_bytes()


async def test_asynchronously(target: Target, directory: str, local: Path) -> None:
    client = AsyncFirecrest(firecrest_url=target.base_url, authorization=target)
    await client.upload(
        target.system, str(local), directory, "x", target.account, transfer_method="streamer"
    )
    back = local.with_name("back.bin")
    await client.download(
        target.system, f"{directory}/x", str(back), target.account, transfer_method="streamer"
    )
    assert back.read_bytes() == local.read_bytes()
    await client.close_session()


def test_no_secret_is_where_others_look_and_a_cancelled_job_leaves_nothing(
    target: Target, client: Firecrest, cluster: Cluster, directory: str, local: Path
) -> None:
    up: Any = client.upload(
        target.system,
        str(local),
        directory,
        "x",
        target.account,
        blocking=False,
        transfer_method="streamer",
    )
    directives, job = up.transfer_data["transferDirectives"], up.transfer_data["transferJob"]
    assert directives["transferMethod"] == "streamer"
    secret = json.loads(base64.urlsafe_b64decode(directives["coordinates"]))["secret"]
    _wait_for(client, target, job, "Listening on port")
    slurm = {"SLURM_CONF": str(cluster.slurm_conf)}
    job_record = output_of("scontrol", "show", "job", "-d", job["jobId"], **slurm)
    job_record += output_of("scontrol", "write", "batch_script", job["jobId"], "-", **slurm)
    job_record += output_of("ps", "-u", "alice", "-wwo", "args", "e")
    assert f"JobId={job['jobId']}" in job_record
    assert secret not in job_record + _log(client, target, job)
    assert len(_names(client, target, directory)) == 1
    client.cancel_job(target.system, job["jobId"])
    with pytest.raises(TransferJobFailedException):
        up.wait_for_transfer_job(timeout=120)
    assert _names(client, target, directory) == []


def test_targets_that_are_refused(
    target: Target, client: Firecrest, directory: str, local: Path
) -> None:
    client.mkdir(target.system, f"{directory}/there")
    for name, status in (("there", 403), ("no/x", 404)):
        with pytest.raises(UnexpectedStatusException) as refused:
            client.upload(
                target.system,
                str(local),
                directory,
                name,
                target.account,
                transfer_method="streamer",
            )
        assert refused.value.responses[-1].status_code == status


def test_more_than_the_limit(
    target: Target,
    client: Firecrest,
    directory: str,
    tmp_path: Path,
) -> None:
    big = tmp_path / "big"
    big.touch()
    os.truncate(big, LIMIT + 1)
    with pytest.raises(UnexpectedStatusException, match="Inbound transfer limit exceeded"):
        client.upload(
            target.system, str(big), directory, "x", target.account, transfer_method="streamer"
        )
    assert _names(client, target, directory) == []


# pyfirecrest leaves the pipes of its `wormhole` open.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_up_and_down_by_wormhole(
    target: Target,
    client: Firecrest,
    directory: str,
    local: Path,
    mailbox: Mailbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With pyfirecrest as far as it goes: it calls `wormhole receive --code`, which magic-wormhole does not know."""
    for name, value in mailbox.environment.items():
        monkeypatch.setenv(name, value)
    client.upload(
        target.system, str(local), directory, "x", target.account, transfer_method="wormhole"
    )
    back = local.with_name("back.bin")
    down: Any = client.download(
        target.system,
        f"{directory}/x",
        str(back),
        target.account,
        blocking=False,
        transfer_method="wormhole",
    )
    output_of("wormhole", "receive", "--accept-file", "-o", back, down.wormhole_code)
    down.wait_for_transfer_job(timeout=120)
    assert back.read_bytes() == local.read_bytes()


def _wait_for(client: Firecrest, target: Target, job: dict[str, Any], words: str) -> None:
    """Until the job's log has the words."""
    deadline = time.monotonic() + 120
    while words not in _log(client, target, job):
        assert time.monotonic() < deadline
        time.sleep(0.3)


def _log(client: Firecrest, target: Target, job: dict[str, Any]) -> str:
    path = job["logs"]["outputLog"]
    if Path(path).name not in _names(client, target, job["workingDirectory"]):
        return ""
    return str(client.view(target.system, path))


def _names(client: Firecrest, target: Target, directory: str) -> list[str]:
    listed = client.list_files(target.system, directory, show_hidden=True)
    return [entry["name"] for entry in listed]
