"""Addresses, names and options of staging with S3."""

import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from minio.helpers import check_bucket_name
from pydantic import ValidationError

from passerelle.storage.staging.s3 import store
from passerelle.storage.staging.s3.method import S3
from passerelle.storage.staging.s3.remote.http import composite, md5, store_error
from passerelle.storage.staging.s3.store import Endpoint, Keys
from passerelle.storage.staging.s3.urls import ObjectName, bucket_name, checked_url

KEYS = Keys("key", "secret", "us-east-1")
OBJECT = ObjectName("alice", "1/a b.txt")
NEEDED = {"private_url": "http://store:9000", "access_key_id": "a", "secret_access_key": "b"}


@given(st.text(st.characters(exclude_characters="\0/"), min_size=1, max_size=300))
def test_every_user_gets_a_bucket_that_s3_allows(user: str) -> None:
    name = bucket_name("{user}", user)
    check_bucket_name(name, strict=True)
    assert re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", name)


def test_buckets_have_the_name_of_their_user_where_that_is_allowed() -> None:
    assert bucket_name("{user}", "alice") == "alice"
    assert bucket_name("{user}", "first.last") == "first.last"
    assert bucket_name("hpc-{user}", "a_b").startswith("hpc-a-b-")
    changed = ["a_b", "a-B", "a+b", "ab", "al..ice", "al.-ice", "127.0.0.1", "a" * 64]
    names = [bucket_name("{user}", user) for user in changed]
    assert len(set(names)) == len(changed)
    assert not set(names) & set(changed)


def test_a_presigned_url_names_a_tenant_as_ceph_wants_it_signed() -> None:
    url = urlsplit(Endpoint("https://s3.site:443", KEYS, "hpc").presigned("GET", OBJECT, 60))
    assert (url.netloc, url.path) == ("s3.site", "/hpc%3Aalice/1/a%20b.txt")
    assert parse_qs(url.query)["X-Amz-Expires"] == ["60"]


def test_a_signed_url_has_no_secret_and_no_tenant() -> None:
    endpoint = Endpoint("http://store:9000", KEYS, "hpc")
    url, headers = endpoint.signed("POST", OBJECT, {"uploads": ""}, {"x-amz-meta-a": "b"})
    assert url == "http://store:9000/alice/1/a%20b.txt?uploads="
    assert "x-amz-meta-a" in headers["Authorization"]


@pytest.mark.parametrize(
    "url", ["store:9000", "ftp://store", "http://", "http://store/path", "http://a:b@store", "/x"]
)
def test_an_address_that_cannot_be_signed_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="http"):
        checked_url(url)
    with pytest.raises(ValidationError):
        S3.Options.model_validate({**NEEDED, "private_url": url})


@pytest.mark.parametrize(
    "invalid", [{"part_size": 1 << 20}, {"ttl": 0}, {"ttl": 604801}, {"bucket": "same-for-all"}]
)
def test_options_that_no_store_takes_are_refused(invalid: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        S3.Options.model_validate({**NEEDED, **invalid})


def test_options_show_no_secret() -> None:
    options = S3.Options.model_validate({**NEEDED, "secret_access_key": "very-secret"})
    assert "very-secret" not in repr(options)


@pytest.mark.parametrize(
    ("body", "status", "words", "retriable"),
    [
        (b"<Error><Code>SlowDown</Code></Error>", 503, "SlowDown", True),
        (b"<Error><Code>InternalError</Code></Error>", 200, "InternalError", True),
        (b"<html>Bad gateway", 502, "502", True),
        (b"<Error><Code>BadDigest</Code></Error>", 400, "BadDigest", True),
        (
            b"<Error><Code>NoSuchBucket</Code></Error>",
            404,
            "bucket of this transfer is gone",
            False,
        ),
        (b"<Code>AccessDenied</Code><Message>Request has expired</Message>", 403, "run out", False),
        (b"<Code>AccessDenied</Code><Key>expired.txt</Key>", 403, "AccessDenied", False),
        (b"", 403, "403", False),
    ],
)
def test_what_the_store_refuses(body: bytes, status: int, words: str, retriable: bool) -> None:
    error = store_error(body, status)
    assert words in str(error)
    assert error.retriable == retriable


def test_the_etag_of_an_object_of_parts() -> None:
    # As MinIO answers for one empty part.
    assert composite([md5().digest()], 1) == "59adb24ef3cdbe0297f05b395827453f-1"


def test_another_s3_library_would_touch_one_module() -> None:
    package = Path(store.__file__).parents[2]
    importing = re.compile(r"^(?:from|import) minio\b", re.M)
    result = [path.name for path in package.rglob("*.py") if importing.search(path.read_text())]
    assert result == ["store.py"]
