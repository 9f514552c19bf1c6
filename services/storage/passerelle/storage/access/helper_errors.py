"""What the helper says of a failure, as an error."""

from collections.abc import Mapping
from typing import Any

from passerelle.runtime.errors import ApiError, BackendError
from passerelle.storage.errors import FileError, Outside


def helper_error(said: Mapping[str, Any], system: str) -> ApiError:
    """The error that a failure of the remote helper is, as it travels (`remote.outcome.described`)."""
    if said["step"] == "boundary":
        return Outside(said["field"], said["path"], system)
    if said["errno"]:
        return FileError(said["step"], said["path"], said["errno"], said.get("words", ""))
    return BackendError(f"A file operation failed on system {system}.")
