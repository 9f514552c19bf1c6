"""Checks the certificate and the key of the public port, and the host names that the certificate is for."""

import ssl
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from passerelle.gateway.config import Tls
from passerelle.runtime.config.findings import Finding, exposed, note, problem, unreadable
from passerelle.runtime.config.site import ConfigError

_SOON = timedelta(days=21)  # before its end a certificate is to be renewed; some live for 47 days


def require_pair(tls: Tls) -> None:
    """Raise ConfigError, naming the key, unless both files are there, readable, PEM, and belong together."""
    for finding in _pair_findings(tls):
        raise ConfigError(f"gateway.tls.{finding.key[0]}: {finding.text}")


def findings(tls: Tls, host_names: Sequence[str]) -> Iterator[Finding]:
    """The faults of the pair, and of the certificate for clients that call the gateway by `host_names`."""
    faults = list(_pair_findings(tls))
    yield from faults
    if faults:
        return
    if reason := exposed(tls.key):
        yield note(reason, "key")
    yield from _date_findings(_leaf(tls.cert))
    covered = covered_names(tls.cert)
    for name in host_names:
        if not any(_covers(pattern, _host(name)) for pattern in covered):
            text = f"is for {', '.join(covered) or 'no name'}, not for {name} (`host_names`)"
            yield note(text, "cert")


def _pair_findings(tls: Tls) -> Iterator[Finding]:
    reasons = {key: unreadable(getattr(tls, key)) for key in ("cert", "key")}
    for key, reason in reasons.items():
        if reason:
            yield problem(reason, key)
    if any(reasons.values()):
        return
    try:
        x509.load_pem_x509_certificates(tls.cert.read_bytes())
    except ValueError:
        yield problem(f"{tls.cert}: no certificates in PEM", "cert")
        return
    try:
        # An empty password, so that OpenSSL does not ask for one at a terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls.cert, tls.key, password="")
    except ssl.SSLError as error:
        yield problem(f"{tls.key}: {_fault(error)}", "key")


def _fault(error: ssl.SSLError) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return "does not belong to the certificate in gateway.tls.cert"
    return "no private key in PEM, without a password"


def _date_findings(certificate: x509.Certificate) -> Iterator[Finding]:
    now, begins, ends = (
        datetime.now(UTC),
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
    )
    if now > ends:
        yield problem(f"expired on {ends:%Y-%m-%d %H:%M} UTC: renew it", "cert")
    elif now < begins:
        yield problem(f"is not valid before {begins:%Y-%m-%d %H:%M} UTC: compare the clock", "cert")
    elif ends - now < _SOON:
        yield note(f"expires on {ends:%Y-%m-%d %H:%M} UTC", "cert")


def covered_names(certificate: Path) -> list[str]:
    """The host names and addresses that the certificate in a file is for."""
    try:
        names = (
            _leaf(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        )
    except x509.ExtensionNotFound:
        return []
    hosts = names.get_values_for_type(x509.DNSName)
    return [*hosts, *map(str, names.get_values_for_type(x509.IPAddress))]


def _leaf(certificate: Path) -> x509.Certificate:
    """The server's own certificate, the first in the file; those after it are of its authorities."""
    return x509.load_pem_x509_certificates(certificate.read_bytes())[0]


def _host(name: str) -> str:
    """A host name without its port."""
    host, colon, port = name.rpartition(":")
    return (host if colon and port.isdecimal() else name).strip("[]").lower()


def _covers(pattern: str, host: str) -> bool:
    """RFC 6125 §6.4: `*` stands for one whole label, the first."""
    pattern = pattern.lower()
    return pattern == host or (
        pattern.startswith("*.") and pattern[1:] == host[host.find(".") :] and "." in host
    )
