"""The staging method `streamer` in both APIs."""

from typing import Literal

from pydantic import Field

from passerelle.storage.staging.wire import Instructions, Parameters, Service, WireForm
from passerelle.v1 import transfers_pb2 as pb


class StreamerRequest(Parameters):
    """Straight to or from the job; an upload of known `fileSize` in bytes is refused at once when it is too large."""

    transfer_method: Literal["streamer"]
    file_size: int | None = Field(default=None, ge=0, lt=2**63)


class Coordinates(Instructions):
    """How to reach a streaming job: addresses, ports and a secret that works once, in URL-safe base64."""

    transfer_method: Literal["streamer"] = "streamer"
    coordinates: str = Field(repr=False)

    def native(self) -> pb.StagedTransfer:
        """See `Instructions.native`."""
        streamer = pb.StagedTransfer.Streamer(coordinates=self.coordinates)
        return pb.StagedTransfer(streamer=streamer)


class StreamerReply(Service):
    """Straight to or from a job; `waitTimeout` in s, `inboundTransferLimit` in bytes."""

    service_type: Literal["streamer"] = "streamer"
    pypi_index_url: str | None = None
    host: str | None
    port_range: list[int]
    public_ips: list[str] | None
    wait_timeout: int
    inbound_transfer_limit: int


WIRE = WireForm(
    upload=StreamerRequest,
    download=StreamerRequest,
    instructions=(Coordinates,),
    service=StreamerReply,
)
