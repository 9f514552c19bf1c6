"""asyncssh as the pool changes it, with a real OpenSSH: big files, keys exchanged again by either side, each cipher."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from asyncssh.encryption import Encryption, get_encryption

from passerelle.runtime.ssh import lean_packets
from tests.cluster import Cluster
from tests.cluster_sshd import another_sshd

CIPHERS = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes256-ctr",
)
SIZE = 48 << 20
REKEY = 5 << 20


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory of the test's own that alice can write to."""
    path = Path(tempfile.mkdtemp(prefix="lean-", dir="/home/alice"))
    shutil.chown(path, "alice")
    yield path
    shutil.rmtree(path)


@pytest.mark.parametrize("asking", ["nobody", "client", "server"])
@pytest.mark.parametrize("cipher", CIPHERS)
async def test_files_keep_their_checksums(
    cluster: Cluster, folder: Path, cipher: str, asking: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = 0

    def counted(*arguments: Any) -> Encryption:
        nonlocal keys
        keys += 1
        return get_encryption(*arguments)

    monkeypatch.setattr("asyncssh.connection.get_encryption", counted)
    assert lean_packets.install()
    source, back = folder / "source", folder / "back"
    source.write_bytes(os.urandom(SIZE))
    limit = (f"RekeyLimit {REKEY}",) if asking == "server" else ()
    with another_sshd(cluster, *limit) as port:
        async with (
            asyncssh.connect(
                cluster.host,
                port,
                username="alice",
                client_keys=[str(cluster.directory / "ssh" / "alice")],
                known_hosts=None,
                config=None,
                agent_path=None,
                encryption_algs=[cipher],
                rekey_bytes=REKEY if asking == "client" else SIZE * 4,
            ) as connection,
            connection.start_sftp_client() as sftp,
        ):
            await sftp.put(str(source), str(folder / "there"))
            await sftp.get(str(folder / "there"), str(back))
    sums = {sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    assert len(list(folder.iterdir())) == 3
    assert len(sums) == 1
    assert (keys > 10) == (asking != "nobody")
