"""What a store and a network may do to a transfer: faults in front of a real MinIO."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from passerelle.runtime.errors import BackendUnavailable
from tests.integration.faulty import Exchange, Fault, Faults, in_front_of
from tests.integration.staging_jobs import by_s3, complete, content_of, put_parts
from tests.integration.test_s3 import PART, Site, site
from tests.minio import MinioServer

__all__ = ["site"]

SIZE = 2 * PART + 5


@pytest.fixture
def faults(minio: MinioServer) -> Iterator[Faults]:
    with in_front_of(minio.host) as faults:
        yield faults


def unavailable(exchange: Exchange) -> None:
    """An error of the server, as proxies make it."""
    exchange.status, exchange.answer = 503, b"<html>Service Unavailable"
    exchange.headers = [("Content-Length", str(len(exchange.answer)))]


def damaged(exchange: Exchange) -> None:
    """One bit on its way to the store."""
    exchange.body = bytes([exchange.body[0] ^ 1]) + exchange.body[1:]


def damaged_answer(exchange: Exchange) -> None:
    """One bit on its way from the store."""
    exchange.answer = bytes([exchange.answer[0] ^ 1]) + exchange.answer[1:]


def cut_off(exchange: Exchange) -> None:
    """A connection that ends in the middle."""
    exchange.cut_off = True


def never_answered(exchange: Exchange) -> None:
    """The store did it, and nobody heard."""
    exchange.answer, exchange.cut_off = b"", True


def error_that_says_200(exchange: Exchange) -> None:
    """What Amazon documents for CompleteMultipartUpload."""
    exchange.answer = b"<?xml version='1.0'?><Error><Code>InternalError</Code></Error>"
    exchange.status = 200
    exchange.headers = [("Content-Length", str(len(exchange.answer)))]


def another_tag(exchange: Exchange) -> None:
    """The store received something else."""
    remaining = [pair for pair in exchange.headers if pair[0].lower() != "etag"]
    exchange.headers = [*remaining, ("ETag", '"0"')]


async def sent(site: Site, faults: Faults) -> str:
    """What a job says that sends a file past these faults; the file arrived."""
    source = site.world.root / "x"
    source.write_bytes(content_of(SIZE))
    _, stored = await site.s3(private_url=faults.url).send(str(source), None)
    words = await site.succeeded()
    stored_object = site.client.get_object(stored.name.bucket, stored.name.key)
    assert stored_object.read() == source.read_bytes()
    stored_object.close()
    stored_object.release_conn()
    assert (faults.before, faults.after) == ([], [])
    return words


@pytest.mark.parametrize("fault", [unavailable, damaged])
async def test_parts_that_do_not_arrive_are_sent_again(
    site: Site, faults: Faults, fault: Fault
) -> None:
    faults.before = [("part", fault)] * 2
    await sent(site, faults)


@pytest.mark.parametrize("fault", [never_answered, another_tag])
async def test_parts_that_were_not_confirmed_are_sent_again(
    site: Site, faults: Faults, fault: Fault
) -> None:
    faults.after = [("part", fault)]
    await sent(site, faults)


async def test_completing_is_tried_again(site: Site, faults: Faults) -> None:
    source = site.world.root / "x"
    source.write_bytes(content_of(SIZE))
    s3 = site.s3(private_url=faults.url)
    faults.before = [("complete", error_that_says_200), ("complete", unavailable)]
    _, stored = await s3.send(str(source), None)
    await site.succeeded()
    assert faults.before == []
    stored_object = site.client.stat_object(stored.name.bucket, stored.name.key)
    assert stored_object.size == SIZE


async def test_a_completion_nobody_heard_of_counts(site: Site, faults: Faults) -> None:
    source = site.world.root / "x"
    source.write_bytes(content_of(SIZE))
    faults.after = [("complete", never_answered), ("HEAD", unavailable)]
    _, stored = await site.s3(private_url=faults.url).send(str(source), None)
    await site.succeeded()
    assert faults.after == []
    assert site.client.stat_object(stored.name.bucket, stored.name.key).size == SIZE


async def test_a_store_that_keeps_failing_is_given_up(site: Site, faults: Faults) -> None:
    source = site.world.root / "x"
    source.write_bytes(content_of(SIZE))
    faults.before = [("part", unavailable)] * 99
    await site.s3(private_url=faults.url, retries=1).download(by_s3(str(source)))
    assert "answered 503" in await site.failed()
    assert site.in_store() == []


async def received(site: Site, faults: Faults) -> bytes:
    """What a job fetched past these faults."""
    target = site.world.root / "x"
    s3 = site.s3(private_url=faults.url, public_url=site.server.url)
    staged = await s3.upload(by_s3(str(target), SIZE))
    await complete(staged, await put_parts(staged, content_of(SIZE)))
    await site.succeeded()
    return target.read_bytes()


@pytest.mark.parametrize("fault", [cut_off, unavailable])
async def test_ranges_that_do_not_arrive_are_asked_for_again(
    site: Site, faults: Faults, fault: Fault
) -> None:
    faults.after = [("content", fault)]
    assert await received(site, faults) == content_of(SIZE)
    assert faults.after == []


@pytest.mark.parametrize(("ttl", "days"), [(60, 1), (86400, 1), (86401, 2), (604800, 3)])
async def test_unfinished_uploads_go_when_their_urls_have_expired(
    site: Site, faults: Faults, ttl: int, days: int
) -> None:
    sent: list[bytes] = []  # MinIO does not keep that rule: it has a setting of its own

    def keep(exchange: Exchange) -> None:
        sent.append(exchange.body)

    faults.before = [("PUT", keep)] * 2  # the bucket and its lifecycle
    s3 = site.s3(private_url=faults.url, ttl=ttl, lifecycle_days=3)
    await s3.upload(by_s3(str(site.world.root / "x"), 1))
    assert f"<DaysAfterInitiation>{days}<" in sent[1].decode()
    assert "<Expiration><Days>3<" in sent[1].decode()


async def test_a_caller_who_goes_while_the_store_begins_an_upload(
    site: Site, faults: Faults
) -> None:
    begun, gone = threading.Event(), threading.Event()

    def hold(exchange: Exchange) -> None:
        begun.set()
        gone.wait(60)

    faults.after = [("POST", hold)]
    s3 = site.s3(private_url=faults.url)
    request = asyncio.create_task(s3.upload(by_s3(str(site.world.root / "x"), 1)))
    await asyncio.to_thread(begun.wait, 60)
    assert len(site.in_store()) == 1
    request.cancel()
    gone.set()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert site.in_store() == []
    assert site.jobs.submitted == []


async def test_an_answer_that_is_not_of_s3(site: Site, faults: Faults) -> None:
    faults.after = [("GET", damaged_answer)]
    with pytest.raises(BackendUnavailable, match="not one of S3"):
        await site.s3(private_url=faults.url).upload(by_s3(str(site.world.root / "x"), 1))
    faults.before = [("PUT", unavailable)]
    with pytest.raises(BackendUnavailable):
        await site.s3(private_url=faults.url).upload(by_s3(str(site.world.root / "x"), 1))
    assert site.in_store() == []


async def test_a_damaged_range_is_noticed(site: Site, faults: Faults) -> None:
    faults.after = [("content", damaged_answer)]
    target = site.world.root / "x"
    target.write_text("old")
    s3 = site.s3(private_url=faults.url, public_url=site.server.url)
    staged = await s3.upload(by_s3(str(target), SIZE))
    await complete(staged, await put_parts(staged, content_of(SIZE)))
    assert "checksum of what arrived is not the object's" in await site.failed()
    assert target.read_text() == "old"
    assert site.in_store() == []
