"""How new content takes the place of a file: the terms on which it may, and the hidden parts in which it arrives."""

import os
import re
import secrets
from dataclasses import dataclass
from enum import Enum

import grpc

from passerelle.runtime.errors import ApiError, Field, InvalidArgument

SUFFIX = ".passerelle-part"
"""What the names of all parts end with."""

_NAME_MAX = 255  # bytes
_UPLOAD_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)


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


class PreconditionFailed(ApiError):
    """The file is not the version that the caller means."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "PRECONDITION_FAILED"
    http = 412


class TakenOver(ApiError):
    """Another call works on the same upload now; what this one wrote is kept."""

    code = grpc.StatusCode.ABORTED
    reason = "UPLOAD_TAKEN_OVER"
    http = 409


def new_upload_id() -> str:
    """An id for an upload; nobody else has it."""
    return secrets.token_hex(16)


def checked_upload_id(text: str) -> str:
    """The id, which becomes a piece of a file's name; raises InvalidArgument for what is none of ours."""
    if not _UPLOAD_ID.fullmatch(text):
        wrong = "must be 32 digits as CreateUpload returned them"
        raise InvalidArgument(f"upload_id {wrong}", (Field("path", "upload_id", wrong),))
    return text


def part_beside(path: bytes, upload_id: str) -> bytes:
    """The hidden part of that upload to `path`: beside it, with a name of at most 255 bytes."""
    directory, name = os.path.split(path)
    ending = f".{upload_id}{SUFFIX}".encode()
    room = _NAME_MAX - 1 - len(ending)
    cut = name[:room].decode(errors="ignore").encode()  # no half of a character
    return os.path.join(directory, b"." + cut + ending)
