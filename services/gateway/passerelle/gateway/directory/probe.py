"""Health checks through the services' own API: over gRPC, with a token of the checks' service account."""

import asyncio
import logging
import secrets
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import quote

import aiohttp
import grpc
import jwt
from grpc_health.v1 import health_pb2, health_pb2_grpc

from passerelle.gateway.directory.checks import CHECKS, Check
from passerelle.runtime.config.site import ServiceAccount, SiteBase, System
from passerelle.runtime.errors import (
    ApiError,
    BackendUnavailable,
    Unauthenticated,
    from_rpc,
    shortened,
)
from passerelle.runtime.headers import REQUEST_ID
from passerelle.runtime.serving.channels import channel

log = logging.getLogger(__name__)

_TIMEOUT = aiohttp.ClientTimeout(total=10)
_SPARE = 60.0  # seconds before its end at which a token is no longer used
_DEFAULT_LIFE = 60.0  # seconds, for a token whose issuer does not say (RFC 6749, 5.1 allows that)

_MAX_MESSAGE = 200  # characters of the token endpoint's message
_READY_SECONDS = 20.0  # to wait for the services and a token, before checks are made all the same
_PAUSE = 0.5  # seconds between two attempts to get a token


class NoToken(BackendUnavailable):
    """The token endpoint does not answer, or not as RFC 6749 specifies."""

    reason = "NO_TOKEN"


class AccountRefused(Unauthenticated):
    """The token endpoint does not know the account, or its secret."""


class AccessToken:
    """A service account's access token, by client credentials (RFC 6749, 4.4), kept until near its end."""

    def __init__(self, account: ServiceAccount, http: aiohttp.ClientSession) -> None:
        self._account = account
        self._http = http
        self._token = ""
        self._until = 0.0
        self._asking = asyncio.Lock()

    async def get(self) -> str:
        """The token; raises NoToken when its issuer does not answer, AccountRefused when it gives none."""
        async with self._asking:
            if time.monotonic() >= self._until:
                await self._renew()
            return self._token

    def forget(self) -> None:
        """Ask for a new one next time: this one was refused."""
        self._until = 0.0

    async def _renew(self) -> None:
        try:
            answer = await self._request()
            life = float(str(answer.get("expires_in", _DEFAULT_LIFE)))
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise NoToken("The token endpoint of the service account did not answer.") from error
        if "access_token" not in answer:
            # RFC 6749, 5.2
            messages = [str(answer[key]) for key in ("error", "error_description") if key in answer]
            why = f": {shortened(', '.join(messages), _MAX_MESSAGE)}" if messages else ""
            raise AccountRefused(
                f"The token endpoint refused the service account{why.removesuffix('.')}."
            )
        self._token = str(answer["access_token"])
        self._until = time.monotonic() + life - min(_SPARE, life / 2)

    async def _request(self) -> dict[str, object]:
        account, secret = self._account, self._account.client_secret.get_secret_value()
        form, headers = {"grant_type": "client_credentials"}, {}
        if account.auth_method == "client_secret_post":
            form |= {"client_id": account.client_id, "client_secret": secret}
        else:  # RFC 6749, 2.3.1: both are form-encoded first
            pair = f"{quote(account.client_id, safe='')}:{quote(secret, safe='')}"
            headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        request = self._http.post(
            account.token_url, data=form, headers=headers, allow_redirects=False
        )
        async with request as reply:
            if 300 <= reply.status < 400:  # the secret must go nowhere else
                raise ValueError(f"it redirects to {reply.headers.get('location')}")
            answer = await reply.json(content_type=None)
            return answer if isinstance(answer, dict) else {}


class GrpcProbe:
    """Asks the services about the systems; they are given as channels, by the names of their processes."""

    def __init__(
        self, channels: Mapping[str, grpc.aio.Channel], http: aiohttp.ClientSession
    ) -> None:
        self._channels = channels
        self._health = tuple(health_pb2_grpc.HealthStub(each) for each in channels.values())
        self._http = http
        self._tokens: dict[tuple[str, ...], AccessToken] = {}

    async def ready(self, system: System) -> None:
        """Return when the services serve and there is a token, or after 20 s."""
        try:
            async with asyncio.timeout(_READY_SECONDS):
                for health in self._health:
                    await health.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True)
                await self._first_token(self._token_of(system))
        except (TimeoutError, grpc.aio.AioRpcError):
            log.warning("health checks of system %s begin, though not all is ready", system.name)

    async def token(self, system: System) -> str:
        """The access token that the checks of a system use; raises as `AccessToken.get`."""
        return await self._token_of(system).get()

    async def ask(self, check: Check, system: System, path: str) -> str | None:
        """See `Probe.ask`. Raises the error that the service answers with."""
        request = check.request(system.name, path)
        call = self._channels[check.served_by].unary_unary(
            check.rpc,
            request_serializer=type(request).SerializeToString,
            response_deserializer=check.reply,
        )
        token = self._token_of(system)
        text = await token.get()
        metadata = (
            ("authorization", f"Bearer {text}"),
            (REQUEST_ID, f"health-{system.name}-{secrets.token_hex(4)}"),
        )
        try:
            reply = await call(request, metadata=metadata, timeout=system.probing.timeout)
        except grpc.aio.AioRpcError as failure:
            error = from_rpc(failure, check.served_by)
        else:
            return reply.message or None
        if isinstance(error, Unauthenticated):
            token.forget()
        raise about_the_account(error, text)

    async def _first_token(self, token: AccessToken) -> None:
        """Wait until there is a token, or its issuer refuses one."""
        while True:
            try:
                await token.get()
            except NoToken:
                await asyncio.sleep(_PAUSE)
            except AccountRefused:
                return
            else:
                return

    def _token_of(self, system: System) -> AccessToken:
        account = system.probing.service_account
        if account is None:
            raise LookupError(f"{system.name} has no service account to check it with")
        secret = account.client_secret.get_secret_value()
        # A token that was obtained with one system's secret must not be used for the others.
        key = (account.token_url, account.client_id, secret, account.auth_method)
        if key not in self._tokens:
            self._tokens[key] = AccessToken(account, self._http)
        return self._tokens[key]


def about_the_account(error: ApiError, token: str) -> ApiError:
    """The error for an operator. One about the token says whose it is, and shows the token's claims."""
    if isinstance(error, Unauthenticated) or "scope" in error.metadata:
        refused = f"the service account's token is refused: {error.detail}"
        return type(error)(f"{refused} ({token_summary(token)})")
    return error


def token_summary(token: str) -> str:
    """The claims of a token that have to fit what `auth` accepts."""
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        return "it is no JWT"
    return ", ".join(
        f"{name} {claims.get(claim)!r}"
        for name, claim in (("audience", "aud"), ("issuer", "iss"), ("scope", "scope"))
    )


@asynccontextmanager
async def grpc_probe(site: SiteBase) -> AsyncIterator[GrpcProbe]:
    """A GrpcProbe for those of the site's services that make checks, closed on leaving."""
    async with AsyncExitStack() as stack:
        channels = {
            name: await stack.enter_async_context(channel(site.services.endpoint(name)))
            for name in sorted({check.served_by for check in CHECKS})
        }
        http = await stack.enter_async_context(aiohttp.ClientSession(timeout=_TIMEOUT))
        yield GrpcProbe(channels, http)
