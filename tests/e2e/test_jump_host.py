"""docs/sshd.md and the example with a jump host, on real OpenSSH servers."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.cluster import Cluster
from tests.compat.tokens import Issuer, published_issuer
from tests.openssh import SSHD, running_sshd
from tests.ports import free_port
from tests.stack import running_site

TOP = Path(__file__).parents[2]
EXAMPLE = TOP / "deploy" / "examples" / "several-systems.yaml"
GUIDE = (TOP / "docs" / "sshd.md").read_text()
LOGIN_NODE, JUMP_HOST = re.findall(r"```sshd_config\n(.*?)```", GUIDE, re.DOTALL)
HOST = "127.0.0.1"
COMMON = (
    "UsePAM no",
    "PasswordAuthentication no",
    "KbdInteractiveAuthentication no",
    "PidFile none",
)


@dataclass(frozen=True)
class Servers:
    """A login node, and the jump host before it."""

    login: int
    jump: int
    login_log: Path
    jump_log: Path
    directory: Path

    def ssh(self, port: int, *options: str, run: str = "") -> subprocess.CompletedProcess[str]:
        """OpenSSH's own client, as alice, with a certificate that allows everything."""
        key = self.directory / "alice"
        command = ("ssh", "-F", "none", "-p", str(port), "-i", str(key), "-o", "BatchMode=yes")
        known_hosts = ("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null")
        return subprocess.run(
            (*command, *known_hosts, *options, f"alice@{HOST}", *([run] if run else ())),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )


@pytest.fixture(scope="module")
def servers(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Both with the guide's blocks; the groups that may never come in are bob's own."""
    work, ssh = tmp_path_factory.mktemp("sshd"), cluster.ca_key.parent
    login, jump = free_port(), free_port()
    _make_certificate(work / "alice", ssh / "user_ca")
    replaced = {
        "203.0.113.10": HOST,
        "/etc/ssh/passerelle_user_ca.pub": str(ssh / "user_ca.pub"),
        "DenyGroups root adm sudo wheel": "DenyGroups root bob",
        "eiger-ln1.internal:22": f"{HOST}:{login}",
    }

    def lines(port: int, block: str) -> list[str]:
        for old, new in replaced.items():
            block = block.replace(old, new)
        slurm = f"SetEnv SLURM_CONF={cluster.slurm_conf}"
        own = (f"Port {port}", f"ListenAddress {HOST}", f"HostKey {ssh / 'host_key'}", slurm)
        return [*own, *COMMON, "LogLevel VERBOSE", "Subsystem sftp internal-sftp", block]

    (work / "login").mkdir()
    (work / "jump").mkdir()
    with (
        running_sshd(work / "login", lines(login, LOGIN_NODE)) as login_log,
        running_sshd(work / "jump", lines(jump, JUMP_HOST)) as jump_log,
    ):
        yield Servers(login, jump, login_log, jump_log, work)


def _make_certificate(key: Path, authority: Path) -> None:
    make = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
    subprocess.run(make, check=True)
    sign = ("ssh-keygen", "-q", "-s", str(authority), "-I", "test", "-n", "alice", f"{key}.pub")
    subprocess.run(sign, check=True)


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with published_issuer() as issuer:
        yield issuer


@pytest.fixture(scope="module")
def site(
    servers: Servers, issuer: Issuer, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """The example's second system, with the addresses and keys that there are here."""
    work = tmp_path_factory.mktemp("site")
    host_key = cluster.known_hosts.read_text().split(" ", 1)[1].strip()
    known_hosts = "".join(f"[{HOST}]:{port} {host_key}\n" for port in (servers.login, servers.jump))
    (work / "known_hosts").write_text(known_hosts)
    data = yaml.safe_load(EXAMPLE.read_text())
    _, eiger = data["systems"]
    assert "proxy_host" in eiger["ssh"]
    eiger["ssh"] |= {"host": HOST, "port": servers.login, "known_hosts": str(work / "known_hosts")}
    eiger["ssh"] |= {"proxy_host": HOST, "proxy_port": servers.jump}
    eiger["filesystems"][0]["path"] = "/home"
    data["systems"] = [eiger]
    data["auth"]["issuers"] = [{"issuer": issuer.url, "any_audience": True}]
    data["auth"]["ssh_credentials"]["options"]["key_file"] = str(cluster.ca_key)
    data["gateway"]["listen"] = f"{HOST}:{free_port()}"
    (work / "site.yaml").write_text(yaml.safe_dump(data))
    with running_site("--config", str(work / "site.yaml"), environment={}) as ready:
        yield ready


@pytest.mark.parametrize("block", [LOGIN_NODE, JUMP_HOST], ids=["login node", "jump host"])
def test_sshd_takes_the_block(block: str, tmp_path: Path, cluster: Cluster) -> None:
    configuration = tmp_path / "sshd_config"
    host_key = cluster.ca_key.parent / "host_key"
    configuration.write_text(f"Include {tmp_path}/*.conf\nHostKey {host_key}\n")
    (tmp_path / "passerelle.conf").write_text(block)
    done = subprocess.run((SSHD, "-t", "-f", configuration), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_example_works_through_its_jump_host(
    site: dict[str, Any], issuer: Issuer, servers: Servers
) -> None:
    headers = {"Authorization": f"Bearer {issuer.token('alice')}"}
    with httpx.Client(base_url=site["ready"], headers=headers, timeout=60) as http:
        nodes = http.get("/status/eiger/nodes")
        assert nodes.status_code == 200, nodes.text
        written = http.put("/v1/systems/eiger/files:content?path=/home/alice/by-jump", content=b"x")
        assert written.is_success, written.text
        removed = http.delete("/filesystem/eiger/ops/rm?path=/home/alice/by-jump")
        assert removed.status_code == 204, removed.text
    for log in (servers.login_log, servers.jump_log):
        assert re.search(r"Accepted .*for alice .* ID user=alice iss=", log.read_text())


def test_who_is_in_a_denied_group_is_not_let_in(site: dict[str, Any], issuer: Issuer) -> None:
    headers = {"Authorization": f"Bearer {issuer.token('bob')}"}
    reply = httpx.get(f"{site['ready']}/status/eiger/nodes", headers=headers, timeout=60)
    assert reply.status_code == 424
    assert "the login was refused by its jump host" in reply.json()["message"]


def test_the_login_node_forwards_nothing(servers: Servers) -> None:
    done = servers.ssh(servers.login, "-W", f"{HOST}:{servers.jump}")
    assert done.returncode != 0
    assert "administratively prohibited" in done.stderr


def test_the_jump_host_leads_to_the_login_node_alone(servers: Servers) -> None:
    there = servers.ssh(servers.jump, "-W", f"{HOST}:{servers.login}")
    assert there.stdout.startswith("SSH-2.0-")
    elsewhere = servers.ssh(servers.jump, "-W", f"{HOST}:{servers.jump}")
    assert "administratively prohibited" in elsewhere.stderr


def test_only_the_login_node_runs_commands(servers: Servers) -> None:
    assert servers.ssh(servers.login, run="echo ran").stdout == "ran\n"
    assert servers.ssh(servers.jump, run="echo ran").stdout == ""
