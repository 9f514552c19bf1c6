"""Errors made from the helper's failures."""

from collections.abc import Mapping
from typing import Any

from passerelle.runtime.errors import ApiError, BackendError
from passerelle.storage.errors import FileError, Outside


def helper_error(failure: Mapping[str, Any], system: str) -> ApiError:
    """The error for a failure in the helper's JSON (`remote.outcome.described`)."""
    if failure["step"] == "boundary":
        return Outside(failure["field"], failure["path"], system)
    if failure["errno"]:
        return FileError(
            failure["step"], failure["path"], failure["errno"], failure.get("words", "")
        )
    return BackendError(f"A file operation failed on system {system}.")
