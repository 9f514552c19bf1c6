"""The SSH pool against a real SSH server on loopback."""

import asyncio
import pwd
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from prometheus_client import REGISTRY

from passerelle.runtime import caller
from passerelle.runtime.caller import Caller
from passerelle.runtime.command import Command
from passerelle.runtime.config.site import System
from passerelle.runtime.errors import (
    BackendError,
    ConnectionFailed,
    DeadlineExceeded,
    Overloaded,
    Unauthenticated,
)
from passerelle.runtime.ssh.credential import SshCredential
from passerelle.runtime.ssh.pool import SshPool, SystemShell
from tests.sshd import Keys, Server, serving_ssh


@pytest.fixture
def keys() -> Keys:
    return Keys()


@pytest.fixture
async def server(keys: Keys) -> AsyncIterator[Server]:
    async with serving_ssh(keys.key) as server:
        yield server


@pytest.fixture(autouse=True)
async def alice() -> AsyncIterator[None]:
    with caller.bind(Caller("alice", "token")):
        yield


def system_for(server: Server, **ssh: Any) -> System:
    """A system whose login node is `server`."""
    address = {"host": "127.0.0.1", "port": server.port, "host_keys": [server.host_key]}
    settings = {**address, "least_uid": 0, **ssh}  # it runs as whoever runs the tests
    return System.model_validate({"name": "lab", "ssh": settings, "scheduler": {"type": "local"}})


@pytest.fixture
async def shell(server: Server, keys: Keys) -> AsyncIterator[SystemShell]:
    system = system_for(server)
    async with SshPool({"lab": system}, keys).sweeping() as pool:
        yield SystemShell(pool, system, timeout=5)


def echo(*words: str) -> Command[str]:
    return Command(("printf", "%s|", *words), str)


async def test_words_arrive_as_they_are(shell: SystemShell) -> None:
    nasty = ["a b", "it's", '"q"', "$HOME", "`id`", "new\nline", "", "-n", "ü", "*", "\\"]
    assert await shell.run(echo(*nasty)) == "".join(f"{word}|" for word in nasty)


async def test_stdin_is_sent_whole_and_ended(shell: SystemShell) -> None:
    text = "ü" * 500_000
    assert await shell.run(Command(("wc", "-c"), int, stdin=text)) == 1_000_000


async def test_no_stdin_is_ended_too(shell: SystemShell) -> None:
    assert await shell.run(Command(("cat",), str)) == ""


async def test_one_connection_serves_many_calls(shell: SystemShell, server: Server) -> None:
    answers = await asyncio.gather(*(shell.run(echo(str(i))) for i in range(100)))
    assert answers == [f"{i}|" for i in range(100)]
    assert server.logins == 1


async def test_users_do_not_share_a_connection(shell: SystemShell, server: Server) -> None:
    await shell.run(echo("a"))
    with caller.bind(Caller("bob", "other")):
        await shell.run(echo("b"))
    assert server.logins == 2


@pytest.mark.parametrize("words", ["x: Permission denied", "No such file or directory", "odd"])
async def test_a_failed_command_keeps_its_words_which_decide_nothing(
    shell: SystemShell, words: str
) -> None:
    with pytest.raises(BackendError, match=words):
        await shell.run(Command(("sh", "-c", 'echo "$1" >&2; exit 3', "sh", words), str))


async def test_a_slow_command_is_ended(server: Server, keys: Keys, tmp_path: Path) -> None:
    system = system_for(server)
    async with SshPool({"lab": system}, keys).sweeping() as pool:
        shell = SystemShell(pool, system, timeout=0.3)
        with pytest.raises(DeadlineExceeded):
            await shell.run(_beacon(tmp_path))
        await _stops(tmp_path / "beacon")


async def test_cancelling_reaches_the_remote_process(shell: SystemShell, tmp_path: Path) -> None:
    task = asyncio.create_task(shell.run(_beacon(tmp_path)))
    while not (tmp_path / "beacon").exists():
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await _stops(tmp_path / "beacon")


def _beacon(folder: Path) -> Command[str]:
    """A command that goes on touching a file for as long as it lives."""
    loop = f"while :; do date +%s%N > {folder}/beacon; sleep 0.05; done"
    return Command(("sh", "-c", loop), str)


async def _stops(beacon: Path) -> None:
    async with asyncio.timeout(10):
        while True:
            before = beacon.read_text()
            await asyncio.sleep(0.4)
            if beacon.read_text() == before:
                return


async def test_a_lost_connection_is_reopened_for_a_repeatable_command(
    shell: SystemShell, server: Server
) -> None:
    await shell.run(echo("a"))
    server.drop_all()
    assert await shell.run(echo("b")) == "b|"
    assert server.logins == 2


async def test_a_command_that_may_not_be_doubled_is_not(
    shell: SystemShell, server: Server, tmp_path: Path
) -> None:
    count = Command(("sh", "-c", f"echo x >> {tmp_path}/runs; sleep 60"), str, repeatable=False)
    task = asyncio.create_task(shell.run(count))
    runs = tmp_path / "runs"
    while not (runs.exists() and runs.read_text()):
        await asyncio.sleep(0.01)
    server.drop_all()
    with pytest.raises(ConnectionFailed):
        await task
    assert runs.read_text() == "x\n"


async def test_an_unknown_host_key_is_refused(server: Server, keys: Keys) -> None:
    async with serving_ssh(keys.key) as other:
        system = system_for(server, host_keys=[other.host_key])
        async with SshPool({"lab": system}, keys).sweeping() as pool:
            with pytest.raises(ConnectionFailed, match="host key"):
                await SystemShell(pool, system, timeout=5).run(echo("x"))
    assert server.logins == 0


async def test_no_host_key_configured_means_none_is_accepted(server: Server, keys: Keys) -> None:
    system = system_for(server, host_keys=[])
    async with SshPool({"lab": system}, keys).sweeping() as pool:
        with pytest.raises(ConnectionFailed, match="host key"):
            await SystemShell(pool, system, timeout=5).run(echo("x"))


async def test_a_refused_login_says_so(server: Server) -> None:
    system = system_for(server)
    async with SshPool({"lab": system}, Keys()).sweeping() as pool:
        with pytest.raises(ConnectionFailed, match="login was refused"):
            await SystemShell(pool, system, timeout=5).run(echo("x"))


@pytest.mark.parametrize(
    ("ssh", "reason"),
    [
        ({"port": 1}, "its login node refuses connections"),
        ({"host": "nowhere.invalid"}, "the name of its login node does not resolve"),
        ({"proxy_host": "127.0.0.1", "proxy_port": 1}, "its jump host refuses connections"),
    ],
)
async def test_what_cannot_be_reached_is_named(
    server: Server, keys: Keys, caplog: pytest.LogCaptureFixture, ssh: dict[str, Any], reason: str
) -> None:
    system = system_for(server, **ssh)
    async with SshPool({"lab": system}, keys).sweeping() as pool:
        with pytest.raises(ConnectionFailed, match=reason):
            await pool.connection("lab")
    where = f"{ssh.get('host', '127.0.0.1')}:{ssh.get('proxy_port', system.ssh.port)}"
    assert [where in text for text in warnings(caplog)] == [True]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What our own log says at WARNING."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelname == "WARNING" and record.name.startswith("passerelle")
    ]


async def test_what_is_no_ssh_server_says_so(
    server: Server, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as web:
        system = system_for(server, port=web.sockets[0].getsockname()[1])
        async with SshPool({"lab": system}, keys).sweeping() as pool:
            with pytest.raises(ConnectionFailed, match="does not speak SSH"):
                await pool.connection("lab")


async def test_a_wrong_host_key_is_shown_beside_the_configured_one(
    server: Server, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519")
    line = other.export_public_key().decode().strip()
    system = system_for(server, host_keys=[line])
    async with SshPool({"lab": system}, keys).sweeping() as pool:
        with pytest.raises(ConnectionFailed, match="its host key is not the configured one"):
            await pool.connection("lab")
    shown = asyncssh.import_public_key(server.host_key).get_fingerprint()
    (text,) = warnings(caplog)
    assert f"showed ssh-ed25519 {shown}; configured: ssh-ed25519 {other.get_fingerprint()}" in text


async def test_the_home_of_who_serves_need_not_be_readable(
    server: Server, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "is_dir", _closed)  # a mode of 0 means nothing to root
    async with SshPool({"lab": system_for(server)}, keys).sweeping() as pool:
        assert (await pool.connection("lab")).open


async def test_the_account_that_serves_needs_no_name(
    server: Server, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("HOME", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    async with SshPool({"lab": system_for(server)}, keys).sweeping() as pool:
        assert (await pool.connection("lab")).open


def _closed(path: Path) -> bool:
    raise PermissionError(13, "Permission denied", str(path))


def measured(metric: str, system: str, **labels: str) -> float | None:
    """A metric's value for a system, which no other test may use."""
    return REGISTRY.get_sample_value(metric, {"system": system, **labels})


async def test_connections_are_counted(server: Server, keys: Keys) -> None:
    system = system_for(server, max_connections=7).model_copy(update={"name": "counted"})
    async with SshPool({"counted": system}, keys).sweeping() as pool:
        assert await SystemShell(pool, system, timeout=5).run(echo("x")) == "x|"
        assert measured("passerelle_ssh_connections", "counted") == 1
        assert measured("passerelle_ssh_connections_limit", "counted") == 7
    async with SshPool({"counted": system}, Keys()).sweeping() as pool:
        with pytest.raises(ConnectionFailed):
            await pool.connection("counted")
    assert measured("passerelle_ssh_connections", "counted") == 0
    connects = {
        outcome: measured("passerelle_ssh_connects_total", "counted", outcome=outcome)
        for outcome in ("ok", "login_refused", "host_key")
    }
    assert connects == {"ok": 1, "login_refused": 1, "host_key": 0}


@pytest.mark.parametrize(
    ("dates", "networks", "valid"),
    [
        ((1_800_000_000, 1_800_000_600), None, "2027-01-15T08:00:00+00:00 to 2027-01-15T08:10:00+00:00"),
        ((0, 2**64 - 1), None, "1970-01-01T00:00:00+00:00 to forever"),
        ((0, 2**64 - 1), ["10.9.9.0/24"], "1970-01-01T00:00:00+00:00 to forever, from 10.9.9.0/24 alone"),
    ],
)  # fmt: skip
async def test_a_refused_login_names_the_certificate(
    server: Server,
    caplog: pytest.LogCaptureFixture,
    dates: tuple[int, int],
    networks: list[str] | None,
    valid: str,
) -> None:
    authority = asyncssh.generate_private_key("ssh-ed25519")

    class Certified:
        async def ssh_credential(self, system: str, public_key: str) -> SshCredential:
            key = asyncssh.import_public_key(public_key)
            made = authority.generate_user_certificate(
                key,
                "test",
                principals=["alice"],
                serial=42,
                valid_after=dates[0],
                valid_before=dates[1],
                source_address=networks,
            )
            return SshCredential("alice", made.export_certificate().decode(), "", None)

    async with SshPool({"lab": system_for(server)}, Certified()).sweeping() as pool:
        with pytest.raises(ConnectionFailed, match="the login was refused"):
            await pool.connection("lab")
    (text,) = warnings(caplog)
    assert text.endswith(
        f"login of alice to 127.0.0.1:{server.port} refused; certificate serial 42, principal alice, "
        f"CA ssh-ed25519 {authority.get_fingerprint()}, valid {valid}; see sshd's log"
    )


@pytest.mark.parametrize("refused", ["login", "host key"])
async def test_what_is_refused_is_not_tried_again(
    server: Server, keys: Keys, caplog: pytest.LogCaptureFixture, refused: str
) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()
    system = system_for(server, **({"host_keys": [other]} if refused == "host key" else {}))
    shown = Keys() if refused == "login" else keys
    async with SshPool({"lab": system}, shown).sweeping() as pool:
        with pytest.raises(ConnectionFailed):
            await SystemShell(pool, system, timeout=5).run(echo("x"))
    assert len(warnings(caplog)) == 1


async def test_a_jump_host_that_lets_nobody_through_says_so(
    server: Server, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving_ssh(keys.key) as hop:
        hop.forwards = False
        host_keys = [server.host_key, hop.host_key]
        system = system_for(
            server, proxy_host="127.0.0.1", proxy_port=hop.port, host_keys=host_keys
        )
        async with SshPool({"lab": system}, keys).sweeping() as pool:
            with pytest.raises(ConnectionFailed, match="jump host does not let us through"):
                await pool.connection("lab")
    assert f"the jump host 127.0.0.1:{hop.port} refuses" in warnings(caplog)[0]
    assert "AllowTcpForwarding" in warnings(caplog)[0]


async def test_a_full_queue_says_when_to_come_back(server: Server, keys: Keys) -> None:
    system = system_for(server, max_channels=1, max_waiting=2).model_copy(update={"name": "full"})
    async with SshPool({"full": system}, keys).sweeping() as pool:
        shell = SystemShell(pool, system, timeout=5)
        slow = [asyncio.create_task(shell.run(Command(("sleep", "0.5"), str))) for _ in range(5)]
        async with asyncio.timeout(10):
            while measured("passerelle_calls_waiting", "full", queue="channels") != 2:
                await asyncio.sleep(0.01)
        ended = await asyncio.gather(*slow, return_exceptions=True)
        refused = [error for error in ended if isinstance(error, Overloaded)]
        assert 1 <= len(refused) <= 3
        assert refused[0].retry_after
        assert measured("passerelle_calls_waiting", "full", queue="channels") == 0
        assert await shell.run(echo("next")) == "next|"


async def test_an_idle_connection_is_closed(server: Server, keys: Keys) -> None:
    system = system_for(server, timeout={"idle": 0.2})
    pool = SshPool({"lab": system}, keys, sweep_seconds=0.1)
    async with pool.sweeping():
        connection = await pool.connection("lab")
        async with asyncio.timeout(10):
            while connection.open:
                await asyncio.sleep(0.05)
        assert await SystemShell(pool, system, timeout=5).run(echo("x")) == "x|"
    assert server.logins == 2


async def test_a_credential_near_its_end_is_replaced(server: Server) -> None:
    keys = Keys(expires=time.time() + 2)
    async with serving_ssh(keys.key) as server:
        system = system_for(server)
        async with SshPool({"lab": system}, keys).sweeping() as pool:
            await pool.connection("lab")
            await pool.connection("lab")
    assert keys.requests == 2


async def test_a_call_whose_token_has_expired_keeps_the_connection_that_there_is(
    server: Server, keys: Keys
) -> None:
    """Whoever is let in may finish, on what its user has; it gets nothing new."""

    class Expiring:
        requests = 0

        async def ssh_credential(self, system: str, public_key: str) -> SshCredential:
            self.requests += 1
            if self.requests > 1:
                raise Unauthenticated("Access token expired")
            return await keys.ssh_credential(system, public_key)

    system = system_for(server, timeout={"age": 0.01})
    async with SshPool({"lab": system}, Expiring()).sweeping() as pool:
        first = await pool.connection("lab")
        await asyncio.sleep(0.02)
        assert await pool.connection("lab") is first
        await first.close()
        with pytest.raises(Unauthenticated):
            await pool.connection("lab")


async def test_an_old_connection_is_replaced(server: Server, keys: Keys) -> None:
    system = system_for(server, timeout={"age": 0.2})
    async with SshPool({"lab": system}, keys, sweep_seconds=0.1).sweeping() as pool:
        first = await pool.connection("lab")
        await asyncio.sleep(0.3)
        assert await pool.connection("lab") is not first
        async with asyncio.timeout(10):
            while first.open:
                await asyncio.sleep(0.05)
    assert (server.logins, keys.requests) == (2, 2)


async def test_more_users_than_connections_push_idle_ones_out(server: Server, keys: Keys) -> None:
    system = system_for(server, max_connections=2)
    async with SshPool({"lab": system}, keys).sweeping() as pool:
        shell = SystemShell(pool, system, timeout=5)
        for user in ("a", "b", "c", "d"):
            with caller.bind(Caller(user, user)):
                assert await shell.run(echo(user)) == f"{user}|"


async def test_a_jump_host_is_gone_through(server: Server, keys: Keys) -> None:
    async with serving_ssh(keys.key) as hop:
        system = system_for(
            server,
            proxy_host="127.0.0.1",
            proxy_port=hop.port,
            host_keys=[server.host_key, hop.host_key],
        )
        async with SshPool({"lab": system}, keys).sweeping() as pool:
            assert await SystemShell(pool, system, timeout=5).run(echo("far")) == "far|"
    assert (hop.logins, server.logins) == (1, 1)


async def test_the_sftp_session_is_one(server: Server, keys: Keys, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("abc")
    system = system_for(server)
    async with SshPool({"lab": system}, keys).sweeping() as pool:
        connection = await pool.connection("lab")
        first, second = await asyncio.gather(connection.sftp(), connection.sftp())
        assert first is second
        assert (await first.stat(str(tmp_path / "f"))).size == 3
