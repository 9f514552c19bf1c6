"""How Envoy gets the issuers' keys: from `auth`, which finds them, keeps them fresh and knows what to do without.

Envoy reads keys by HTTP, and `auth` speaks gRPC; so it reads them from a socket of its own, behind which its transcoder
asks `auth`. What becomes of an issuer (down when we start, keys rotated or moved) is there after half a minute at most.
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
_AGAIN = "1s"  # after there were none, as always when Envoy begins
_TIMEOUT = "3s"


def source(issuer: int) -> Json:
    """Where Envoy's `jwt_authn` has the keys of one of `auth.issuers` from."""
    uri = {"uri": f"http://auth/keys/{issuer}", "cluster": _NAME, "timeout": _TIMEOUT}
    fetch = {"fast_listener": True, "failed_refetch_duration": _AGAIN}
    return {"remote_jwks": {"http_uri": uri, "cache_duration": _REFRESH, "async_fetch": fetch}}


def cluster(directory: Path) -> Json:
    """The way to the socket in `directory`."""
    endpoint = {"lb_endpoints": [{"endpoint": {"address": _socket(directory)}}]}
    return {
        "name": _NAME,
        "type": "STATIC",
        "connect_timeout": _TIMEOUT,
        "load_assignment": {"cluster_name": _NAME, "endpoints": [endpoint]},
    }


def listener(directory: Path, auth: str) -> Json:
    """What answers at the socket: the keys, from the cluster `auth`."""
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
