"""Connects to a login node, hop by hop, and explains failures by the name of the hop."""

import logging
import os
import socket
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

import asyncssh
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHCertificate,
    load_ssh_public_identity,
)

from passerelle.runtime import background
from passerelle.runtime.config.site import Ssh, System
from passerelle.runtime.errors import ApiError, ConnectionFailed, DeadlineExceeded
from passerelle.runtime.metrics import SSH_CONNECTS
from passerelle.runtime.ssh.credential import SshCredential

log = logging.getLogger(__name__)

# aes128-gcm first: asyncssh prefers chacha20, which moves half as much (490 against 911 MB/s, measured).
_CIPHERS = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes256-ctr",
    "aes128-ctr",
)
# Bytes that a server may send in one packet, instead of asyncssh's 32 KiB: OpenSSH then sends what it has read at once.
_PACKET = 256 << 10
_FOREVER = 1 << 40  # seconds since the epoch
# asyncssh reads these variables and uses neither here. A container whose user has no name has neither.
_PLACEHOLDERS = {"LOGNAME": "passerelle", "HOME": "/nonexistent"}
_FORBIDDEN = asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED


class Outcome(StrEnum):
    """The outcome of an attempt to connect and log in."""

    OK = "ok"
    NO_ANSWER = "no_answer"
    UNREACHABLE = "unreachable"
    UNKNOWN_NAME = "unknown_name"
    NO_SSH = "no_ssh"
    HOST_KEY = "host_key"
    LOGIN_REFUSED = "login_refused"
    FORWARDING_REFUSED = "forwarding_refused"


_REFUSED = (Outcome.HOST_KEY, Outcome.LOGIN_REFUSED, Outcome.FORWARDING_REFUSED)


class LoginRefused(ConnectionFailed):
    """A key or a login was refused. Another attempt would fail alike, and sshd may penalise it."""


_Identity = asyncssh.SSHKey | tuple[asyncssh.SSHKey, asyncssh.SSHCertificate]
_NOBODY = "passerelle"  # the user in the server's log when only its key is read


@dataclass
class _Hop:
    """One SSH server on the way. `name` is its role; `shown_keys` are those of its keys that are not configured."""

    name: str
    host: str
    port: int
    shown_keys: list[str] = field(default_factory=list)
    connection: asyncssh.SSHClientConnection | None = None

    def client(self) -> asyncssh.SSHClient:
        """The client object for asyncssh, which records an unknown host key."""
        return _HostKeyRecorder(self)

    @property
    def shown(self) -> str:
        """The type and the fingerprint of the host key that it showed; `no key` without a connection."""
        key = self.connection.get_server_host_key() if self.connection else None
        return key_summary(key) if key else "no key"


class _HostKeyRecorder(asyncssh.SSHClient):
    def __init__(self, hop: _Hop) -> None:
        self._hop = hop

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        self._hop.connection = conn

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        self._hop.shown_keys.append(key_summary(key))
        return False


async def connect(
    system: System, credential: SshCredential, key: asyncssh.SSHKey
) -> tuple[asyncssh.SSHClientConnection, ...]:
    """The connections to the system: through the jump host, if there is one, which comes first.

    Raises ConnectionFailed (LoginRefused when another attempt is useless) or DeadlineExceeded, which name the hop; the
    cause is logged.
    """
    identity = _identity(credential, key)
    route: list[asyncssh.SSHClientConnection] = []
    try:
        for hop in _hops(system.ssh):
            tunnel = route[-1] if route else None
            # In the background, because a connection serves calls long after this one.
            opening = _open(system.ssh, hop, credential.username, identity, tunnel)
            route.append(await background.start(opening, system=system.name))
    except BaseException as error:
        for opened in route:
            opened.close()
        if isinstance(error, OSError | asyncssh.Error):
            raise _explained(system, hop, credential, error) from None
        raise
    SSH_CONNECTS.labels(system.name, Outcome.OK).inc()
    return tuple(route)


async def greet(system: System) -> str:
    """Connect to the first SSH server on the way without a login; returns its role, address and host key.

    Raises as `connect` does.
    """
    hop = _hops(system.ssh)[0]
    nobody = SshCredential(_NOBODY, "", "", None)
    try:
        (await _open(system.ssh, hop, _NOBODY, None, None)).close()
    except asyncssh.PermissionDenied:
        pass  # it has shown its host key, and asks for a login
    except (OSError, asyncssh.Error) as error:
        raise _explained(system, hop, nobody, error) from None
    return f"{hop.name} {hop.host}:{hop.port} shows {hop.shown}"


def _hops(settings: Ssh) -> list[_Hop]:
    hops = [_Hop("login node", settings.host, settings.port)]
    if settings.proxy_host is not None:
        hops.insert(0, _Hop("jump host", settings.proxy_host, settings.proxy_port))
    return hops


async def _open(
    settings: Ssh,
    hop: _Hop,
    username: str,
    identity: _Identity | None,
    tunnel: asyncssh.SSHClientConnection | None,
) -> asyncssh.SSHClientConnection:
    for variable, value in _PLACEHOLDERS.items():
        os.environ.setdefault(variable, value)
    return await asyncssh.connect(
        hop.host,
        hop.port,
        tunnel=tunnel or (),
        client_factory=hop.client,
        username=username,
        client_keys=[identity] if identity else None,
        known_hosts=_known_hosts(settings),
        # Nothing is read from the home of the account that serves.
        config=None,
        x509_trusted_certs=None,
        x509_trusted_cert_paths=None,
        agent_path=None,
        gss_host=None,
        preferred_auth="publickey",
        encryption_algs=_CIPHERS,
        compression_algs=None,
        max_pktsize=_PACKET,
        connect_timeout=settings.timeout.connection,
        login_timeout=settings.timeout.login,
        keepalive_interval=settings.timeout.keep_alive,
    )


def _explained(system: System, hop: _Hop, credential: SshCredential, error: Exception) -> ApiError:
    """The caller's error for a failed connection; the cause is logged, for the operator."""
    outcome, why, cause = _explanation(system, hop, credential, error)
    SSH_CONNECTS.labels(system.name, outcome).inc()
    log.warning(
        "cannot connect to the %s of system %s, %s:%d: %s",
        *(hop.name, system.name, hop.host, hop.port, cause),
    )
    if isinstance(error, TimeoutError):
        detail = (
            f"Connecting to system {system.name} took too long: its {hop.name} does not answer."
        )
        return DeadlineExceeded(detail)
    kind = LoginRefused if outcome in _REFUSED else ConnectionFailed
    return kind(
        f"Unable to establish SSH connection. System {system.name}: {why}.", system=system.name
    )


def _explanation(
    system: System, hop: _Hop, credential: SshCredential, error: Exception
) -> tuple[Outcome, str, str]:
    """The outcome for metrics, the reason for the caller, and the cause for the log."""
    text = str(error) or type(error).__name__
    silent = f"its {hop.name} does not answer"
    match error:
        case TimeoutError():
            return Outcome.NO_ANSWER, silent, "no answer in time"
        case asyncssh.HostKeyNotVerifiable():
            of = "its host key" if hop.name == "login node" else f"the host key of its {hop.name}"
            return Outcome.HOST_KEY, f"{of} is not the configured one", _keys(system.ssh, hop, text)
        case asyncssh.PermissionDenied():
            at = "" if hop.name == "login node" else f" by its {hop.name}"
            who = f"login of {credential.username} to {hop.host}:{hop.port} refused"
            cause = f"{who}; {credential_summary(credential)}; see sshd's log"
            return Outcome.LOGIN_REFUSED, f"the login was refused{at}", cause
        case asyncssh.ChannelOpenError() if error.code == _FORBIDDEN:
            why = "its jump host does not let us through to the login node"
            needs = "certificates need extensions: [port-forwarding], its sshd AllowTcpForwarding"
            at = f"{system.ssh.proxy_host}:{system.ssh.proxy_port}"
            cause = f"the jump host {at} refuses forwarding ({text}); {needs}"
            return Outcome.FORWARDING_REFUSED, why, cause
        case asyncssh.ChannelOpenError():
            return Outcome.UNREACHABLE, f"its {hop.name} cannot be reached from its jump host", text
        case socket.gaierror():
            return Outcome.UNKNOWN_NAME, f"the name of its {hop.name} does not resolve", text
        case ConnectionRefusedError():
            return Outcome.UNREACHABLE, f"its {hop.name} refuses connections", text
        case ConnectionResetError() | asyncssh.ProtocolError() | asyncssh.ConnectionLost():
            cause = f"{text}; is it an SSH server, and does it take more connections?"
            return Outcome.NO_SSH, f"its {hop.name} does not speak SSH with us", cause
    return Outcome.UNREACHABLE, silent, text


def _keys(settings: Ssh, hop: _Hop, text: str) -> str:
    """The host key that was shown, and those that are configured; `text` when none was shown."""
    if not hop.shown_keys:
        return text
    configured = [_fingerprint(line) for line in settings.host_keys]
    expected = ", ".join(configured) or str(settings.known_hosts or "none")
    return f"it showed {hop.shown_keys[-1]}; configured: {expected}"


def _fingerprint(line: str) -> str:
    """The fingerprint of a configured key, whose line may begin with a marker."""
    marker, _, rest = line.partition(" ") if line.startswith("@") else ("", "", line)
    return f"{marker} {key_summary(asyncssh.import_public_key(rest))}".strip()


def key_summary(key: asyncssh.SSHKey) -> str:
    """A key's type and fingerprint, as `ssh-keygen -l` and sshd's log write it."""
    return f"{key.get_algorithm()} {key.get_fingerprint()}"


def credential_summary(credential: SshCredential) -> str:
    """The values of a credential that sshd compares: with its TrustedUserCAKeys, its clock, and our address."""
    if not credential.certificate:
        return "a static key"
    certificate = load_ssh_public_identity(credential.certificate.encode())
    if not isinstance(certificate, SSHCertificate):
        return "a static key"
    authority = certificate.signature_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    principals = ", ".join(name.decode(errors="replace") for name in certificate.valid_principals)
    networks = certificate.critical_options.get(b"source-address", b"").decode(errors="replace")
    return (
        f"certificate serial {certificate.serial}, principal {principals}, "
        f"CA {key_summary(asyncssh.import_public_key(authority))}, "
        f"valid {_moment(certificate.valid_after)} to {_moment(certificate.valid_before)}"
        f"{f', from {networks} alone' if networks else ''}"
    )


def _moment(seconds: int) -> str:
    """A time of a certificate, which may be without an end (PROTOCOL.certkeys of OpenSSH)."""
    if seconds >= _FOREVER:
        return "forever"
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _identity(credential: SshCredential, key: asyncssh.SSHKey) -> _Identity:
    if credential.private_key:
        key = asyncssh.import_private_key(credential.private_key)
    if credential.certificate:
        return key, asyncssh.import_certificate(credential.certificate)
    return key


def _known_hosts(settings: Ssh) -> asyncssh.SSHKnownHosts | str | None:
    if settings.insecure_accept_any_host_key:
        return None
    if settings.known_hosts is not None:
        return str(settings.known_hosts)
    lines = []
    for key in settings.host_keys:
        marker, _, rest = key.partition(" ") if key.startswith("@") else ("", "", key)
        lines.append(f"{marker} * {rest}".strip())
    return asyncssh.import_known_hosts("\n".join(lines) + "\n")
