"""Names in an S3 object store, and addresses of stores."""

import hashlib
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

LONGEST_LIFE = 604800  # seconds that Signature Version 4 lets a presigned URL live
_BUCKET = re.compile(r"(?=.{3,63}$)[a-z0-9]+(?:[.-]?[a-z0-9]|--+[a-z0-9])*")
_ADDRESS = re.compile(r"[0-9]+(\.[0-9]+){3}")
DEFAULT_PORTS = {"http": ":80", "https": ":443"}


@dataclass(frozen=True, slots=True)
class ObjectName:
    """An object's bucket and key."""

    bucket: str
    key: str


def checked_url(url: str) -> str:
    """The URL, if it can be that of an Endpoint. Raises ValueError that describes the valid form."""
    parts = urlsplit(url)
    plain = not (parts.path.strip("/") or parts.query or parts.fragment or parts.username)
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname or not plain:
        raise ValueError("must be http:// or https:// and a host, with a port if need be")
    return f"{parts.scheme}://{parts.netloc.lower()}"


def bucket_name(pattern: str, user: str) -> str:
    """The name of a user's bucket: `pattern` with the user's name filled in, if S3 allows the result.

    Otherwise disallowed characters are replaced and a hash is appended, so that no two users share a bucket.
    Rules: "General purpose bucket naming rules" in the Amazon S3 User Guide.
    """
    bucket = pattern.replace("{user}", user)
    if _BUCKET.fullmatch(bucket) and not _ADDRESS.fullmatch(bucket):
        return bucket
    taken = re.sub(r"[^a-z0-9]+", "-", bucket.lower()).strip("-")[:54]
    digest = hashlib.sha256(bucket.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{taken}-{digest}".removeprefix("-")
