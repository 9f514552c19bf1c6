"""Envoy's routes, made from the contracts: there is no list of methods to keep by hand.

A REST request is matched twice: first by its own path (which only decides about body limits, redirects and, when no
method of ours takes it, about 405 or 404), then, once the transcoder has found its method, by the gRPC method's path.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from passerelle.gateway.contracts import Binding, Method
from passerelle.gateway.envoy_replies import header
from passerelle.runtime.firecrest import VERSION

Json = dict[str, Any]

ANY = "type.googleapis.com/"
_BUFFER = "envoy.filters.http.buffer"
_TRANSCODER = "envoy.filters.http.grpc_json_transcoder"
_LUA = "envoy.filters.http.lua"
_MUTATION = "envoy.filters.http.header_mutation"

_UNLIMITED_BODY = {
    _BUFFER: {
        "@type": f"{ANY}envoy.extensions.filters.http.buffer.v3.BufferPerRoute",
        "disabled": True,
    }
}
_NOT_TRANSCODED = {
    _TRANSCODER: {
        "@type": f"{ANY}envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
        "proto_descriptor_bin": "",
        "services": [],
    }
}

PROFILE_HEADERS = [
    header("f7t-appversion", VERSION),
    header("f7t-timestamp", "%START_TIME(%s.%6f)%"),
]
"""What FirecREST puts on every reply: its version, and the time as seconds since the epoch with fractions."""

_PROFILE_REPLY = {
    _MUTATION: {
        "@type": f"{ANY}envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute",
        "mutations": {"response_mutations": [{"append": option} for option in PROFILE_HEADERS]},
    }
}

# Nothing was sent yet when the connection fails or the stream is refused, so trying again repeats no work. A service
# that is being restarted is back within the sum of these pauses (4 s on average: each is drawn at random).
_RETRY = {
    "retry_on": "connect-failure,refused-stream",
    "num_retries": 9,
    "retry_back_off": {"base_interval": "0.25s", "max_interval": "1s"},
}

# Bytes. A longer body is not sent again; without a limit, all of every upload would be kept.
_KEPT_FOR_RETRY = 64 << 10


def routes(
    methods: Sequence[Method], pages: Iterable[Json], *, timeout: float, idle_timeout: float
) -> list[Json]:
    """Every route, first match first.

    `timeout` bounds a unary call, `idle_timeout` the pauses of a stream, both in s.
    """
    public = [method for method in methods if method.public]
    return [
        *pages,
        *(_to_method(method, timeout, idle_timeout) for method in public),
        _wrong_media_type(),
        _health(timeout),
        *(_redirect(template) for template in _profile_templates(public)),
        *_rest_paths(public),
        {"match": {"prefix": "/v1/"}, "direct_response": {"status": 404}},
        {
            "match": {"prefix": "/"},
            "direct_response": {"status": 404},
            "typed_per_filter_config": _PROFILE_REPLY,
        },
    ]


def _to_method(method: Method, timeout: float, idle_timeout: float) -> Json:
    action: Json = {"cluster": method.cluster, "retry_policy": _RETRY, "timeout": f"{timeout}s"}
    if method.streams:
        action |= {"timeout": "0s", "idle_timeout": f"{idle_timeout}s"}
    config = _UNLIMITED_BODY | (_PROFILE_REPLY if method.is_firecrest else {})
    surface = "firecrest" if method.is_firecrest else "native"
    return {
        "match": {"path": method.path, "headers": [_GRPC_CONTENT]},
        "route": action,
        "request_body_buffer_limit": _KEPT_FOR_RETRY,
        "typed_per_filter_config": config,
        "metadata": {"filter_metadata": {_LUA: {"surface": surface}}},
    }


# application/grpc, application/grpc+proto, application/grpc-web, …
_GRPC_CONTENT = {"name": "content-type", "string_match": {"prefix": "application/grpc"}}


def _wrong_media_type() -> Json:
    """A gRPC path called with something that is not gRPC: a service would not know what to do with it."""
    return {
        "match": {
            "prefix": "/passerelle.",
            "headers": [{**_GRPC_CONTENT, "invert_match": True}],
        },
        "direct_response": {"status": 415},
    }


def _health(timeout: float) -> Json:
    """The standard gRPC health service, answered by the gateway's own process."""
    return {
        "match": {"path": "/grpc.health.v1.Health/Check", "headers": [_GRPC_CONTENT]},
        "route": {"cluster": "gateway", "timeout": f"{timeout}s"},
    }


def _profile_templates(methods: Sequence[Method]) -> list[Binding]:
    return _unique(b for method in methods if method.is_firecrest for b in method.bindings)


def _unique(bindings: Iterable[Binding]) -> list[Binding]:
    return list({binding.regex: binding for binding in bindings}.values())


def _redirect(binding: Binding) -> Json:
    """307 to the path with the trailing slash that FirecREST wants, or without the one that it does not want."""
    if binding.template.endswith("/"):
        wrong, pattern, right = binding.regex.removesuffix("/"), "^(.*[^/])$", r"\1/"
    else:
        wrong, pattern, right = f"{binding.regex}/", "^(.*)/$", r"\1"
    return {
        "match": {"safe_regex": {"regex": wrong}},
        "redirect": {
            "response_code": "TEMPORARY_REDIRECT",
            "regex_rewrite": {"pattern": {"regex": pattern}, "substitution": right},
        },
        "typed_per_filter_config": _NOT_TRANSCODED | _PROFILE_REPLY,
    }


def _rest_paths(methods: Sequence[Method]) -> Iterator[Json]:
    """For every REST path, what answers the verbs that no method takes: 405 with `Allow`."""
    taken = sorted(
        ((binding, method) for method in methods for binding in method.bindings),
        key=lambda pair: _most_specific_first(pair[0]),
    )
    for regex, group in groupby(taken, key=lambda pair: pair[0].regex):
        pairs = list(group)
        yield _not_allowed(regex, sorted({b.verb for b, _ in pairs}), [m for _, m in pairs])


def _most_specific_first(binding: Binding) -> tuple[int, str]:
    return -len(binding.regex.replace("[^/]+", "")), binding.regex


def _not_allowed(regex: str, verbs: list[str], methods: list[Method]) -> Json:
    config: Json = {}
    if any(method.is_firecrest for method in methods):
        config |= _PROFILE_REPLY
    if any(method.client_streaming for method in methods):
        config |= _UNLIMITED_BODY
    return {
        "match": {"safe_regex": {"regex": regex}},
        "direct_response": {"status": 405},
        "response_headers_to_add": [header("allow", ", ".join(verbs))],
        "typed_per_filter_config": config,
    }


def page(path: str, file: Path, content_type: str) -> list[Json]:
    """Routes that serve a file from memory at exactly `path`."""
    verbs = {"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD"}}}
    return [
        {
            "match": {"path": path, "headers": [verbs]},
            "direct_response": {"status": 200, "body": {"filename": str(file)}},
            "response_headers_to_add": [
                header("content-type", content_type),
                header("x-content-type-options", "nosniff"),
                header("content-security-policy", _POLICY),
            ],
        },
        {
            "match": {"path": path},
            "direct_response": {"status": 405},
            "response_headers_to_add": [header("allow", "GET, HEAD")],
        },
    ]


# The page's own files only; Swagger UI sets styles on elements and draws its icons as data: URLs.
_POLICY = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'"
