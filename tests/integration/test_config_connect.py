"""`config check --connect` on the real cluster and the development issuer, as they are and with one thing broken."""

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncssh
import pytest
import yaml
from click.testing import CliRunner

from passerelle.cli.check.file_check import check
from passerelle.cli.check.site_check import check_site
from passerelle.cli.check.trial_runner import Result, TrialRunner
from passerelle.cli.main import main
from passerelle.development.main import running as development
from passerelle.runtime.config.site import site_model
from tests.cluster import Cluster
from tests.cluster_sshd import another_sshd
from tests.minio import ACCESS_KEY, SECRET_KEY, MinioServer
from tests.ports import free_port

Site = dict[str, Any]
Change = Callable[[Site], None]


@pytest.fixture
def site(cluster: Cluster, tmp_path: Path) -> Site:
    """A site in front of the cluster whose probes are alice, with an issuer to be served."""
    url = f"http://127.0.0.1:{free_port()}"
    account = {"token_url": f"{url}/token", "client_id": "probe", "client_secret": "hush"}
    client = {"id": "probe", "secret": "hush", "username": "alice", "scopes": ["compute.read"]}
    ssh = {
        "host": cluster.host,
        "port": cluster.ssh_port,
        "host_keys": [cluster.known_hosts.read_text().split(" ", 1)[1].strip()],
    }
    return {
        "systems": [
            {
                "name": "lab",
                "ssh": ssh,
                "scheduler": {"type": "slurm"},
                "filesystems": [{"path": "/home", "data_type": "users"}],
                "probing": {"service_account": account},
            }
        ],
        "auth": {
            "issuers": [{"issuer": url, "audience": ["passerelle"]}],
            "ssh_credentials": {"type": "ca", "options": {"key_file": str(cluster.ca_key)}},
        },
        "development": {
            "issuer": {
                "listen": url.removeprefix("http://"),
                "key_file": str(tmp_path / "issuer_key"),
                "clients": [client],
            }
        },
    }


async def tried(site: Site, directory: Path, *, issuer: bool = True) -> dict[str, Result]:
    """What became of every trial, by name, with the site's issuer served meanwhile."""
    path = directory / "site.yaml"
    path.write_text(yaml.safe_dump(site))
    assert check(path).errors == []
    runner = TrialRunner(lambda name: None, lambda result: None)
    async with AsyncExitStack() as stack:
        if issuer:
            text = yaml.safe_dump({"development": site["development"]})
            await stack.enter_async_context(development(site_model().parse(text)))
        await check_site(path, runner)
    return {result.name: result for result in runner.results}


def outcomes(results: dict[str, Result]) -> dict[str, list[str]]:
    """The trials' short names, by what became of them."""
    by: dict[str, list[str]] = {}
    for name, result in results.items():
        short = name.removeprefix("lab: ").partition(" http")[0].partition(" 127.")[0]
        by.setdefault(result.outcome, []).append(short)
    return by


INSIDE = ["id", "clock", "sessions", "programs", "python3", "SFTP", "scheduler", "filesystem /home"]
ALL = ["keys of the issuer", "development issuer", "way", "token", "account", "login", *INSIDE]


async def test_a_site_that_works(site: Site, tmp_path: Path) -> None:
    results = await tried(site, tmp_path)
    assert outcomes(results) == {"ok": ALL}
    assert "audience 'passerelle'" in results["lab: token"].text
    assert results["lab: account"].text == "alice"
    assert "CA ssh-ed25519 SHA256:" in results["lab: login"].text
    assert "slurm" in results["lab: programs"].text
    assert results["lab: sessions"].text == "10 on a connection"


def _secret(site: Site) -> None:
    site["systems"][0]["probing"]["service_account"]["client_secret"] = "wrong"


def _audience(site: Site) -> None:
    site["auth"]["issuers"][0]["audience"] = ["other"]


def _port(site: Site) -> None:
    site["systems"][0]["ssh"]["port"] = free_port()


def _host_key(site: Site) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()
    site["systems"][0]["ssh"]["host_keys"] = [key]


def _jump_host(site: Site) -> None:
    ssh = site["systems"][0]["ssh"]
    ssh.update(proxy_host=ssh["host"], proxy_port=ssh["port"])


def _sessions(site: Site) -> None:
    site["systems"][0]["ssh"]["max_channels"] = 20


def _scopes(site: Site) -> None:
    site["auth"]["enforce_scopes"] = True


def _filesystem(site: Site) -> None:
    site["systems"][0]["filesystems"][0]["path"] = "/nowhere"


@pytest.mark.parametrize(
    ("change", "failed", "skipped", "message"),
    [
        (_secret, "token", ["account", "login", *INSIDE], "refused the service account: invalid_client"),
        (_audience, "account", ["login", *INSIDE], 'token refused: aud is passerelle; accepted: ["other"]'),
        (_port, "way", ["login", *INSIDE], "its login node refuses connections"),
        (_host_key, "way", ["login", *INSIDE], "it showed ssh-ed25519 SHA256:"),
        (_jump_host, "login", INSIDE, "certificates need extensions: [port-forwarding]"),
        (_sessions, "sessions", [], "it opens 10 on a connection, and 22 may be needed: set max_channels: 8"),
        (_scopes, "filesystem /home", [], "lacks the scope storage.read"),
        (_filesystem, "filesystem /nowhere", [], "No such file or directory"),
    ],
)  # fmt: skip
async def test_what_is_broken_is_said_and_what_needs_it_skipped(
    site: Site, tmp_path: Path, change: Change, failed: str, skipped: list[str], message: str
) -> None:
    change(site)
    results = await tried(site, tmp_path)
    by = outcomes(results)
    assert by["FAILED"] == [failed]
    assert by.get("skipped", []) == skipped
    assert message in results[f"lab: {failed}"].text
    assert all(results[f"lab: {name}"].text == f"{failed} failed" for name in skipped)


async def test_a_refused_login_names_the_authority(
    site: Site, cluster: Cluster, tmp_path: Path
) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    (tmp_path / "ca").write_bytes(key.export_private_key())
    (tmp_path / "ca").chmod(0o600)
    site["auth"]["ssh_credentials"]["options"]["key_file"] = str(tmp_path / "ca")
    reported = (await tried(site, tmp_path))["lab: login"]
    assert reported.failed
    assert key.get_fingerprint() in reported.text
    assert "principal alice, CA ssh-ed25519 SHA256:" in reported.text
    assert "Look at: TrustedUserCAKeys" in reported.text


async def test_an_account_of_the_system(site: Site, tmp_path: Path) -> None:
    site["systems"][0]["ssh"]["least_uid"] = 60000
    results = await tried(site, tmp_path)
    by = outcomes(results)
    assert by["FAILED"] == ["id"]
    assert by["skipped"] == ["clock", "programs", "python3", "scheduler", "filesystem /home"]
    assert "below 60000 accounts are the system's own" in results["lab: id"].text
    assert results["lab: id"].text.endswith("ssh.least_uid")


async def test_an_account_that_runs_no_commands(
    site: Site, cluster: Cluster, tmp_path: Path
) -> None:
    with another_sshd(cluster, "ForceCommand internal-sftp") as port:
        site["systems"][0]["ssh"]["port"] = port
        by = outcomes(await tried(site, tmp_path))
    assert by["FAILED"] == ["id"]
    assert by["ok"][-2:] == ["sessions", "SFTP"]
    assert by["skipped"] == ["clock", "programs", "python3", "scheduler", "filesystem /home"]


async def test_an_issuer_that_is_away(site: Site, tmp_path: Path) -> None:
    results = await tried(site, tmp_path, issuer=False)
    by = outcomes(results)
    assert by["FAILED"] == ["keys of the issuer", "development issuer", "token"]
    assert by["ok"] == ["way"]
    assert "did not answer (Cannot connect to host 127.0.0.1" in results["lab: token"].text
    (listens,) = (each for name, each in results.items() if name.startswith("development issuer"))
    assert listens.text.startswith("nothing listens: Connection refused. Look at: it runs in")


async def test_through_a_jump_host(site: Site, tmp_path: Path) -> None:
    _jump_host(site)
    site["auth"]["ssh_credentials"]["options"]["extensions"] = ["port-forwarding"]
    results = await tried(site, tmp_path)
    assert outcomes(results) == {"ok": ALL}
    assert results["lab: way"].text.startswith("jump host ")
    assert results["lab: login"].text.count("SHA256:") == 3  # the authority, and two host keys


async def test_with_a_key_of_the_users_own(site: Site, cluster: Cluster, tmp_path: Path) -> None:
    keys = cluster.ca_key.parent
    user = {
        "private_key": f"secret_file:{keys / 'alice'}",
        "public_cert": f"secret_file:{keys / 'alice-cert.pub'}",
    }
    site["auth"]["ssh_credentials"] = {"type": "keys", "options": {"users": {"alice": user}}}
    assert outcomes(await tried(site, tmp_path)) == {"ok": ALL}
    site["auth"]["ssh_credentials"]["options"]["users"] = {"bob": user}
    reported = (await tried(site, tmp_path))["lab: login"]
    assert reported.failed
    assert reported.text.startswith("No SSH credentials found for user:alice")


async def test_without_a_service_account(site: Site, tmp_path: Path) -> None:
    del site["systems"][0]["probing"]
    results = await tried(site, tmp_path)
    assert outcomes(results)["skipped"] == ALL[3:]
    assert results["lab: token"].text == "there is no probing.service_account"


@pytest.fixture
def poor() -> Iterator[Path]:
    """A directory where only sh, env, dd and what tells of the account and the time are found."""
    with tempfile.TemporaryDirectory(prefix="passerelle-poor-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        for program in ("sh", "env", "dd", "id", "date", "sleep"):
            (directory / program).symlink_to(shutil.which(program) or program)
        yield directory


async def test_a_login_node_without_anything(
    site: Site, cluster: Cluster, tmp_path: Path, poor: Path
) -> None:
    settings = ("MaxSessions 4", f"SetEnv PATH={poor}")
    with another_sshd(cluster, *settings, without="Subsystem") as port:
        site["systems"][0]["ssh"]["port"] = port
        results = await tried(site, tmp_path)
    by = outcomes(results)
    assert {"sessions", "programs", "scheduler"} <= set(by["FAILED"])
    assert by["note"] == ["python3", "SFTP"]
    assert "set max_channels: 2, or MaxSessions 10" in results["lab: sessions"].text
    missing = results["lab: programs"].text
    assert "bash, sed, sbatch, squeue" in missing
    assert "not found in the PATH of a non-interactive login" in missing
    assert "plain commands are used instead of a helper" in results["lab: python3"].text


@pytest.mark.parametrize(
    ("change", "failed", "message"),
    [
        ({}, False, "takes the key"),
        ({"secret_access_key": "wrong"}, True, "SignatureDoesNotMatch"),
        ({"access_key_id": "nobody"}, True, "InvalidAccessKeyId"),
        ({"private_url": "http://127.0.0.1:1"}, True, "cannot be reached: "),
    ],
)
async def test_an_object_store(
    site: Site,
    tmp_path: Path,
    minio: MinioServer,
    change: dict[str, str],
    failed: bool,
    message: str,
) -> None:
    options = {
        "private_url": minio.url,
        "access_key_id": ACCESS_KEY,
        "secret_access_key": SECRET_KEY,
    }
    staging = {"type": "s3", "options": options | change}
    site["systems"][0]["data_operation"] = {"staging": [staging]}
    del site["systems"][0]["probing"]
    results = await tried(site, tmp_path)
    (reported,) = (result for name, result in results.items() if "object store" in name)
    assert reported.failed is failed
    assert message in reported.text
    assert SECRET_KEY not in reported.text


async def test_the_command(site: Site, tmp_path: Path) -> None:
    _port(site)
    path = tmp_path / "site.yaml"
    path.write_text(yaml.safe_dump(site))
    runner = CliRunner()
    arguments = ["config", "check", "--connect", str(path)]
    done = await asyncio.to_thread(runner.invoke, main, arguments)
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert lines[0] == f"{path}: correct"
    assert lines[3].startswith("FAILED   lab: way: ")
    assert lines[-1] == "0 ok, 0 note, 4 FAILED, 10 skipped"
    completed = await asyncio.to_thread(runner.invoke, main, [*arguments, "--json"])
    assert completed.exit_code == 1
    assert len(json.loads(completed.stdout)["connect"]) == len(ALL)
    path.write_text("systems: {}\n")
    assert (await asyncio.to_thread(runner.invoke, main, arguments)).exit_code == os.EX_CONFIG
