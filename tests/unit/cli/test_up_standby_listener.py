"""A deputy keeps clients waiting while a server is away."""

import asyncio

import pytest

from passerelle.cli.up.standby_listener import StandbyListener
from tests.ports import free_port


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    line = await reader.readline()
    writer.write(b"answered " + line)
    await writer.drain()
    writer.close()


async def ask(port: int, text: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text)
    reply = await reader.read()
    writer.close()
    return reply


async def open_door(port: int) -> None:
    """Return when somebody listens."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.01)
        else:
            writer.close()
            return


async def test_connections_wait_for_the_server() -> None:
    port = free_port()
    standby = StandbyListener(f"127.0.0.1:{port}")
    standby.take_over()
    standby.take_over()
    await open_door(port)
    early = [asyncio.create_task(ask(port, b"%d\n" % number)) for number in range(20)]
    await asyncio.sleep(0.1)
    assert not any(task.done() for task in early)
    server = await asyncio.start_server(answer, "127.0.0.1", port, reuse_port=True)
    assert await asyncio.gather(*early) == [b"answered %d\n" % number for number in range(20)]
    assert await ask(port, b"late\n") == b"answered late\n"
    server.close()
    with pytest.raises(ConnectionRefusedError):
        await ask(port, b"nobody\n")
    await standby.close()


async def test_nobody_listens_once_it_is_closed() -> None:
    port = free_port()
    standby = StandbyListener(f"127.0.0.1:{port}")
    standby.take_over()
    await open_door(port)
    await standby.close()
    with pytest.raises(ConnectionRefusedError):
        await ask(port, b"nobody\n")
