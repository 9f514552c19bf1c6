"""The supervisor, with real child processes."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from passerelle.cli.up.logs import LogFile
from passerelle.cli.up.supervisor import EXIT_CONFIG, BadConfiguration, CannotRun, Child, Supervisor

STAYS = "import time; print('here', flush=True); time.sleep(600)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {STAYS}"


def child(name: str, program: str, *, stop_order: int = 0, grace: float = 5.0) -> Child:
    return Child(name, (sys.executable, "-c", program), (), stop_order, grace)


class Told(list[str]):
    async def until(self, word: str) -> None:
        while not any(word in line for line in self):
            await asyncio.sleep(0.01)


def supervisor_of(directory: Path, *children: Child) -> tuple[Supervisor, Told]:
    reports = Told()
    supervisor = Supervisor(
        children,
        environment={"GREETING": "hello"},
        log_of=lambda child: LogFile(directory / child.name, size=1 << 20, keep=1),
        report=reports.append,
    )
    return supervisor, reports


@asynccontextmanager
async def supervised(directory: Path, *children: Child) -> AsyncIterator[tuple[Supervisor, Told]]:
    supervisor, reports = supervisor_of(directory, *children)
    stop = asyncio.Event()

    async def until() -> None:
        await stop.wait()

    running = asyncio.create_task(supervisor.run(until()))
    try:
        yield supervisor, reports
    finally:
        stop.set()
        await running


async def lines(path: Path, count: int) -> list[str]:
    while not path.exists() or path.read_text().count("\n") < count:
        await asyncio.sleep(0.01)
    return path.read_text().splitlines()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_killed_child_is_started_again(tmp_path: Path) -> None:
    async with supervised(tmp_path, child("one", STAYS), child("two", STAYS)) as (
        supervisor,
        reports,
    ):
        await asyncio.gather(lines(tmp_path / "one", 1), lines(tmp_path / "two", 1))
        before = supervisor.process_ids()
        os.kill(before["one"], signal.SIGKILL)
        await lines(tmp_path / "one", 2)
        after = supervisor.process_ids()
    assert after["one"] != before["one"]
    assert after["two"] == before["two"]
    assert reports[0].startswith("one ended (signal 9")
    assert not any(alive(pid) for pid in after.values())


async def test_the_environment_reaches_the_children(tmp_path: Path) -> None:
    program = f"import os; print(os.environ['GREETING'], os.environ['PATH'] != ''); {STAYS}"
    async with supervised(tmp_path, child("one", program)):
        assert (await lines(tmp_path / "one", 1))[0] == "hello True"


async def test_repeated_deaths_are_answered_with_growing_pauses(tmp_path: Path) -> None:
    async with supervised(tmp_path, child("one", "raise SystemExit(3)")) as (supervisor, reports):
        supervisor.settled = True
        await reports.until("0.8 s")
    assert [line.rpartition("again")[2] for line in reports[:4]] == [
        "",
        " in 0.2 s",
        " in 0.4 s",
        " in 0.8 s",
    ]
    assert "exit status 3" in reports[0]


async def test_a_wrong_configuration_stops_everything_at_once(tmp_path: Path) -> None:
    failing = child("one", f"raise SystemExit({EXIT_CONFIG})")
    supervisor, reports = supervisor_of(tmp_path, failing, child("two", STAYS))
    with pytest.raises(CannotRun, match="one cannot run: its configuration is wrong"):
        await supervisor.run(asyncio.sleep(600))
    assert reports == []
    assert supervisor.process_ids() == {}


async def test_what_never_worked_is_given_up(tmp_path: Path) -> None:
    supervisor, reports = supervisor_of(tmp_path, child("one", "raise SystemExit(1)"))
    with pytest.raises(CannotRun, match="3 times in a row") as caught:
        await supervisor.run(asyncio.sleep(600))
    assert caught.value.child.name == "one"
    assert len(reports) == 2


async def test_a_program_that_does_not_exist_says_so(tmp_path: Path) -> None:
    supervisor, _ = supervisor_of(tmp_path, Child("one", (str(tmp_path / "missing"),), ()))
    with pytest.raises(CannotRun, match="missing: No such file"):
        await supervisor.run(asyncio.sleep(600))


REPORTS = "import os; os.write(int(os.environ['PASSERELLE_REPORT']), b'{}')"


async def test_a_child_is_ready_when_it_says_so(tmp_path: Path) -> None:
    says = f"{REPORTS.format('ready')}; os.close(int(os.environ['PASSERELLE_REPORT'])); {STAYS}"
    one, two = child("one", says), child("two", STAYS)
    async with supervised(tmp_path, one, two) as (supervisor, _):
        silent = asyncio.create_task(supervisor.ready(two))
        await supervisor.ready(one)
        await lines(tmp_path / "two", 1)
        assert not silent.done()
        silent.cancel()


async def test_what_is_wrong_is_told_in_the_childs_own_words(tmp_path: Path) -> None:
    failing = child("one", f"{REPORTS.format('a.key: is taken')}; raise SystemExit({EXIT_CONFIG})")
    supervisor, _ = supervisor_of(tmp_path, failing)
    with pytest.raises(BadConfiguration) as caught:
        await supervisor.run(asyncio.sleep(600))
    assert caught.value.reported == "a.key: is taken"


async def test_a_site_that_worked_outlives_a_configuration_that_turned_wrong(
    tmp_path: Path,
) -> None:
    failing = child("one", f"{REPORTS.format('a.key: is taken')}; raise SystemExit({EXIT_CONFIG})")
    async with supervised(tmp_path, failing) as (supervisor, reports):
        supervisor.settled = True
        await reports.until("again in 0.2 s")
    assert reports[0] == "one ended (a.key: is taken); starting it again"


async def test_an_interpreter_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    (tmp_path / "target").touch(mode=0o600)  # not even root may execute it
    (tmp_path / "python").symlink_to(tmp_path / "target")
    supervisor, _ = supervisor_of(tmp_path, Child("one", (str(tmp_path / "python"),), ()))
    with pytest.raises(
        CannotRun, match=f"python leads to {tmp_path}/target, which .* cannot reach"
    ):
        await supervisor.run(asyncio.sleep(600))


def ending(name: str) -> str:
    return (
        "import signal, sys, time\n"
        f"def end(*_): print('{name} ended', file=open(sys.argv[1], 'a'), flush=True); sys.exit()\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('here', flush=True)\n"
        "time.sleep(600)"
    )


async def test_children_stop_in_order(tmp_path: Path) -> None:
    order = tmp_path / "order"
    children = [
        Child(name, (sys.executable, "-c", ending(name), str(order)), (), stop_order)
        for name, stop_order in (("last", 2), ("first", 0), ("second", 1))
    ]
    async with supervised(tmp_path, *children):
        await asyncio.gather(*(lines(tmp_path / child.name, 1) for child in children))
    assert order.read_text().splitlines() == ["first ended", "second ended", "last ended"]


async def test_a_child_that_will_not_end_is_killed_after_its_grace(tmp_path: Path) -> None:
    async with supervised(tmp_path, child("one", STUBBORN, grace=0.2)) as (supervisor, reports):
        await lines(tmp_path / "one", 1)
        pid = supervisor.process_ids()["one"]
    assert reports == ["one does not end within 0.2 s; killing it"]
    assert not alive(pid)


async def test_kill_ends_a_stop_that_takes_too_long(tmp_path: Path) -> None:
    async with supervised(tmp_path, child("one", STUBBORN, grace=600)) as (supervisor, _):
        await lines(tmp_path / "one", 1)
        pid = supervisor.process_ids()["one"]
        asyncio.get_running_loop().call_later(0.3, supervisor.kill)
    assert not alive(pid)
