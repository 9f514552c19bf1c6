"""The options of the staging method `s3`."""

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator

from passerelle.runtime.config.addresses import is_plain_http
from passerelle.runtime.config.findings import Finding, SectionContext, note, problem, unreadable
from passerelle.runtime.config.sections import Secret, Section
from passerelle.runtime.config.trials import Trial
from passerelle.storage.staging.s3.store import Endpoint, Keys, Life, ObjectStore
from passerelle.storage.staging.s3.urls import LONGEST_LIFE, checked_url

_MIB = 1 << 20
_DAY = 86400  # seconds
# Amazon S3's limits ("Multipart upload limits"), which other servers keep to; bytes.
_SMALLEST_PART = 5 * _MIB
LARGEST_PART = 5 << 30

Url = Annotated[str, AfterValidator(checked_url)]


class S3Options(Section):
    """Options of the `s3` staging method."""

    private_url: Url
    """The store as the gateway and the systems reach it."""
    public_url: Url | None = None
    """The store as callers reach it; `private_url` when unset."""
    access_key_id: str = Field(min_length=1)
    """The id of the key that signs."""
    secret_access_key: Secret
    """Its secret half."""
    region: str = "us-east-1"
    """The store's region."""
    tenant: str | None = None
    """Put before the bucket in every presigned URL, as `tenant:bucket` (Ceph)."""
    bucket: str = "{user}"
    """The name of a user's bucket; what S3 does not allow in it is replaced."""
    lifecycle_days: int = Field(default=10, ge=1)
    """Objects go away after this, days; unfinished uploads do so when their URLs have expired."""
    ttl: int = Field(default=86400, ge=1, le=LONGEST_LIFE)
    """How long presigned URLs work, s."""
    wait_limit: int = Field(default=86400, ge=1)
    """How long a job waits for the caller's upload, s."""
    part_size: int = Field(default=128 * _MIB, ge=_SMALLEST_PART, le=LARGEST_PART)
    """Size of a part, bytes; larger for files of more than 10,000 of them."""
    parallel: int = Field(default=4, ge=1, le=64)
    """Parts that a job moves at once."""
    retries: int = Field(default=6, ge=0, le=100)
    """How often a job tries a part again, with pauses."""
    md5_etags: bool = True
    """Whether the store's ETags are MD5 sums, which are checked then; not so where it encrypts with keys of its own."""
    ca_file: Path | None = None
    """Certificates (PEM) to trust instead of the system's, here and in the jobs."""

    @field_validator("bucket")
    @classmethod
    def _of_each_user(cls, bucket: str) -> str:
        if "{user}" not in bucket:
            raise ValueError("must hold `{user}`: each user has a bucket")
        return bucket

    def findings(self, context: SectionContext) -> Iterator[Finding]:
        """See `Section.findings`."""
        for key in ("private_url", "public_url"):
            if (url := getattr(self, key)) and is_plain_http(url):
                yield note(f"{url} is plain http: files can be read on their way", key)
        if self.ca_file is None:
            return
        if reason := unreadable(self.ca_file):
            yield problem(reason, "ca_file")
            return
        try:
            ssl.create_default_context(cafile=self.ca_file)
        except ssl.SSLError:
            yield problem(f"{self.ca_file}: no certificates in PEM", "ca_file")

    def trials(self, context: SectionContext) -> Iterator[Trial]:
        """See `Section.trials`."""
        mend = "private_url, access_key_id, secret_access_key, region, ca_file; the clock"
        yield Trial(f"object store {self.private_url}", self.store().greet, mend)

    def keys(self) -> Keys:
        """The access key and its region."""
        return Keys(self.access_key_id, self.secret_access_key.get_secret_value(), self.region)

    def ca(self) -> str | None:
        """The certificates to trust, in PEM; raises OSError."""
        return self.ca_file.read_text() if self.ca_file else None

    def store(self) -> ObjectStore:
        """The store as the service uses it; raises as `ca`."""
        keys = self.keys()
        endpoint = Endpoint(self.private_url, keys, self.tenant)
        life = Life(self.lifecycle_days, uploads=min(self.lifecycle_days, -(-self.ttl // _DAY)))
        return ObjectStore(endpoint, keys, life, self.ca())
