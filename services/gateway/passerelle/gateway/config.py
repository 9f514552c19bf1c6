"""The `gateway` section of the configuration file."""

from pydantic import Field

from passerelle.runtime.config import Section


class GatewaySection(Section):
    """What Envoy listens on and lets through."""

    listen: str = Field(
        default="127.0.0.1:8000", description="host:port of the public REST and gRPC port."
    )
    max_body: int = Field(
        default=8 << 20,
        ge=1024,
        description="Largest request body that is no stream of file content, bytes.",
    )
