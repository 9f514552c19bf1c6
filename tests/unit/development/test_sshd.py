"""The development SSH server: who may log in, and what it does with commands, files and processes."""

import asyncio
import os
import shlex
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncssh
import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from passerelle.runtime.config.site import ConfigError
from tests.examples import examples
from tests.unit.development.conftest import ME, Door, open_door

LOOPS = pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
"""Both event loops: their pipes and child processes differ, and `passerelle serve` uses uvloop."""


async def test_a_command_gets_its_input_and_keeps_its_streams_apart(door: Door) -> None:
    async with door.connect() as ssh:
        done = await ssh.run("cat; echo wrong >&2; exit 3", input="right")
    assert (done.stdout, done.stderr, done.exit_status) == ("right", "wrong\n", 3)


async def test_a_login_environment_without_the_servers_secrets(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSERELLE_SECRET", "s3cret")
    async with door.connect() as ssh:
        lines = str((await ssh.run("env; pwd")).stdout).splitlines()
    names = {line.partition("=")[0] for line in lines}
    assert {"HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG"} <= names
    assert not [line for line in lines if "PASSERELLE" in line or "s3cret" in line]
    assert lines[-1] == os.path.realpath(Path.home())


@LOOPS
@settings(
    max_examples=examples(20),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.binary(max_size=100_000))
def test_pipes_are_binary_safe(run: Any, tmp_path: Path, data: bytes) -> None:
    async def there_and_back() -> Any:
        async with open_door(tmp_path) as door, door.connect() as ssh:
            process = await ssh.create_process("cat", encoding=None)
            process.stdin.write(data)
            process.stdin.write_eof()  # `run` sends none after empty input
            return await process.wait()

    assert run(there_and_back()).stdout == data


@LOOPS
def test_megabytes_both_ways_at_once(run: Any, tmp_path: Path) -> None:
    data = os.urandom(5_000_000)

    async def there_and_back() -> Any:
        async with open_door(tmp_path) as door, door.connect() as ssh:
            return await ssh.run("tee /dev/stderr", input=data, encoding=None)

    done = run(there_and_back())
    assert done.stdout == data
    assert done.stderr == data


@LOOPS
def test_a_detached_job_neither_holds_the_channel_nor_ends_with_the_server(
    run: Any, tmp_path: Path
) -> None:
    async def start() -> tuple[int, list[int]]:
        async with open_door(tmp_path) as door, door.connect() as ssh:
            job = await ssh.run("setsid sleep 60 >/dev/null 2>&1 </dev/null & echo $!")
            other = await ssh.create_process(_two_processes())
            return int(str(job.stdout)), [int(await other.stdout.readline()) for _ in range(2)]

    detached, others = run(start())
    try:
        run(_gone(*others))
        assert _alive(detached)
    finally:
        os.kill(detached, 9)


async def test_a_command_that_reads_nothing_may_be_sent_much(door: Door) -> None:
    async with door.connect() as ssh:
        done = await ssh.run("exec <&-; echo ended", input=b"x" * 5_000_000, encoding=None)
    assert (done.stdout, done.exit_status) == (b"ended\n", 0)


async def test_closing_one_stream_early_loses_nothing_of_the_other(door: Door) -> None:
    async with door.connect() as ssh:
        done = await ssh.run("exec 2>&-; sleep 0.1; echo still here")
    assert done.stdout == "still here\n"


async def test_a_command_killed_by_a_signal_says_so(door: Door) -> None:
    async with door.connect() as ssh:
        done = await ssh.run("kill -9 $$")
    assert done.exit_signal is not None
    assert done.exit_signal[0] == "KILL"


@pytest.mark.parametrize("how", ["terminate", "kill"])
async def test_a_signal_reaches_the_whole_process_group(door: Door, how: str) -> None:
    async with door.connect() as ssh, ssh.create_process(_two_processes()) as process:
        pids = [int(await process.stdout.readline()) for _ in range(2)]
        getattr(process, how)()
        await process.wait_closed()
        await _gone(*pids)


async def test_a_closed_channel_leaves_nothing_behind(door: Door) -> None:
    async with door.connect() as ssh:
        process = await ssh.create_process(f"trap '' HUP TERM; {_two_processes()}")
        pids = [int(await process.stdout.readline()) for _ in range(2)]
        process.close()
        await _gone(*pids)
        assert (await ssh.run("echo fine")).stdout == "fine\n"


async def test_a_lost_connection_leaves_nothing_behind(door: Door) -> None:
    async with door.connect() as ssh:
        process = await ssh.create_process(_two_processes())
        pids = [int(await process.stdout.readline()) for _ in range(2)]
        ssh.abort()
    await _gone(*pids)


async def test_sftp_over_the_real_filesystem(door: Door, tmp_path: Path) -> None:
    data = os.urandom(300_000)
    target = tmp_path / "new ☃"
    async with door.connect() as ssh, ssh.start_sftp_client() as sftp:
        async with sftp.open(str(target), "wb") as file:
            await file.write(data)
        assert (await sftp.stat(str(target))).size == len(data)
        assert await sftp.realpath(".") == os.path.realpath(Path.home())
    assert target.read_bytes() == data


async def test_no_shell_and_no_unknown_subsystem(door: Door) -> None:
    async with door.connect() as ssh:
        with pytest.raises(asyncssh.ChannelOpenError):
            await ssh.create_process()
        with pytest.raises(asyncssh.ChannelOpenError):
            await ssh.create_process(subsystem="netconf")


async def test_no_forwarding(door: Door) -> None:
    async with door.connect() as ssh:
        with pytest.raises(asyncssh.ChannelOpenError):
            await ssh.open_connection("127.0.0.1", door.port)


async def test_many_commands_at_once(door: Door) -> None:
    async with door.connect() as ssh:
        done = await asyncio.gather(*(ssh.run(f"echo {n}") for n in range(50)))
    assert [str(one.stdout).strip() for one in done] == [str(n) for n in range(50)]


async def test_refuses_a_certificate_of_another_authority(door: Door) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519")
    await _refused(door, (door.key, door.certificate((ME,), authority=other)))


async def test_refuses_a_certificate_for_another_principal(door: Door) -> None:
    await _refused(door, (door.key, door.certificate(("somebody-else",))))


async def test_refuses_a_certificate_for_nobody_in_particular(door: Door) -> None:
    await _refused(door, (door.key, door.certificate(())))


async def test_refuses_an_expired_certificate(door: Door) -> None:
    past = int(time.time()) - 10
    await _refused(door, (door.key, door.certificate((ME,), valid_before=past)))


async def test_refuses_another_user_name(door: Door) -> None:
    right = (door.key, door.certificate((ME, "somebody-else")))
    await _refused(door, right, username="somebody-else")


async def test_refuses_a_key_without_certificate(door: Door) -> None:
    await _refused(door, door.key)


async def test_refuses_the_authoritys_own_key(door: Door) -> None:
    await _refused(door, door.authority)


async def test_the_host_key_survives_a_restart(tmp_path: Path) -> None:
    async with open_door(tmp_path) as door:
        before = door.host_key_file.read_bytes()
    async with open_door(tmp_path) as door, door.connect() as ssh:
        assert (await ssh.run("true")).exit_status == 0
    assert door.host_key_file.read_bytes() == before
    assert door.host_key_file.stat().st_mode & 0o777 == 0o600


async def test_refuses_a_host_key_that_others_may_read(tmp_path: Path) -> None:
    async with open_door(tmp_path) as door:
        door.host_key_file.chmod(0o644)
    with pytest.raises(ConfigError, match="others may read"):
        async with open_door(tmp_path):
            pass


async def _refused(door: Door, identity: Any, username: str = ME) -> None:
    with pytest.raises(asyncssh.PermissionDenied):
        async with door.connect(identity, username):
            pass


def _two_processes() -> str:
    """A shell and its child, which print their process ids and then stay."""
    return f"echo $$; sh -c {shlex.quote('echo $$; exec sleep 60')}; :"


def _alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    with suppress(ProcessLookupError, FileNotFoundError):
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


async def _gone(*pids: int) -> None:
    async with asyncio.timeout(10):
        while any(_alive(pid) for pid in pids):
            await asyncio.sleep(0.01)
