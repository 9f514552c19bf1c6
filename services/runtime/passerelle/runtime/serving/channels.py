"""The channels by which our services call one another: to all workers of a service, except those that are down."""

import json
import os
from collections.abc import Mapping
from typing import Any

import grpc

from passerelle.runtime import caller
from passerelle.runtime.config.addresses import address_parts, is_ip
from passerelle.runtime.config.services import Endpoint
from passerelle.runtime.headers import SUBJECT

# gRPC's own pauses between two attempts to connect grow to minutes, too long after a restart.
_RECONNECT: tuple[tuple[str, int], ...] = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)

# Without this, gRPC takes hashes only from a control plane (gRFC A76).
os.environ["GRPC_EXPERIMENTAL_RING_HASH_SET_REQUEST_HASH_KEY"] = "true"

ANY_WORKER: Mapping[str, Any] = {"round_robin": {}}
"""The policy of calls that any worker can answer."""

CALLERS_WORKER: Mapping[str, Any] = {"ring_hash_experimental": {"requestHashHeader": SUBJECT}}
"""The policy of calls with the metadata `of_caller`: to the worker to which Envoy leads the caller, as both hash alike
(gRFC A42; gateway/envoy/configuration.py)."""


def channel(
    endpoint: Endpoint,
    policy: Mapping[str, Any] = ANY_WORKER,
    *,
    options: tuple[tuple[str, int], ...] = (),
    retries: Mapping[str, Any] | None = None,
) -> grpc.aio.Channel:
    """A channel to a service. `options` are gRPC's, `retries` is its `retryPolicy` for every method."""
    config: dict[str, Any] = {"loadBalancingConfig": [policy]}
    if retries:
        config["methodConfig"] = [{"name": [{}], "retryPolicy": retries}]
    chosen = (*_RECONNECT, *options, ("grpc.service_config", json.dumps(config)))
    return grpc.aio.insecure_channel(_target(endpoint.addresses), options=chosen)


def of_caller() -> tuple[tuple[str, str], ...]:
    """The metadata that names the current caller to the policy `CALLERS_WORKER`; none for one without a subject."""
    subject = caller.current().subject
    return ((SUBJECT, subject),) if subject.isascii() and subject.isprintable() and subject else ()


def _target(addresses: tuple[str, ...]) -> str:
    """The addresses as gRPC names them; a name (of a single worker) is resolved by it."""
    host, _ = address_parts(addresses[0])
    if not is_ip(host):
        return addresses[0]
    return f"{'ipv6' if ':' in host else 'ipv4'}:{','.join(addresses)}"
