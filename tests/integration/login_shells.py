"""Users of a real OpenSSH with every login shell that one meets, and start-up files that are no good."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import asyncssh

from passerelle.runtime.config.site import System
from passerelle.runtime.ssh.credential import SshCredential
from tests.cluster import Cluster
from tests.openssh import running_sshd
from tests.ports import free_port

SHELLS = {
    "sh": ("/bin/sh", ".profile"),
    "dash": ("/bin/dash", ".profile"),
    "bash": ("/bin/bash", ".bashrc"),
    "zsh": ("/usr/bin/zsh", ".zshenv"),
    "ksh": ("/bin/ksh", ".kshrc"),
    "tcsh": ("/bin/tcsh", ".tcshrc"),
    "fish": ("/usr/bin/fish", ".config/fish/config.fish"),
}
"""By Debian package: the shell, and the file in a home that it reads before each command (sh and ksh read none)."""
# As a start-up file that prints does, it breaks SFTP.
_WRAPPER = """#!/bin/bash
case $SSH_ORIGINAL_COMMAND in internal-sftp*) echo Welcome; exec /usr/lib/openssh/sftp-server ;; esac
bash -c "$SSH_ORIGINAL_COMMAND"
"""
_REPLACED = ("Port", "ListenAddress", "PidFile", "AllowGroups", "MaxStartups", "Subsystem")
READING = ("bash", "zsh", "tcsh", "fish")
"""Those that read a start-up file before each command."""


@dataclass(frozen=True)
class Login:
    """A user of the cluster's machine."""

    name: str
    shell: str

    @property
    def home(self) -> Path:
        """Its home directory."""
        return Path(pwd.getpwnam(self.name).pw_dir)

    def start_with(self, text: str) -> None:
        """Let its shell read this before each command; nothing when the text is empty."""
        file = self.home / SHELLS[self.shell][1]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def login_with(shell: str) -> Login:
    """The user with that login shell, made when it is not there, with its package."""
    program = SHELLS[shell][0]
    if not os.access(program, os.X_OK):
        install = ("apt-get", "-o", "DPkg::Lock::Timeout=600", "install", "-y", "-q", shell)
        subprocess.run(install, check=True, capture_output=True, timeout=600)
    login = Login(f"login-{shell}", shell)
    try:
        pwd.getpwnam(login.name)
    except KeyError:
        made = ("useradd", "--create-home", "--shell", program, "--password", "*", login.name)
        subprocess.run(made, check=True, capture_output=True)
    shutil.rmtree(login.home)
    login.home.mkdir(mode=0o755)
    entry = pwd.getpwnam(login.name)
    os.chown(login.home, entry.pw_uid, entry.pw_gid)
    return login


@contextmanager
def serving(
    cluster: Cluster, *, forced: bool = False, sftp: str | None = "internal-sftp"
) -> Iterator[Cluster]:
    """A second sshd of the cluster, which lets every user in; one that forces a command lets no signals through.

    `sftp` is its Subsystem of that name, if there is one.
    """
    directory = Path(tempfile.mkdtemp(prefix="passerelle-sshd-"))
    directory.chmod(0o755)
    port = free_port()
    own = [f"Port {port}", "ListenAddress 127.0.0.1", "PidFile none", "MaxStartups 100"]
    if sftp:
        own.append(f"Subsystem sftp {sftp}")
    if forced:
        wrapper = directory / "wrapper"
        wrapper.write_text(_WRAPPER)
        wrapper.chmod(0o755)
        own.append(f"ForceCommand {wrapper}")
    lines = (cluster.directory / "ssh" / "sshd_config").read_text().splitlines()
    remaining_lines = [line for line in lines if line.split(" ")[0] not in _REPLACED]
    try:
        with running_sshd(directory, [*own, *remaining_lines]):
            yield replace(cluster, ssh_port=port)
    finally:
        shutil.rmtree(directory)


class Certified:
    """Certificates of the cluster's own authority, for one user."""

    def __init__(self, cluster: Cluster, user: str) -> None:
        self._authority = asyncssh.read_private_key(cluster.ca_key)
        self._user = user

    async def ssh_credential(self, system: str, public_key: str) -> SshCredential:
        """As auth would make it."""
        key = asyncssh.import_public_key(public_key)
        made = self._authority.generate_user_certificate(key, "test", principals=[self._user])
        return SshCredential(self._user, made.export_certificate().decode(), "", None)


def system_at(cluster: Cluster) -> System:
    """The cluster's login node as a system."""
    host_key = cluster.known_hosts.read_text().split(" ", 1)[1].strip()
    ssh = {"host": cluster.host, "port": cluster.ssh_port, "host_keys": [host_key]}
    timeout = {"command": 30, "login": 30, "connection": 30}
    filesystems = [{"path": "/home", "data_type": "users"}]
    result = {
        "name": "lab",
        "ssh": {**ssh, "timeout": timeout},
        "scheduler": {"type": "slurm"},
        "filesystems": filesystems,
    }
    return System.model_validate(result)
