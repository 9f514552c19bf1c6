"""The way to all workers of a service: past those that are down, and for one caller always to the same."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import pytest

from passerelle.runtime import caller
from passerelle.runtime.caller import Caller
from passerelle.runtime.config.services import Endpoint
from passerelle.runtime.serving.channels import ANY_WORKER, CALLERS_WORKER, channel, of_caller
from passerelle.runtime.serving.server import serving
from tests.ports import free_ports

WORKERS = 3
METHOD = "/test.Workers/Which"


def _answering(number: int) -> Callable[[grpc.aio.Server], None]:
    async def which(request: bytes, context: Any) -> bytes:
        return str(number).encode()

    handlers = {"Which": grpc.unary_unary_rpc_method_handler(which)}

    def register(server: grpc.aio.Server) -> None:
        handler = grpc.method_handlers_generic_handler("test.Workers", handlers)
        server.add_generic_rpc_handlers((handler,))

    return register


@asynccontextmanager
async def running(first: int, numbers: list[int]) -> AsyncIterator[None]:
    """Workers of a service whose ports begin at `first`; each answers with its number."""
    async with AsyncExitStack() as stack:
        for number in numbers:
            address = f"127.0.0.1:{first + number}"
            await stack.enter_async_context(serving(_answering(number), (), address, drain=0))
        yield


async def which(to_workers: grpc.aio.Channel, subject: str = "") -> str:
    """The number of the worker that a call of a subject reaches."""
    with caller.bind(Caller("alice", "t0ken", subject=subject)):
        call = to_workers.unary_unary(METHOD, bytes, bytes)
        answer: bytes = await call(b"", metadata=of_caller(), timeout=10)
    return answer.decode()


def endpoint(first: int) -> Endpoint:
    return Endpoint(address=f"127.0.0.1:{first}", workers=WORKERS)


async def test_any_worker_is_asked() -> None:
    first = free_ports(WORKERS)
    async with running(first, [0, 1, 2]), channel(endpoint(first)) as to_workers:
        assert {await which(to_workers) for _ in range(30)} == {"0", "1", "2"}


async def test_the_caller_has_a_worker_of_his_own() -> None:
    first = free_ports(WORKERS)
    async with (
        running(first, [0, 1, 2]),
        channel(endpoint(first), CALLERS_WORKER) as to_workers,
        channel(endpoint(first), CALLERS_WORKER) as from_another_process,
    ):
        own = {f"s{n}": await which(to_workers, f"s{n}") for n in range(40)}
        assert set(own.values()) == {"0", "1", "2"}
        assert own == {subject: await which(from_another_process, subject) for subject in own}


@pytest.mark.parametrize("subject", ["", "Zo\u00eb", "a\r\nb"])
async def test_a_subject_that_metadata_cannot_hold_has_any(subject: str) -> None:
    first = free_ports(WORKERS)
    async with running(first, [0, 1, 2]), channel(endpoint(first), CALLERS_WORKER) as to_workers:
        assert await which(to_workers, subject) in {"0", "1", "2"}


@pytest.mark.parametrize("policy", [ANY_WORKER, CALLERS_WORKER])
async def test_a_worker_that_is_down_is_passed_over(policy: Mapping[str, Any]) -> None:
    first = free_ports(WORKERS)
    subjects = [f"s{n}" for n in range(20)]
    async with running(first, [1]), channel(endpoint(first), policy) as to_workers:
        async with running(first, [0]):
            assert {await which(to_workers, subject) for subject in subjects} == {"0", "1"}
        assert {await which(to_workers, subject) for subject in subjects} == {"1"}


async def test_one_worker_may_be_reached_by_a_name() -> None:
    first = free_ports(1)
    async with (
        running(first, [0]),
        channel(Endpoint(address=f"localhost:{first}")) as to_worker,
    ):
        assert await which(to_worker) == "0"
