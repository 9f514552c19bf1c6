"""Transfers by the staging methods of one system, and tidying up after them."""

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
        """The name and the method of that name; the preferred one for None. Raises InvalidArgument, which lists the
        methods, for an unknown name."""
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
        """As `Staging.download` of one of the methods. Raises DownloadTooLarge above the caller's limit, too."""
        await self._downloads.require_allowed(request.path)
        staged = await method.download(request)
        self.look_after()
        return staged

    def look_after(self) -> None:
        """Tidy up after the caller's transfers from now on, if their jobs cannot."""
        self._tidying.watch()

    def resume(self) -> None:
        """Continue tidying up with the current caller's token, if an expired one has interrupted it."""
        self._tidying.resume()

    async def close(self) -> None:
        """End the work in the background."""
        await self._tidying.close()
