"""Health checks through real gRPC services, with a token of a real token endpoint."""

import base64
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import grpc
import jwt
import pytest
from aiohttp import web

from passerelle.gateway.directory.checks import CHECKS, Service
from passerelle.gateway.directory.probe import AccessToken, AccountRefused, GrpcProbe, NoToken
from passerelle.runtime.config.site import ServiceAccount, System
from passerelle.runtime.errors import ConnectionFailed, NotFound, Unauthenticated
from passerelle.runtime.pipeline.stages import in_time, map_errors
from passerelle.v1 import compute_pb2, compute_pb2_grpc, storage_pb2, storage_pb2_grpc
from tests.grpc_service import channel_to

_CHECKS = {check.service: check for check in CHECKS}
SCHEDULER, FILESYSTEM = _CHECKS[Service.SCHEDULER], _CHECKS[Service.FILESYSTEM]


class Issuer:
    """A token endpoint that counts, and takes the client `health` with the secret `a b&c`."""

    def __init__(self) -> None:
        self.requests = 0
        self.life: object = 3600
        self.url = ""
        self.tokens: Callable[[int], str] = "t{}".format

    async def token(self, request: web.Request) -> web.Response:
        self.requests += 1
        form = await request.post()
        basic = "Basic " + base64.b64encode(b"health:a%20b%26c").decode()
        posted = (form.get("client_id"), form.get("client_secret")) == ("health", "a b&c")
        if form.get("grant_type") != "client_credentials" or not (
            posted or request.headers.get("Authorization") == basic
        ):
            body = {"error": "invalid_client", "error_description": "Wrong secret."}
            return web.json_response(body, status=401)
        token = self.tokens(self.requests)
        return web.json_response({"access_token": token, "expires_in": self.life})

    async def away(self, _: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect("/token")

    def account(self, method: str = "client_secret_basic", shown: str = "a b&c") -> ServiceAccount:
        return account(self.url, method, shown)


def account(url: str, method: str = "client_secret_basic", shown: str = "x") -> ServiceAccount:
    return ServiceAccount.model_validate(
        {"token_url": url, "client_id": "health", "client_secret": shown, "auth_method": method}
    )


class Services(compute_pb2_grpc.ComputeServiceServicer, storage_pb2_grpc.StorageServiceServicer):
    """Compute and storage that accept only the newest token, and know the path `/home`."""

    def __init__(self) -> None:
        self.token = "t1"
        self.seen: list[Any] = []
        self.request_ids: list[str] = []

    async def PingScheduler(self, request: Any, context: Any) -> Any:
        self._enter(request, context)
        if request.system == "down":
            raise ConnectionFailed("Unable to establish SSH connection.")
        return compute_pb2.PingSchedulerResponse(message="up")

    async def PingFilesystem(self, request: Any, context: Any) -> Any:
        self._enter(request, context)
        if request.path == "/nope":
            raise NotFound("No such file or directory")
        return storage_pb2.PingFilesystemResponse(message="" if request.path == "/home" else "slow")

    def _enter(self, request: Any, context: Any) -> None:
        self.seen.append(request)
        self.request_ids.append(dict(context.invocation_metadata())["x-request-id"])
        if dict(context.invocation_metadata())["authorization"] != f"Bearer {self.token}":
            raise Unauthenticated("Access token is invalid.")


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    result = Issuer()
    app = web.Application()
    app.router.add_post("/token", result.token)
    app.router.add_post("/away", result.away)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    result.url = f"http://127.0.0.1:{runner.addresses[0][1]}/token"
    yield result
    await runner.cleanup()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def services() -> Services:
    return Services()  # type: ignore[abstract]  # the other methods are not asked


@pytest.fixture
async def probe(services: Services, http: aiohttp.ClientSession) -> AsyncIterator[GrpcProbe]:
    def register(server: grpc.aio.Server) -> None:
        compute_pb2_grpc.add_ComputeServiceServicer_to_server(services, server)
        storage_pb2_grpc.add_StorageServiceServicer_to_server(services, server)

    async with channel_to(register, [map_errors, in_time(5)]) as channel:
        yield GrpcProbe({"compute": channel, "storage": channel}, http)


def system(account: ServiceAccount | None, name: str = "daint") -> System:
    return System.model_validate(
        {
            "name": name,
            "ssh": {"host": "login"},
            "scheduler": {"type": "slurm"},
            "probing": {"service_account": account},
        }
    )


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
async def test_both_ways_of_sending_the_secret(
    issuer: Issuer, http: aiohttp.ClientSession, method: str
) -> None:
    assert await AccessToken(issuer.account(method=method), http).get() == "t1"


async def test_a_token_is_kept_until_near_its_end(
    issuer: Issuer, http: aiohttp.ClientSession
) -> None:
    token = AccessToken(issuer.account(), http)
    assert (await token.get(), await token.get()) == ("t1", "t1")
    token.forget()
    assert await token.get() == "t2"


async def test_a_token_without_life_is_not_kept(
    issuer: Issuer, http: aiohttp.ClientSession
) -> None:
    issuer.life = 0
    token = AccessToken(issuer.account(), http)
    assert (await token.get(), await token.get()) == ("t1", "t2")


async def test_a_refused_account_is_said_without_its_secret(
    issuer: Issuer, http: aiohttp.ClientSession
) -> None:
    with pytest.raises(
        AccountRefused, match=r"refused the service account: invalid_client, Wrong secret\.$"
    ) as error:
        await AccessToken(issuer.account(shown="hunter2"), http).get()
    assert "hunter2" not in str(error.value)


async def test_a_wrong_secret_of_one_system_is_not_shown_for_another(
    issuer: Issuer, probe: GrpcProbe, services: Services
) -> None:
    services.token = "t2"  # the first one asked for is refused
    with pytest.raises(AccountRefused):
        await probe.ask(SCHEDULER, system(issuer.account(shown="hunter2"), "eiger"), "")
    assert await probe.ask(SCHEDULER, system(issuer.account()), "") == "up"


@pytest.mark.parametrize("life", ["soon", None, {}])
async def test_nonsense_from_the_endpoint_is_no_crash(
    issuer: Issuer, http: aiohttp.ClientSession, life: object
) -> None:
    issuer.life = life
    with pytest.raises(NoToken):
        await AccessToken(issuer.account(), http).get()


async def test_a_clients_secret_follows_no_redirect(
    issuer: Issuer, http: aiohttp.ClientSession
) -> None:
    """Where it leads, also with the method kept (307), was never asked."""
    elsewhere = issuer.url.removesuffix("token") + "away"
    with pytest.raises(NoToken) as error:
        await AccessToken(account(elsewhere, shown="a b&c"), http).get()
    assert str(error.value.__cause__) == "it redirects to /token"
    assert issuer.requests == 0


async def test_no_issuer_no_token(http: aiohttp.ClientSession) -> None:
    gone = account("http://127.0.0.1:1/")
    with pytest.raises(NoToken, match="did not answer"):
        await AccessToken(gone, http).get()


async def test_the_services_are_asked(issuer: Issuer, probe: GrpcProbe, services: Services) -> None:
    daint = system(issuer.account())
    assert await probe.ask(SCHEDULER, daint, "") == "up"
    assert await probe.ask(FILESYSTEM, daint, "/home") is None
    assert [request.system for request in services.seen] == ["daint", "daint"]
    assert issuer.requests == 1
    assert len(set(services.request_ids)) == 2
    assert all(name.startswith("health-daint-") for name in services.request_ids)
    assert await probe.ask(FILESYSTEM, daint, "/scratch") == "slow"
    with pytest.raises(NotFound):
        await probe.ask(FILESYSTEM, daint, "/nope")
    with pytest.raises(ConnectionFailed):
        await probe.ask(SCHEDULER, system(issuer.account(), "down"), "")


async def test_a_refused_token_is_replaced(
    issuer: Issuer, probe: GrpcProbe, services: Services
) -> None:
    services.token = "t2"
    daint = system(issuer.account())
    with pytest.raises(Unauthenticated, match=r"token is refused: .* no JWT"):
        await probe.ask(SCHEDULER, daint, "")
    assert await probe.ask(SCHEDULER, daint, "") == "up"


async def test_it_is_ready_when_the_services_are(issuer: Issuer, probe: GrpcProbe) -> None:
    await probe.ready(system(issuer.account()))
    assert issuer.requests == 1


async def test_a_refused_token_is_described(issuer: Issuer, probe: GrpcProbe) -> None:
    issuer.tokens = lambda _: jwt.encode({"aud": ["other"], "iss": "https://idp"}, "k" * 32)
    with pytest.raises(Unauthenticated) as error:
        await probe.ask(SCHEDULER, system(issuer.account()), "")
    assert error.value.detail == (
        "the service account's token is refused: Access token is invalid. "
        "(audience ['other'], issuer 'https://idp', scope None)"
    )
