"""Transfers by the staging methods of one system, and what is done after them."""

from collections.abc import Mapping

from passerelle.storage.staging.port import Inbound, Outbound, Staged, Staging, method_of
from passerelle.storage.transfers.tidying import Tidying


class StagedTransfers:
    """The staging `methods` of one system by their names, the preferred one first."""

    def __init__(self, methods: Mapping[str, Staging], tidying: Tidying) -> None:
        self.methods = methods
        self._tidying = tidying

    async def upload(self, method: str | None, inbound: Inbound) -> Staged:
        """As `Staging.upload`, by the method of that name, the preferred one if none is asked for; raises
        InvalidArgument when there is no such method."""
        staged = await method_of(self.methods, method).upload(inbound)
        self.look_after()
        return staged

    async def download(self, method: str | None, outbound: Outbound) -> Staged:
        """As `Staging.download`; `method` as in `upload`."""
        staged = await method_of(self.methods, method).download(outbound)
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
