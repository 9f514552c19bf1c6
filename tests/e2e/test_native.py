"""The native API on real systems, over REST and over gRPC: the same calls, the same answers."""

import hashlib
import json
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import grpc
import httpx
import pytest
import xxhash
from google.api.httpbody_pb2 import HttpBody

from passerelle.v1 import compute_pb2, compute_pb2_grpc, storage_pb2, storage_pb2_grpc
from passerelle.v1.compute_pb2 import Job
from tests.e2e.target import Target


@pytest.fixture(scope="module")
def http(target: Target) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {target.token()}"}
    url = f"{target.base_url}/v1/systems/{target.system}/"
    with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def channel(target: Target) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(urlsplit(target.base_url).netloc) as opened:
        yield opened


@pytest.fixture
def metadata(target: Target) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {target.token()}"),)


def test_a_job_over_rest(target: Target, http: httpx.Client, directory: str) -> None:
    job = {
        "name": "native rest",
        "workingDirectory": directory,
        "environment": {"GREETING": "a, b='c'\nd"},
        "timeLimit": "120s",
        "partition": target.partition,
        "script": '#!/bin/sh\nprintf %s "$GREETING" > said\n',
    }
    submitted = http.post("/jobs", json=job)
    assert submitted.status_code == 200, submitted.text
    job_id = submitted.json()["jobId"]
    ended = _followed(lambda: http.get(f"/jobs/{job_id}").json()["jobs"][0])
    assert (ended["state"], ended["exitCode"], ended["name"]) == ("SUCCEEDED", 0, "native rest")
    assert ended["timeLimit"] == "120s"
    body = http.get("/files:content", params={"path": f"{directory}/said"})
    assert body.text == "a, b='c'\nd"
    metadata = http.get(f"/jobs/{job_id}/metadata").json()
    assert metadata["script"].startswith("#!/bin/sh")
    assert job_id in [one_job["jobId"] for one_job in http.get("/jobs").json()["jobs"]]


def test_a_job_over_grpc(
    target: Target, channel: grpc.Channel, metadata: tuple[tuple[str, str], ...], directory: str
) -> None:
    compute = compute_pb2_grpc.ComputeServiceStub(channel)
    job = compute_pb2.JobDescription(
        name="native grpc", working_directory=directory, script="#!/bin/sh\nexit 7\n"
    )
    submitted = compute.SubmitJob(
        compute_pb2.SubmitJobRequest(system=target.system, job=job), metadata=metadata, timeout=30
    )
    wanted = compute_pb2.GetJobRequest(system=target.system, job_id=submitted.job_id)
    deadline = time.monotonic() + 60
    one_job = compute.GetJob(wanted, metadata=metadata, timeout=30).jobs[0]
    while one_job.state in (Job.PENDING, Job.RUNNING) and time.monotonic() < deadline:
        time.sleep(0.3)
        one_job = compute.GetJob(wanted, metadata=metadata, timeout=30).jobs[0]
    assert (one_job.state, one_job.exit_code) == (Job.FAILED, 7)


def test_a_job_is_cancelled(http: httpx.Client, directory: str) -> None:
    job = {"workingDirectory": directory, "script": "#!/bin/sh\nsleep 600\n"}
    job_id = http.post("/jobs", json=job).json()["jobId"]
    assert http.post(f"/jobs/{job_id}:cancel").status_code == 200
    ended = _followed(lambda: http.get(f"/jobs/{job_id}").json()["jobs"][0])
    assert ended["state"] == "CANCELLED"


def _followed(job: object) -> dict[str, object]:
    """The job when it has ended; asks as its users would, for a minute at most."""
    deadline = time.monotonic() + 60
    while (result := job())["state"] in ("PENDING", "RUNNING"):  # type: ignore[operator]
        assert time.monotonic() < deadline, result
        time.sleep(0.3)
    return dict(result)


def test_files_over_rest(http: httpx.Client, directory: str) -> None:
    content = bytes(range(256)) * 20_000  # 5 MB: beyond what FirecREST moves at once
    digest = hashlib.sha256(content).hexdigest()
    path = f"{directory}/data.bin"
    written = http.put("/files:content", params={"path": path, "sha256": digest}, content=content)
    expected = {"path": path, "sizeBytes": str(len(content)), "sha256": digest}
    assert written.json() == expected | {"etag": written.json()["etag"]}
    assert http.get("/files:content", params={"path": path}).content == content
    stat = http.get("/files:stat", params={"path": path}).json()
    assert (stat["type"], stat["sizeBytes"]) == ("REGULAR", str(len(content)))
    assert int(stat["inode"]) > 0
    assert http.post("/files:mkdir", json={"path": f"{directory}/a/b", "parents": True}).is_success
    names = [
        entry["name"] for entry in http.get("/files", params={"path": directory}).json()["files"]
    ]
    assert names == ["a", "data.bin"]
    assert http.delete("/files", params={"path": f"{directory}/a"}).is_success
    assert http.get("/files:stat", params={"path": f"{directory}/a"}).status_code == 404


@pytest.mark.parametrize(
    ("algorithm", "value"),
    [
        ("SHA256", "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"),
        ("MD5", "25f9e794323b453885f5181f1b624d0b"),
        ("CRC32C", "e3069283"),
        ("XXH3", xxhash.xxh3_64_hexdigest(b"123456789")),
    ],
)
def test_checksums_over_rest(
    http: httpx.Client, directory: str, algorithm: str, value: str
) -> None:
    path = f"{directory}/check it's"
    http.put("/files:content", params={"path": path}, content=b"123456789")
    reply = http.get("/files:checksum", params={"path": path, "algorithm": algorithm})
    last = json.loads(reply.text.splitlines()[-1])
    assert last["finished"]
    assert (last["bytesDone"], last["bytesTotal"]) == ("9", "9")
    assert last["checksum"] == {"algorithm": algorithm, "value": value}
    missing = http.get("/files:checksum", params={"path": f"{path}.nope", "algorithm": algorithm})
    assert missing.status_code == 404


def test_links_modes_owners_and_types_over_rest(
    target: Target, http: httpx.Client, directory: str
) -> None:
    path, link = f"{directory}/-plain", f"{directory}/li'nk"
    http.put("/files:content", params={"path": path}, content=b"some text\n")
    made = http.post("/files:symlink", json={"path": link, "target": "-plain"}).json()
    assert (made["type"], made["linkTarget"]) == ("SYMLINK", "-plain")
    changed = http.post("/files:chmod", json={"path": link, "mode": "u=rwx,go="}).json()
    assert (changed["type"], changed["mode"]) == ("REGULAR", 0o100700)
    given = http.post("/files:chown", json={"path": link, "user": target.user}).json()
    assert given["user"] == target.user
    kinds = [
        http.get("/files:type", params={"path": where}).json()["description"]
        for where in (path, link)
    ]
    assert kinds == ["ASCII text", "symbolic link to -plain"]
    refused = http.post("/files:chmod", json={"path": path, "mode": "rwx"})
    assert refused.status_code == 400
    assert "invalid mode: 'rwx'" in refused.json()["error"]["message"]
    outside = http.post("/files:symlink", json={"path": f"{link}2", "target": "/etc/passwd"})
    assert outside.status_code == 400


@pytest.mark.parametrize(
    ("wanted", "part", "message"),
    [
        ("bytes=0-9", slice(0, 10), "bytes 0-9/1000"),
        ("bytes=990-", slice(990, None), "bytes 990-999/1000"),
        ("bytes=-5", slice(-5, None), "bytes 995-999/1000"),
    ],
)
def test_a_range_is_206(
    http: httpx.Client, directory: str, wanted: str, part: slice, message: str
) -> None:
    content, path = bytes(i % 251 for i in range(1000)), f"{directory}/data.bin"
    http.put("/files:content", params={"path": path}, content=content)
    reply = http.get("/files:content", params={"path": path}, headers={"Range": wanted})
    assert (reply.status_code, reply.headers["content-range"]) == (206, message)
    assert reply.content == content[part]
    assert int(reply.headers["content-length"]) == len(reply.content)


def test_a_file_with_a_wrong_checksum_does_not_appear(http: httpx.Client, directory: str) -> None:
    path = f"{directory}/data.bin"
    invalid = {"path": path, "sha256": "0" * 64}
    assert http.put("/files:content", params=invalid, content=b"abc").status_code == 400
    everything = http.get("/files", params={"path": directory, "showHidden": "true"}).json()
    assert everything["files"] == []


@pytest.mark.parametrize("announced", [{}, {"content-length": "1500000"}])
def test_an_upload_that_breaks_off_leaves_nothing(
    target: Target, http: httpx.Client, directory: str, announced: dict[str, str]
) -> None:
    def broken() -> Iterator[bytes]:
        yield b"x" * 1_000_000
        raise ConnectionResetError("the client went away")

    path = {"path": f"{directory}/data.bin"}
    with pytest.raises(ConnectionResetError):
        http.put("/files:content", params=path, content=broken(), headers=announced)
    deadline = time.monotonic() + 20
    hidden = {"path": directory, "showHidden": "true"}
    while left := http.get("/files", params=hidden).json()["files"]:
        assert "data.bin" not in [entry["name"] for entry in left]
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


def test_files_over_grpc(
    target: Target, channel: grpc.Channel, metadata: tuple[tuple[str, str], ...], directory: str
) -> None:
    storage = storage_pb2_grpc.StorageServiceStub(channel)
    path, pieces = f"{directory}/streamed", [b"a" * 700_000, b"b" * 700_000, b""]

    def requests() -> Iterator[storage_pb2.WriteFileRequest]:
        yield storage_pb2.WriteFileRequest(system=target.system, path=path)
        for piece in pieces:
            yield storage_pb2.WriteFileRequest(content=HttpBody(data=piece))

    written = storage.WriteFile(requests(), metadata=metadata, timeout=60)
    assert written.size_bytes == 1_400_000
    reading = storage_pb2.ReadFileRequest(system=target.system, path=path, offset=699_999, length=2)
    read = b"".join(m.data for m in storage.ReadFile(reading, metadata=metadata, timeout=60))
    assert read == b"ab"


def test_everything_about_the_system(target: Target, http: httpx.Client) -> None:
    nodes = http.get("/nodes").json()["nodes"]
    assert all(node["cpuCount"] >= 1 for node in nodes)
    partitions = [partition["name"] for partition in http.get("/partitions").json()["partitions"]]
    assert target.partition in partitions
    assert http.get("/reservations").is_success
    info = http.get("/userinfo").json()
    assert info["user"]["name"] == target.user
    assert http.get("/scheduler:ping").json()["message"]


def test_errors_have_reasons(http: httpx.Client) -> None:
    reply = http.get("/files:stat", params={"path": "/tmp/no/such/file"})
    if reply.status_code == 400:  # the cluster's filesystems do not hold /tmp
        reply = http.get("/files:stat", params={"path": "/home/no/such/file"})
    error = reply.json()["error"]
    assert (error["code"], error["status"]) == (404, "NOT_FOUND")
    assert error["details"][0]["domain"] == "passerelle.dev"
    assert json.dumps(error)


def test_the_description_covers_both_surfaces(target: Target) -> None:
    document = httpx.get(f"{target.base_url}/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert "/v1/systems/{system}/jobs" in document["paths"]
    assert "/compute/{system}/jobs" in document["paths"]
    page = httpx.get(f"{target.base_url}/docs")
    assert page.status_code == 200
    assert "http" not in page.text.split("<body")[0].replace("http-equiv", "")
