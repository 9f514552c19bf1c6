"""Configurations of the sites that end-to-end tests start for themselves."""

import os
import subprocess
from typing import Any

from tests.minio import ACCESS_KEY, SECRET_KEY, MinioServer

S3_KEY = {"PASSERELLE_TEST_S3_KEY": SECRET_KEY}
"""The environment of a site whose systems stage with `staging_by`."""


def staging_by(minio: MinioServer) -> list[dict[str, Any]]:
    """A system's staging methods: the store alone, with the smallest parts that S3 allows."""
    options = {
        "private_url": minio.url,
        "access_key_id": ACCESS_KEY,
        "secret_access_key": "env:PASSERELLE_TEST_S3_KEY",
        "part_size": 5 << 20,
    }
    return [{"type": "s3", "options": options}]


def output_of(*argv: object, **environment: str) -> str:
    """What a command prints, run with these variables besides ours; raises CalledProcessError when it fails."""
    return subprocess.run(
        [str(word) for word in argv],
        env=os.environ | environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout
