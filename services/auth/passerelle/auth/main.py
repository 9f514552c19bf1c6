"""Puts the auth service together."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import grpc

from passerelle.auth.api_keys.key_file import PREFIX
from passerelle.auth.api_keys.validation import ApiKeys
from passerelle.auth.config import AuthSection
from passerelle.auth.credentials.port import Credentials
from passerelle.auth.envoy.access_log_service import AccessLogService
from passerelle.auth.envoy.authorization_service import AuthorizationService
from passerelle.auth.envoy.keys_service import KeysService
from passerelle.auth.envoy.rejected_requests import RejectedRequests
from passerelle.auth.logins import Logins
from passerelle.auth.native.auth_service import AccessService, AuthService
from passerelle.auth.policy import Policy
from passerelle.auth.tokens.accounts_file import accounts_in
from passerelle.auth.tokens.introspection import Introspection
from passerelle.auth.tokens.issuer import Issuer
from passerelle.auth.tokens.jwks import PublishedKeys
from passerelle.auth.tokens.keyset import KeySet
from passerelle.auth.tokens.validation import Judge, Tokens, TrustedIssuer
from passerelle.auth.tokens.watched_file import WatchedFile
from passerelle.edge import access_log_pb2_grpc as edge_log_grpc
from passerelle.edge import external_auth_pb2_grpc as edge_grpc
from passerelle.edge import keys_pb2_grpc as keys_grpc
from passerelle.runtime.config.plugins import make
from passerelle.runtime.config.site import ConfigError, SiteBase, section
from passerelle.runtime.serving.service import running_service
from passerelle.runtime.token_buckets import Buckets
from passerelle.v1 import auth_pb2_grpc as pb_grpc


@asynccontextmanager
async def running(site: SiteBase) -> AsyncIterator[int]:
    """The auth service of a site, inside the block; yields its port.

    Raises ConfigError for plugins that cannot work. Does not wait for the identity providers.
    """
    settings = section(site, AuthSection)
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        trusted = [
            TrustedIssuer(it, _keys(http, it), _accounts(it), _introspection(http, it))
            for it in settings.issuers
        ]
        for issuer in trusted:
            if issuer.introspection is not None:
                stack.push_async_callback(issuer.introspection.close)
            await stack.enter_async_context(issuer.keys.kept_fresh())
            if issuer.accounts is not None:
                await stack.enter_async_context(issuer.accounts.kept_fresh())
        others: dict[str, Judge] = {}
        if (keys := _api_keys(settings)) is not None:
            await stack.enter_async_context(keys.kept_fresh())
            others[PREFIX] = keys.principal
        tokens = Tokens(trusted, others=others)
        authorizer = make("auth.authorizer", settings.authorizer)
        policy = Policy(tokens, authorizer, enforce_scopes=settings.enforce_scopes)
        logins = Logins(tokens, _credentials(settings), [system.name for system in site.systems])

        failures = Buckets(settings.max_failures, settings.max_failures / 60)
        rejected = RejectedRequests()
        await stack.enter_async_context(rejected.summing_up())

        def register(server: grpc.aio.Server) -> None:
            pb_grpc.add_AuthServiceServicer_to_server(AuthService(tokens), server)
            pb_grpc.add_AccessServiceServicer_to_server(AccessService(policy, logins), server)
            edge_grpc.add_AuthorizationServicer_to_server(
                AuthorizationService(tokens, failures, rejected), server
            )
            keys_grpc.add_KeysServicer_to_server(
                KeysService([issuer.keys for issuer in trusted]), server
            )
            edge_log_grpc.add_AccessLogServiceServicer_to_server(AccessLogService(rejected), server)

        service = running_service(site, "auth", register, policy)
        yield await stack.enter_async_context(service)


def _keys(http: aiohttp.ClientSession, issuer: Issuer) -> KeySet:
    return KeySet(
        PublishedKeys(http, issuer),
        refresh=issuer.refresh,
        cooldown=issuer.cooldown,
        grace=issuer.grace,
    )


def _introspection(http: aiohttp.ClientSession, issuer: Issuer) -> Introspection | None:
    if issuer.introspection is None:
        return None
    return Introspection(http, issuer.introspection, issuer.issuer or issuer.introspection.url)


def _accounts(issuer: Issuer) -> WatchedFile[Mapping[str, str]] | None:
    if issuer.accounts_file is None:
        return None
    try:
        return WatchedFile(issuer.accounts_file, accounts_in)
    except ValueError as error:
        raise ConfigError(f"auth.issuers.accounts_file: {error}") from None


def _api_keys(settings: AuthSection) -> ApiKeys | None:
    if settings.api_keys is None:
        return None
    try:
        return ApiKeys(settings.api_keys.file)
    except ValueError as error:
        raise ConfigError(f"auth.api_keys.file: {error}") from None


def _credentials(settings: AuthSection) -> Credentials | None:
    if settings.ssh_credentials is None:
        return None
    credentials: Credentials = make("auth.ssh_credentials", settings.ssh_credentials)
    return credentials
