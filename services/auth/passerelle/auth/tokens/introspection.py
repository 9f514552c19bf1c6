"""Asks an identity provider whether a token is still active: token introspection (RFC 7662)."""

import asyncio
import logging
from base64 import b64encode
from collections.abc import MutableMapping
from hashlib import sha256
from urllib.parse import quote_plus

import aiohttp
import orjson
from cachetools import TTLCache
from pydantic import Field

from passerelle.auth.tokens.http_replies import body_of
from passerelle.auth.tokens.refusals import Refusal
from passerelle.runtime.config.addresses import Url
from passerelle.runtime.config.sections import Secret, Section
from passerelle.runtime.errors import BackendUnavailable, Unauthenticated
from passerelle.runtime.flight import Flights

log = logging.getLogger(__name__)

_MOST_ANSWERS = 10_000


class IntrospectionSettings(Section):
    """Where an issuer says whether a token was revoked, and how we show who asks (RFC 7662)."""

    url: Url
    """Its `introspection_endpoint`."""
    client_id: str = Field(min_length=1)
    """A confidential client of ours that may ask."""
    client_secret: Secret
    """Its secret."""
    remember: float = Field(default=30, gt=0, le=300)
    """How long an answer counts, s: so long a revoked token may still be accepted, and `services.auth_cache` longer."""
    timeout: float = Field(default=3, gt=0, le=30)
    """One question, s."""


class Introspection:
    """Whether tokens of one issuer are active; answers are remembered, and equal questions in flight asked once.

    `name` is the issuer's in messages.
    """

    def __init__(
        self, http: aiohttp.ClientSession, settings: IntrospectionSettings, name: str
    ) -> None:
        self._http = http
        self._settings = settings
        self._name = name
        self._answers: MutableMapping[bytes, bool] = TTLCache(_MOST_ANSWERS, settings.remember)
        self._asking = Flights(lasting=True)

    async def require_active(self, token: str) -> None:
        """Raises Refusal for a token that is not active, BackendUnavailable when the issuer does not say.

        Nobody is let in without an answer: a token may have been revoked because it was stolen.
        """
        key = sha256(token.encode()).digest()
        active = self._answers.get(key)
        if active is None:
            active = await self._asking.run(key, lambda: self._ask(key, token))
        if not active:
            revoked = Unauthenticated("Access token is not active any more.")
            raise Refusal(revoked, "active", "false", "a token that its issuer has not revoked")

    async def close(self) -> None:
        """End all questions."""
        await self._asking.close()

    async def _ask(self, key: bytes, token: str) -> bool:
        try:
            async with asyncio.timeout(self._settings.timeout):
                answer = await self._post(token)
            active = orjson.loads(answer)["active"]
            if not isinstance(active, bool):
                raise ValueError("`active` is no truth value")
        except TimeoutError:
            raise self._silent(f"no answer within {self._settings.timeout:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError, KeyError, TypeError) as error:
            raise self._silent(str(error) or type(error).__name__) from None
        self._answers[key] = active
        return active

    async def _post(self, token: str) -> bytes:
        """RFC 7662 §2.1; a redirect would carry the token to where the site did not send it."""
        async with self._http.post(
            self._settings.url,
            data={"token": token, "token_type_hint": "access_token"},
            headers={"accept": "application/json", "authorization": self._authorization()},
            allow_redirects=False,
        ) as reply:
            if reply.status != 200:
                raise ValueError(f"it answers {reply.status}")
            return await body_of(reply)

    def _authorization(self) -> str:
        """RFC 6749 §2.3.1: both parts are form-encoded before they are joined."""
        secret = self._settings.client_secret.get_secret_value()
        pair = f"{quote_plus(self._settings.client_id)}:{quote_plus(secret)}"
        return f"Basic {b64encode(pair.encode()).decode()}"

    def _silent(self, reason: str) -> BackendUnavailable:
        log.warning("%s does not say whether tokens are active: %s", self._name, reason)
        return BackendUnavailable(
            f"The identity provider {self._name} does not say whether the access token is still active."
        )
