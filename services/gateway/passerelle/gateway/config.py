"""The `gateway` section of the configuration file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Self

from pydantic import Field, field_validator, model_validator

from passerelle.runtime.config.addresses import ListenAddress, clashing, is_loopback
from passerelle.runtime.config.findings import Finding, SectionContext, note, problem
from passerelle.runtime.config.sections import Section

LEAST_BODY_LIMIT = 1 << 20
"""The limit of a request body, where it is no stream of file content and no job script, and the least for those, bytes.

Envoy reads a quarter of it at once (envoy/configuration.py)."""


class Tls(Section):
    """The public port's certificate. Without one, it speaks plain HTTP."""

    cert: Path
    """The certificate chain, PEM."""
    key: Path
    """Its private key, PEM."""


class Logs(Section):
    """The log files of `passerelle up`, one for each process, and the audit log."""

    directory: Path | None = None
    """Where they are; when unset, $LOGS_DIRECTORY (as systemd sets it), or else $XDG_STATE_HOME/passerelle/PORT/logs.
    """
    max_size: int = Field(default=32 << 20, ge=1024)
    """A file of about this size is moved away and a new one begun, bytes."""
    keep: int = Field(default=8, ge=1)
    """How many old files of each process are kept; older ones go."""
    keep_audit: int = Field(default=100, ge=1)
    """How many old files of the audit log are kept."""


class GatewaySection(Section):
    """Where Envoy listens, and its limits."""

    listen: ListenAddress = "127.0.0.1:8000"
    """host:port of the public REST and gRPC port."""
    tls: Tls | None = None
    """Certificate and key of the public port."""
    behind_tls_proxy: bool = False
    """A proxy in front terminates TLS, and only the proxy reaches this port, which then needs no `tls` off loopback."""
    insecure_plain_http: bool = False
    """DANGEROUS: let the public port be off loopback without TLS; tokens can be read on the network."""
    max_body: int = Field(default=8 << 20, ge=LEAST_BODY_LIMIT)
    """Largest request body that is no stream of file content, bytes."""
    max_requests: int = Field(default=2048, ge=1)
    """Requests at once to one service; more are answered 429."""
    max_connections: int = Field(default=10_000, ge=1)
    """Client connections at once; more are refused. No more than the process may have files open."""
    max_memory: int = Field(default=1 << 30, ge=1 << 20)
    """Size of Envoy's heap near which it answers 503 to new requests, bytes."""
    arrival_timeout: float = Field(default=10, gt=0)
    """Longest time for the first byte of a connection, for the TLS handshake, and for the headers of a request, s."""
    keep_alive: float = Field(default=75, gt=0)
    """A connection without a request is closed after this, s. Set it somewhat longer than a load balancer's own."""
    idle_timeout: float = Field(default=300, gt=0)
    """A request on which no data is sent or received is ended after this, s."""
    trusted_proxies: int = Field(default=0, ge=0)
    """How many proxies before the gateway add to `X-Forwarded-For`; the client's address is what the outermost of them
    saw. With 0 it is that of the connection, whatever a client writes."""
    host_names: tuple[str, ...] = ()
    """The names by which clients call the gateway, with the port where that is not the scheme's own (`hpc.example.org`,
    `*.example.org`); others are answered 421. With none, every name is taken."""
    access_log: bool = True
    """Log one JSON line per request to stderr, without query values."""
    logs: Logs = Logs()
    admin: ListenAddress | None = None
    """host:port of Envoy's admin interface and statistics; only loopback is accepted."""

    def findings(self, context: SectionContext) -> Iterator[Finding]:
        """See `Section.findings`."""
        taken = list(context.site.services.listen_addresses())
        for key in ("listen", "admin"):
            if (address := getattr(self, key)) and (other := clashing(address, taken)):
                yield problem(f"{address} is taken by {other}", key)
        if self.behind_tls_proxy and not self.tls and not is_loopback(self.listen):
            text = f"whoever reaches {self.listen} may come without TLS: let it be the proxy alone"
            yield note(text, "behind_tls_proxy")
        if self.tls:
            # Imported here: it needs a library that most processes do not.
            from passerelle.gateway import certificates

            findings = certificates.findings(self.tls, self.host_names)
            yield from (finding.below(("tls",)) for finding in findings)

    @model_validator(mode="after")
    def _encrypted(self) -> Self:
        allowed = self.tls or self.behind_tls_proxy or self.insecure_plain_http
        if not allowed and not is_loopback(self.listen):
            raise ValueError(
                f"{self.listen} without `tls`: tokens can be read on their way; give a certificate, or say "
                "`behind_tls_proxy: true` when TLS ends in front"
            )
        return self

    @field_validator("admin")
    @classmethod
    def _loopback(cls, admin: str | None) -> str | None:
        if admin is not None and not is_loopback(admin):
            raise ValueError("the admin interface can stop the gateway: only loopback is accepted")
        return admin
