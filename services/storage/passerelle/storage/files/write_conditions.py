"""On what terms content may take its place, as a writer states them."""

from dataclasses import dataclass
from enum import Enum

import grpc

from passerelle.runtime.errors import ApiError


class WriteMode(Enum):
    """What writing does to a file that is there already: replace it, refuse, or add to its end."""

    OVERWRITE = "overwrite"
    CREATE = "create"
    APPEND = "append"


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms content may take its place.

    `if_match` is the ETag (without quotes) of the version that must be there, `*` for any; empty for whatever there is.
    `sha256` is what the content must have, in lower-case hexadecimal; empty when nobody knows.
    """

    mode: WriteMode = WriteMode.OVERWRITE
    if_match: str = ""
    sha256: str = ""


REPLACING = Terms()
"""Whatever is there is replaced."""


class PreconditionFailed(ApiError):
    """The file is not the version that the caller means."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "PRECONDITION_FAILED"
    http = 412
