"""SSH credentials, through the real service: certificates as OpenSSH reads them, and static keys."""

import asyncio
import logging
import os
import pwd
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import asyncssh
import grpc
import pytest
from cryptography.hazmat.primitives.serialization import SSHCertificate, load_ssh_public_identity
from grpc import StatusCode

from passerelle.development.config import DevelopmentSshd
from passerelle.development.sshd import serving_ssh
from passerelle.runtime.config.site import ConfigError
from tests import real
from tests.unit.auth.conftest import Auth, serving_auth
from tests.unit.auth.idp import Idp

ME = pwd.getpwuid(os.getuid()).pw_name
USER_KEY = asyncssh.generate_private_key("ssh-ed25519")
PUBLIC = USER_KEY.export_public_key().decode()


def _ca(directory: Path, **options: Any) -> dict[str, Any]:
    key_file = str(directory / "ca" / "user_ca")
    return {"type": "ca", "options": {"key_file": key_file, "create": True} | options}


def _keys(**users: dict[str, str]) -> dict[str, Any]:
    return {"type": "keys", "options": {"users": users}}


def _read(certificate: str) -> SSHCertificate:
    ssh_certificate = load_ssh_public_identity(certificate.encode())
    assert isinstance(ssh_certificate, SSHCertificate)
    ssh_certificate.verify_cert_signature()
    return ssh_certificate


def _signer(certificate: str) -> Any:
    ssh_certificate: Any = asyncssh.import_certificate(certificate)
    return ssh_certificate.signing_key


async def _refusal(auth: Auth, token: str, **request: str) -> tuple[StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await auth.credential(token, **request)
    return refused.value.code(), refused.value.details() or ""


async def test_a_certificate_is_short_and_for_one_account_only(idp: Idp, tmp_path: Path) -> None:
    async with serving_auth({"issuer": idp.url}, ssh_credentials=_ca(tmp_path)) as auth:
        before = int(time.time())
        issued = await auth.credential(idp.token(exp=before + 3600), PUBLIC)
        after = int(time.time())
    certificate = _read(issued.certificate)
    assert issued.username == "alice"
    assert issued.private_key == ""
    assert certificate.valid_principals == [b"alice"]
    assert certificate.extensions == certificate.critical_options == {}
    assert before - 60 <= certificate.valid_after <= after - 60
    assert before + 300 <= certificate.valid_before <= after + 300
    assert certificate.valid_before == issued.expire_time.seconds
    assert certificate.key_id.decode() == f"user=alice iss={idp.url} sub=a-1"
    assert asyncssh.import_certificate(issued.certificate).key == USER_KEY.convert_to_public()
    public_ca = asyncssh.read_public_key(tmp_path / "ca" / "user_ca.pub")
    assert _signer(issued.certificate) == public_ca


async def test_a_certificate_never_outlives_the_token(idp: Idp, tmp_path: Path) -> None:
    async with serving_auth({"issuer": idp.url}, ssh_credentials=_ca(tmp_path)) as auth:
        ends = int(time.time()) + 40
        issued = await auth.credential(idp.token(exp=ends), PUBLIC)
    assert _read(issued.certificate).valid_before == ends


async def test_what_certificates_permit_is_configured(idp: Idp, tmp_path: Path) -> None:
    options = {"extensions": ["pty", "user-rc"], "source_addresses": ["192.0.2.0/24"]}
    async with serving_auth({"issuer": idp.url}, ssh_credentials=_ca(tmp_path, **options)) as auth:
        certificate = _read((await auth.credential(idp.token(), PUBLIC)).certificate)
    assert set(certificate.extensions) == {b"permit-pty", b"permit-user-rc"}
    assert certificate.critical_options == {b"source-address": b"192.0.2.0/24"}


async def test_serial_numbers_differ(idp: Idp, tmp_path: Path) -> None:
    async with serving_auth({"issuer": idp.url}, ssh_credentials=_ca(tmp_path)) as auth:
        issued = [await auth.credential(idp.token(), PUBLIC) for _ in range(5)]
    assert len({_read(one.certificate).serial for one in issued}) == 5


async def test_nothing_in_the_key_id_can_forge_a_line_of_a_log(idp: Idp, tmp_path: Path) -> None:
    async with serving_auth({"issuer": idp.url}, ssh_credentials=_ca(tmp_path)) as auth:
        subject = "x\nAccepted publickey for root ☃" + "y" * 1000
        certificate = _read((await auth.credential(idp.token(sub=subject), PUBLIC)).certificate)
    assert b"\n" not in certificate.key_id
    assert len(certificate.key_id) < 700


async def test_openssh_reads_the_certificate_the_same_way(idp: Idp, tmp_path: Path) -> None:
    if shutil.which("ssh-keygen") is None:
        real.missing("OpenSSH", "ssh-keygen is not installed")
    async with serving_auth({"issuer": idp.url}, ssh_credentials=_ca(tmp_path)) as auth:
        issued = await auth.credential(idp.token(), PUBLIC)
    file = tmp_path / "cert.pub"
    file.write_text(issued.certificate)
    done = await asyncio.to_thread(
        subprocess.run, ("ssh-keygen", "-L", "-f", file), capture_output=True, text=True, check=True
    )
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert lines[lines.index("Principals:") + 1] == "alice"
    assert lines[lines.index("Principals:") + 2].startswith("Critical Options: (none)")
    assert "Extensions: (none)" in lines
    assert f"Serial: {_read(issued.certificate).serial}" in lines
    assert any("user certificate" in line for line in lines)


async def test_a_certificate_opens_the_development_server(idp: Idp, tmp_path: Path) -> None:
    claims = {"preferred_username": ME}
    issuer = {"issuer": idp.url, "allow_root": True}
    async with serving_auth(issuer, ssh_credentials=_ca(tmp_path)) as auth:
        issued = await auth.credential(idp.token(**claims), PUBLIC)
    settings = DevelopmentSshd(
        listen="127.0.0.1:0",
        host_key_file=tmp_path / "host_key",
        user_ca=(tmp_path / "ca" / "user_ca.pub").read_text(),
    )
    identity = (USER_KEY, asyncssh.import_certificate(issued.certificate))
    async with (
        serving_ssh(settings) as port,
        asyncssh.connect(
            "127.0.0.1", port, username=ME, client_keys=[identity], known_hosts=None, config=None
        ) as ssh,
    ):
        assert (await ssh.run("echo in")).stdout == "in\n"


@pytest.mark.parametrize(
    "public_key",
    [
        "",
        "garbage",
        "ssh-ed25519",
        "ssh-ed25519 AAAA",
        f'command="id" {PUBLIC}',
        PUBLIC + PUBLIC,
        PUBLIC.strip() + "x" * 20_000,
        USER_KEY.export_private_key().decode(),
        asyncssh.generate_private_key("ssh-rsa", key_size=1024).export_public_key().decode(),
        asyncssh.generate_private_key("ssh-dss").export_public_key().decode(),
        USER_KEY.generate_user_certificate(USER_KEY, "x").export_certificate().decode(),
    ],
    ids=range(11),  # keys are new in every process: no names for tests
)
async def test_an_unfit_public_key_is_refused(idp: Idp, tmp_path: Path, public_key: str) -> None:
    async with serving_auth({"issuer": idp.url}, ssh_credentials=_ca(tmp_path)) as auth:
        code, message = await _refusal(auth, idp.token(), public_key=public_key)
    assert code is StatusCode.INVALID_ARGUMENT
    assert message.startswith("The public key cannot be certified.")


async def test_a_bad_token_gets_no_credential(idp: Idp, tmp_path: Path) -> None:
    async with serving_auth({"issuer": idp.url}, ssh_credentials=_ca(tmp_path)) as auth:
        token = idp.token(exp=int(time.time()) - 1)
        assert await _refusal(auth, token, public_key=PUBLIC) == (
            StatusCode.UNAUTHENTICATED,
            "Access token expired",
        )


async def test_an_unknown_system(idp: Idp, tmp_path: Path) -> None:
    async with serving_auth({"issuer": idp.url}, ssh_credentials=_ca(tmp_path)) as auth:
        code, _ = await _refusal(auth, idp.token(), public_key=PUBLIC, system="other")
    assert code is StatusCode.NOT_FOUND


async def test_a_site_without_credentials(idp: Idp) -> None:
    async with serving_auth({"issuer": idp.url}) as auth:
        code, _ = await _refusal(auth, idp.token(), public_key=PUBLIC)
    assert code is StatusCode.FAILED_PRECONDITION


async def test_each_issue_leaves_one_line_without_secrets(
    idp: Idp, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "passerelle.auth.logins")
    token = idp.token()
    async with serving_auth({"issuer": idp.url}, ssh_credentials=_ca(tmp_path)) as auth:
        issued = await auth.credential(token, PUBLIC)
    (line,) = [vars(one) for one in caplog.records if one.name == "passerelle.auth.logins"]
    assert (line["user"], line["system"]) == ("alice", "daint")
    assert line["serial"] == _read(issued.certificate).serial
    assert line["fingerprint"] == USER_KEY.get_fingerprint()
    assert token not in str(line)


async def test_the_authoritys_key_is_made_once(idp: Idp, tmp_path: Path) -> None:
    for _ in range(2):
        async with serving_auth({"issuer": idp.url}, ssh_credentials=_ca(tmp_path)) as auth:
            issued = await auth.credential(idp.token(), PUBLIC)
            key_file = tmp_path / "ca" / "user_ca"
            made = key_file.read_bytes()
    assert key_file.stat().st_mode & 0o777 == 0o600
    assert made == key_file.read_bytes()
    signer = _signer(issued.certificate)
    assert signer == asyncssh.import_private_key(made).convert_to_public()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
async def test_a_readable_authority_key_stops_the_service(tmp_path: Path, mode: int) -> None:
    async with serving_auth(ssh_credentials=_ca(tmp_path)):
        pass
    (tmp_path / "ca" / "user_ca").chmod(mode)
    await _does_not_start(_ca(tmp_path), "others may read")


async def test_a_missing_authority_key_stops_the_service(tmp_path: Path) -> None:
    await _does_not_start(_ca(tmp_path, create=False), "No such file")


async def test_a_broken_authority_key_stops_the_service(tmp_path: Path) -> None:
    file = tmp_path / "broken"
    file.touch(0o600)
    file.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    await _does_not_start(_ca(tmp_path, key_file=str(file)), "broken: ")


async def test_an_encrypted_authority_key(idp: Idp, tmp_path: Path) -> None:
    file = tmp_path / "encrypted"
    file.touch(0o600)
    key = asyncssh.generate_private_key("ssh-ed25519")
    file.write_bytes(key.export_private_key(passphrase="open", rounds=50))
    await _does_not_start(_ca(tmp_path, key_file=str(file)), "encrypted: ")
    plugin = _ca(tmp_path, key_file=str(file), passphrase="open")
    async with serving_auth({"issuer": idp.url}, ssh_credentials=plugin) as auth:
        issued = await auth.credential(idp.token(), PUBLIC)
    assert _signer(issued.certificate) == key.convert_to_public()


@pytest.mark.parametrize(
    ("plugin", "message"),
    [
        ({"type": "exotic"}, "installed: ca, keys"),
        ({"type": "ca"}, "auth.ssh_credentials.options.key_file: Field required"),
        ({"type": "ca", "options": {"key_fil": "x"}}, "options.key_fil: "),
        (
            {"type": "keys", "options": {"users": {"a": {"private_key": "x"}}}},
            "user a: no private key",
        ),
        (
            {"type": "keys", "options": {"users": {"a": {"private_key": "secret_file:/none"}}}},
            "/none: No such file",
        ),
    ],
)
async def test_options_that_cannot_work_stop_the_service(
    plugin: dict[str, Any], message: str
) -> None:
    await _does_not_start(plugin, message)


async def test_static_keys_of_a_user(idp: Idp, tmp_path: Path) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    (tmp_path / "alice").write_bytes(key.export_private_key("pkcs8-pem", passphrase="open"))
    plugin = _keys(alice={"private_key": f"secret_file:{tmp_path}/alice", "passphrase": "open"})
    async with serving_auth({"issuer": idp.url}, ssh_credentials=plugin) as auth:
        issued = await auth.credential(idp.token(), PUBLIC)
        assert issued.username == "alice"
        assert asyncssh.import_private_key(issued.private_key) == key
        assert issued.certificate == ""
        assert not issued.HasField("expire_time")
        carol = idp.token(preferred_username="carol")
        assert await _refusal(auth, carol, public_key=PUBLIC) == (
            StatusCode.PERMISSION_DENIED,
            "No SSH credentials found for user:carol",
        )


@pytest.mark.parametrize("ends", [None, 4_000_000_000])
async def test_a_static_key_with_a_certificate(idp: Idp, ends: int | None) -> None:
    key = asyncssh.generate_private_key("ssh-rsa")
    certificate = USER_KEY.generate_user_certificate(
        key, "a", principals="alice", valid_before=ends or 2**64 - 1
    )
    private, text = key.export_private_key("pkcs8-pem"), certificate.export_certificate()
    plugin = _keys(alice={"private_key": private.decode(), "public_cert": text.decode()})
    async with serving_auth({"issuer": idp.url}, ssh_credentials=plugin) as auth:
        issued = await auth.credential(idp.token(), PUBLIC)
    assert issued.certificate.strip() == text.decode().strip()
    assert issued.HasField("expire_time") is (ends is not None)
    assert issued.expire_time.seconds == (ends or 0)


async def test_a_certificate_for_another_key_stops_the_service() -> None:
    other = asyncssh.generate_private_key("ssh-ed25519")
    certificate = USER_KEY.generate_user_certificate(other, "a").export_certificate().decode()
    private = USER_KEY.export_private_key().decode()
    plugin = _keys(alice={"private_key": private, "public_cert": certificate})
    await _does_not_start(plugin, "not for the private key")


async def _does_not_start(plugin: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        async with serving_auth(ssh_credentials=plugin):
            pass
    assert message in str(refused.value)
