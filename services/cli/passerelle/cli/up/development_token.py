"""Asks a running development issuer for a token."""

import base64
import http.client
import json
import urllib.parse
from typing import Any

from passerelle.runtime.config.site import ConfigError, SiteBase


class NoToken(Exception):
    """No token could be obtained; the text says why and what to do."""


def development_token(site: SiteBase, client_id: str | None = None) -> dict[str, Any]:
    """The token endpoint's answer (`access_token`, `expires_in` in seconds) for one of the site's development clients.

    The first client when `client_id` is None. Raises ConfigError when the site has no development issuer or no such
    client, NoToken when the issuer does not answer or refuses.
    """
    section: Any = getattr(site, "development", None)
    issuer = section.issuer if section else None
    if issuer is None or not issuer.clients:
        raise ConfigError("the configuration has no development issuer with a client")
    clients = {client.id: client for client in issuer.clients}
    client = clients.get(client_id or issuer.clients[0].id)
    if client is None:
        raise ConfigError(f"no client {client_id!r}; there are: {', '.join(clients)}")
    return _ask(issuer.listen, client.id, client.secret.get_secret_value())


def _ask(address: str, client_id: str, secret: str) -> dict[str, Any]:
    try:
        endpoint = _fetch(address, "GET", "/.well-known/openid-configuration")["token_endpoint"]
        pair = base64.b64encode(f"{client_id}:{secret}".encode()).decode()
        headers = {
            "Authorization": f"Basic {pair}",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        path = urllib.parse.urlsplit(endpoint).path
        return _fetch(address, "POST", path, "grant_type=client_credentials", headers)
    except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
        raise NoToken(
            f"no token from the development issuer at {address}: {error!r}; is `passerelle up` running?"
        ) from None


def _fetch(
    address: str,
    method: str,
    path: str,
    body: str | None = None,
    headers: dict[str, str] | None = None,
) -> dict[str, Any]:
    connection = http.client.HTTPConnection(address, timeout=5)
    try:
        connection.request(method, path, body, headers or {})
        reply = connection.getresponse()
        answer = json.loads(reply.read())
    finally:
        connection.close()
    if reply.status != 200 or not isinstance(answer, dict):
        raise ValueError(f"status {reply.status}")
    return answer
