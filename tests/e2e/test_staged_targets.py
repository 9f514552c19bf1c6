"""What the staging methods answer for targets and sources that cannot be: through Envoy, as the cluster's users."""

import base64
import hashlib
import json
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import ClientConnection, connect

from tests.cluster import Cluster
from tests.e2e.staging_site import METHODS, StagingSite, begun, log_of, put, staging_site
from tests.minio import MinioServer

Make = Callable[[Path], str]
"""Makes something in alice's directory; the path to ask for."""


@pytest.fixture(scope="module")
def site(cluster: Cluster, minio: MinioServer) -> Iterator[StagingSite]:
    with staging_site(cluster, minio) as site:
        yield site


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory of alice's."""
    path = Path("/home/alice") / f"passerelle-e2e-{uuid.uuid4()}"
    _directory(path)
    yield path
    shutil.rmtree(path)


def _directory(path: Path, mode: int = 0o755, user: str = "alice") -> Path:
    path.mkdir()
    path.chmod(mode)
    shutil.chown(path, user, user)
    return path


def _file(path: Path, mode: int = 0o644, user: str = "alice") -> str:
    path.write_text("kept")
    path.chmod(mode)
    shutil.chown(path, user, user)
    return str(path)


def _special(path: Path, kind: int) -> str:
    os.mknod(path, kind | 0o666, os.makedev(1, 3))
    shutil.chown(path, "alice", "alice")
    return str(path)


def _link(path: Path, target: str) -> str:
    path.symlink_to(target)
    return str(path)


def _of_bob_among_all(home: Path) -> str:
    return _file(_directory(home / "all", 0o777) / "x", user="bob")


def _of_bob_sticky(home: Path) -> str:
    return _file(_directory(home / "tmp", 0o1777, "root") / "x", 0o666, "bob")


# What no way of writing writes to: the name, what makes it, the status.
TARGETS: dict[str, tuple[Make, int]] = {
    "directory": (lambda home: str(_directory(home / "d")), 400),
    "directory with a slash": (lambda home: f"{_directory(home / 'd')}/", 400),
    "dot": (lambda home: f"{home}/.", 400),
    "in no directory": (lambda home: f"{home}/none/x", 404),
    "below a file": (lambda home: _file(home / "file") + "/x", 400),
    "in a read-only directory": (lambda home: f"{_directory(home / 'ro', 0o555)}/x", 403),
    "in a directory that cannot be searched": (
        lambda home: f"{_directory(home / 'closed', 0o600)}/x",
        403,
    ),
    "in another's home": (lambda home: "/home/bob/x", 403),
    "out of the filesystems": (lambda home: "/var/tmp/x", 400),
    "by a link out": (lambda home: _link(home / "out", "/var/tmp") + "/x", 400),
    "a link out": (lambda home: _link(home / "out", "/var/tmp/passerelle-x"), 400),
    "a link to itself": (lambda home: _link(home / "loop", "loop"), 400),
    "a name of 256 bytes": (lambda home: f"{home}/{'n' * 256}", 400),
    "a named pipe": (lambda home: _special(home / "pipe", stat.S_IFIFO), 400),
    "a socket": (lambda home: _special(home / "socket", stat.S_IFSOCK), 400),
    "a device": (lambda home: _special(home / "null", stat.S_IFCHR), 400),
    "a protected file": (lambda home: _file(home / "mine", 0o444), 403),
    "another's file where all may write": (_of_bob_among_all, 403),
    "another's file in a sticky directory": (_of_bob_sticky, 403),
}
# FirecREST's streamer answers 403 for whatever is there, and so do we for both methods that replace nothing. The native
# API says 409.
THERE = {
    "directory",
    "directory with a slash",
    "dot",
    "a link out",
    "a link to itself",
    "a named pipe",
    "a socket",
    "a device",
    "a protected file",
    "another's file where all may write",
    "another's file in a sticky directory",
}

SOURCES: dict[str, tuple[Make, int]] = {
    "missing": (lambda home: f"{home}/none", 404),
    "in no directory": (lambda home: f"{home}/none/x", 404),
    "directory": (lambda home: str(_directory(home / "d")), 400),
    "below a file": (lambda home: _file(home / "file") + "/x", 400),
    "a named pipe": (lambda home: _special(home / "pipe", stat.S_IFIFO), 400),
    "a socket": (lambda home: _special(home / "socket", stat.S_IFSOCK), 400),
    "a device": (lambda home: _special(home / "null", stat.S_IFCHR), 400),
    "unreadable": (lambda home: _file(home / "mine", 0o200), 403),
    "another's": (lambda home: _file(home / "bobs", 0o600, "bob"), 403),
    "in a directory that cannot be searched": (
        lambda home: f"{_directory(home / 'closed', 0o600)}/x",
        403,
    ),
    "out of the filesystems": (lambda home: "/etc/passwd", 400),
    "a link out": (lambda home: _link(home / "out", "/etc/passwd"), 400),
    "a link to nothing": (lambda home: _link(home / "dangling", "none"), 404),
    "a link to itself": (lambda home: _link(home / "loop", "loop"), 400),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("what", TARGETS)
def test_targets(site: StagingSite, home: Path, what: str, method: str) -> None:
    make, status = TARGETS[what]
    is_there = method != "s3" and what in THERE
    path = make(home)
    _refused(site.upload(path, method), 403 if is_there else status)
    _refused(site.stage("stageUpload", path, method), 409 if is_there else status)
    assert site.in_store() == []


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("what", SOURCES)
def test_sources(site: StagingSite, home: Path, what: str, method: str) -> None:
    make, status = SOURCES[what]
    path = make(home)
    _refused(site.download(path, method), status)
    _refused(site.stage("stageDownload", path, method), status)
    assert site.in_store() == []


def _read_only(home: Path) -> None:
    home.chmod(0o555)


def _protected(home: Path) -> None:
    _file(home / "x", 0o444)


def _of_bob(home: Path) -> None:
    home.chmod(0o777)
    _file(home / "x", user="bob")


def _pipe(home: Path) -> None:
    _special(home / "x", stat.S_IFIFO)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_read_only, "Permission denied"),
        (_protected, "Permission denied"),
        (_of_bob, "Permission denied"),
        (_pipe, "named pipe"),
    ],
)
def test_targets_that_changed_while_the_content_came(
    site: StagingSite, home: Path, change: Callable[[Path], None], words: str
) -> None:
    reply = site.upload(f"{home}/x", "s3")
    job = begun(reply)
    site.until(lambda: "Waiting" in log_of(job), lambda: log_of(job))
    change(home)
    before = [(path.name, path.lstat()) for path in home.iterdir()]
    put(reply, b"new")
    site.until(lambda: words in log_of(job), lambda: log_of(job))
    site.until_nothing_is_left(job)
    assert [(path.name, path.lstat()) for path in home.iterdir()] == before


@pytest.mark.parametrize(
    ("change", "words"),
    [(_read_only, "Permission denied"), (_protected, "File exists"), (_pipe, "File exists")],
)
def test_targets_of_streams_that_changed_while_the_content_came(
    site: StagingSite, home: Path, change: Callable[[Path], None], words: str
) -> None:
    reply = site.upload(f"{home}/x", "streamer")
    job = begun(reply)
    site.until(lambda: "Listening on port" in log_of(job), lambda: log_of(job))
    with _streaming(reply, log_of(job)) as stream:
        stream.send(json.dumps({"type": "init", "file_size": 3}).encode())
        stream.send(b"new")
        change(home)
        before = [(path.name, path.lstat()) for path in home.iterdir() if path.name == "x"]
        digest = hashlib.sha256(b"new").hexdigest()
        stream.send(json.dumps({"type": "eof", "sha256_hash": digest}).encode())
        with pytest.raises(ConnectionClosedError, match=words):
            stream.recv(timeout=60)
    site.until(lambda: words in log_of(job), lambda: log_of(job))
    site.until(lambda: site.state(job) == "FAILED")
    if change is _read_only:  # nothing can be removed there: it is kept in mind
        assert len(site.unfinished(job)) == 1
        home.chmod(0o755)
        site.cancel(begun(site.upload(f"{home}/y", "streamer")))
    site.until(lambda: not site.unfinished(job))
    assert list(home.glob(".*")) == []
    assert [(path.name, path.lstat()) for path in home.iterdir() if path.name == "x"] == before


def _streaming(reply: httpx.Response, log: str) -> ClientConnection:
    """The caller's connection to a job that listens."""
    encoded = reply.json()["transferDirectives"]["coordinates"]
    secret = json.loads(base64.urlsafe_b64decode(encoded))["secret"]
    port = log.partition("Listening on port ")[2].partition(".")[0]
    headers = {"Authorization": f"Bearer {secret}"}
    return connect(f"ws://127.0.0.1:{port}", additional_headers=headers)


def _refused(reply: httpx.Response, status: int) -> None:
    assert reply.status_code == status, reply.text
