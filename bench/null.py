"""A service that does nothing, behind the gateway's own Envoy configuration: the least that a call can cost."""

import copy
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import grpc
import uvloop
from google.api.httpbody_pb2 import HttpBody

from bench.comparison.sides import Server
from bench.stack import Stack
from passerelle.cli.up.readiness import wait_until_answering
from passerelle.gateway.envoy import configuration
from passerelle.runtime.config.site import site_model
from passerelle.runtime.serving.server import until_stopped
from tests.ports import free_port

NAME = "bench.null"
"""Of its process, as `processes` names it."""

_REPLY: bytes = HttpBody(content_type="application/json", data=b"{}").SerializeToString()


@asynccontextmanager
async def null_service(stack: Stack) -> AsyncIterator[Server]:
    """In the place of storage, behind an Envoy of its own; every other service is that of `stack`."""
    with _process() as (pid, port), tempfile.TemporaryDirectory() as folder:
        site, file = copy.deepcopy(stack.site), Path(folder) / "envoy.json"
        site["services"]["storage"] = {"address": f"127.0.0.1:{port}"}
        site["gateway"]["listen"] = f"127.0.0.1:{free_port()}"
        configuration.write(site_model().model_validate(site), file)
        with _envoy(file):
            url = f"http://{site['gateway']['listen']}"
            await wait_until_answering(url, None)
            yield Server("null", url, {"alice": stack.token()}, (pid,))


@contextmanager
def _process() -> Iterator[tuple[int, int]]:
    """The process of the service, and its port."""
    process = subprocess.Popen((sys.executable, "-m", NAME), stdout=subprocess.PIPE, text=True)
    with _ended(process):
        assert process.stdout is not None  # noqa: S101
        yield process.pid, int(process.stdout.readline())


@contextmanager
def _envoy(file: Path) -> Iterator[None]:
    with _ended(subprocess.Popen(configuration.command(file), stderr=subprocess.DEVNULL)):
        yield


@contextmanager
def _ended(process: "subprocess.Popen[Any]") -> Iterator[None]:
    """End the process on leaving."""
    with process:
        try:
            yield
        finally:
            process.terminate()


class _Handler(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in its stubs alone
    """Answers every call of every method with the same bytes, and looks at nothing."""

    def service(self, handler_call_details: Any) -> Any:
        """The handler of any method."""
        return grpc.unary_unary_rpc_method_handler(_answer)


async def _answer(request: bytes, context: Any) -> bytes:
    return _REPLY


async def _serve() -> None:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_Handler(),))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    try:
        await until_stopped()
    finally:
        await server.stop(grace=1)


if __name__ == "__main__":
    uvloop.run(_serve())
