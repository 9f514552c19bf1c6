"""The helper's threads: one leads and answers by itself, and others go on when it is stuck in a filesystem."""

import asyncio
import errno
import itertools
import json
import os
import random
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from passerelle.runtime import shipping
from passerelle.storage.access import helper
from passerelle.storage.access.answers import Answers
from passerelle.storage.remote.frames import FAILED, GREETING, LAST, MORE, REQUEST
from passerelle.storage.remote.helper.conversation import MAX_THREADS

# Any interpreter that a system may have: PASSERELLE_TEST_PYTHON=python3.6 make test ARGS=…
PYTHON = os.environ.get("PASSERELLE_TEST_PYTHON", sys.executable)
DEADLINE = 30.0  # seconds; nothing waits that long unless it is broken
SOURCE = shipping.program(
    *(f"passerelle.storage.remote.{name}" for name in helper.MODULES[:-1]),
    "tests.unit.storage.hanging",
    "passerelle.storage.remote.helper.conversation",
)

Question = tuple[str, dict[str, Any]]


class Client:
    """Asks a helper over pipes, and keeps every answer: its status and its payload, pieces put together."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[tuple[int, bytes]]] = {}
        self._pieces: dict[int, bytes] = {}
        self._reading = asyncio.create_task(self._read())

    def ask(self, *questions: Question, streamed: bool = False) -> Sequence[int]:
        """Send all of them at once; their numbers."""
        numbers = [next(self._numbers) for _ in questions]
        for number in numbers:
            self._answers[number] = asyncio.get_running_loop().create_future()
        request = zip(numbers, questions, strict=True)
        self._send(*((number, *question, streamed) for number, question in request))
        return numbers

    def tell(self, number: int, word: str) -> None:
        """Send `cancel` or `acknowledge`."""
        self._send((number, word, {}, False))

    async def answer(self, number: int) -> tuple[int, bytes]:
        """The answer, which must come in time."""
        async with asyncio.timeout(DEADLINE):
            return await self._answers[number]

    async def answers(self, numbers: Sequence[int]) -> list[tuple[int, bytes]]:
        """The answers in the order of the questions."""
        return [await self.answer(number) for number in numbers]

    def waiting(self, numbers: Sequence[int]) -> bool:
        """Whether none of them has been answered."""
        return not any(self._answers[number].done() for number in numbers)

    @property
    def threads(self) -> int:
        """How many there are besides the main one, the watchdog and the one that watches the channel."""
        return len(os.listdir(f"/proc/{self.process.pid}/task")) - 3

    async def end(self) -> None:
        """Let it end, as it does when nobody asks any more."""
        assert self.process.stdin
        self.process.stdin.close()
        async with asyncio.timeout(DEADLINE):
            await self.process.wait()
        await self._reading

    def _send(self, *requests: tuple[int, str, dict[str, Any], bool]) -> None:
        assert self.process.stdin
        frames = []
        for number, *question in requests:
            text = json.dumps(question).encode()
            frames.append(REQUEST.pack(number, len(text), 0) + text)
        self.process.stdin.write(b"".join(frames))

    async def _read(self) -> None:
        assert self.process.stdout
        answers = Answers()
        while data := await self.process.stdout.read(1 << 16):
            for number, status, payload in answers.take(data):
                self._pieces[number] = self._pieces.get(number, b"") + payload
                if status == MORE:
                    continue
                self._answers[number].set_result((status, self._pieces[number]))


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    argv = (PYTHON, "-I", "-S", "-B", *shipping.from_input(SOURCE))
    process = await asyncio.create_subprocess_exec(*argv, stdin=PIPE, stdout=PIPE, stderr=DEVNULL)
    assert process.stdin
    assert process.stdout
    process.stdin.write(SOURCE.encode())
    await process.stdout.readuntil(GREETING)
    client = Client(process)
    yield client
    if process.returncode is None:
        process.kill()
    await process.wait()
    await client._reading


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A file that hangs whoever opens it, until `release`."""
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


async def released(client: Client, pipe: Path, stuck: Sequence[int]) -> list[tuple[int, bytes]]:
    """The answers of those that hang, or are about to, when they may go on."""
    end = os.open(pipe, os.O_RDWR)  # which waits for nobody
    try:
        return await client.answers(stuck)
    finally:
        os.close(end)


def hang(path: Path) -> Question:
    return "hang", {"path": str(path)}


def size(path: Path) -> Question:
    request = {"path": str(path), "dereference": False, "columns": [("size", "size")]}
    return "stat", request


def content(path: Path) -> Question:
    return "read", {"path": str(path), "offset": 0, "length": 1 << 30, "limit": None}


async def test_quick_answers_are_given_by_one_thread(client: Client) -> None:
    await client.answers(client.ask(("have_patience", {})))
    threads = set()
    for _ in range(10):
        threads |= set(await client.answers(client.ask(*[("thread", {})] * 100)))
    assert len(threads) == 1


async def test_answers_find_their_questions(client: Client, tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / f"{number}").write_bytes(bytes(number))
    order = [number % 100 for number in range(5000)]
    numbers = client.ask(*(size(tmp_path / f"{number}") for number in order))
    expected = [(LAST, b'{"size":%d}' % number) for number in order]
    assert await client.answers(numbers) == expected


async def test_a_stuck_answer_holds_up_no_other(client: Client, pipe: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"four")
    before, stuck, after = client.ask(size(tmp_path / "file"), hang(pipe), size(tmp_path / "file"))
    assert await client.answers([before, after]) == [(LAST, b'{"size":4}')] * 2
    assert client.waiting([stuck])
    assert await released(client, pipe, [stuck]) == [(LAST, b"came")]


async def test_a_helper_that_was_idle_notices_a_stuck_answer(
    client: Client, pipe: Path, tmp_path: Path
) -> None:
    for pause in (0, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2):
        await asyncio.sleep(pause)
        stuck, other = client.ask(hang(pipe), size(tmp_path))
        assert (await client.answer(other))[0] == LAST
        assert client.waiting([stuck])
        assert await released(client, pipe, [stuck]) == [(LAST, b"came")]


async def test_stuck_answers_can_be_given_up(client: Client, pipe: Path) -> None:
    stuck = client.ask(hang(pipe), hang(pipe))
    client.tell(stuck[0], "cancel")
    await client.answers(client.ask(size(pipe)))  # asked behind it
    [(given_up, output), came] = await released(client, pipe, stuck)
    assert (given_up, json.loads(output)["step"], came) == (FAILED, "cancelled", (LAST, b"came"))


async def test_a_flood_of_stuck_answers_takes_threads_up_to_the_limit(
    client: Client, pipe: Path, tmp_path: Path
) -> None:
    stuck = client.ask(*(hang(pipe) for _ in range(MAX_THREADS - 1)))
    others = client.ask(*(size(tmp_path) for _ in range(500)))
    assert {status for status, _ in await client.answers(others)} == {LAST}
    assert client.waiting(stuck)
    assert client.threads == MAX_THREADS
    (one_more,) = client.ask(hang(pipe))
    (last,) = client.ask(size(tmp_path))
    await asyncio.sleep(0.2)
    assert client.waiting([one_more, last])
    assert client.threads == MAX_THREADS
    answers = await released(client, pipe, [*stuck, one_more, last])
    assert {status for status, _ in answers} == {LAST}
    assert client.threads == MAX_THREADS


async def test_no_stream_begins_that_nobody_could_go_on_with(
    client: Client, pipe: Path, tmp_path: Path
) -> None:
    stuck = client.ask(*(hang(pipe) for _ in range(MAX_THREADS - 1)))
    await client.answers(client.ask(size(tmp_path)))
    (refused,) = client.ask(("measure", {"path": str(tmp_path)}), streamed=True)
    status, output = await client.answer(refused)
    assert (status, json.loads(output)["errno"]) == (FAILED, errno.EAGAIN)
    await released(client, pipe, stuck)
    (measured,) = client.ask(("measure", {"path": str(tmp_path)}), streamed=True)
    assert (await client.answer(measured))[0] == LAST


async def test_slow_answers_are_given_side_by_side(client: Client, tmp_path: Path) -> None:
    """Of programs that each wait for all the others, none would end if they ran one after another."""
    script = (
        'touch "$1/$2"; while [ "$(ls "$1" | wc -l)" -lt 8 ]; do sleep 0.01; done; rm "$1"/../$2'
    )
    (tmp_path / "together").mkdir()
    for number in range(8):
        (tmp_path / f"{number}").touch()
    argv = ["sh", "-c", script, "sh", str(tmp_path / "together")]
    runs = client.ask(
        *(
            ("run_program", {"path": "/", "argv": [*argv, f"{number}"], "dereference": False})
            for number in range(8)
        )
    )
    assert [json.loads(document)[0] for _, document in await client.answers(runs)] == [0] * 8


async def test_large_answers_come_whole_among_small_ones(client: Client, tmp_path: Path) -> None:
    sizes = (0, 1, 65_535, 65_536, 65_537, 3_000_000)
    for length in sizes:
        (tmp_path / f"{length}").write_bytes(os.urandom(length))
    paths = [tmp_path / f"{length}" for length in sizes] * 10
    questions = [ask(path) for path in paths for ask in (content, size)]
    expected = [
        (LAST, answer)
        for path in paths
        for answer in (path.read_bytes(), b'{"size":%d}' % path.stat().st_size)
    ]
    assert await client.answers(client.ask(*questions)) == expected


async def test_every_question_is_answered_once_whatever_goes_on(
    client: Client, pipe: Path, tmp_path: Path
) -> None:
    chance = random.Random(2)  # noqa: S311
    (tmp_path / "file").write_bytes(b"four")
    quick: list[int] = []
    stuck: list[int] = []
    for _ in range(300):
        questions = [size(tmp_path / "file")] * chance.randrange(10)
        quick += client.ask(*questions)
        if chance.random() < 0.05:
            stuck += client.ask(hang(pipe))
        if stuck and chance.random() < 0.05:
            client.tell(chance.choice(stuck), "cancel")
        if chance.random() < 0.1:
            quick += client.ask(("measure", {"path": str(tmp_path)}), streamed=True)
        if stuck and chance.random() < 0.1:
            await released(client, pipe, [stuck.pop()])
        await asyncio.sleep(chance.choice((0, 0, 0.001, 0.03)))
    assert {status for status, _ in await client.answers(quick)} == {LAST}
    await released(client, pipe, stuck)
    # `Client` fails on a second answer to a question.
    assert not client._reading.done()
    await client.end()


async def test_it_ends_when_nobody_asks_any_more(client: Client, tmp_path: Path) -> None:
    await client.answers(client.ask(size(tmp_path)))
    await client.end()
    assert client.process.returncode == 0
