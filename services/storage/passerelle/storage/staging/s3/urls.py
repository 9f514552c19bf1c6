"""Addresses in an S3 object store, and signatures that open them for a while.

Buckets are always in the path (path style), as every S3 server takes them. Signing is AWS Signature Version 4.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import SplitResult, quote, urlencode, urlsplit

from minio.credentials.credentials import Credentials
from minio.signer import presign_v4, sign_v4_s3

LONGEST_LIFE = 604800  # seconds that Signature Version 4 lets a presigned URL live
_NOTHING = hashlib.sha256(b"").hexdigest()
_BUCKET = re.compile(r"(?=.{3,63}$)[a-z0-9]+(?:[.-]?[a-z0-9]|--+[a-z0-9])*")
_ADDRESS = re.compile(r"[0-9]+(\.[0-9]+){3}")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


@dataclass(frozen=True, slots=True)
class ObjectName:
    """Where an object is, without the store's address."""

    bucket: str
    key: str


@dataclass(frozen=True, slots=True)
class Keys:
    """Who signs, and for which region."""

    access: Credentials
    region: str


class Endpoint:
    """An address of the store, from which it is reached; `tenant` stands before every bucket that it presigns."""

    def __init__(self, url: str, keys: Keys, tenant: str | None = None) -> None:
        parts = urlsplit(url)
        self.secure = parts.scheme == "https"
        self.host = parts.netloc.removesuffix(
            _DEFAULT_PORTS[parts.scheme]
        )  # clients send no default port
        self._scheme = parts.scheme
        self._keys = keys
        self._tenant = f"{tenant}:" if tenant else ""

    def presigned(self, method: str, name: ObjectName, life: int, **query: str) -> str:
        """A URL that does one thing to one object for `life` seconds, whoever has it."""
        url = presign_v4(
            method=method,
            url=self._url(self._tenant + name.bucket, name.key, query),
            region=self._keys.region,
            credentials=self._keys.access,
            date=datetime.now(UTC),
            expires=life,
        )
        return url.geturl()

    def signed(
        self, method: str, name: ObjectName, query: Mapping[str, str], more: Mapping[str, str]
    ) -> tuple[str, dict[str, str]]:
        """A URL without a secret, and the headers (`more` among them) that sign a request for it without a body."""
        now = datetime.now(UTC)
        url = self._url(name.bucket, name.key, query)
        headers: dict[str, str | list[str] | tuple[str]] = {
            "Host": self.host,
            "x-amz-content-sha256": _NOTHING,
            "x-amz-date": now.strftime("%Y%m%dT%H%M%SZ"),
            **more,
        }
        signed = sign_v4_s3(
            method=method,
            url=url,
            region=self._keys.region,
            headers=headers,
            credentials=self._keys.access,
            content_sha256=_NOTHING,
            date=now,
        )
        return url.geturl(), {key: str(value) for key, value in signed.items()}

    def _url(self, bucket: str, key: str, query: Mapping[str, str]) -> SplitResult:
        path = f"/{quote(bucket, safe='')}/{quote(key, safe='/~')}"
        sorted_query = urlencode(sorted(query.items()), quote_via=quote, safe="~")
        return SplitResult(self._scheme, self.host, path, sorted_query, "")


def checked_url(url: str) -> str:
    """A URL that can be an Endpoint's; ValueError says what it must look like."""
    parts = urlsplit(url)
    plain = not (parts.path.strip("/") or parts.query or parts.fragment or parts.username)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or not plain:
        raise ValueError("must be http:// or https:// and a host, with a port if need be")
    return f"{parts.scheme}://{parts.netloc.lower()}"


def bucket_name(pattern: str, user: str) -> str:
    """The bucket of a user: `pattern` with the name in it, when S3 takes that for a bucket's name.

    Otherwise what S3 takes of it, with a hash at the end, so that no two users mean the same.
    Rules: "General purpose bucket naming rules" in the Amazon S3 User Guide.
    """
    wanted = pattern.replace("{user}", user)
    if _BUCKET.fullmatch(wanted) and not _ADDRESS.fullmatch(wanted):
        return wanted
    taken = re.sub(r"[^a-z0-9]+", "-", wanted.lower()).strip("-")[:54]
    digest = hashlib.sha256(wanted.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{taken}-{digest}".removeprefix("-")
