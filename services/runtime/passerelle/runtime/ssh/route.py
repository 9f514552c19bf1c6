"""The way to a login node, hop by hop; what goes wrong on it is told by the hop's name."""

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
_FOREVER = 1 << 40  # seconds since the epoch
# asyncssh asks who serves and where its home is, and uses neither here; a container that runs as a number has neither.
_WANTED = {"LOGNAME": "passerelle", "HOME": "/nonexistent"}
_FORBIDDEN = asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED


class Outcome(StrEnum):
    """What became of an attempt to connect and log in."""

    OK = "ok"
    NO_ANSWER = "no_answer"
    UNREACHABLE = "unreachable"
    UNKNOWN_NAME = "unknown_name"
    NO_SSH = "no_ssh"
    HOST_KEY = "host_key"
    LOGIN_REFUSED = "login_refused"
    FORWARDING_REFUSED = "forwarding_refused"


_BARRED = (Outcome.HOST_KEY, Outcome.LOGIN_REFUSED, Outcome.FORWARDING_REFUSED)


class NotLetIn(ConnectionFailed):
    """A key or a login is refused: another attempt at once fails alike, and sshd may count it against us."""


_Identity = asyncssh.SSHKey | tuple[asyncssh.SSHKey, asyncssh.SSHCertificate]
_NOBODY = "passerelle"  # who greets, in the server's log


@dataclass
class _Hop:
    """One SSH server on the way: `name` is what it is, `seen` the key that it showed and that is not configured."""

    name: str
    host: str
    port: int
    seen: list[str] = field(default_factory=list)
    met: asyncssh.SSHClientConnection | None = None

    def client(self) -> asyncssh.SSHClient:
        """What asyncssh tells of the connection, which remembers an unknown host key."""
        return _Watching(self)

    @property
    def shown(self) -> str:
        """The key that it showed, and that is configured."""
        key = self.met.get_server_host_key() if self.met else None
        return shown_key(key) if key else "no key"


class _Watching(asyncssh.SSHClient):
    def __init__(self, hop: _Hop) -> None:
        self._hop = hop

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        self._hop.met = conn

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        self._hop.seen.append(shown_key(key))
        return False


async def connect(
    system: System, credential: SshCredential, key: asyncssh.SSHKey
) -> tuple[asyncssh.SSHClientConnection, ...]:
    """The connections to the system: through the jump host, if there is one, which comes first.

    Raises ConnectionFailed (NotLetIn when asking again is in vain) or DeadlineExceeded, which name the hop; the log has
    the cause, once.
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
    """Reach the first SSH server on the way, and look at its key, without a login: what it is and showed.

    Raises as `connect` does.
    """
    hop = _hops(system.ssh)[0]
    nobody = SshCredential(_NOBODY, "", "", None)
    try:
        (await _open(system.ssh, hop, _NOBODY, None, None)).close()
    except asyncssh.PermissionDenied:
        pass  # it has shown its key, and asks for one of ours
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
    for variable, value in _WANTED.items():
        os.environ.setdefault(variable, value)
    return await asyncssh.connect(
        hop.host,
        hop.port,
        tunnel=tunnel or (),
        client_factory=hop.client,
        username=username,
        client_keys=[identity] if identity else None,
        known_hosts=_known_hosts(settings),
        # Nothing in the home of the account that serves counts, and it need not be readable.
        config=None,
        x509_trusted_certs=None,
        x509_trusted_cert_paths=None,
        agent_path=None,
        gss_host=None,
        preferred_auth="publickey",
        encryption_algs=_CIPHERS,
        compression_algs=None,
        connect_timeout=settings.timeout.connection,
        login_timeout=settings.timeout.login,
        keepalive_interval=settings.timeout.keep_alive,
    )


def _explained(system: System, hop: _Hop, credential: SshCredential, error: Exception) -> ApiError:
    """What a failed connection means to the caller; an operator finds in the log what to mend."""
    outcome, why, cause = _why(system, hop, credential, error)
    SSH_CONNECTS.labels(system.name, outcome).inc()
    log.warning(
        "cannot connect to the %s of system %s, %s:%d: %s",
        *(hop.name, system.name, hop.host, hop.port, cause),
    )
    if isinstance(error, TimeoutError):
        told = f"Connecting to system {system.name} took too long: its {hop.name} does not answer."
        return DeadlineExceeded(told)
    kind = NotLetIn if outcome in _BARRED else ConnectionFailed
    return kind(
        f"Unable to establish SSH connection. System {system.name}: {why}.", system=system.name
    )


def _why(
    system: System, hop: _Hop, credential: SshCredential, error: Exception
) -> tuple[Outcome, str, str]:
    """For metrics; for the caller; and for the log."""
    told = str(error) or type(error).__name__
    silent = f"its {hop.name} does not answer"
    match error:
        case TimeoutError():
            return Outcome.NO_ANSWER, silent, "no answer in time"
        case asyncssh.HostKeyNotVerifiable():
            of = "its host key" if hop.name == "login node" else f"the host key of its {hop.name}"
            return Outcome.HOST_KEY, f"{of} is not the configured one", _keys(system.ssh, hop, told)
        case asyncssh.PermissionDenied():
            at = "" if hop.name == "login node" else f" by its {hop.name}"
            who = f"login of {credential.username} to {hop.host}:{hop.port} refused"
            cause = f"{who}; {shown_credential(credential)}; see sshd's log"
            return Outcome.LOGIN_REFUSED, f"the login was refused{at}", cause
        case asyncssh.ChannelOpenError() if error.code == _FORBIDDEN:
            why = "its jump host does not let us through to the login node"
            needs = "certificates need extensions: [port-forwarding], its sshd AllowTcpForwarding"
            at = f"{system.ssh.proxy_host}:{system.ssh.proxy_port}"
            cause = f"the jump host {at} refuses forwarding ({told}); {needs}"
            return Outcome.FORWARDING_REFUSED, why, cause
        case asyncssh.ChannelOpenError():
            return Outcome.UNREACHABLE, f"its {hop.name} cannot be reached from its jump host", told
        case socket.gaierror():
            return Outcome.UNKNOWN_NAME, f"the name of its {hop.name} does not resolve", told
        case ConnectionRefusedError():
            return Outcome.UNREACHABLE, f"its {hop.name} refuses connections", told
        case ConnectionResetError() | asyncssh.ProtocolError() | asyncssh.ConnectionLost():
            cause = f"{told}; is it an SSH server, and does it take more connections?"
            return Outcome.NO_SSH, f"its {hop.name} does not speak SSH with us", cause
    return Outcome.UNREACHABLE, silent, told


def _keys(settings: Ssh, hop: _Hop, told: str) -> str:
    if not hop.seen:
        return told
    configured = [_fingerprint(line) for line in settings.host_keys]
    known = ", ".join(configured) or str(settings.known_hosts or "none")
    return f"it showed {hop.seen[-1]}; configured: {known}"


def _fingerprint(line: str) -> str:
    """That of a configured key, whose line may begin with a marker."""
    marker, _, rest = line.partition(" ") if line.startswith("@") else ("", "", line)
    return f"{marker} {shown_key(asyncssh.import_public_key(rest))}".strip()


def shown_key(key: asyncssh.SSHKey) -> str:
    """A key's type and fingerprint, as `ssh-keygen -l` and sshd's log write it."""
    return f"{key.get_algorithm()} {key.get_fingerprint()}"


def shown_credential(credential: SshCredential) -> str:
    """What sshd was shown, to compare with its TrustedUserCAKeys, its clock, and where it sees us."""
    if not credential.certificate:
        return "a static key"
    found = load_ssh_public_identity(credential.certificate.encode())
    if not isinstance(found, SSHCertificate):
        return "a static key"
    authority = found.signature_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    principals = ", ".join(name.decode(errors="replace") for name in found.valid_principals)
    networks = found.critical_options.get(b"source-address", b"").decode(errors="replace")
    return (
        f"certificate serial {found.serial}, principal {principals}, "
        f"CA {shown_key(asyncssh.import_public_key(authority))}, "
        f"valid {_moment(found.valid_after)} to {_moment(found.valid_before)}"
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
