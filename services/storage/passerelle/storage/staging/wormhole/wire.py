"""The staging method `wormhole` in both APIs."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field

from passerelle.storage.staging.wire import (
    Instructions,
    NativeRequest,
    Parameters,
    Service,
    WireForm,
)
from passerelle.surfaces.firecrest.bodies import Text
from passerelle.v1 import transfers_pb2 as pb


class WormholeRequest(Parameters):
    """By magic-wormhole."""

    transfer_method: Literal["wormhole"]


class WormholeUploadRequest(WormholeRequest):
    """By magic-wormhole, from the sender that printed the code."""

    wormhole_code: Text = Field(repr=False)

    @classmethod
    def from_native(cls, method: str, request: NativeRequest) -> Self:
        """The request has a field for the code."""
        code = request.wormhole_code if isinstance(request, pb.StageUploadRequest) else ""
        return cls(transfer_method="wormhole", wormhole_code=code)


class SenderWaits(Instructions):
    """Instructions for an upload: none, since the sender printed the code and waits."""

    transfer_method: Literal["wormhole"] = "wormhole"

    def native(self) -> pb.StagedTransfer:
        """See `Instructions.native`."""
        return pb.StagedTransfer(wormhole=pb.StagedTransfer.Wormhole())


class WormholeCode(Instructions):
    """The code with which the client receives the file."""

    transfer_method: Literal["wormhole"] = "wormhole"
    wormhole_code: str = Field(repr=False)

    def native(self) -> pb.StagedTransfer:
        """See `Instructions.native`."""
        return pb.StagedTransfer(wormhole=pb.StagedTransfer.Wormhole(code=self.wormhole_code))


class WormholeReply(Service):
    """By magic-wormhole."""

    service_type: Literal["wormhole"] = "wormhole"
    pypi_index_url: str | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """See `Service.of`; the package index is not shown to callers."""
        return cls()


WIRE = WireForm(
    upload=WormholeUploadRequest,
    download=WormholeRequest,
    instructions=(SenderWaits, WormholeCode),
    service=WormholeReply,
)
