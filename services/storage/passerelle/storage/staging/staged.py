"""Transfers by the staging methods of one system, and what is done after them."""

from collections.abc import Mapping
from typing import Any

from passerelle.runtime.errors import InvalidArgument
from passerelle.storage.files.downloads import Downloads
from passerelle.storage.staging.port import Staged, Staging, StagingRequest
from passerelle.storage.staging.tidying import Tidying


class StagedTransfers:
    """The staging `methods` of one system by their names, the preferred one first."""

    def __init__(
        self, methods: Mapping[str, Staging], tidying: Tidying, downloads: Downloads
    ) -> None:
        self.methods = methods
        self._tidying = tidying
        self._downloads = downloads

    def named(self, name: str | None) -> tuple[str, Staging]:
        """The method of that name, the preferred one if none is asked for, and its name; InvalidArgument lists the
        methods when there is no such one."""
        chosen = name or next(iter(self.methods), "")
        if chosen not in self.methods:
            listed = ", ".join(self.methods) or "none"
            raise InvalidArgument(
                f"Requested transfer method is not available. Available on this system: {listed}."
            )
        return chosen, self.methods[chosen]

    async def upload(self, method: Staging, request: StagingRequest[Any]) -> Staged:
        """As `Staging.upload` of one of the methods."""
        staged = await method.upload(request)
        self.look_after()
        return staged

    async def download(self, method: Staging, request: StagingRequest[Any]) -> Staged:
        """As `Staging.download` of one of the methods; DownloadTooLarge for more than the caller may download."""
        await self._downloads.require_allowed(request.path)
        staged = await method.download(request)
        self.look_after()
        return staged

    def look_after(self) -> None:
        """See to it that nothing is left of the caller's transfers, whatever becomes of their jobs."""
        self._tidying.watch()

    def resume(self) -> None:
        """Go on with that where an expired token has interrupted it."""
        self._tidying.resume()

    async def close(self) -> None:
        """End what is done in the background."""
        await self._tidying.close()
