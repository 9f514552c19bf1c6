"""How Envoy gets the issuers' keys: from `auth`, which discovers them and keeps them fresh.

Envoy reads keys over HTTP, and `auth` serves gRPC. So Envoy reads them from a socket of its own, behind which its
transcoder calls `auth`. A change at an issuer (it is up again, its keys were rotated or moved) arrives within 30 s.
"""

from base64 import b64encode
from pathlib import Path
from typing import Any

from passerelle.gateway.contracts import transcodable

Json = dict[str, Any]

_ANY = "type.googleapis.com/"
_NAME = "keys"
_CONTRACT = "passerelle/edge/keys.proto"
_REFRESH = "30s"
_RETRY = "1s"  # while there are no keys, as always when Envoy starts
_TIMEOUT = "3s"


def source(issuer: int) -> Json:
    """The source of the keys of one of `auth.issuers`, by its number, for Envoy's `jwt_authn`."""
    uri = {"uri": f"http://auth/keys/{issuer}", "cluster": _NAME, "timeout": _TIMEOUT}
    fetch = {"fast_listener": True, "failed_refetch_duration": _RETRY}
    return {"remote_jwks": {"http_uri": uri, "cache_duration": _REFRESH, "async_fetch": fetch}}


def cluster(directory: Path) -> Json:
    """The cluster of the socket in `directory`."""
    endpoint = {"lb_endpoints": [{"endpoint": {"address": _socket(directory)}}]}
    return {
        "name": _NAME,
        "type": "STATIC",
        "connect_timeout": _TIMEOUT,
        "load_assignment": {"cluster_name": _NAME, "endpoints": [endpoint]},
    }


def listener(directory: Path, auth: str) -> Json:
    """The listener of the socket, which gets the keys from the cluster `auth`."""
    kinds = f"{_ANY}envoy.extensions.filters"
    transcoder = {
        "@type": f"{kinds}.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
        "proto_descriptor_bin": b64encode(transcodable(_CONTRACT)).decode(),
        "services": ["edge.v1.Keys"],
    }
    route = {"match": {"prefix": "/"}, "route": {"cluster": auth, "timeout": _TIMEOUT}}
    manager = {
        "@type": f"{kinds}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": _NAME,
        "route_config": {"virtual_hosts": [{"name": _NAME, "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {"name": "envoy.filters.http.grpc_json_transcoder", "typed_config": transcoder},
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{kinds}.http.router.v3.Router"},
            },
        ],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    return {
        "name": _NAME,
        "address": _socket(directory),
        "filter_chains": [{"filters": filters}],
    }


def _socket(directory: Path) -> Json:
    return {"pipe": {"path": str(directory / _NAME), "mode": 0o600}}
