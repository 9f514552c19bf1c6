"""The embedded default: a site for a machine that has no identity provider and no HPC system.

Its state directory keeps what must not change between two starts: keys, the secret of the client, and its own
configuration file (for `passerelle token`). Jobs and files are on the system itself.
"""

import json
import os
import pwd
import secrets
from importlib.resources import files
from pathlib import Path
from string import Template

from passerelle.cli.up.logs import state_directory
from passerelle.cli.up.site_file import FreePorts, is_free, write_private
from passerelle.runtime.config.site import ConfigError, Ssh

PORT = 8000
"""The gateway's port when nothing names another."""

_SITE = "site.yaml"


def existing(port: int) -> Path:
    """The configuration file of the embedded default on that port; ConfigError when it never ran there."""
    path = state_directory(port) / _SITE
    if path.exists():
        return path
    hint = running_elsewhere(port)
    raise ConfigError(
        f"the embedded default never ran on port {port}"
        + (hint or ": start it with `passerelle up`")
    )


def running_elsewhere(port: int) -> str:
    """The end of an error message about `port`: on which ports an embedded default runs; empty for none."""
    states = state_directory(port).parent.glob(f"*/{_SITE}")
    ports = sorted(int(path.parent.name) for path in states if path.parent.name.isdecimal())
    running = [str(other) for other in ports if other != port and not is_free(other)]
    if not running:
        return ""
    return f"; one runs on port {', '.join(running)}: set PASSERELLE_PORT={running[0]}"


def prepare(port: int) -> Path:
    """Write the configuration of the embedded default on `port`, with the keys it names; returns its path."""
    state = state_directory(port)
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    state.chmod(0o700)
    path = state / _SITE
    write_private(path, _text(port, state))
    return path


def _text(port: int, state: Path) -> str:
    ports = FreePorts(f"embedded {port}")
    user = _username()
    values = {
        "ca_key_file": state / "ca_key",
        "ca_key": _public_key(state / "ca_key"),
        "host_key_file": state / "host_key",
        "host_key": _public_key(state / "host_key"),
        "issuer_key_file": state / "issuer_key",
        "secret_file": f"secret_file:{_secret_file(state / 'client_secret')}",
        "home": Path.home(),
        "username": user,
        "allow_root": user == "root",
        "least_uid": min(os.getuid(), Ssh.model_fields["least_uid"].default),
        "sshd": f"127.0.0.1:{(sshd_port := ports.first_of(1))}",
        "sshd_port": sshd_port,
        "issuer_address": (issuer := f"127.0.0.1:{ports.first_of(1)}"),
        "issuer": f"http://{issuer}",
        "token_url": f"http://{issuer}/token",
        "listen": f"127.0.0.1:{port}",
    }
    template = Template((files(__package__) / "embedded.yaml").read_text())
    # JSON is YAML: whatever characters a path or a name has, it stays one scalar.
    return template.substitute(
        {name: json.dumps(value, default=str) for name, value in values.items()}
    )


def _public_key(path: Path) -> str:
    """The public half of the private key in `path`, which is made when absent; as `ssh-ed25519 AAAA...`."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if not path.exists():
        private = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.OpenSSH,
            serialization.NoEncryption(),
        )
        write_private(path, private.decode())
    key = serialization.load_ssh_private_key(path.read_bytes(), password=None)
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return public.decode()


def _secret_file(path: Path) -> Path:
    if not path.exists():
        write_private(path, secrets.token_urlsafe(24))
    return path


def _username() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container that runs as a number
        return os.environ.get("USER") or f"user{os.getuid()}"
