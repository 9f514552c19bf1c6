"""The `services` section of the configuration file: the services' addresses, and the settings that they share."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from passerelle.runtime.config.addresses import (
    Address,
    address_parts,
    clashing,
    is_ip,
    is_loopback,
    later_port,
)
from passerelle.runtime.config.findings import Finding, SectionContext, account, problem
from passerelle.runtime.config.sections import Secret, Section

SERVICES = ("auth", "compute", "storage", "gateway")
"""The services that every site has, each with its addresses here."""

_MIN_SECRET = 32  # characters of the services' secret


class Endpoint(Section):
    """The addresses of one service."""

    address: Address | None = None
    """host:port where the other services and Envoy reach it; `passerelle up` finds a free port when it is unset."""
    listen: Address | None = None
    """host:port to bind, when it differs from `address`."""
    metrics: Address | None = None
    """host:port for Prometheus metrics over HTTP; none when unset."""
    workers: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """How many processes of it share the callers, each of whom stays with one. They are numbered from 0; number K has
    the ports K above those configured here. With `auto`, 1; but where none of its ports is configured, `passerelle up`
    chooses by the machine's cores."""

    @property
    def count(self) -> int:
        """How many workers it has; 1 for `auto`."""
        return 1 if self.workers == "auto" else self.workers

    @property
    def bind(self) -> str:
        """host:port that worker 0 listens on; empty when none is configured."""
        return self.listen or self.address or ""

    @property
    def addresses(self) -> tuple[str, ...]:
        """host:port of every worker, in their order; none when `address` is not configured."""
        first = self.address
        return tuple(later_port(first, worker) for worker in range(self.count)) if first else ()

    def worker(self, number: int) -> Self:
        """The addresses of one worker."""
        own = {
            key: later_port(first, number)
            for key in ("address", "listen", "metrics")
            if (first := getattr(self, key))
        }
        return self.model_copy(update={**own, "workers": 1})

    def listen_addresses(self, key: str) -> Iterator[tuple[str, str]]:
        """The key, below `key`, and host:port of everything that the service listens on, in all its workers."""
        for worker in map(self.worker, range(self.count)):
            if worker.bind:
                yield f"{key}.{'listen' if self.listen else 'address'}", worker.bind
            if worker.metrics:
                yield f"{key}.metrics", worker.metrics

    @model_validator(mode="after")
    def _places_for_all(self) -> Self:
        if self.count == 1:
            return self
        for key in ("address", "listen", "metrics"):
            host, port = address_parts(getattr(self, key) or "127.0.0.1:1")
            if not 0 < port <= 65536 - self.count:
                raise ValueError(f"{key}: {self.count} workers need as many ports, from {port} on")
            if key == "address" and not is_ip(host):
                raise ValueError(f"{key}: several workers are reached by an IP address, not a name")
        return self


class Services(Section):
    """The addresses of the services, and the secret that they share. `passerelle up` fills in what is missing."""

    auth: Endpoint | None = None
    compute: Endpoint | None = None
    storage: Endpoint | None = None
    gateway: Endpoint | None = None
    secret: Secret | None = None
    """Shared by all services of this deployment; at least 32 characters, as `openssl rand -base64 32` makes them."""
    insecure_plain_text: bool = False
    """DANGEROUS: let services listen off loopback. What they tell each other, tokens and keys, is not encrypted: for a
    network that only they are on."""
    insecure_metrics: bool = False
    """Let metrics be read off loopback, by everybody who reaches their ports."""
    reflection: bool = False
    """Let everybody who reaches a service's own port read which methods it has (gRPC reflection), for tools such as
    grpcurl."""
    audit_log: Path | None = None
    """The file to which the audit log is appended, by all services of this host; when unset, its lines stand among the
    other logs."""
    request_timeout: float = Field(default=60, gt=0)
    """Longest time for a call without streams, s."""
    open_calls_per_user: int | None = Field(default=1000, ge=1)
    """Calls of one user that one worker of a service serves at once; more are answered 429. Less than
    `gateway.max_requests`, so that nobody has all of those."""
    calls_per_user: float | None = Field(default=2000, gt=0)
    """Calls of one user (`sub`) that it begins a second, ten times as many at once; more are answered 429."""
    calls_per_client: float | None = Field(default=None, gt=0)
    """The same for one OAuth client (`azp`), of all its users."""
    auth_cache: float = Field(default=5, ge=0, le=60)
    """How long a service trusts auth's answer about a token, s."""
    upload_grace: float = Field(default=5, ge=0, le=3600)
    """How long content goes on arriving after its caller's token has expired, s; then the upload ends with 401. What
    needs longer is uploaded in pieces, each with a token that is valid then."""
    answer_grace: float = Field(default=43200, ge=0, le=604800)
    """How long a stream of answers to one request (a download, a copy, a transfer) goes on after its caller's token has
    expired, s."""

    @field_validator("secret")
    @classmethod
    def _strong(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and len(secret.get_secret_value()) < _MIN_SECRET:
            raise ValueError(
                f"at least {_MIN_SECRET} characters, as `openssl rand -base64 32` makes them"
            )
        return secret

    @model_validator(mode="after")
    def _private(self) -> Self:
        for name in SERVICES:
            endpoint: Endpoint | None = getattr(self, name)
            if endpoint is None:
                continue
            if endpoint.bind and not is_loopback(endpoint.bind) and not self.insecure_plain_text:
                raise ValueError(
                    f"{name} listens on {endpoint.bind}: off loopback it needs `insecure_plain_text: true`"
                )
            if endpoint.metrics and not is_loopback(endpoint.metrics) and not self.insecure_metrics:
                raise ValueError(
                    f"{name}'s metrics are on {endpoint.metrics}: off loopback they need `insecure_metrics: true`"
                )
        return self

    def listen_addresses(self) -> Iterator[tuple[str, str]]:
        """The key and host:port of everything that the services listen on."""
        for name in SERVICES:
            endpoint: Endpoint | None = getattr(self, name)
            if endpoint is not None:
                yield from endpoint.listen_addresses(f"services.{name}")

    def findings(self, context: SectionContext) -> Iterator[Finding]:
        """See `Section.findings`."""
        if self.audit_log and not os.access(self.audit_log.parent, os.W_OK | os.X_OK):
            text = (
                f"{self.audit_log.parent} is no directory that {account(os.geteuid())} may write to"
            )
            yield problem(text, "audit_log")
        taken: list[tuple[str, str]] = []
        for key, address in self.listen_addresses():
            if other := clashing(address, taken):
                yield problem(f"{address} is taken by {other}", *key.split(".")[1:])
            taken.append((key, address))

    def endpoint(self, name: str) -> Endpoint:
        """The addresses of the service `name`; LookupError when it is not configured where it is reached."""
        endpoint: Endpoint | None = getattr(self, name)
        if endpoint is None or endpoint.address is None:
            raise LookupError(f"services.{name}.address must be configured")
        return endpoint

    def workers(self, name: str) -> int:
        """How many workers the process `name` of a site has: 1, unless it is a service."""
        endpoint: Endpoint | None = getattr(self, name) if name in SERVICES else None
        return endpoint.count if endpoint else 1

    def of_worker(self, name: str, number: int) -> Self:
        """The section as one worker of a service reads it: the service's addresses are those of this worker."""
        endpoint: Endpoint | None = getattr(self, name) if name in SERVICES else None
        return self.model_copy(update={name: endpoint.worker(number)}) if endpoint else self
