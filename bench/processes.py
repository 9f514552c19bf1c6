"""CPU time and memory of processes, by their names (proc(5))."""

import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_GONE = (FileNotFoundError, ProcessLookupError)
_CHILDREN_TIMES = slice(13, 15)  # cutime and cstime in /proc/PID/stat, counted behind the name
ENDED = "commands"
"""The name of processes that have ended: their CPU time is then known to their parent alone."""


def memory_mib(*pids: int) -> dict[str, float]:
    """Proportional set size of processes and all their descendants, in MiB, by name (smaps_rollup)."""
    memory: defaultdict[str, float] = defaultdict(float)
    for process in _with_descendants(pids):
        try:
            rollup = (process / "smaps_rollup").read_text()
            name = _name(process)
        except _GONE:
            continue
        lines = [line for line in rollup.splitlines() if line.startswith("Pss:")]
        memory[name] += sum(int(line.split()[1]) for line in lines) / 1024
    return dict(memory)


def resident_mib(*pids: int) -> float:
    """As `memory_mib`, the sum of all."""
    return sum(memory_mib(*pids).values())


def cpu_seconds(*pids: int) -> dict[str, float]:
    """CPU time that processes and all their descendants have taken so far, in s, by name.

    To the nanosecond where threads still run; in ticks of the clock (10 ms) where processes have ended.
    """
    seconds: defaultdict[str, float] = defaultdict(float)
    for process in _with_descendants(pids):
        try:
            threads = [(task / "schedstat").read_text() for task in (process / "task").iterdir()]
            name, fields = _name(process), (process / "stat").read_text().rpartition(")")[2].split()
        except _GONE:
            continue
        seconds[name] += sum(int(thread.split()[0]) for thread in threads) / 1e9
        seconds[ENDED] += sum(int(ticks) for ticks in fields[_CHILDREN_TIMES]) / _TICKS
    return dict(seconds)


def spent(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """The CPU time between two readings, by name; that of processes that ended in between counts as `ENDED`."""
    return {name: max(0.0, seconds - before.get(name, 0.0)) for name, seconds in after.items()}


@contextmanager
def peaks(
    look: Callable[[], Mapping[str, float]], *, every: float = 0.2
) -> Iterator[dict[str, float]]:
    """The most that `look` saw by name, looking every so many seconds, and at the end."""
    highest: dict[str, float] = {}
    ended = threading.Event()

    def note() -> None:
        for name, value in look().items():
            highest[name] = max(highest.get(name, 0.0), value)

    def watch() -> None:
        while not ended.wait(every):
            note()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield highest
    finally:
        ended.set()
        watcher.join()
        note()


def _with_descendants(pids: Iterable[int]) -> Iterator[Path]:
    waiting = [Path(f"/proc/{pid}") for pid in pids]
    while waiting:
        process = waiting.pop()
        yield process
        try:
            for task in (process / "task").iterdir():
                waiting += [
                    Path("/proc") / child for child in (task / "children").read_text().split()
                ]
        except _GONE:
            continue


def _name(process: Path) -> str:
    """A service's name, for all its workers; `up`; `helper` for our program on a system; else that of the program."""
    words = (process / "cmdline").read_text().split("\0")
    if "serve" in words:
        return words[words.index("serve") + 1].partition(".")[0]
    if "up" in words:
        return "up"
    program = Path(words[0].partition(":")[0]).name  # OpenSSH writes `sshd: alice@notty`
    if program.startswith("python"):
        return "helper" if "-I" in words else _module(words)
    return program


def _module(words: list[str]) -> str:
    return words[words.index("-m") + 1] if "-m" in words else Path(words[0]).name
