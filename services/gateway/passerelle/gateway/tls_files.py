"""Whether the public port's certificate and key can be served, and whom they serve."""

import ssl
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from passerelle.gateway.config import Tls
from passerelle.runtime.config.findings import Finding, exposed, note, unreadable, wrong
from passerelle.runtime.config.site import ConfigError

_SOON = timedelta(days=21)  # before its end a certificate is to be renewed; some live for 47 days


def require_pair(tls: Tls) -> None:
    """Raise ConfigError, naming the key, unless both files are there, readable, PEM, and belong together."""
    for found in _pair(tls):
        raise ConfigError(f"gateway.tls.{found.key[0]}: {found.text}")


def findings(tls: Tls, host_names: Sequence[str]) -> Iterator[Finding]:
    """What is wrong with the pair, and with the certificate for clients that call us by `host_names`."""
    faults = list(_pair(tls))
    yield from faults
    if faults:
        return
    if told := exposed(tls.key):
        yield note(told, "key")
    yield from _dates(_first(tls.cert))
    covered = names(tls.cert)
    for name in host_names:
        if not any(_covers(pattern, _host(name)) for pattern in covered):
            told = f"is for {', '.join(covered) or 'no name'}, not for {name} (`host_names`)"
            yield note(told, "cert")


def _pair(tls: Tls) -> Iterator[Finding]:
    absent = [(key, unreadable(getattr(tls, key))) for key in ("cert", "key")]
    for key, told in absent:
        if told:
            yield wrong(told, key)
    if any(told for _, told in absent):
        return
    try:
        x509.load_pem_x509_certificates(tls.cert.read_bytes())
    except ValueError:
        yield wrong(f"{tls.cert}: no certificates in PEM", "cert")
        return
    try:
        # An empty password, so that OpenSSL does not ask for one at a terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls.cert, tls.key, password="")
    except ssl.SSLError as error:
        yield wrong(f"{tls.key}: {_fault(error)}", "key")


def _fault(error: ssl.SSLError) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return "does not belong to the certificate in gateway.tls.cert"
    return "no private key in PEM, without a password"


def _dates(shown: x509.Certificate) -> Iterator[Finding]:
    now, begins, ends = datetime.now(UTC), shown.not_valid_before_utc, shown.not_valid_after_utc
    if now > ends:
        yield wrong(f"expired on {ends:%Y-%m-%d %H:%M} UTC: renew it", "cert")
    elif now < begins:
        yield wrong(f"is not valid before {begins:%Y-%m-%d %H:%M} UTC: compare the clock", "cert")
    elif ends - now < _SOON:
        yield note(f"expires on {ends:%Y-%m-%d %H:%M} UTC", "cert")


def names(certificate: Path) -> list[str]:
    """The host names and addresses that the certificate in a file is for."""
    try:
        found = (
            _first(certificate)
            .extensions.get_extension_for_class(x509.SubjectAlternativeName)
            .value
        )
    except x509.ExtensionNotFound:
        return []
    hosts = found.get_values_for_type(x509.DNSName)
    return [*hosts, *map(str, found.get_values_for_type(x509.IPAddress))]


def _first(certificate: Path) -> x509.Certificate:
    """The one that is shown for us; those after it are its authorities'."""
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
