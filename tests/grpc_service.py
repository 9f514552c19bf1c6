"""Servicers on a port of this process, with the pipeline around them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import grpc

from passerelle.runtime.pipeline.interceptors import Pipeline, Stage
from passerelle.runtime.serving.server import Register, serving


@asynccontextmanager
async def channel_to(
    register: Register, stages: Sequence[Stage], *, drain: float = 0
) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to what `register` adds, served inside the block; calls get `drain` seconds to end."""
    async with (
        serving(register, [Pipeline(stages)], drain=drain) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield channel
