"""`passerelle config check` reads what a configuration names, and notes what it will not do."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncssh
import pytest
import yaml

from passerelle.cli.check.file_check import FileReport, check
from tests.certificates import certificate

HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAvzTexvGmIF6ZYmpt0sZZw9vRPJlfwiDQCbibanRRkN"
Site = dict[str, Any]


def made_key(path: Path, passphrase: str | None = None) -> asyncssh.SSHKey:
    """A private key in a file that nobody else may read."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    path.write_bytes(key.export_private_key("pkcs8-pem", passphrase=passphrase))
    path.chmod(0o600)
    return key


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site without anything to note, whose files are in `tmp_path`."""
    made_key(tmp_path / "ca")
    (tmp_path / "secret").write_text("hush\n")
    (tmp_path / "secret").chmod(0o600)
    shown = certificate(["hpc.example.org", "*.api.example.org"])
    (tmp_path / "cert.pem").write_bytes(shown.pem)
    (tmp_path / "key.pem").write_bytes(shown.key())
    (tmp_path / "key.pem").chmod(0o600)
    account = {
        "token_url": "https://idp.example.org/token",
        "client_id": "probe",
        "client_secret": f"secret_file:{tmp_path / 'secret'}",
    }
    return {
        "systems": [
            {
                "name": "daint",
                "ssh": {"host": "login.example.org", "host_keys": [HOST_KEY]},
                "scheduler": {"type": "slurm"},
                "filesystems": [{"path": "/home", "data_type": "users", "default_work_dir": True}],
                "probing": {"service_account": account},
            }
        ],
        "auth": {
            "issuers": [{"issuer": "https://idp.example.org", "audience": ["passerelle"]}],
            "enforce_scopes": True,
            "ssh_credentials": {"type": "ca", "options": {"key_file": str(tmp_path / "ca")}},
        },
        "gateway": {
            "listen": "0.0.0.0:443",
            "host_names": ["hpc.example.org", "eiger.api.example.org:443"],
            "tls": {"cert": str(tmp_path / "cert.pem"), "key": str(tmp_path / "key.pem")},
        },
    }


def checked(directory: Path, site: Site) -> FileReport:
    """What is said about a site, in `directory`/site.yaml."""
    path = directory / "site.yaml"
    path.write_text(yaml.safe_dump(site, sort_keys=False))
    path.chmod(0o644)
    return check(path)


def changed(site: Site, key: str, value: Any) -> None:
    """Set what stands at a key, whose parts are divided by dots."""
    *way, last = key.split(".")
    for part in way:
        site = site[int(part)] if isinstance(site, list) else site.setdefault(part, {})
    site[last] = value


def test_a_good_site_has_nothing_to_note(tmp_path: Path, site: Site) -> None:
    assert checked(tmp_path, site) == FileReport([], [])


def without_lines(directory: Path, lines: list[str]) -> list[str]:
    """The lines, without the file's name and the line's number."""
    start = f"{directory / 'site.yaml'}:"
    assert all(line.startswith(start) for line in lines)
    return [line.removeprefix(start).partition(": ")[2] for line in lines]


def _directory(at: Path) -> None:
    at.unlink()
    at.mkdir()


def _public(at: Path) -> None:
    at.write_bytes(asyncssh.generate_private_key("ssh-ed25519").export_public_key())
    at.chmod(0o644)


def _empty(at: Path) -> None:
    at.write_text("\n")


def _nonsense(at: Path) -> None:
    at.write_text("hello")


def _others(at: Path) -> None:
    at.chmod(0o640)


def _encrypted(at: Path) -> None:
    made_key(at, "open")


def _other_key(at: Path) -> None:
    at.write_bytes(certificate().key())


CERT, KEY = "gateway.tls.cert: {at}", "gateway.tls.key: {at}"
CA = "auth.ssh_credentials.options.key_file: {at}"
SECRET = "systems.0 (daint).probing.service_account.client_secret: {at}"


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("cert.pem", Path.unlink, f"{CERT}: No such file or directory"),
        ("cert.pem", _directory, f"{CERT}: Is a directory"),
        ("cert.pem", _nonsense, f"{CERT}: no certificates in PEM"),
        ("key.pem", Path.unlink, f"{KEY}: No such file or directory"),
        ("key.pem", _nonsense, f"{KEY}: no private key in PEM, without a password"),
        ("key.pem", _other_key, f"{KEY}: does not belong to the certificate in gateway.tls.cert"),
        ("ca", Path.unlink, f"{CA}: No such file or directory"),
        ("ca", _others, f"{CA}: others may read this private key (mode 0640): chmod 600 it"),
        ("ca", _public, f"{CA}: this is a public key; key_file is the private one"),
        ("ca", _encrypted, f"{CA}: the key is encrypted: give its `passphrase`"),
        ("ca", _nonsense, f"{CA}: no private key of OpenSSH's or PEM: Invalid private key"),
        ("secret", Path.unlink, f"{SECRET}: No such file or directory"),
        ("secret", _empty, f"{SECRET}: the secret is empty"),
    ],
)
def test_a_file_that_cannot_work(
    tmp_path: Path, site: Site, name: str, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(tmp_path / name)
    results = checked(tmp_path, site)
    assert without_lines(tmp_path, results.errors) == [message.format(at=tmp_path / name)]


@pytest.mark.parametrize(
    ("begins", "ends", "message"),
    [
        (-2, -1, r"gateway.tls.cert: expired on \d{4}-\d\d-\d\d \d\d:\d\d UTC: renew it"),
        (1, 2, r"gateway.tls.cert: is not valid before .* UTC: compare the clock"),
    ],
)
def test_a_certificate_out_of_its_time(
    tmp_path: Path, site: Site, begins: float, ends: float, message: str
) -> None:
    _show(tmp_path, ["hpc.example.org", "eiger.api.example.org"], begins, ends)
    (line,) = checked(tmp_path, site).errors
    assert re.search(message, line)


def _show(at: Path, names: list[str], begins: float = -1, ends: float = 365) -> None:
    shown = certificate(names, begins=begins, ends=ends)
    (at / "cert.pem").write_bytes(shown.pem)
    (at / "key.pem").write_bytes(shown.key())


def test_a_certificate_that_ends_soon_or_is_for_others(tmp_path: Path, site: Site) -> None:
    _show(tmp_path, ["*.example.org"], ends=5)
    results = checked(tmp_path, site)
    soon, name = without_lines(tmp_path, results.notes)
    assert results.errors == []
    assert soon.startswith("gateway.tls.cert: expires on ")
    assert name == (
        "gateway.tls.cert: is for *.example.org, not for eiger.api.example.org:443 (`host_names`)"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another account")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ca", "auth.ssh_credentials.options.key_file: {at}/ca: belongs to 54321, but "),
        ("secret", "systems.0 (daint).probing.service_account.client_secret: {at}/secret: belongs"),
        ("key.pem", "gateway.tls.key: {at}/key.pem: belongs to 54321, but "),
    ],
)
def test_a_file_of_another_account(tmp_path: Path, site: Site, name: str, message: str) -> None:
    os.chown(tmp_path / name, 54321, 54321)
    results = checked(tmp_path, site)
    (line,) = without_lines(tmp_path, results.errors + results.notes)
    assert line.startswith(message.format(at=tmp_path))
    assert line.endswith("passerelle runs as root: chown root it")
    assert bool(results.errors) is (name == "ca")  # which auth itself refuses


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("systems.0.ssh.host_keys", ["ssh-ed25519 AAAAbad"], "ssh.host_keys.0: not an OpenSSH"),
        ("systems.0.ssh.host_keys", [HOST_KEY, HOST_KEY[:-4]], "ssh.host_keys.1: not an OpenSSH"),
        ("systems.0.ssh.host_keys", ["SHA256:abc"], "ssh.host_keys.0: not an OpenSSH public key"),
        (
            "systems.0.ssh.host_keys",
            [f"login.example.org {HOST_KEY}"],
            "ssh.host_keys.0: begins with a host name; leave login.example.org away",
        ),
        ("systems.0.ssh.known_hosts", "/nowhere", "ssh.known_hosts: /nowhere: No such file"),
        ("systems.0.scheduler.type", "slrum", "scheduler.type: no plugin 'slrum'; did you mean slurm?; installed: "),
        ("systems.0.scheduler.options", {"historycache_seconds": 1}, "did you mean history_cache_seconds?"),
        ("auth.ssh_credentials", {"type": "keys", "options": {"users": {"bob": {"private_kye": "env:HOME"}}}},
         "auth.ssh_credentials.options.users.bob.private_kye: unknown key; did you mean private_key?"),
        ("systems.0.name", "Daint", "systems.0 (Daint).name: lower-case letters"),
        ("systems.0.ssh.host", "login.example.org:22", "ssh.host: a host's name or address and no more"),
        ("systems.0.ssh.proxy_host", "me@jump", "ssh.proxy_host: a host's name or address and no more"),
        ("systems.0.probing.service_account.token_url", "idp/token", "token_url: not a URL with a host, such as"),
        ("auth.issuers.0.issuer", "idp.example.org", "auth.issuers.0.issuer: not a URL with a host"),
        ("gateway.listen", "localhost:8000", "gateway.listen: Envoy listens on addresses, not on names: write"),
        ("gateway.listen", "8000", "gateway.listen: Envoy listens on addresses, not on names: write 127.0.0.1:8000"),
        ("gateway.listen", "127.0.0.1", "gateway.listen: not host:port, such as 127.0.0.1:8000"),
        ("gateway.listen", "::1:8000", "gateway.listen: not host:port, such as 127.0.0.1:8000 or [::1]:8000"),
        ("services.auth", {"address": "127.0.0.1:"}, "services.auth.address: not host:port"),
        ("services.auth", {"address": "127.0.0.1:443"}, "listen: 0.0.0.0:443 is taken by services.auth.address"),
        (
            "services.auth",
            {"address": "127.0.0.1:8101", "metrics": "127.0.0.1:8101"},
            "services.auth.metrics: 127.0.0.1:8101 is taken by services.auth.address",
        ),
        (
            "services.auth",
            {"address": "127.0.0.1:8101", "metrics": "127.0.0.1:8102", "workers": 2},
            "services.auth.address: 127.0.0.1:8102 is taken by services.auth.metrics",
        ),
        ("systems.0.ssh", "login", "systems.0 (daint).ssh: must be a section with keys of its own"),
        ("auth.issuers.0.jwks_uri", "file:///nowhere", "auth.issuers.0.jwks_uri: /nowhere: No such"),
        ("auth.issuers.0.jwks_uri", "keys.json", "an https://, http:// or file:// URL"),
        ("services.audit_log", "/nowhere/audit.log", "services.audit_log: /nowhere is no directory"),
        (
            "auth.ssh_credentials.options.extensions",
            ["port_forwarding"],
            "options.extensions.0: one of pty, port-forwarding, agent-forwarding, x11-forwarding, user-rc",
        ),
    ],
)  # fmt: skip
def test_a_value_that_cannot_work(
    tmp_path: Path, site: Site, key: str, value: Any, message: str
) -> None:
    changed(site, key, value)
    lines = without_lines(tmp_path, checked(tmp_path, site).errors)
    assert [line for line in lines if message in line]
    assert not [line for line in lines if "Value error" in line]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("auth.enforce_scopes", False, "auth.enforce_scopes: false, so that every token"),
        ("services.reflection", True, "services.reflection: Let everybody who reaches"),
        ("systems.0.check_links", False, "systems.0 (daint).check_links: links may lead out"),
        ("gateway", {"listen": "0.0.0.0:80", "behind_tls_proxy": True},
         "gateway.behind_tls_proxy: whoever reaches 0.0.0.0:80 may come without TLS"),
        ("auth.issuers.0.allow_root", True, "auth.issuers.0.allow_root: "),
        ("systems.0.ssh.proxy_host", "jump", "auth.ssh_credentials.options.extensions: without port-forwarding no "
         "certificate passes the jump host of daint"),
        ("systems.0.scheduler.type", "local", "systems.0 (daint).scheduler: its jobs run on the login node"),
        ("systems.0.probing.service_account.client_secret", "hush", "client_secret: stands in this file; better"),
        ("systems.0.ssh.insecure_accept_any_host_key", True, "insecure_accept_any_host_key: DANGEROUS"),
        ("systems.0.ssh.host_keys", [], "systems.0 (daint).ssh: no host_keys and no known_hosts"),
        ("systems", [], "systems: there is none"),
        ("systems.0.data_operation.staging", [{"type": "s3", "options": {
            "private_url": "http://s3.example.org", "access_key_id": "a", "secret_access_key": "env:HOME"}}],
         "staging.0.options.private_url: http://s3.example.org is plain http"),
    ],
)  # fmt: skip
def test_what_is_noted(tmp_path: Path, site: Site, key: str, value: Any, message: str) -> None:
    changed(site, key, value)
    results = checked(tmp_path, site)
    assert results.errors == []
    (line,) = without_lines(tmp_path, results.notes)
    assert message in line


def test_a_secret_in_a_file_that_others_may_read(tmp_path: Path, site: Site) -> None:
    changed(site, "services.secret", "x" * 32)
    (line,) = without_lines(tmp_path, checked(tmp_path, site).notes)
    assert line == (
        "services.secret: stands in this file; better `secret_file:/path` or `env:NAME`; "
        f"{tmp_path}/site.yaml: everybody may read or change it (mode 0644): chmod 600 it"
    )
    (tmp_path / "site.yaml").chmod(0o600)
    (line,) = check(tmp_path / "site.yaml").notes
    assert line.endswith("or `env:NAME`")


def test_known_hosts_are_read(tmp_path: Path, site: Site) -> None:
    file = tmp_path / "known_hosts"
    changed(site, "systems.0.ssh", {"host": "login.example.org", "known_hosts": str(file)})
    hashed = f"|1|{'A' * 27}=|{'A' * 27}="
    file.write_text(
        f"# ours\n\n@cert-authority *.example.org {HOST_KEY}\n{hashed} {HOST_KEY} comment\nold ssh-dss AAAA\n"
    )
    assert checked(tmp_path, site) == FileReport([], [])
    file.write_text(f"login {HOST_KEY}\n")
    changed(site, "systems.0.ssh.port", 2222)
    (note,) = without_lines(tmp_path, checked(tmp_path, site).notes)
    assert note.endswith("no key under the name [login.example.org]:2222")
    changed(site, "systems.0.ssh.port", 22)
    file.write_text(f"login {HOST_KEY}\nlogin ssh-ed25519 AAAAbad\n{HOST_KEY}\n")
    assert without_lines(tmp_path, checked(tmp_path, site).notes) == [
        f"systems.0 (daint).ssh.known_hosts: {file}: no key under the name login.example.org"
    ]
    assert without_lines(tmp_path, checked(tmp_path, site).errors) == [
        f"systems.0 (daint).ssh.known_hosts: {file}:{line}: not `HOST ssh-ed25519 AAAA…`, as ssh-keyscan prints it"
        for line in (2, 3)
    ]


def test_a_user_key_and_its_certificate(tmp_path: Path, site: Site) -> None:
    key, ca = made_key(tmp_path / "alice"), asyncssh.generate_private_key("ssh-ed25519")
    old = ca.generate_user_certificate(key, "alice", valid_after=1000, valid_before=2000)
    (tmp_path / "alice-cert.pub").write_bytes(old.export_certificate())
    (tmp_path / "alice-cert.pub").chmod(0o600)
    user = {"private_key": f"secret_file:{tmp_path / 'alice'}"}
    changed(site, "auth.ssh_credentials", {"type": "keys", "options": {"users": {"alice": user}}})
    assert checked(tmp_path, site) == FileReport([], [])
    user["public_cert"] = f"secret_file:{tmp_path / 'alice-cert.pub'}"
    (line,) = without_lines(tmp_path, checked(tmp_path, site).errors)
    assert line == "auth.ssh_credentials.options.users.alice.public_cert: has expired: renew it"
