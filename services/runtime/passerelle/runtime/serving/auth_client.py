"""Asks the auth service who a caller is, whether the caller may do something, and for its SSH credentials.

Answers about tokens are cached for the configured few seconds, never beyond the token's life, and identical questions
in flight are asked once.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import grpc
from cachetools import LRUCache

from passerelle.runtime import caller
from passerelle.runtime.caller import Caller
from passerelle.runtime.config.site import SiteBase
from passerelle.runtime.errors import ApiError, from_rpc
from passerelle.runtime.flight import Flights
from passerelle.runtime.headers import REQUEST_ID, SERVICE_SECRET
from passerelle.runtime.serving.channels import channel
from passerelle.runtime.ssh.credential import SshCredential
from passerelle.v1 import auth_pb2 as pb
from passerelle.v1 import auth_pb2_grpc as pb_grpc
from passerelle.v1.access_pb2 import Access

_TIMEOUT = 10.0  # seconds; an IdP that must be asked for new keys is slower than a cached answer
_MAX_ENTRIES = 10_000
# Asking auth changes nothing, so a call that finds it away is made again, for some 8 s: a restart takes 2 to 4, and
# longer on a busy machine.
_RETRIES = {
    "maxAttempts": 5,
    "initialBackoff": "0.6s",
    "maxBackoff": "4s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}

_Question = tuple[str, str, str, str]
"""A check of a token: the token, and the required scope, relation and system."""


class _Answer(NamedTuple):
    """The token's principal, and the end of its time in the cache, in seconds since the epoch."""

    caller: Caller
    until: float


class AuthClient:
    """Asks the auth service on behalf of one service."""

    def __init__(self, channel: grpc.aio.Channel, secret: str, *, cache_seconds: float) -> None:
        self._stub: pb_grpc.AccessServiceAsyncStub = pb_grpc.AccessServiceStub(channel)
        self._metadata = ((SERVICE_SECRET, secret),)
        self._cache_seconds = cache_seconds
        self._answers: LRUCache[_Question, _Answer] = LRUCache(_MAX_ENTRIES)
        self._asking = Flights()

    async def caller(self, token: str, *, access: Access, system: str) -> Caller:
        """Who the token stands for; raises Unauthenticated, Forbidden, or BackendUnavailable without auth."""
        question = (token, access.scope, access.relation, system)
        cached = self._answers.get(question)
        if cached is not None and time.time() < cached.until:
            return cached.caller
        answer = await self._asking.run(question, lambda: self._ask(question))
        if isinstance(answer, ApiError):
            raise answer
        return answer

    async def ssh_credential(self, system: str, public_key: str) -> SshCredential:
        """A way for the current caller to log in to `system`; `public_key` is in OpenSSH's one-line format."""
        request = pb.IssueSshCredentialRequest(
            token=caller.current().token, system=system, public_key=public_key
        )
        try:
            reply = await self._stub.IssueSshCredential(
                request, metadata=self._sent(), timeout=_TIMEOUT
            )
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error, "auth") from None
        expires = reply.expire_time.ToNanoseconds() / 1e9 if reply.HasField("expire_time") else None
        return SshCredential(reply.username, reply.certificate, reply.private_key, expires)

    async def _ask(self, question: _Question) -> Caller | ApiError:
        """The answer. A refusal is returned and not raised, since it concerns everybody who shows this token."""
        token, scope, relation, system = question
        request = pb.AuthorizeRequest(token=token, scope=scope, relation=relation, system=system)
        try:
            principal = await self._stub.Authorize(request, metadata=self._sent(), timeout=_TIMEOUT)
        except grpc.aio.AioRpcError as error:
            return from_rpc(error, "auth")
        answer = _caller(principal, token)
        until = min(time.time() + self._cache_seconds, answer.expires)
        self._answers[question] = _Answer(answer, until)
        return answer

    def _sent(self) -> tuple[tuple[str, str], ...]:
        return (*self._metadata, (REQUEST_ID, caller.request_id()))


def _caller(principal: pb.Principal, token: str) -> Caller:
    expires = principal.expire_time.ToNanoseconds() / 1e9
    return Caller(token=token, expires=expires, **caller.claims_of(principal))


@asynccontextmanager
async def auth_client(site: SiteBase) -> AsyncIterator[AuthClient]:
    """An AuthClient for the site's auth service, closed on leaving."""
    services = site.services
    if services.secret is None:
        raise LookupError("services.secret must be configured")
    async with channel(services.endpoint("auth"), retries=_RETRIES) as to_auth:
        yield AuthClient(
            to_auth, services.secret.get_secret_value(), cache_seconds=services.auth_cache
        )
