"""The staging methods of one system: which there are, and what is the same for all of them."""

import errno
import stat
from collections.abc import Mapping

from passerelle.runtime.errors import Field, InvalidArgument
from passerelle.storage.files import FileError, Files
from passerelle.storage.staging import Inbound, Outbound, Staged, Staging


class StagedTransfers:
    """Uploads and downloads by the staging methods of one system; `methods` by name, the preferred one first."""

    def __init__(self, files: Files, methods: Mapping[str, Staging]) -> None:
        self._files = files
        self._methods = methods

    async def upload(self, method: str | None, inbound: Inbound) -> Staged:
        """Let a file come; None is the preferred method. Raises InvalidArgument for a method that there is not, and
        what `Staging.upload` raises."""
        return await self._chosen(method).upload(inbound)

    async def download(self, method: str | None, outbound: Outbound) -> Staged:
        """Let a regular file leave; as `upload`, and FileError for what is not there or is no regular file."""
        chosen = self._chosen(method)
        found = await self._files.stat(outbound.path, dereference=True)
        if not stat.S_ISREG(found.mode):
            number = errno.EISDIR if stat.S_ISDIR(found.mode) else errno.EINVAL
            raise FileError("read", outbound.path, number)
        return await chosen.download(outbound)

    def _chosen(self, method: str | None) -> Staging:
        found = self._methods.get(method or next(iter(self._methods), ""))
        if found is None:
            there = ", ".join(self._methods) or "none"
            wrong = f"Available on this system: {there}."
            raise InvalidArgument(
                f"Requested transfer method is not available. {wrong}",
                (Field("body", "method", wrong),),
            )
        return found
