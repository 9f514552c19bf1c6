"""What is left of S3 transfers whose jobs could not tidy up, in a real MinIO and on disk."""

import asyncio
import uuid
from io import BytesIO

import pytest

from passerelle.runtime import caller
from passerelle.runtime.caller import Caller
from passerelle.storage.staging import tidying
from passerelle.storage.staging.s3.method import S3
from passerelle.storage.staging.tidying import Tidying
from tests.integration.staging_jobs import END_SECONDS, by_s3, complete, content_of, put_parts
from tests.integration.test_s3 import PART, Site, site
from tests.unit.storage.world import debris

__all__ = ["site"]


@pytest.fixture
def s3(site: Site, monkeypatch: pytest.MonkeyPatch) -> S3:
    """The method, and what tidies up after it."""
    monkeypatch.setattr(tidying, "_FIRST_PAUSE", 0.05)
    return site.s3(parallel=1)


async def tidied(site: Site, s3: S3) -> None:
    """Until nothing is left."""
    watcher = Tidying(site.world.system, site.world.files, site.world.private, site.jobs, [s3])
    watcher.watch()
    async with asyncio.timeout(END_SECONDS):
        while site.debris():
            await asyncio.sleep(0.02)
    await watcher.close()
    assert site.in_store() == []
    assert debris(site.world.root) == []


async def test_killed_before_it_has_said_anything(site: Site, s3: S3) -> None:
    site.jobs.delay = 60
    await s3.upload(by_s3(str(site.world.root / "x"), 3))
    await site.jobs.kill()
    assert site.in_store()
    await tidied(site, s3)


async def test_killed_when_all_has_been_uploaded(site: Site, s3: S3) -> None:
    site.jobs.delay = 60
    staged = await s3.upload(by_s3(str(site.world.root / "x"), 3))
    await complete(staged, await put_parts(staged, b"new"))
    await site.jobs.kill()
    assert site.in_store()
    await tidied(site, s3)


async def test_killed_while_it_receives(site: Site, s3: S3) -> None:
    size, target = 40 * PART, site.world.root / "x"
    target.write_text("old")
    staged = await s3.upload(by_s3(str(target), size))
    await complete(staged, await put_parts(staged, content_of(size)))
    await site.jobs.wait_for_log("Downloading")
    await site.jobs.kill()
    assert len(debris(site.world.root)) == 1
    await tidied(site, s3)
    assert target.read_text() == "old"


async def test_killed_while_it_sends(site: Site, s3: S3) -> None:
    source = site.world.root / "x"
    source.write_bytes(content_of(40 * PART))
    await s3.download(by_s3(str(source)))
    await site.jobs.wait_for_log("Sending")
    await site.jobs.kill()
    await tidied(site, s3)


async def test_what_was_sent_is_there_to_be_fetched(site: Site, s3: S3) -> None:
    source = site.world.root / "x"
    source.write_bytes(b"content")
    await s3.download(by_s3(str(source)))
    await site.succeeded()
    watcher = Tidying(site.world.system, site.world.files, site.world.private, site.jobs, [s3])
    watcher.watch()
    async with asyncio.timeout(END_SECONDS):
        while watcher._tasks:
            await asyncio.sleep(0.02)
    assert len(site.in_store()) == 1


@pytest.mark.parametrize("when", ["Waiting", "Downloading"])
async def test_a_job_whose_node_was_lost_goes_on_when_it_is_started_again(
    site: Site, s3: S3, when: str
) -> None:
    size, target = 20 * PART, site.world.root / "x"
    staged = await s3.upload(by_s3(str(target), size))
    if when == "Waiting":
        await site.jobs.wait_for_log(when)
        await site.jobs.kill()
    await complete(staged, await put_parts(staged, content_of(size)))
    if when == "Downloading":
        await site.jobs.wait_for_log(when)
        await site.jobs.kill()
    await site.jobs.again()
    await site.succeeded()
    assert target.read_bytes() == content_of(size)
    assert site.in_store() == []


async def test_a_file_that_its_user_changed_leads_to_nothing_of_others(site: Site, s3: S3) -> None:
    client, transfer = site.client, str(uuid.uuid4())
    client.make_bucket("alice")
    for key in ("own", f"{transfer}/x", "some/thing/else"):
        client.put_object("alice", key, BytesIO(b"1"), 1)
    ours = {"store": s3.store, "key": f"{transfer}/x", "upload": "7"}
    for key in ("own", "", f"../bob/{transfer}/x", "some/thing/else", f"{transfer}/../own"):
        assert await s3.remove({**ours, "key": key})
    assert await s3.remove({**ours, "upload": ""})
    assert not await s3.remove({})
    assert not await s3.remove({**ours, "store": "another"})
    with caller.bind(Caller("bob", "token")):
        assert await s3.remove(ours)
    assert len(site.in_store()) == 3
    assert await s3.remove(ours)
    assert len(site.in_store()) == 2
