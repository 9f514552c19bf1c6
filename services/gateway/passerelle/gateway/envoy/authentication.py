"""Authentication in Envoy, before it reads more of a request than its headers.

Envoy verifies tokens itself (`jwt_authn`), with the issuers' published keys (`keys.py`). The tokens that it cannot
verify, because it does not know their key yet or because they are expired or forged, are judged by `auth`, from the
headers (`ext_authz`). So old keys in Envoy make a request slower and never change the answer. The services verify every
token again.
"""

from collections.abc import Sequence
from typing import Any

from passerelle.gateway.envoy import keys
from passerelle.gateway.envoy.workers import ANOTHER_WORKER, SUBJECT
from passerelle.runtime.config.site import SiteBase
from passerelle.runtime.headers import CLIENT_ADDRESS

Json = dict[str, Any]

ANY = "type.googleapis.com/"
JWT = "envoy.filters.http.jwt_authn"
AUTHORIZATION = "authorization"
"""The cluster of `auth` for `ext_authz`. It is not that of users' requests, so the limits of those do not apply."""

_VERIFIED = "verified"  # where jwt_authn leaves the claims of a token that it verified
_AUTHORIZATION_SECONDS = 7.0  # for auth's answer; longer than it waits for the keys of an issuer

UNVERIFIED = "passerelle.unverified"
"""The HTTP filter that has tokens judged which Envoy did not verify."""

_SKIP = {
    "action": {
        "name": "skip",
        "typed_config": {
            "@type": f"{ANY}envoy.extensions.filters.common.matcher.action.v3.SkipFilter"
        },
    }
}

WITHOUT_TOKEN = {
    UNVERIFIED: {
        "@type": f"{ANY}envoy.extensions.common.matching.v3.ExtensionWithMatcherPerRoute",
        "xds_matcher": {"on_no_match": _SKIP},
    }
}
"""The configuration of a route that requires no token. It must not lead to a method that requires one."""


def filters(site: SiteBase) -> list[Json]:
    """The HTTP filters that verify tokens, in their order."""
    issuers = _issuers(site)
    if not issuers:
        return [_unverified(_EXT_AUTHZ)]
    return [_jwt_authn(issuers), _KEEP_SUBJECT, _unverified(_RATE_LIMIT, _EXT_AUTHZ)]


def _jwt_authn(issuers: Sequence[Any]) -> Json:
    providers = {f"issuer-{n}": _provider(issuer, n) for n, issuer in enumerate(issuers)}
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


# Kept here, not in a header: it may have characters that a header may not.
_KEEP_SUBJECT: Json = {
    "name": "envoy.filters.http.set_filter_state",
    "typed_config": {
        "@type": f"{ANY}envoy.extensions.filters.http.set_filter_state.v3.Config",
        "on_request_headers": [
            {
                "object_key": SUBJECT,
                "factory_key": "envoy.hashable_string",
                "format_string": {
                    "text_format_source": {
                        "inline_string": f"%DYNAMIC_METADATA({JWT}:{_VERIFIED}:sub)%"
                    },
                    "omit_empty_values": True,
                },
                "skip_if_empty": True,
            }
        ],
    },
}


def _unverified(*judges: Json) -> Json:
    """The filter `UNVERIFIED`, in which the filters `judges` are made for such tokens only.

    To make `ext_authz` for every request costs 14 µs of CPU time.
    """
    matching = "envoy.extensions.matching"
    verified = {
        "input": {
            "name": _VERIFIED,
            "typed_config": {
                "@type": f"{ANY}{matching}.common_inputs.network.v3.DynamicMetadataInput",
                "filter": JWT,
                "path": [{"key": _VERIFIED}],
            },
        },
        "custom_match": {
            "name": "present",
            "typed_config": {
                "@type": f"{ANY}{matching}.input_matchers.metadata.v3.Metadata",
                "value": {"present_match": True},
            },
        },
    }
    composite = f"{ANY}envoy.extensions.filters.http.composite.v3"
    judge = {
        "name": "judge",
        "typed_config": {
            "@type": f"{composite}.ExecuteFilterAction",
            "filter_chain": {"typed_config": judges},
        },
    }
    return {
        "name": UNVERIFIED,
        "typed_config": {
            "@type": f"{ANY}envoy.extensions.common.matching.v3.ExtensionWithMatcher",
            "extension_config": {
                "name": "composite",
                "typed_config": {"@type": f"{composite}.Composite"},
            },
            "xds_matcher": {
                "matcher_list": {
                    "matchers": [{"predicate": {"single_predicate": verified}, "on_match": _SKIP}]
                },
                "on_no_match": {"action": judge},
            },
        },
    }


_PER_TENTH = 5  # of a second: in small steps, so that auth answers others in between
_BURST = 100
_ADDRESSES = (
    10_000  # beyond that, the addresses that were not seen for the longest time are forgotten
)

# How many unverified tokens of one client address auth is asked about.
_RATE_LIMIT: Json = {
    "name": "envoy.filters.http.local_ratelimit",
    "typed_config": {
        "@type": f"{ANY}envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": "unverified",
        "filter_enabled": {"default_value": {"numerator": 100}},
        "filter_enforced": {"default_value": {"numerator": 100}},
        "token_bucket": {"max_tokens": 4_000_000_000, "fill_interval": "1s"},
        "max_dynamic_descriptors": _ADDRESSES,
        "rate_limits": [{"actions": [{"remote_address": {}}]}],
        "descriptors": [
            {
                "entries": [{"key": "remote_address"}],
                "token_bucket": {
                    "max_tokens": _BURST,
                    "tokens_per_fill": _PER_TENTH,
                    "fill_interval": "0.1s",
                },
            }
        ],
    },
}

_EXT_AUTHZ: Json = {
    "name": "envoy.filters.http.ext_authz",
    "typed_config": {
        "@type": f"{ANY}envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        "transport_api_version": "V3",
        "grpc_service": {
            "envoy_grpc": {"cluster_name": AUTHORIZATION},
            "timeout": f"{_AUTHORIZATION_SECONDS}s",
            # The address of the request's `source` is that of the connection: of a trusted proxy, if there is one.
            "initial_metadata": [
                {"key": CLIENT_ADDRESS, "value": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}
            ],
            # Bridges a restart of auth; the call changes nothing, so it can be repeated.
            "retry_policy": {
                "retry_on": "connect-failure,refused-stream",
                "num_retries": 9,
                "retry_back_off": {"base_interval": "0.25s", "max_interval": "1s"},
                **ANOTHER_WORKER,
            },
        },
        "failure_mode_allow": False,
        "status_on_error": {"code": "ServiceUnavailable"},
    },
}


# Envoy's details of answers of its own: there is no token, too many requests, too large a body, or a service is busy.
_REJECTED = (
    "response.code_details in ['lua_response', 'local_rate_limited', 'request_payload_too_large'] || "
    "response.code_details.contains('overflow')"
)

_WENT_WRONG = {
    "or_filter": {
        "filters": [
            {
                "status_code_filter": {
                    "comparison": {
                        "op": "GE",
                        "value": {"default_value": 400, "runtime_key": "passerelle.rejected"},
                    }
                }
            },
            {"grpc_status_filter": {"statuses": ["OK"], "exclude": True}},
        ]
    }
}

REJECTED_LOG: Json = {
    "name": "envoy.access_loggers.http_grpc",
    "filter": {
        "and_filter": {
            "filters": [
                _WENT_WRONG,  # first, because the expression costs 12 µs
                {
                    "extension_filter": {
                        "name": "envoy.access_loggers.extension_filters.cel",
                        "typed_config": {
                            "@type": f"{ANY}envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
                            "expression": _REJECTED,
                        },
                    }
                },
            ]
        }
    },
    "typed_config": {
        "@type": f"{ANY}envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
        "common_config": {
            "log_name": "turned away",
            "transport_api_version": "V3",
            "grpc_service": {"envoy_grpc": {"cluster_name": AUTHORIZATION}},
        },
        "additional_response_headers_to_log": ["grpc-status"],
    },
}
"""The access log that reports requests to `auth` which Envoy rejected without asking it, for the audit log."""


def _issuers(site: SiteBase) -> Sequence[Any]:
    auth: Any = getattr(site, "auth", None)
    return auth.issuers if auth else ()


def _provider(issuer: Any, number: int) -> Json:
    provider: Json = {
        **keys.source(number),
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
