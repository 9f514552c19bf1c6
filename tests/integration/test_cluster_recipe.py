"""The recipe in deploy/cluster: clusters side by side, and nothing left behind."""

import os
import pwd
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

from tests.cluster import Cluster, running_cluster


def slurm(cluster: Cluster, *command: str) -> str:
    environment = os.environ | {"SLURM_CONF": str(cluster.slurm_conf)}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=30, check=True
    ).stdout


def listens(cluster: Cluster) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((cluster.host, cluster.ssh_port)) == 0


def processes_of(cluster: Cluster) -> list[str]:
    """The command lines that name the cluster's directory."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in lines if f"{cluster.directory}/" in line]


def test_a_second_cluster_runs_beside_the_first_and_leaves_nothing(cluster: Cluster) -> None:
    with running_cluster("--name", "second", "--users", "2", "--max-sessions", "3") as second:
        names = [slurm(each, "scontrol", "show", "config") for each in (cluster, second)]
        assert [
            f"= {each.name}\n" in text for each, text in zip((cluster, second), names, strict=True)
        ]
        assert "ClusterName             = second" in names[1]
        ssh_settings = (second.directory / "ssh" / "sshd_config").read_text()
        assert "\nMaxSessions 3\n" in ssh_settings
        assert second.users == ("alice", "bob", "second-01", "second-02")
        accounts = slurm(second, "sacctmgr", "-n", "-P", "show", "assoc", "format=user,account")
        assert {"alice|proj1", "second-01|proj1", "second-02|proj1"} <= set(accounts.split())
        assert pwd.getpwnam("second-02").pw_dir == "/home/second-02"
        assert len(processes_of(second)) >= 5
    assert processes_of(second) == []
    assert not listens(second)
    assert not second.directory.exists()
    assert not any(user.pw_name.startswith("second-") for user in pwd.getpwall())
    assert not list(Path("/home").glob("second-*"))
    assert listens(cluster)


def test_users_accounts_and_partitions(cluster: Cluster) -> None:
    accounts = slurm(cluster, "sacctmgr", "-n", "-P", "show", "assoc", "format=user,account")
    assert {"alice|proj1", "alice|proj1sub", "alice|tiny", "bob|proj2"} <= set(accounts.split())
    partitions = slurm(cluster, "scontrol", "-a", "-o", "show", "partition").splitlines()
    assert sum("Hidden=YES" in line for line in partitions) == 1
    assert {line.split()[0] for line in partitions} == {
        "PartitionName=normal",
        "PartitionName=debug",
        "PartitionName=secret",
    }
