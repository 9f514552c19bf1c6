"""Who may pass Envoy: nobody without a valid token holds more of us than his own headers.

`jwt_authn` verifies tokens with the issuers' published keys, in Envoy itself. What it does not verify is judged by
`auth` from the headers alone (`ext_authz`): tokens whose key it does not know yet, that are expired or forged, or whose
issuer's keys Envoy cannot read. So what Envoy knows may be old or incomplete, and is then slower, never wrong; and the
services verify every token themselves.
"""

import json
import logging
import os
import re
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import unquote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from passerelle.runtime.config import SiteBase

Json = dict[str, Any]

ANY = "type.googleapis.com/"
JWT = "envoy.filters.http.jwt_authn"
JUDGE = "door"
"""The cluster of `auth` as it is asked here: so many questions do not count as requests of users to it."""
EXT_AUTHZ = "envoy.filters.http.ext_authz"

_VERIFIED = "verified"  # where jwt_authn leaves the claims of a token that it verified
_DISCOVERY_SECONDS = 3.0
_JUDGE_SECONDS = 7.0  # of auth; longer than it may wait for the keys of an issuer
_MAX_DOCUMENT = 1 << 20

log = logging.getLogger(__name__)

OPEN = {
    EXT_AUTHZ: {
        "@type": f"{ANY}envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
        "disabled": True,
    }
}
"""The configuration of a route that asks for no token. Such a route must lead to no method that demands one."""


class Door:
    """What a site's Envoy needs to judge tokens. Making one asks the issuers for the addresses of their keys."""

    def __init__(self, site: SiteBase) -> None:
        issuers = _issuers(site)
        self._providers = _providers(issuers)
        # Where Envoy cannot read an issuer's keys, what it does not verify may be as good as any.
        self._bounded = len(self._providers) == len(issuers)

    def filters(self) -> list[Json]:
        """The HTTP filters, in their order."""
        judge = _ext_authz(bool(self._providers))
        if not self._providers:
            return [judge]
        return [_jwt_authn(self._providers), *([_RATE] if self._bounded else []), judge]

    def clusters(self) -> list[Json]:
        """Where Envoy reads the issuers' keys."""
        uris = {
            provider["remote_jwks"]["http_uri"]["uri"]
            for provider in self._providers.values()
            if "remote_jwks" in provider
        }
        return [_key_cluster(uri) for uri in sorted(uris)]


def _jwt_authn(providers: Json) -> Json:
    requirements: list[Json] = [{"provider_name": name} for name in providers]
    either = {"requires_any": {"requirements": [*requirements, {"allow_missing_or_failed": {}}]}}
    return {
        "name": JWT,
        "typed_config": {
            "@type": f"{ANY}envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": providers,
            "rules": [{"match": {"prefix": "/"}, "requires": either}],
        },
    }


_PER_TENTH = 5  # of a second: in small steps, so that auth has room for others between them
_BURST = 100
_ADDRESSES = 10_000  # the longest unseen are forgotten

# Tokens that jwt_authn did not verify, by client address: so many, and no more, are asked about.
_UNVERIFIED = {"key": "issuer", "value": "unverified"}
_RATE: Json = {
    "name": "envoy.filters.http.local_ratelimit",
    "typed_config": {
        "@type": f"{ANY}envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": "unverified",
        "filter_enabled": {"default_value": {"numerator": 100}},
        "filter_enforced": {"default_value": {"numerator": 100}},
        "token_bucket": {"max_tokens": 4_000_000_000, "fill_interval": "1s"},
        "max_dynamic_descriptors": _ADDRESSES,
        "rate_limits": [
            {
                "actions": [
                    {
                        "metadata": {
                            "descriptor_key": "issuer",
                            "metadata_key": {
                                "key": JWT,
                                "path": [{"key": _VERIFIED}, {"key": "iss"}],
                            },
                            "default_value": "unverified",
                        }
                    },
                    {"remote_address": {}},
                ]
            }
        ],
        "descriptors": [
            {
                "entries": [_UNVERIFIED, {"key": "remote_address"}],
                "token_bucket": {
                    "max_tokens": _BURST,
                    "tokens_per_fill": _PER_TENTH,
                    "fill_interval": "0.1s",
                },
            }
        ],
    },
}


def _ext_authz(jwt: bool) -> Json:
    verified = {
        "filter": JWT,
        "path": [{"key": _VERIFIED}],
        "value": {"present_match": True},
        "invert": True,
    }
    return {
        "name": EXT_AUTHZ,
        "typed_config": {
            "@type": f"{ANY}envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
            "transport_api_version": "V3",
            "grpc_service": {
                "envoy_grpc": {"cluster_name": JUDGE},
                "timeout": f"{_JUDGE_SECONDS}s",
                # For the time that a restart takes; asking changes nothing.
                "retry_policy": {
                    "retry_on": "connect-failure,refused-stream",
                    "num_retries": 9,
                    "retry_back_off": {"base_interval": "0.25s", "max_interval": "1s"},
                },
            },
            "failure_mode_allow": False,
            "status_on_error": {"code": "ServiceUnavailable"},
            **({"filter_enabled_metadata": verified} if jwt else {}),
        },
    }


# How Envoy itself calls what it has answered so: without a token, too often, or because a service has too much to do.
_TURNED_AWAY = (
    "response.code_details in ['lua_response', 'request_rate_limited'] || "
    "response.code_details.contains('overflow')"
)

TOLD: Json = {
    "name": "envoy.access_loggers.http_grpc",
    "filter": {
        "extension_filter": {
            "name": "envoy.access_loggers.extension_filters.cel",
            "typed_config": {
                "@type": f"{ANY}envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
                "expression": _TURNED_AWAY,
            },
        }
    },
    "typed_config": {
        "@type": f"{ANY}envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
        "common_config": {
            "log_name": "turned away",
            "transport_api_version": "V3",
            "grpc_service": {"envoy_grpc": {"cluster_name": JUDGE}},
        },
        "additional_response_headers_to_log": ["grpc-status"],
    },
}
"""The access log that tells `auth` of requests that were turned away without asking it, for the audit log."""


def _issuers(site: SiteBase) -> Sequence[Any]:
    auth: Any = getattr(site, "auth", None)
    return auth.issuers if auth else ()


def _providers(issuers: Sequence[Any]) -> Json:
    found: Json = {}
    for number, issuer in enumerate(issuers):
        if keys := _keys(issuer):
            found[f"issuer-{number}"] = _provider(issuer, keys)
    return found


def _provider(issuer: Any, keys: Json) -> Json:
    provider: Json = {
        **keys,
        "from_headers": [{"name": "authorization", "value_prefix": "Bearer "}],
        "forward": True,
        "clock_skew_seconds": max(1, issuer.clock_skew),  # 0 would mean Envoy's 60
        "payload_in_metadata": _VERIFIED,
        "require_expiration": True,
        "jwt_cache_config": {"jwt_cache_size": 500},
    }
    if issuer.issuer:
        provider["issuer"] = issuer.issuer
    if issuer.audience:
        provider["audiences"] = list(issuer.audience)
    return provider


def _keys(issuer: Any) -> Json | None:
    """How Envoy gets an issuer's keys; None when it cannot, so that `auth` judges that issuer's tokens."""
    uri = issuer.jwks_uri or _discovered(issuer)
    if uri is None:
        return None
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return _local(Path(unquote(parts.path)))
    if parts.scheme == "https" and _authorities() is None:
        log.warning("no certificate authorities are found to read %s with", uri)
        return None
    return {
        "remote_jwks": {
            "http_uri": {
                "uri": uri,
                "cluster": _cluster_name(uri),
                "timeout": f"{issuer.timeout}s",
            },
            "cache_duration": f"{issuer.refresh}s",
            "async_fetch": {"fast_listener": True, "failed_refetch_duration": "5s"},
        }
    }


def _local(path: Path) -> Json | None:
    try:
        text = path.read_text()
    except OSError as error:
        log.warning("%s: %s", path, error.strerror)
        return None
    return {"local_jwks": {"inline_string": text}}


class _StayingThere(HTTPRedirectHandler):
    """Follows no redirect: where it leads might not be safe, and Discovery §4.2 knows none."""

    def redirect_request(self, *_: Any) -> None:
        """No request for where it leads."""


def _discovered(settings: Any) -> str | None:
    """The address of an issuer's keys (OpenID Connect Discovery 1.0 §4), asked for once and briefly."""
    issuer = str(settings.issuer)
    address = issuer.rstrip("/") + "/.well-known/openid-configuration"
    request = Request(address, headers={"accept": "application/json"})  # noqa: S310  # http(s), as configured
    try:
        with build_opener(_StayingThere).open(request, timeout=_DISCOVERY_SECONDS) as reply:
            document = json.loads(reply.read(_MAX_DOCUMENT))
    except (URLError, OSError, ValueError) as error:
        log.warning("no discovery document of %s: %s", issuer, error)
        return None
    uri = document.get("jwks_uri") if isinstance(document, dict) else None
    if not isinstance(uri, str) or document.get("issuer") != issuer:
        return None
    return uri if settings.may_read(uri) else None


def _cluster_name(uri: str) -> str:
    parts = urlsplit(uri)
    return f"keys {parts.scheme}://{parts.netloc}"


def _key_cluster(uri: str) -> Json:
    parts = urlsplit(uri)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    address = {"socket_address": {"address": parts.hostname, "port_value": port}}
    endpoint = {"endpoint": {"address": address}}
    cluster: Json = {
        "name": _cluster_name(uri),
        "alt_stat_name": re.sub(r"\W+", "_", _cluster_name(uri)),  # dots divide names of statistics
        "type": "STRICT_DNS",
        "connect_timeout": "3s",
        "load_assignment": {
            "cluster_name": _cluster_name(uri),
            "endpoints": [{"lb_endpoints": [endpoint]}],
        },
    }
    if parts.scheme == "https":
        cluster["transport_socket"] = _tls(str(parts.hostname))
    return cluster


def _tls(host: str) -> Json:
    names = [{"san_type": kind, "matcher": {"exact": host}} for kind in ("DNS", "IP_ADDRESS")]
    validation = {
        "trusted_ca": {"filename": _authorities()},
        "match_typed_subject_alt_names": names,
    }
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{ANY}envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": host,
            "common_tls_context": {"validation_context": validation},
        },
    }


# Where Debian, Red Hat, SUSE and Alpine keep the authorities that they trust.
_BUNDLES: Sequence[str] = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def _authorities() -> str | None:
    """The file of trusted authorities that Python uses, or the distribution's."""
    default = ssl.get_default_verify_paths()
    named = (os.environ.get(default.openssl_cafile_env), default.cafile, *_BUNDLES)
    return next((name for name in named if name and os.path.isfile(name)), None)
