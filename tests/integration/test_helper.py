"""The remote helper's conversation: noise before it, its death, its restart, what it costs the service to give up."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import pytest
from asyncssh import SSHClientConnection

from passerelle.runtime.errors import BackendError, ConnectionFailed, DeadlineExceeded
from passerelle.runtime.ssh.connection import Connection
from passerelle.runtime.ssh.lean_packets import OneKeyEncryption
from passerelle.storage.access.helper import NoHelper, RemoteHelper
from passerelle.storage.access.helper_channel import HelperChannel
from passerelle.storage.access.helper_operations import HelperOperations
from passerelle.storage.remote.outcome import WINDOW
from passerelle.storage.remote.reading.listing import PIECE
from passerelle.storage.values import Listing, Walk
from tests.unit.storage.world import World, remote

pytestmark = pytest.mark.usefixtures("alice")

STAT = {"path": "/", "dereference": False, "columns": [("kind", "letter")]}


@pytest.fixture
async def connection(world: World) -> Connection:
    return await world.pool.connection("lab")


Processes = Callable[[], list[int]]


@pytest.fixture
def processes() -> Processes:
    """Lists the helpers that SSH servers in this process run, but for those that were there before the test.

    These are its children. Servers in processes of their own, which other tests of this worker have left running, start
    helpers too: at any time, for the health of their systems.
    """

    def helper_pids() -> list[int]:
        return [pid for pid, words in _children() if {"-I", "-B"} <= set(words)]

    before = set(helper_pids())
    return lambda: [pid for pid in helper_pids() if pid not in before]


def _children() -> Iterator[tuple[int, list[str]]]:
    """This process's children, and what their command lines are made of."""
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # it ended meanwhile
            for child in map(int, (task / "children").read_text().split()):
                with suppress(OSError):
                    yield child, Path(f"/proc/{child}/cmdline").read_text().split("\0")


async def test_what_a_login_script_prints_does_no_harm(
    world: World, connection: Connection
) -> None:
    world.server.before = "echo Welcome; echo; printf '\\0passerelle'; "
    helper = await RemoteHelper.start(connection)
    assert await helper.call("stat", dict(STAT)) == b'{"kind":"d"}'


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("PATH=/nonexistent;", "no python3 that works"),
        ("false &&", "the login shell runs no commands"),
        ("echo no entry; exit;", "the login shell runs no commands"),
    ],
)
async def test_where_no_python_is_there_is_no_helper(
    world: World, connection: Connection, words: str, why: str
) -> None:
    world.server.before = f"{words} "
    with pytest.raises(NoHelper, match=why):
        await RemoteHelper.start(connection)


async def test_endless_noise_is_no_greeting(world: World, connection: Connection) -> None:
    world.server.before = "yes | head -c 5000000; "
    with pytest.raises(NoHelper, match="the login shell runs no commands"):
        await RemoteHelper.start(connection)
    assert connection.open


NO_JSON = f"""
import os, sys
sys.path[:] = {sys.path!r}
from passerelle.storage.remote.frames import ANSWER, END, FAILED, GREETING, MARK
os.write(1, GREETING)
while data := os.read(0, 1 << 20):
    if data.endswith(b"false]"):
        os.write(1, ANSWER.pack(MARK, 1, FAILED, 2) + b"?!" + END)
"""


async def test_an_invalid_answer_ends_the_helper_alone(
    world: World, connection: Connection, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "no_json.py").write_text(NO_JSON)
    world.server.before = f"exec {sys.executable} {tmp_path}/no_json.py; "
    helper = await RemoteHelper.start(connection)
    with pytest.raises(ConnectionFailed):
        await helper.call("stat", dict(STAT))
    assert not helper.alive
    assert connection.open
    assert "the helper sent an invalid answer" in caplog.text


async def test_answers_find_their_questions(connection: Connection, tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / f"{number}").write_bytes(bytes([number]) * number * 5000)
    helper = await RemoteHelper.start(connection)

    async def content(number: int) -> bytes:
        path = str(tmp_path / f"{number}")
        arguments = {"path": path, "offset": 0, "length": 1 << 20, "limit": None}
        return await helper.call("read", arguments)

    answers = await asyncio.gather(*(content(number) for number in range(50)))
    assert answers == [bytes([number]) * number * 5000 for number in range(50)]


async def test_a_call_that_is_given_up_does_not_disturb_others(
    connection: Connection, tmp_path: Path
) -> None:
    (tmp_path / "big").write_bytes(bytes(3_000_000))
    helper = await RemoteHelper.start(connection)
    arguments = {"path": str(tmp_path / "big"), "offset": 0, "length": 1 << 30, "limit": None}
    for _ in range(20):
        call = asyncio.create_task(helper.call("read", dict(arguments)))
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert await helper.call("stat", dict(STAT)) == b'{"kind":"d"}'
    assert len(await helper.call("read", dict(arguments))) == 3_000_000


async def test_a_fault_of_the_helper_is_shown_without_its_details(connection: Connection) -> None:
    helper = await RemoteHelper.start(connection)
    with pytest.raises(BackendError, match=r"^A file operation failed on system lab\.$"):
        await helper.call("nonsense", {"path": "/secret"})
    assert helper.alive


async def test_a_dead_helper_is_replaced(
    processes: Processes, world: World, tmp_path: Path
) -> None:
    await world.files.stat(str(tmp_path))
    [first] = processes()
    os.kill(first, signal.SIGKILL)
    assert (await world.files.stat(str(tmp_path))).letter == "d"
    [second] = processes()
    assert first != second


async def stop(process: int) -> None:
    """Stop it, and wait until all its threads are stopped."""
    os.kill(process, signal.SIGSTOP)
    tasks = Path(f"/proc/{process}/task")
    while any(") T " not in (task / "stat").read_text() for task in tasks.iterdir()):
        await asyncio.sleep(0.01)


async def test_calls_in_flight_learn_of_its_death(
    processes: Processes, connection: Connection, tmp_path: Path
) -> None:
    helper = await RemoteHelper.start(connection)
    [process] = processes()
    await stop(process)
    calls = [asyncio.create_task(helper.call("stat", dict(STAT))) for _ in range(3)]
    await asyncio.sleep(0.05)
    os.kill(process, signal.SIGKILL)
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(result) for result in results} == {ConnectionFailed}
    assert not helper.alive


async def test_the_helper_ends_with_its_connection(processes: Processes, tmp_path: Path) -> None:
    async with remote(tmp_path) as world:
        await world.files.list(str(tmp_path), Listing())
        assert len(processes()) == 1
    assert processes() == []


async def test_a_cancelled_removal_stops(world: World, tmp_path: Path) -> None:
    for number in range(3000):
        (tmp_path / "tree" / f"{number:04}").mkdir(parents=True)
    await world.files.stat(str(tmp_path))
    removal = asyncio.create_task(world.files.remove(str(tmp_path / "tree")))
    while len(os.listdir(tmp_path / "tree")) == 3000:
        await asyncio.sleep(0.001)
    removal.cancel()
    with pytest.raises(asyncio.CancelledError):
        await removal
    left = await _settled(tmp_path / "tree")
    assert left > 0


async def _settled(directory: Path) -> int:
    """How many entries are left once nothing is removed any more."""
    before = -1
    while (left := len(os.listdir(directory))) != before:
        before = left
        await asyncio.sleep(0.1)
    return left


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with remote(tmp_path) as world:
        yield world


async def test_a_system_that_says_nothing_is_not_waited_for(
    processes: Processes, tmp_path: Path
) -> None:
    for number in range(10_000):
        (tmp_path / f"{number:0>200}").touch()
    async with remote(tmp_path, stall=1) as world:
        async with aclosing(world.parts.trees.walk(str(tmp_path), Walk())) as walk:
            await anext(walk)
            [process] = processes()
            os.kill(process, signal.SIGSTOP)
            with pytest.raises(DeadlineExceeded):
                _ = [batch async for batch in walk]
        os.kill(process, signal.SIGCONT)
        assert (await world.files.stat(str(tmp_path))).letter == "d"
        assert processes() == [process]


async def test_a_stat_is_one_packet_there_and_one_back(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, received = 0, 0
    send, decrypt = SSHClientConnection._send, OneKeyEncryption.decrypt_packet

    def count_sent(link: SSHClientConnection, data: bytes) -> None:
        nonlocal sent
        sent += 1
        send(link, data)

    def count_received(key: OneKeyEncryption, *packet: Any) -> bytes | None:
        nonlocal received
        received += key is connection._ssh._recv_encryption
        return decrypt(key, *packet)

    helper = await RemoteHelper.start(connection)
    await helper.call("stat", dict(STAT))
    monkeypatch.setattr(SSHClientConnection, "_send", count_sent)
    monkeypatch.setattr(OneKeyEncryption, "decrypt_packet", count_received)
    for _ in range(20):
        await helper.call("stat", dict(STAT))
    assert (sent, received) == (20, 20)


async def test_stats_asked_at_once_travel_together(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = await RemoteHelper.start(connection)
    sent = 0
    send = SSHClientConnection._send

    def count(link: SSHClientConnection, data: bytes) -> None:
        nonlocal sent
        sent += 1
        send(link, data)

    monkeypatch.setattr(SSHClientConnection, "_send", count)
    await asyncio.gather(*(helper.call("stat", dict(STAT)) for _ in range(50)))
    assert sent == 1


async def test_of_a_stream_that_nobody_reads_no_more_than_its_window_comes(
    connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    came = 0
    receive = HelperChannel.data_received

    def count(channel: HelperChannel, data: bytes, datatype: int | None) -> None:
        nonlocal came
        came += len(data)
        receive(channel, data, datatype)

    monkeypatch.setattr(HelperChannel, "data_received", count)
    for number in range(10_000):
        (tmp_path / f"{number:0>200}").touch()
    operations = HelperOperations(await RemoteHelper.start(connection), 20)
    async with aclosing(operations.walk(str(tmp_path), Walk())) as walk:
        entries = len(await anext(walk))
        before = -1
        while came != before:
            before = came
            await asyncio.sleep(0.3)
        assert came < 2 * WINDOW * PIECE
        async for batch in walk:
            entries += len(batch)
    assert entries == 10_000
    assert came > 2 * WINDOW * PIECE


async def test_a_stream_whose_helper_dies_says_so(processes: Processes, tmp_path: Path) -> None:
    for number in range(10_000):
        (tmp_path / f"{number:0>200}").touch()
    async with (
        remote(tmp_path) as world,
        aclosing(world.parts.trees.walk(str(tmp_path), Walk())) as walk,
    ):
        await anext(walk)
        os.kill(processes()[0], signal.SIGKILL)
        with pytest.raises(ConnectionFailed):
            _ = [batch async for batch in walk]
