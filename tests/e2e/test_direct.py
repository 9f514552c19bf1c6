"""The road `direct`: content in and out through the gateway over REST, with conditions, in pieces, by plain curl."""

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.target import Target

CONTENT = bytes(range(256)) * 12_000  # 3 MB: several blocks, and no whole number of them


@pytest.fixture(scope="module")
def http(target: Target) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {target.token()}"}
    url = f"{target.base_url}/v1/systems/{target.system}/"
    with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
        yield client


@pytest.fixture
def there(directory: str) -> dict[str, str]:
    """The query that names a new file."""
    return {"path": f"{directory}/data.bin"}


def test_conditions(http: httpx.Client, there: dict[str, str]) -> None:
    written = http.put("/files:content", params=there, content=CONTENT)
    tag = f'"{written.json()["etag"]}"'
    assert http.get("/files:stat", params=there).json()["etag"] == tag.strip('"')
    whole = http.get("/files:content", params=there)
    assert (whole.content, whole.headers["etag"]) == (CONTENT, tag)
    same = http.get("/files:content", params=there, headers={"If-None-Match": tag})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    assert "content-type" not in same.headers
    part = {"Range": "bytes=5-", "If-Range": tag}
    assert http.get("/files:content", params=there, headers=part).status_code == 206
    changed = http.put("/files:content", params=there, content=b"2", headers={"If-Match": tag})
    assert changed.status_code == 200
    assert http.get("/files:content", params=there, headers=part).status_code == 200
    for method in ("GET", "PUT"):
        refused = http.request(method, "/files:content", params=there, headers={"If-Match": tag})
        assert refused.status_code == 412
        assert changed.json()["etag"] in refused.json()["error"]["message"]
    new = http.put("/files:content", params=there, content=b"3", headers={"If-None-Match": "*"})
    assert (new.status_code, new.json()["error"]["status"]) == (409, "ALREADY_EXISTS")
    assert http.get("/files:content", params=there).content == b"2"


def test_modes(http: httpx.Client, there: dict[str, str]) -> None:
    for mode, status in (("APPEND", 200), ("CREATE", 409), ("APPEND", 200), ("OVERWRITE", 200)):
        reply = http.put("/files:content", params=there | {"mode": mode}, content=b"1")
        assert reply.status_code == status, reply.text
        expected = b"1" if mode == "OVERWRITE" else None
        assert expected in (None, http.get("/files:content", params=there).content)
    reply = http.put("/files:content", params=there | {"mode": "APPEND"}, content=CONTENT)
    assert reply.json()["sizeBytes"] == str(len(CONTENT))
    assert http.get("/files:content", params=there).content == b"1" + CONTENT


def test_the_headers_alone(http: httpx.Client, there: dict[str, str]) -> None:
    http.put("/files:content", params=there, content=CONTENT)
    whole = http.get("/files:content", params=there)
    for _ in range(3):  # on one connection: nothing of the body comes after
        head = http.head("/files:content", params=there)
        assert (head.status_code, head.content) == (200, b"")
        for name in ("content-length", "etag", "accept-ranges", "content-type"):
            assert head.headers[name] == whole.headers[name]
    assert http.head("/files:content", params={"path": there["path"] + "x"}).status_code == 404


def test_an_upload_in_pieces(http: httpx.Client, there: dict[str, str]) -> None:
    upload = http.post("/uploads", json=there).json()
    url = f"/uploads/{upload['uploadId']}"
    for offset in range(0, len(CONTENT), 1_000_000):
        assert http.get(url, params=there).json()["receivedBytes"] == str(offset)
        query = there | {"offset": str(offset)}
        reply = http.put(url, params=query, content=CONTENT[offset : offset + 1_000_000])
        assert reply.status_code == 200, reply.text
    assert http.get("/files:stat", params=there).status_code == 404
    digest = hashlib.sha256(CONTENT).hexdigest()
    whole = there | {"sizeBytes": len(CONTENT), "sha256": digest}
    for invalid in ({"sizeBytes": 1}, {"sha256": "0" * 64}, {"ifMatch": "1-2-3"}):
        assert http.post(f"{url}:complete", json=whole | invalid).status_code in (400, 412)
    done = http.post(f"{url}:complete", json=whole)
    assert done.status_code == 200, done.text
    assert http.get("/files:content", params=there).content == CONTENT
    assert http.get("/files:content", params=there).headers["etag"] == f'"{done.json()["etag"]}"'
    gone = http.get(url, params=there)
    assert (gone.status_code, gone.json()["error"]["status"]) == (404, "NOT_FOUND")


def test_an_upload_is_given_up(http: httpx.Client, there: dict[str, str], directory: str) -> None:
    upload = http.post("/uploads", json=there).json()["uploadId"]
    assert http.delete(f"/uploads/{upload}", params=there).status_code == 200
    hidden = {"path": directory, "showHidden": "true"}
    assert http.get("/files", params=hidden).json()["files"] == []


@pytest.mark.parametrize("upload", ["a.b", "a" * 31, "..%2f..%2fetc%2fpasswd", "A" * 32])
def test_an_id_of_nobodys(http: httpx.Client, there: dict[str, str], upload: str) -> None:
    reply = http.put(f"/uploads/{upload}", params=there, content=b"x")
    assert reply.status_code in (400, 404)
    assert http.get("/files:stat", params=there).status_code == 404


def test_curl_resumes_a_download(
    target: Target, http: httpx.Client, there: dict[str, str], tmp_path: Path
) -> None:
    http.put("/files:content", params=there, content=CONTENT)
    (tmp_path / "data.bin").write_bytes(CONTENT[:1_234_567])
    url = f"{http.base_url}files:content?path={there['path']}"
    header = f"Authorization: Bearer {target.token()}"
    curl = ("curl", "--silent", "--fail", "--header", header, "--continue-at", "-")
    subprocess.run((*curl, "--output", "data.bin", url), cwd=tmp_path, timeout=60, check=True)
    assert (tmp_path / "data.bin").read_bytes() == CONTENT


def test_curl_takes_an_empty_file_in_and_out(
    target: Target, there: dict[str, str], http: httpx.Client, tmp_path: Path
) -> None:
    url = f"{http.base_url}files:content?path={there['path']}"
    header = f"Authorization: Bearer {target.token()}"
    curl = ("curl", "--silent", "--fail", "--header", header)
    subprocess.run((*curl, "--upload-file", os.devnull, url), timeout=60, check=True)
    subprocess.run((*curl, "--output", tmp_path / "got", url), timeout=60, check=True)
    assert (tmp_path / "got").read_bytes() == b""
    assert http.get("/files:stat", params=there).json()["sizeBytes"] == "0"
