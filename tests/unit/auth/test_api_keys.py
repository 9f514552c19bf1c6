"""API keys: made and revoked by the command, and shown to the real service."""

import asyncio
import json
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from grpc import StatusCode
from grpc.aio import AioRpcError

from passerelle.auth.api_keys.key_file import keys_in, new_key, write_keys
from passerelle.auth.tokens import watched_file
from passerelle.auth.tokens.principal import Limits
from passerelle.cli.main import main
from passerelle.runtime.config.site import ConfigError
from tests.unit.auth.conftest import serving_auth

INVALID = (StatusCode.UNAUTHENTICATED, "API key is invalid.")
DENIED = StatusCode.PERMISSION_DENIED

Run = Callable[..., Result]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def run(tmp_path: Path, file: Path) -> Run:
    """Runs `passerelle auth key` with a site's configuration."""
    site = {
        "systems": [
            {
                "name": name,
                "ssh": {"host": "127.0.0.1", "insecure_accept_any_host_key": True},
                "scheduler": {"type": "local"},
            }
            for name in ("daint", "eiger")
        ],
        "auth": {"api_keys": {"file": str(file)}},
    }
    config = tmp_path / "site.yaml"
    config.write_text(yaml.safe_dump(site))
    return lambda *words: CliRunner().invoke(main, ["auth", "key", *words, "--config", str(config)])


def made(run: Run, *words: str) -> dict[str, str]:
    ran = run("create", "--account", "robot", "--scope", "compute.read", "--json", *words)
    assert ran.exit_code == 0, ran.output
    result: dict[str, str] = json.loads(ran.output)
    return result


async def test_a_key_stands_for_its_account(run: Run, file: Path) -> None:
    key = made(run, "--days", "3")["key"]
    async with serving_auth(api_keys={"file": str(file)}) as auth:
        principal = await auth.authorize(key, scope="compute.read", system="daint")
        assert (principal.username, list(principal.scopes)) == ("robot", ["compute.read"])
        assert (principal.issuer, principal.subject) == ("passerelle:api-keys", key.split("_")[1])
        left = principal.expire_time.seconds - datetime.now(UTC).timestamp()
        assert 3 * 86400 - 60 < left <= 3 * 86400


async def test_what_a_key_may_not(run: Run, file: Path) -> None:
    key = made(run, "--system", "eiger")["key"]
    async with serving_auth(api_keys={"file": str(file)}) as auth:
        lacking = (DENIED, "The access token lacks the scope compute.write.")
        assert await auth.refusal(key, scope="compute.write", system="eiger") == lacking
        elsewhere = (DENIED, "The access token is not for system daint.")
        assert await auth.refusal(key, scope="compute.read", system="daint") == elsewhere


@pytest.mark.parametrize(
    "change",
    [
        lambda key: key[:-1] + ("A" if key[-1] != "A" else "B"),
        lambda key: key + "A",
        lambda key: key[:-1],
        lambda key: key.upper(),
        lambda key: key.replace("_", "-"),
        lambda key: f"{key}\n",
        lambda key: f"passerelle_{'0' * 12}_{key.rpartition('_')[2]}",
        lambda key: "passerelle_",
        lambda key: "passerelle_" + "a" * 100_000,
        lambda key: f"passerelle_é{key}",
    ],
)
async def test_what_is_no_key(run: Run, file: Path, change: Callable[[str], str]) -> None:
    key = made(run)["key"]
    async with serving_auth(api_keys={"file": str(file)}) as auth:
        assert (await auth.refusal(change(key)))[0] is StatusCode.UNAUTHENTICATED
        assert (await auth.authorize(key)).username == "robot"


async def test_keys_are_not_accepted_where_there_are_none(run: Run) -> None:
    key = made(run)["key"]
    async with serving_auth() as auth:
        assert (await auth.refusal(key))[0] is StatusCode.UNAUTHENTICATED


async def test_an_expired_key(file: Path) -> None:
    ended = datetime.now(UTC) - timedelta(seconds=5)
    key, text = new_key("robot", scopes=["a"], systems=None, addresses=None, expires=ended, note="")
    write_keys(file, [key])
    async with serving_auth(api_keys={"file": str(file)}) as auth:
        assert await auth.refusal(text) == (StatusCode.UNAUTHENTICATED, "API key expired")


async def test_a_key_made_or_revoked_counts_without_a_restart(
    run: Run, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched_file, "_EVERY", 0.01)
    first = made(run)
    async with serving_auth(api_keys={"file": str(file)}) as auth, asyncio.timeout(20):
        second = made(run)
        while not await _accepted(auth, second["key"]):
            await asyncio.sleep(0.01)
        assert run("revoke", first["id"]).exit_code == 0
        while await _accepted(auth, first["key"]):
            await asyncio.sleep(0.01)
        assert await _accepted(auth, second["key"])
        file.write_text("{}x")
        await asyncio.sleep(0.1)
        assert await _accepted(auth, second["key"])


async def _accepted(auth: Any, key: str) -> bool:
    try:
        await auth.authorize(key)
    except AioRpcError as error:
        assert error.details() == INVALID[1]  # noqa: PT017
        return False
    return True


def test_only_the_digest_is_kept_and_others_may_not_read_it(run: Run, file: Path) -> None:
    key = made(run)["key"]
    assert key.rpartition("_")[2] not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o640)
    made(run)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert [path.name for path in file.parent.glob(".keys*")] == []


def test_keys_are_listed_without_their_digests(run: Run, file: Path) -> None:
    identifier = made(run, "--system", "eiger", "--address", "192.0.2.0/24", "--note", "nightly")[
        "id"
    ]
    ran = run("list")
    digest = keys_in(file)[identifier].digest
    assert ran.output.startswith(
        f"{identifier}  robot  compute.read  eiger from 192.0.2.0/24  until "
    )
    assert "# nightly" in ran.output
    [listed] = json.loads(run("list", "--json").output)
    assert (listed["id"], listed["systems"]) == (identifier, ["eiger"])
    assert digest not in run("list", "--json").output + ran.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--account", "-rf"), "account: "),
        (("--account", "a b"), "account: "),
        (("--address", "192.0.2.1/24"), "addresses: "),
        (("--address", "somewhere"), "addresses: "),
        (("--system", "dain"), "system: dain is none of daint, eiger"),
        (("--days", "0"), "'--days'"),
        (("--days", "10000"), "'--days'"),
    ],
)
def test_a_key_that_cannot_be_meant(run: Run, file: Path, words: Any, message: str) -> None:
    ran = run("create", "--account", "robot", "--scope", "a", *words)
    assert (ran.exit_code != 0, message in ran.output) == (True, True), ran.output
    assert not file.exists()


def test_a_key_that_is_not_there(run: Run, file: Path) -> None:
    assert "No such file" in run("revoke", "0" * 12).output
    made(run)
    ran = run("revoke", "0" * 12)
    assert (ran.exit_code, "there is no key 000000000000" in ran.output) == (1, True)


async def test_a_file_that_cannot_be_read(file: Path) -> None:
    for text, message in (
        ("", "Invalid JSON"),
        ('{"keys": [{"id": "x"}]}', r"keys\.0\.id: "),
        ('{"keyz": []}', "keyz: "),
    ):
        file.write_text(text)
        with pytest.raises(ConfigError, match=rf"auth\.api_keys\.file: .*{message}"):
            async with serving_auth(api_keys={"file": str(file)}):
                pass


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("192.0.2.7", True),
        ("::ffff:192.0.2.7", True),
        ("192.0.3.1", False),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        ("", False),
        ("192.0.2.7:80", False),
    ],
)
def test_addresses(address: str, allowed: bool, file: Path) -> None:
    expires = datetime.now(UTC) + timedelta(days=1)
    networks = ["192.0.2.0/24", "2001:db8::/32"]
    key, _ = new_key("a", scopes=["a"], systems=None, addresses=networks, expires=expires, note="")
    write_keys(file, [key])
    [read] = keys_in(file).values()
    assert read == key
    assert Limits.of(None, None, read.addresses).allow_address(address) is allowed
    assert Limits().allow_address(address)
