"""Staging with a real MinIO: the jobs run as processes here, on the oldest Python there is too."""

import asyncio
import io
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from minio import Minio
from minio.commonconfig import ENABLED, Filter
from minio.lifecycleconfig import Expiration, LifecycleConfig, Rule

from passerelle.runtime.errors import ApiError, BackendUnavailable, InvalidArgument
from passerelle.storage.errors import FileError
from passerelle.storage.jobs.port import TransferJobs
from passerelle.storage.staging.s3.method import S3
from passerelle.storage.staging.s3.store import Endpoint, Keys
from passerelle.storage.staging.s3.urls import ObjectName
from passerelle.storage.staging.s3.wire import DownloadUrl
from tests import real
from tests.integration.staging_jobs import (
    Processes,
    by_s3,
    complete,
    content_of,
    parts_of,
    put_parts,
)
from tests.minio import ACCESS_KEY, SECRET_KEY, MinioServer
from tests.unit.storage.world import World, as_alice, remote

MIB = 1 << 20
PART = 5 * MIB
SECRET = re.compile(r"X-Amz-Signature|X-Amz-Credential|http://", re.IGNORECASE)


def pythons() -> list[str]:
    """Ours, and an older one, where the shims of a version manager or the system have any."""
    versions = Path.home() / ".pyenv" / "versions"
    for minor in (6, 7, 8, 9):
        candidates = (*versions.glob(f"3.{minor}.*/bin/python3"), shutil.which(f"python3.{minor}"))
        if result := [str(path) for path in candidates if path and _works(str(path))]:
            return [sys.executable, result[0]]
    return [sys.executable]


def _works(python: str) -> bool:
    return (
        subprocess.run((python, "-c", "import ssl"), capture_output=True, check=False).returncode
        == 0
    )


@dataclass
class Site:
    """A system with a store beside it."""

    world: World
    server: MinioServer
    jobs: Processes

    def s3(self, **options: Any) -> S3:
        """The plugin."""
        settings = {
            "private_url": self.server.url,
            "access_key_id": ACCESS_KEY,
            "secret_access_key": SECRET_KEY,
            "part_size": PART,
            **options,
        }
        jobs = TransferJobs(self.world.system, self.jobs, self.world.private, "PASSERELLE_JOB_ID")
        return S3(self.world.system, self.world.files, jobs, S3.Options.model_validate(settings))

    @property
    def client(self) -> Minio:
        """An administrator's client of the store."""
        return self.server.client

    def in_store(self) -> list[str]:
        """Objects and unfinished uploads of alice."""
        client = self.client
        if not client.bucket_exists("alice"):
            return []
        uploads = self._uploads(client)
        return uploads + [
            str(stored_object.object_name)
            for stored_object in client.list_objects("alice", recursive=True)
        ]

    def _uploads(self, client: Minio) -> list[str]:
        # MinIO lists uploads for their exact object only: what is on its disk is the truth.
        root = self.server.data / ".minio.sys" / "multipart"
        return [str(path) for path in root.glob("*/*") if path.is_dir()]

    def debris(self) -> list[str]:
        """Hidden files beside targets, and private files of jobs that have not read them."""
        return [
            path.name for path in self.world.root.rglob(".*") if not path.name.startswith(".f7t_")
        ]

    async def failed(self, *, unfinished: int = 0) -> str:
        """What the job says, which ended with a failure and left nothing: or what tells that there is something left
        in the store, which it could not reach."""
        assert await self.jobs.ended() == 1, self.jobs.words()
        self.check_silence()
        debris = self.debris()
        assert len(debris) == unfinished, debris
        assert all(name.startswith(".passerelle-transfer-") for name in debris)
        return self.jobs.words()

    async def succeeded(self) -> str:
        """What the job says, which ended well and left nothing here."""
        assert await self.jobs.ended() == 0, self.jobs.words()
        self.check_silence()
        assert self.debris() == []
        return self.jobs.words()

    def check_silence(self) -> None:
        """No URL in a log or a script."""
        assert not SECRET.search(self.jobs.words()), self.jobs.words()
        assert not SECRET.search(self.jobs.submitted[-1].script.partition("<<")[0])
        assert "X-Amz-Signature=" not in self.jobs.submitted[-1].script


@pytest.fixture
async def site(
    request: pytest.FixtureRequest, tmp_path: Path, minio: MinioServer
) -> AsyncIterator[Site]:
    root = tmp_path / "root"
    root.mkdir()
    _empty(minio)  # of what users of other tests have not fetched
    async with remote(root) as world:
        python = getattr(request, "param", sys.executable)
        site = Site(world, minio, Processes(python, tmp_path / "bin"))
        with as_alice():
            yield site
        await site.jobs.close()
    _empty(minio)


def _empty(minio: MinioServer) -> None:
    """Remove alice's bucket, with all that was ever begun."""
    client = minio.client
    if client.bucket_exists("alice"):
        for stored_object in client.list_objects("alice", recursive=True):
            client.remove_object("alice", str(stored_object.object_name))
        client.remove_bucket("alice")
    shutil.rmtree(minio.data / ".minio.sys" / "multipart", ignore_errors=True)


SIZES = (0, 1, PART, PART + 1, 3 * PART)
on_old_pythons_too = pytest.mark.parametrize("site", pythons(), indirect=True)


@on_old_pythons_too
@pytest.mark.parametrize("size", SIZES)
async def test_upload(site: Site, size: int) -> None:
    target, content = site.world.root / "it's né.bin", content_of(size)
    staged = await site.s3().upload(by_s3(str(target), size))
    assert len(parts_of(staged).parts_upload_urls) == max(1, -(-size // PART))
    await complete(staged, await put_parts(staged, content))
    assert "File was successfully downloaded" in await site.succeeded()
    assert target.read_bytes() == content
    assert site.in_store() == []


@on_old_pythons_too
@pytest.mark.parametrize("size", SIZES)
async def test_download(site: Site, size: int) -> None:
    source, content = site.world.root / "it's là.bin", content_of(size)
    source.write_bytes(content)
    staged = await site.s3().download(by_s3(str(source)))
    assert "Multipart file upload successfully completed" in await site.succeeded()
    assert isinstance(staged.instructions, DownloadUrl)
    async with httpx.AsyncClient() as client:
        assert (await client.get(staged.instructions.download_url)).content == content


async def test_a_file_of_one_system_becomes_one_of_another(site: Site) -> None:
    source, target = site.world.root / "source", site.world.root / "target"
    source.write_bytes(content_of(2 * PART + 7))
    s3 = site.s3()
    _, stored = await s3.send(str(source), None)
    await s3.fetch(stored, str(target), None)
    await site.succeeded()
    assert target.read_bytes() == source.read_bytes()
    assert site.in_store() == []


async def test_what_was_sent_can_be_given_up(site: Site) -> None:
    source = site.world.root / "source"
    source.write_bytes(b"content")
    s3 = site.s3()
    _, stored = await s3.send(str(source), None)
    await site.succeeded()
    assert site.in_store()
    await s3.discard(stored)
    assert site.in_store() == []


def test_systems_know_whether_they_share_a_store(site: Site) -> None:
    ours = site.s3().store
    assert site.s3(access_key_id="other", public_url="https://store.example").store == ours
    assert site.s3(tenant="hpc").store != ours
    assert site.s3(private_url="https://store.example").store != ours


async def test_the_bucket_has_a_lifecycle_and_that_of_others_stays(site: Site) -> None:
    await site.s3(lifecycle_days=3).upload(by_s3(str(site.world.root / "x"), 1))
    made = site.client.get_bucket_lifecycle("alice")
    assert made
    assert made.rules[0].expiration
    assert made.rules[0].expiration.days == 3
    await site.s3(lifecycle_days=9).upload(by_s3(str(site.world.root / "x"), 1))
    changed = site.client.get_bucket_lifecycle("alice")
    assert changed
    assert changed.rules[0].expiration
    assert changed.rules[0].expiration.days == 9
    rule = Rule(
        ENABLED, rule_filter=Filter(prefix=""), rule_id="site", expiration=Expiration(days=5)
    )
    site.client.set_bucket_lifecycle("alice", LifecycleConfig([rule]))
    await site.s3(lifecycle_days=9).upload(by_s3(str(site.world.root / "x"), 1))
    lifecycle = site.client.get_bucket_lifecycle("alice")
    assert lifecycle
    assert [rule.rule_id for rule in lifecycle.rules] == ["site"]


async def test_what_is_replaced_keeps_its_mode_and_links_stay_links(site: Site) -> None:
    old, link = site.world.root / "old", site.world.root / "link"
    old.write_text("old")
    old.chmod(0o640)
    link.symlink_to(old)
    staged = await site.s3().upload(by_s3(str(link), 3))
    await complete(staged, await put_parts(staged, b"new"))
    await site.succeeded()
    assert link.is_symlink()
    assert (old.read_text(), old.stat().st_mode & 0o777) == ("new", 0o640)


def _directory(root: Path) -> Path:
    return root


def _pipe(root: Path) -> Path:
    os.mkfifo(root / "pipe")
    return root / "pipe"


def _socket(root: Path) -> Path:
    os.mknod(root / "socket", stat.S_IFSOCK | 0o600)
    return root / "socket"


def _link_to_itself(root: Path) -> Path:
    (root / "loop").symlink_to("loop")
    return root / "loop"


def _below_a_file(root: Path) -> Path:
    (root / "file").touch()
    return root / "file" / "x"


def _link_out(root: Path) -> Path:
    (root / "out").symlink_to("/var/tmp")
    return root / "out" / "x"


REFUSED: list[tuple[Callable[[Path], Path], int]] = [
    (_directory, 400),
    (_pipe, 400),
    (_socket, 400),
    (_link_to_itself, 400),
    (_below_a_file, 400),
    (_link_out, 400),
    (lambda root: root / ("n" * 256), 400),
    (lambda root: root / "none" / "x", 404),
]


@pytest.mark.parametrize(("make", "status"), REFUSED)
async def test_what_cannot_be_written_to_is_refused_before_anything_is_made(
    site: Site, make: Callable[[Path], Path], status: int
) -> None:
    with pytest.raises(ApiError) as caught:
        await site.s3().upload(by_s3(str(make(site.world.root)), 3))
    assert caught.value.http == status
    assert not site.jobs.submitted
    assert not site.client.bucket_exists("alice")


async def test_a_pipe_made_while_the_content_comes_is_not_replaced(site: Site) -> None:
    target = site.world.root / "x"
    staged = await site.s3().upload(by_s3(str(target), 3))
    await site.jobs.wait_for_log("Waiting")
    os.mkfifo(target)
    await complete(staged, await put_parts(staged, b"new"))
    assert "Is a named pipe" in await site.failed()
    assert target.is_fifo()
    assert site.in_store() == []


async def test_a_link_out_made_while_the_content_comes_is_not_followed(
    site: Site, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    directory = site.world.root / "directory"
    directory.mkdir()
    staged = await site.s3().upload(by_s3(str(directory / "x"), 3))
    await site.jobs.wait_for_log("Waiting")
    directory.rmdir()
    directory.symlink_to(outside)
    await complete(staged, await put_parts(staged, b"new"))
    assert "leads out of the filesystems" in await site.failed()
    assert list(outside.iterdir()) == []
    assert site.in_store() == []


async def test_what_became_a_link_out_before_the_job_ran_is_not_sent(
    site: Site, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("not inside")
    source = site.world.root / "x"
    source.write_text("content")
    site.jobs.delay = 1
    await site.s3().download(by_s3(str(source)))
    source.unlink()
    source.symlink_to(secret)
    assert "leads out of the filesystems" in await site.failed()
    assert site.in_store() == []


async def test_a_store_that_cannot_be_reached_is_told_while_it_is_waited_for(site: Site) -> None:
    await site.s3().upload(by_s3(str(site.world.root / "x"), 3))
    await site.jobs.wait_for_log("Waiting")
    site.server.stop()
    try:
        await site.jobs.wait_for_log("Connection refused; trying again")
        site.jobs.interrupt()
        words = await site.failed(unfinished=1)
        assert "its time was up; before that, the connection" in words
    finally:
        site.server.start()  # in this thread: it would end with another one


async def test_no_proxy_of_the_environment_sees_the_urls(site: Site) -> None:
    site.jobs.environment["http_proxy"] = "http://127.0.0.1:1"
    source = site.world.root / "source"
    source.write_text("content")
    await site.s3().download(by_s3(str(source)))
    await site.succeeded()


async def test_an_object_replaced_by_another_of_its_size_is_refused(site: Site) -> None:
    target = site.world.root / "x"
    target.write_text("old")
    staged = await site.s3().upload(by_s3(str(target), PART + 1))
    tags = await put_parts(staged, content_of(PART + 1))
    site.jobs.running[-1].send_signal(signal.SIGSTOP)  # it must not be faster than the forger
    await complete(staged, tags)
    (key,) = [
        stored_object.object_name
        for stored_object in site.client.list_objects("alice", recursive=True)
    ]
    site.client.put_object("alice", str(key), io.BytesIO(bytes(PART + 1)), PART + 1)
    site.jobs.running[-1].send_signal(signal.SIGCONT)
    assert "it was replaced" in await site.failed()
    assert target.read_text() == "old"
    assert site.in_store() == []


async def test_an_object_replaced_while_it_is_read_is_refused(site: Site) -> None:
    target, size = site.world.root / "x", 40 * PART
    staged = await site.s3(parallel=1).upload(by_s3(str(target), size))
    await complete(staged, await put_parts(staged, content_of(size)))
    await site.jobs.wait_for_log("Downloading")
    site.jobs.running[-1].send_signal(signal.SIGSTOP)
    (key,) = [
        stored_object.object_name
        for stored_object in site.client.list_objects("alice", recursive=True)
    ]
    site.client.put_object("alice", str(key), io.BytesIO(bytes(size)), size)
    site.jobs.running[-1].send_signal(signal.SIGCONT)
    assert "replaced while it was read" in await site.failed()
    assert not target.exists()


async def test_an_object_of_another_size_is_refused(site: Site) -> None:
    staged = await site.s3().upload(by_s3(str(site.world.root / "x"), 10))
    await complete(staged, await put_parts(staged, b"123456789"))
    assert "has 9 bytes, 10 were announced" in await site.failed()
    assert not (site.world.root / "x").exists()
    assert site.in_store() == []


async def test_a_vanished_bucket_ends_the_waiting(site: Site) -> None:
    await site.s3().upload(by_s3(str(site.world.root / "x"), 10))
    await site.jobs.wait_for_log("Waiting")
    site.client.remove_bucket("alice")
    assert "bucket of this transfer is gone" in await site.failed()


async def test_a_bucket_that_vanished_is_made_again(site: Site) -> None:
    s3 = site.s3()
    await s3.upload(by_s3(str(site.world.root / "x"), 1))
    site.client.remove_bucket("alice")
    staged = await s3.upload(by_s3(str(site.world.root / "x"), 1))
    await complete(staged, await put_parts(staged, b"1"))
    assert await site.jobs.ended() == 0, site.jobs.words()


async def test_an_upload_given_up_ends_the_waiting(site: Site) -> None:
    staged = await site.s3().upload(by_s3(str(site.world.root / "x"), 10))
    await site.jobs.wait_for_log("Waiting")
    part = urlsplit(parts_of(staged).parts_upload_urls[0])
    (upload,) = parse_qs(part.query)["uploadId"]
    name = ObjectName(*part.path[1:].split("/", 1))
    keys = Keys(ACCESS_KEY, SECRET_KEY, "us-east-1")
    url = Endpoint(site.server.url, keys).presigned("DELETE", name, 60, uploadId=upload)
    async with httpx.AsyncClient() as client:
        (await client.delete(url)).raise_for_status()
    assert "multipart upload of this transfer is gone" in await site.failed()


async def test_the_memory_of_jobs_does_not_grow_with_files(site: Site) -> None:
    source, target = site.world.root / "source", site.world.root / "target"
    source.write_bytes(content_of(40 * PART))
    s3 = site.s3(part_size=16 * PART, parallel=3)
    _, stored = await s3.send(str(source), None)
    assert await site.jobs.peak() < 64 * MIB
    await s3.fetch(stored, str(target), None)
    assert await site.jobs.peak() < 64 * MIB
    assert target.stat().st_size == source.stat().st_size


async def test_cancelled_while_it_waits(site: Site) -> None:
    staged = await site.s3().upload(by_s3(str(site.world.root / "x"), 10))
    await put_parts(staged, b"0123456789")
    await site.jobs.wait_for_log("Waiting")
    assert site.in_store()
    site.jobs.interrupt()
    assert "cancelled" in await site.failed()
    assert site.in_store() == []


@on_old_pythons_too
async def test_cancelled_while_it_receives(site: Site) -> None:
    size = 40 * PART
    staged = await site.s3(parallel=1).upload(by_s3(str(site.world.root / "x"), size))
    await complete(staged, await put_parts(staged, content_of(size)))
    await site.jobs.wait_for_log("Downloading")
    site.jobs.interrupt()
    assert "cancelled" in await site.failed()
    assert not (site.world.root / "x").exists()
    assert site.in_store() == []


@on_old_pythons_too
async def test_cancelled_while_it_sends(site: Site) -> None:
    source = site.world.root / "x"
    source.write_bytes(content_of(40 * PART))
    await site.s3(parallel=1).download(by_s3(str(source)))
    await site.jobs.wait_for_log("Sending")
    site.jobs.interrupt()
    assert "cancelled" in await site.failed()
    assert site.in_store() == []


async def test_a_store_killed_and_restarted_while_it_is_sent_to(site: Site) -> None:
    source = site.world.root / "x"
    source.write_bytes(content_of(40 * PART))
    staged = await site.s3(parallel=2).download(by_s3(str(source)))
    await site.jobs.wait_for_log("Sending")
    await _restart(site)
    await site.succeeded()
    assert isinstance(staged.instructions, DownloadUrl)
    async with httpx.AsyncClient() as client:
        assert (await client.get(staged.instructions.download_url)).content == source.read_bytes()


async def test_a_store_killed_and_restarted_while_it_is_read_from(site: Site) -> None:
    content = content_of(40 * PART)
    staged = await site.s3(parallel=2).upload(by_s3(str(site.world.root / "x"), len(content)))
    await complete(staged, await put_parts(staged, content))
    await site.jobs.wait_for_log("Downloading")
    await _restart(site)
    await site.succeeded()
    assert (site.world.root / "x").read_bytes() == content


async def _restart(site: Site) -> None:
    """Kill the store in the middle, and start it again."""
    site.server.stop()
    assert site.jobs.running[-1].returncode is None
    await asyncio.sleep(1)
    site.server.start()  # in this thread: it would end with another one


async def test_a_store_that_stays_away_is_given_up(site: Site) -> None:
    source = site.world.root / "x"
    source.write_bytes(content_of(40 * PART))
    await site.s3(retries=1).download(by_s3(str(source)))
    await site.jobs.wait_for_log("Sending")
    site.server.stop()
    try:
        assert "connection to the object store failed" in await site.failed(unfinished=1)
        with pytest.raises(BackendUnavailable) as caught:
            await site.s3().upload(by_s3(str(source), 1))
        assert not SECRET.search(str(caught.value))
    finally:
        site.server.start()  # in this thread: it would end with another one


async def test_urls_that_expired_before_the_job_ran(site: Site) -> None:
    source = site.world.root / "x"
    source.write_bytes(content_of(PART * 2))
    site.jobs.delay = 2.5
    await site.s3(ttl=1).download(by_s3(str(source)))
    assert "time that this transfer was given has run out" in await site.failed()
    assert site.in_store() == []


async def test_an_upload_that_never_comes(site: Site) -> None:
    await site.s3(wait_limit=1).upload(by_s3(str(site.world.root / "x"), 1))
    assert "not completed in time" in await site.failed()
    assert site.in_store() == []


async def test_a_file_that_grows_while_it_is_sent(site: Site) -> None:
    source = site.world.root / "x"
    source.write_bytes(content_of(40 * PART))
    await site.s3(parallel=1).download(by_s3(str(source)))
    await site.jobs.wait_for_log("Sending")
    with source.open("ab") as file:
        file.write(b"more")
    assert "changed while it was being sent" in await site.failed()
    assert site.in_store() == []


async def test_a_file_that_outgrew_its_parts_before_the_job_ran(site: Site) -> None:
    source = site.world.root / "x"
    source.write_bytes(b"small")
    site.jobs.delay = 1
    await site.s3().download(by_s3(str(source)))
    with source.open("ab") as file:
        file.write(bytes(PART))
    assert "has grown" in await site.failed()
    assert site.in_store() == []


async def test_a_job_that_is_not_taken_leaves_nothing(site: Site) -> None:
    site.jobs.refusal = BackendUnavailable("no scheduler")
    source = site.world.root / "x"
    source.write_bytes(b"1")
    with pytest.raises(BackendUnavailable, match="no scheduler"):
        await site.s3().upload(by_s3(str(source), 1))
    with pytest.raises(BackendUnavailable, match="no scheduler"):
        await site.s3().download(by_s3(str(source)))
    assert site.in_store() == []
    assert site.debris() == []


async def test_a_file_that_cannot_be_read(site: Site) -> None:
    for name in ("nope", "."):
        with pytest.raises(FileError):
            await site.s3().download(by_s3(str(site.world.root / name)))
    assert site.in_store() == []


async def test_the_size_is_needed(site: Site) -> None:
    for size in (None, 1 << 60):
        with pytest.raises(InvalidArgument) as caught:
            await site.s3().upload(by_s3(str(site.world.root / "x"), size))
        assert caught.value.fields[0].name == "fileSize"


@pytest.fixture
def small_disk(site: Site) -> Iterator[Path]:
    """A filesystem of 8 MiB."""
    path = site.world.root / "small"
    path.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(path))
    mounted = subprocess.run(mount, capture_output=True, check=False, text=True)
    if mounted.returncode:
        real.missing("small disk", f"mount: {mounted.stderr.strip()}")
    yield path
    subprocess.run(("umount", str(path)), check=True)


@on_old_pythons_too
async def test_a_full_disk(site: Site, small_disk: Path) -> None:
    staged = await site.s3().upload(by_s3(str(small_disk / "x"), 3 * PART))
    await complete(staged, await put_parts(staged, content_of(3 * PART)))
    assert "No space left on device" in await site.failed()
    assert list(small_disk.iterdir()) == []
    assert site.in_store() == []
