"""Envoy's routes, rendered from the contracts.

A REST request is matched twice: first by verb and path, which decides whether it needs a token, and about body limits,
redirects, 405 and 404; then, when the transcoder has found its method, by the path of the gRPC method.

A route requires a token unless it says otherwise. Those that do not belong to public methods, or are answered by Envoy
itself: these are never transcoded (`_ANSWERED_HERE`), so that they lead to no method.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from passerelle.gateway.config import LEAST_BODY_LIMIT
from passerelle.gateway.contracts import Binding, Method
from passerelle.gateway.envoy import authentication, limits
from passerelle.gateway.envoy.replies import header
from passerelle.gateway.envoy.workers import BY_CALLER, retries
from passerelle.runtime.surface import Surface, surfaces

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


def _limited(size: int) -> Json:
    kind = "envoy.extensions.filters.http.buffer.v3.BufferPerRoute"
    return {_BUFFER: {"@type": f"{ANY}{kind}", "buffer": {"max_request_bytes": size}}}


_LARGE = {"SubmitJob"}  # methods whose body has a script, and may have `max_body` bytes
_MODEST_BODY = _limited(LEAST_BODY_LIMIT)
_SMALL_BODY = _limited(4096)
_NOT_TRANSCODED = {
    _TRANSCODER: {
        "@type": f"{ANY}envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
        "proto_descriptor_bin": "",
        "services": [],
    }
}

NO_BODY = "no_body"
"""The script that removes bodies, among those of the filter `lua.bodies`."""
_NO_BODY_READ = {
    f"{_LUA}.bodies": {
        "@type": f"{ANY}envoy.extensions.filters.http.lua.v3.LuaPerRoute",
        "name": NO_BODY,
    }
}

# Of routes that Envoy answers itself, without waiting for a body.
_ANSWERED_HERE = authentication.WITHOUT_TOKEN | _NOT_TRANSCODED | _UNLIMITED_BODY


def _reply_of(surface: Surface) -> Json:
    """The configuration of a route whose replies have the surface's headers."""
    kind = "envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute"
    mutations = [{"append": header(*pair)} for pair in surface.reply_headers.items()]
    return (
        {_MUTATION: {"@type": f"{ANY}{kind}", "mutations": {"response_mutations": mutations}}}
        if mutations
        else {}
    )


BODY_SECONDS = 30.0
"""How long the body of a call without streams may take, s."""

# From the first header to the last byte of the answer. (A route that has it has no `timeout` besides.)
_PUBLIC_DURATION = {"max_stream_duration": {"max_stream_duration": "15s"}}

_ENDLESS = {"timeout": "0s", "max_stream_duration": {"max_stream_duration": "0s"}}

# Bytes. A longer body is not sent again; without a limit, Envoy would buffer whole uploads.
_RETRY_BUFFER = 64 << 10


def routes(
    methods: Sequence[Method],
    pages: Iterable[Json],
    *,
    workers: Mapping[str, int],
    timeout: float,
    idle_timeout: float,
) -> list[Json]:
    """Every route. The first match counts, so routes to methods stand before those for 404, 405 and redirects.

    `workers` has how many a service has, by its name; `timeout` bounds a unary call, `idle_timeout` the pauses of a
    stream, both in s.
    """
    public = [method for method in methods if method.public]
    return [
        *pages,
        *(_to_method(method, workers, timeout, idle_timeout) for method in public),
        *_wrong_media_type(),
        _health(),
        *_rest_paths(public, idle_timeout),
        *_redirects(public),
        *_not_found(),
    ]


def _not_found() -> Iterator[Json]:
    """404 for all other paths below the prefixes of each surface; `/` is among those of the last one."""
    for surface in surfaces():
        for prefix in sorted(surface.prefixes, reverse=True):
            below = (
                {"path_separated_prefix": prefix.rstrip("/")} if prefix != "/" else {"prefix": "/"}
            )
            yield {
                "match": below,
                "direct_response": {"status": 404},
                "typed_per_filter_config": _ANSWERED_HERE | _reply_of(surface),
            }


def _to_method(
    method: Method, workers: Mapping[str, int], timeout: float, idle_timeout: float
) -> Json:
    config = _reply_of(method.surface)
    # A public method needs no token, so its request is forwarded only when it is complete.
    config = config | (
        authentication.WITHOUT_TOKEN | _SMALL_BODY if method.anyone else _UNLIMITED_BODY
    )
    return {
        "match": {"path": method.path, "headers": [_GRPC_CONTENT]},
        "route": _action(method, workers[method.served_by], timeout, idle_timeout)
        | (_PUBLIC_DURATION if method.anyone else {}),
        "request_body_buffer_limit": _RETRY_BUFFER,
        "typed_per_filter_config": config,
        "metadata": _metadata(method),
    }


def _action(method: Method, workers: int, timeout: float, idle_timeout: float) -> Json:
    action: Json = {
        "cluster": method.cluster,
        "hash_policy": BY_CALLER,
        "retry_policy": retries(method, workers),
        "idle_timeout": f"{idle_timeout}s",
    }
    if not method.anyone:  # clients with a token may read the answer more slowly
        action["flush_timeout"] = action["idle_timeout"]
    return action | (_ENDLESS if method.streams else {"timeout": f"{timeout}s"})


def _metadata(method: Method, binding: Binding | None = None) -> Json:
    """What `envoy.lua` reads. `all_in_body`: that the request's body holds every field which its path does not."""
    all_in_body = binding is not None and binding.body == "*"
    read = {
        "surface": method.surface.name,
        "token": not method.anyone,
        "all_in_body": all_in_body,
        "head": method.answers_head,
    }
    return {"filter_metadata": {_LUA: read}}


# application/grpc, application/grpc+proto, application/grpc-web, …
_GRPC_CONTENT = {"name": "content-type", "string_match": {"prefix": "application/grpc"}}

_NO_GRPC_CONTENT = {**_GRPC_CONTENT, "invert_match": True, "treat_missing_header_as_empty": True}


def _wrong_media_type() -> Iterator[Json]:
    """415 for a gRPC path with a content type that is not gRPC's, which a service could not read."""
    for package in (package for surface in surfaces() for package in surface.packages):
        yield {
            "match": {"prefix": f"/{package}.", "headers": [_NO_GRPC_CONTENT]},
            "direct_response": {"status": 415},
            "typed_per_filter_config": _ANSWERED_HERE,
        }


def _health() -> Json:
    """The standard gRPC health service, answered by the gateway's own process."""
    return {
        "match": {"path": "/grpc.health.v1.Health/Check", "headers": [_GRPC_CONTENT]},
        "route": {"cluster": "gateway", **_PUBLIC_DURATION},
        "typed_per_filter_config": authentication.WITHOUT_TOKEN | _SMALL_BODY,
    }


def _redirects(methods: Sequence[Method]) -> Iterator[Json]:
    """For surfaces that redirect slashes, 307 from each path with a slash too much or too few."""
    redirected = (method for method in methods if method.surface.redirects_slashes)
    pairs = ((binding, method.surface) for method in redirected for binding in method.bindings)
    for binding, surface in {pair[0].regex: pair for pair in pairs}.values():
        yield _redirect(binding, surface)


def _redirect(binding: Binding, surface: Surface) -> Json:
    """307 to the path with the slash that its contract has at the end, or without the one that it has not."""
    if binding.template.endswith("/"):
        regex, pattern, target = binding.regex.removesuffix("/"), "^(.*[^/])$", r"\1/"
    else:
        regex, pattern, target = f"{binding.regex}/", "^(.*)/$", r"\1"
    return {
        "match": {"safe_regex": {"regex": regex}},
        "redirect": {
            "response_code": "TEMPORARY_REDIRECT",
            "regex_rewrite": {"pattern": {"regex": pattern}, "substitution": target},
        },
        "typed_per_filter_config": _ANSWERED_HERE | _reply_of(surface),
    }


def _rest_paths(methods: Sequence[Method], idle_timeout: float) -> Iterator[Json]:
    """For every REST path, a route for each verb that a method takes, and 405 with `Allow` for all others."""
    pairs_in_order = sorted(
        ((binding, method) for method in methods for binding in method.bindings),
        key=lambda pair: _most_specific_first(pair[0]),
    )
    by_regex: dict[str, list[tuple[Binding, Method]]] = {}
    for pair in pairs_in_order:
        by_regex.setdefault(pair[0].regex, []).append(pair)
    not_allowed = []
    for regex, pairs in by_regex.items():
        for binding, method in pairs:
            for verb in (binding.verb, "HEAD") if method.answers_head else (binding.verb,):
                yield _rest_path(verb, binding, method, idle_timeout)
        refusal = _not_allowed(regex, sorted({b.verb for b, _ in pairs}), pairs[0][1].surface)
        if _is_special_case(pairs[0][0], by_regex):
            yield refusal
        else:
            not_allowed.append(refusal)
    yield from not_allowed


def _is_special_case(binding: Binding, regexes: Iterable[str]) -> bool:
    """Whether its paths look like those of another binding, too: `jobs/{job_id}:cancel` like `jobs/{job_id}`."""
    return any(re.fullmatch(regex, binding.example) for regex in regexes if regex != binding.regex)


_WITHOUT_BODY = {"GET", "HEAD", "DELETE"}


def _rest_path(verb: str, binding: Binding, method: Method, idle_timeout: float) -> Json:
    """The route of a REST request until the transcoder has turned it into the call that `_to_method` routes."""
    config = _reply_of(method.surface) | _body_limit(method)
    if verb in _WITHOUT_BODY:
        config |= _NO_BODY_READ
    return {
        "match": {
            "safe_regex": {"regex": _with_any_slash(binding, method.surface)},
            "headers": [
                {"name": ":method", "string_match": {"exact": verb}},
                _NO_GRPC_CONTENT,
            ],
        },
        # Never used for a request that is transcoded; a service would answer that it does not know the method.
        "route": {"cluster": method.cluster, **_body_timeout(method, idle_timeout)},
        "typed_per_filter_config": config | (authentication.WITHOUT_TOKEN if method.anyone else {}),
        "metadata": _metadata(method, binding),
    }


def _with_any_slash(binding: Binding, surface: Surface) -> str:
    """The binding's paths, with a slash at their end or without where the surface does not redirect them."""
    return binding.regex if surface.redirects_slashes else f"{binding.regex.removesuffix('/')}/?"


def _body_timeout(method: Method, idle_timeout: float) -> Json:
    """How long a body may take; when it has arrived, the timeouts of the method's own route apply."""
    if method.client_streaming:
        return _ENDLESS | {"idle_timeout": f"{idle_timeout}s"}
    return {"max_stream_duration": {"max_stream_duration": f"{BODY_SECONDS}s"}}


def _body_limit(method: Method) -> Json:
    if method.client_streaming:
        return _UNLIMITED_BODY
    if method.anyone:
        return _SMALL_BODY
    return {} if method.name in _LARGE else _MODEST_BODY


def _most_specific_first(binding: Binding) -> tuple[int, str]:
    return -len(binding.regex.replace("[^/]+", "")), binding.regex


def _not_allowed(regex: str, verbs: list[str], surface: Surface) -> Json:
    return {
        "match": {"safe_regex": {"regex": regex}},
        "direct_response": {"status": 405},
        "response_headers_to_add": [header("allow", ", ".join(verbs))],
        "typed_per_filter_config": _ANSWERED_HERE | _reply_of(surface),
    }


_READING = {"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD"}}}
_BROWSER = {"name": "accept", "string_match": {"contains": "text/html"}}


def page(path: str, body: Json, content_type: str, size: int) -> list[Json]:
    """Routes that serve `size` bytes from memory at exactly `path`; `body` is Envoy's `DataSource`."""
    return [_page(path, body, content_type, size), *_only_read(path)]


def front(documentation: str, openapi: str) -> list[Json]:
    """Routes of `/`, which leads to the documentation: browsers by a redirect, programs by JSON with both paths."""
    leading = {
        "match": {"path": "/", "headers": [_READING, _BROWSER]},
        "redirect": {
            "response_code": "FOUND",
            "path_redirect": documentation,
            "strip_query": True,
        },
        "typed_per_filter_config": _ANSWERED_HERE,
    }
    text = json.dumps({"documentation": documentation, "openapi": openapi})
    answer = _page("/", {"inline_string": text}, "application/json", len(text))
    return [leading, answer, *_only_read("/")]


def _page(path: str, body: Json, content_type: str, size: int) -> Json:
    return {
        "match": {"path": path, "headers": [_READING]},
        "direct_response": {"status": 200, "body": body},
        "response_headers_to_add": [
            header("content-type", content_type),
            header("x-content-type-options", "nosniff"),
            header("content-security-policy", _POLICY),
            header("cache-control", "no-cache"),
        ],
        "typed_per_filter_config": _ANSWERED_HERE | limits.page_limit(size),
    }


def _only_read(path: str) -> Iterator[Json]:
    yield {
        "match": {"path": path},
        "direct_response": {"status": 405},
        "response_headers_to_add": [header("allow", "GET, HEAD")],
        "typed_per_filter_config": _ANSWERED_HERE,
    }


# The page's own files only; Swagger UI sets styles on elements and draws its icons as data: URLs.
_POLICY = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'"
