"""What breaks under the road `direct`: lines, services, disks. The target is whole or absent; resuming completes it."""

import hashlib
import os
import random
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import httpx
import pytest

from tests import real
from tests.cluster import Cluster
from tests.e2e.breakable import PATIENCE, Breakable, breakable

CONTENT = random.Random(3).randbytes(24 << 20)  # noqa: S311  # content, no secret
DIGEST = hashlib.sha256(CONTENT).hexdigest()
_BROKEN = (18, 56, 92)
"""curl's words for it: partial file, failure in receiving, stream error in HTTP/2 (its manual page, EXIT CODES)."""


@pytest.fixture(scope="module")
def gateway(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Breakable]:
    with breakable(cluster, tmp_path_factory.mktemp("breakable")) as gateway:
        yield gateway


@pytest.fixture
def http(gateway: Breakable) -> Iterator[httpx.Client]:
    with gateway.client() as client:
        yield client


@pytest.fixture
def directory(http: httpx.Client) -> Iterator[str]:
    path = f"/home/alice/passerelle-faults-{uuid.uuid4()}"
    assert http.post("/files:mkdir", json={"path": path}).is_success
    yield path
    http.delete("/files", params={"path": path})


@pytest.fixture
def there(directory: str) -> dict[str, str]:
    """The query that names a new file."""
    return {"path": f"{directory}/data.bin"}


def names(http: httpx.Client, directory: str) -> list[str]:
    """What is there, hidden parts too."""
    listed = http.get("/files", params={"path": directory, "showHidden": "true"})
    return [entry["name"] for entry in listed.raise_for_status().json()["files"]]


def until_empty(http: httpx.Client, directory: str) -> None:
    """Return when what a failed write left has been removed."""
    wait_for(lambda: names(http, directory) == [])


def begun(http: httpx.Client, there: dict[str, str]) -> str:
    """The URL of a new upload."""
    reply = http.post("/uploads", json=there).raise_for_status()
    return f"/uploads/{reply.json()['uploadId']}"


def received(http: httpx.Client, url: str, there: dict[str, str]) -> int:
    """How much of it has arrived, asked until somebody answers."""
    deadline = time.monotonic() + PATIENCE
    while not (reply := http.get(url, params=there)).is_success:
        assert time.monotonic() < deadline, reply.text
        time.sleep(0.1)
    return int(reply.json()["receivedBytes"])


def resumed(http: httpx.Client, url: str, there: dict[str, str]) -> None:
    """Go on from what has arrived, complete it, and look at it."""
    offset = received(http, url, there)
    assert 0 < offset < len(CONTENT)
    assert http.get("/files:stat", params=there).status_code == 404
    reply = http.put(url, params=there | {"offset": offset}, content=CONTENT[offset:])
    assert reply.json().get("receivedBytes") == str(len(CONTENT)), reply.text
    done = http.post(f"{url}:complete", json=there | {"sizeBytes": len(CONTENT), "sha256": DIGEST})
    assert done.status_code == 200, done.text
    got = http.get("/files:content", params=there)
    assert hashlib.sha256(got.content).hexdigest() == DIGEST


def broken_put(
    gateway: Breakable, url: str, query: dict[str, str], size: int, arrived: Callable[[], bool]
) -> None:
    """PUT the content, and break the line after `size` bytes of it, when some have `arrived`."""
    where = urlsplit(gateway.url)
    head = [
        f"PUT {where.path.rstrip('/')}{url}?{urlencode(query)} HTTP/1.1",
        f"Host: {where.netloc}",
        f"Authorization: {gateway.headers['Authorization']}",
        f"Content-Length: {len(CONTENT)}",
    ]
    with socket.create_connection((where.hostname, where.port), timeout=30) as line:
        line.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + CONTENT[:size])
        wait_for(arrived)


def wait_for(happened: Callable[[], bool]) -> None:
    """Return when it has happened, which it must in good time."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def dripping(event: Callable[[], None], after: int = 4 << 20, start: int = 0) -> Iterator[bytes]:
    """The content from `start` on, with a pause and then `event()` when its first `after` bytes have been sent."""
    happened = False
    for place in range(start, len(CONTENT), 1 << 18):
        if happened:
            time.sleep(0.02)
        elif place >= after:
            time.sleep(0.5)  # so that the system has some of it
            event()
            happened = True
        yield CONTENT[place : place + (1 << 18)]


@pytest.mark.parametrize("seed", range(3))
def test_an_upload_cut_off_at_a_random_byte_is_resumed(
    gateway: Breakable, http: httpx.Client, there: dict[str, str], seed: int
) -> None:
    size = random.Random(seed).randrange(1 << 20, len(CONTENT))  # noqa: S311
    url = begun(http, there)
    broken_put(gateway, url, there, size, lambda: received(http, url, there) > 0)
    assert received(http, url, there) <= size
    resumed(http, url, there)


def test_a_write_cut_off_at_a_random_byte_leaves_the_old_file(
    gateway: Breakable, http: httpx.Client, there: dict[str, str], directory: str
) -> None:
    http.put("/files:content", params=there, content=b"old").raise_for_status()
    size = random.Random(7).randrange(1 << 20, len(CONTENT))  # noqa: S311
    broken_put(gateway, "/files:content", there, size, lambda: len(names(http, directory)) > 1)
    wait_for(lambda: names(http, directory) == ["data.bin"])
    assert http.get("/files:content", params=there).content == b"old"


def test_a_service_killed_in_the_middle_of_a_write_leaves_the_old_file(
    gateway: Breakable, http: httpx.Client, there: dict[str, str]
) -> None:
    http.put("/files:content", params=there, content=b"old").raise_for_status()
    content = dripping(lambda: gateway.kill("storage"))
    with suppress(httpx.TransportError):  # the line broke: just as clear
        assert http.put("/files:content", params=there, content=content).status_code in (502, 503)
    assert http.get("/files:content", params=there).content == b"old"


def test_an_ssh_connection_lost_in_the_middle_of_an_upload(
    gateway: Breakable, http: httpx.Client, there: dict[str, str]
) -> None:
    url = begun(http, there)
    reply = http.put(url, params=there, content=dripping(gateway.line.cut))
    assert reply.status_code == 503
    assert "The SSH connection to system cluster was lost." in reply.text
    resumed(http, url, there)


def test_an_ssh_connection_lost_in_the_middle_of_a_write(
    gateway: Breakable, http: httpx.Client, there: dict[str, str], directory: str
) -> None:
    reply = http.put("/files:content", params=there, content=dripping(gateway.line.cut))
    assert reply.status_code == 503
    assert "The SSH connection to system cluster was lost." in reply.text
    until_empty(http, directory)


def test_a_wrong_checksum_is_told_and_changes_nothing(
    http: httpx.Client, there: dict[str, str], directory: str
) -> None:
    reply = http.put("/files:content", params=there | {"sha256": "0" * 64}, content=CONTENT)
    assert reply.status_code == 400
    assert DIGEST in reply.text
    until_empty(http, directory)
    url = begun(http, there)
    http.put(url, params=there, content=CONTENT).raise_for_status()
    whole = there | {"sizeBytes": len(CONTENT), "sha256": "0" * 64}
    reply = http.post(f"{url}:complete", json=whole)
    assert reply.status_code == 400
    assert DIGEST in reply.text
    assert http.get("/files:stat", params=there).status_code == 404
    assert http.post(f"{url}:complete", json=whole | {"sha256": DIGEST}).is_success


@pytest.fixture
def small_disk(http: httpx.Client, directory: str) -> Iterator[Path]:
    """A directory of alice's on a disk of 20 MiB."""
    point = Path(directory) / "disk"
    http.post("/files:mkdir", json={"path": str(point)}).raise_for_status()
    options = "size=20m,mode=0777"
    mount = ("mount", "-t", "tmpfs", "-o", options, "passerelle-test", str(point))
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        real.missing("small disk", f"mount: {done.stderr.strip()}")
    real.exercised("small disk", "tmpfs of 20 MiB")
    yield point
    subprocess.run(("umount", str(point)), check=True)


@pytest.mark.parametrize("room", [4 << 20, 12 << 20], ids=["early", "late"])
def test_a_full_disk_is_told_and_an_upload_goes_on_when_there_is_room(
    http: httpx.Client, small_disk: Path, room: int
) -> None:
    filler, there = small_disk / "filler", {"path": str(small_disk / "data.bin")}
    content = CONTENT[: room + (2 << 20)]
    filler.write_bytes(bytes((20 << 20) - room))
    reply = http.put("/files:content", params=there, content=content)
    assert reply.status_code == 507
    assert reply.json()["error"]["message"] == f"{there['path']}: No space left on device"
    until_gone(small_disk, {"filler"})
    url = begun(http, there)
    reply = http.put(url, params=there, content=content)
    assert (reply.status_code, reply.json()["error"]["details"][0]["reason"]) == (507, "NO_SPACE")
    offset = received(http, url, there)
    assert 0 < offset <= room
    filler.unlink()
    http.put(url, params=there | {"offset": offset}, content=content[offset:]).raise_for_status()
    digest = hashlib.sha256(content).hexdigest()
    done = http.post(f"{url}:complete", json=there | {"sizeBytes": len(content), "sha256": digest})
    assert done.status_code == 200, done.text
    assert (small_disk / "data.bin").read_bytes() == content


def test_appending_to_a_full_disk_leaves_the_old_end(http: httpx.Client, small_disk: Path) -> None:
    """There is room for the part, but not for both."""
    there = {"path": str(small_disk / "data.bin")}
    http.put("/files:content", params=there, content=b"old").raise_for_status()
    content = CONTENT[: 11 << 20]
    reply = http.put("/files:content", params=there | {"mode": "APPEND"}, content=content)
    assert reply.status_code == 507, reply.text
    assert (small_disk / "data.bin").read_bytes() == b"old"
    until_gone(small_disk, {"data.bin"})


def until_gone(directory: Path, but: set[str]) -> None:
    """Return when there is nothing else in the directory."""
    wait_for(lambda: set(os.listdir(directory)) == but)


@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
@pytest.mark.parametrize("fault", ["service", "line"])
def test_curl_takes_no_truncated_download_for_a_whole_one(
    gateway: Breakable,
    http: httpx.Client,
    there: dict[str, str],
    tmp_path: Path,
    version: str,
    fault: str,
) -> None:
    http.put("/files:content", params=there, content=CONTENT).raise_for_status()
    got, url = tmp_path / "got", f"{gateway.url}files:content?{urlencode(there)}"
    header = f"Authorization: {gateway.headers['Authorization']}"
    curl = ("curl", "--silent", version, "--max-time", "60", "--limit-rate", "4M")
    with subprocess.Popen((*curl, "--header", header, "--output", got, url)) as process:
        deadline = time.monotonic() + PATIENCE
        while not (got.exists() and got.stat().st_size > 1 << 20):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        if fault == "service":
            gateway.kill("storage")
        else:
            gateway.line.cut()
        assert process.wait(60) in _BROKEN
    offset = got.stat().st_size
    assert offset < len(CONTENT)
    assert received_whole(http, there) == DIGEST  # and the next one is well


def received_whole(http: httpx.Client, there: dict[str, str]) -> str:
    """The checksum of a whole download."""
    reply = http.get("/files:content", params=there).raise_for_status()
    return hashlib.sha256(reply.content).hexdigest()


# Last, because `up` lets what dies again and again rest for longer each time.
@pytest.mark.parametrize("seed", range(4))
def test_a_service_killed_anywhere_in_an_upload(
    gateway: Breakable, http: httpx.Client, there: dict[str, str], seed: int
) -> None:
    """Twice: also while the upload is resumed."""
    url, random_place = begun(http, there), random.Random(seed)  # noqa: S311
    for place in sorted(random_place.sample(range(1, len(CONTENT) >> 20), 2)):
        offset = received(http, url, there)
        content = dripping(lambda: gateway.kill("storage"), place << 20, start=offset)
        with suppress(httpx.TransportError):  # the line broke: just as clear
            reply = http.put(url, params=there | {"offset": offset}, content=content)
            assert reply.status_code in (502, 503), reply.text
    resumed(http, url, there)
