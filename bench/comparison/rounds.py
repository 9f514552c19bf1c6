"""Several sides, compared in one run: each cell in turns, in an order that is shuffled anew in each round.

So whatever else the machine does meanwhile counts for all sides alike.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench import processes
from bench.accounts import Account
from bench.comparison.operations import OPERATIONS
from bench.comparison.sides import Side
from bench.load import Call, closed_loop

_WARMING = 16  # clients that let each user call once before the clock starts


@dataclass(frozen=True)
class Cell:
    """One thing that is measured: an operation, by so many clients, as so many users."""

    users: int
    clients: int
    operation: str

    def __str__(self) -> str:
        return f"{self.operation}, {counted(self.clients, 'client')}, {counted(self.users, 'user')}"


@dataclass(frozen=True)
class Sample:
    """The result of one side in one round of one cell."""

    calls_per_second: float
    p50: float
    """Milliseconds, as the others."""
    p90: float
    p99: float
    outcomes: dict[str, int]
    """The number of calls by HTTP status or error."""
    cpu: dict[str, float]
    """CPU time per call by the name of the process, in µs; `client` is the load generator."""
    memory: dict[str, float]
    """The most that each process took, in MiB (proportional set size)."""

    @property
    def errors(self) -> dict[str, int]:
        """The outcomes that are not 2xx."""
        return {what: n for what, n in self.outcomes.items() if not what.startswith("2")}


@dataclass
class Comparison:
    """How often and how long each cell is measured, on which sides."""

    sides: Sequence[Side]
    accounts: Sequence[Account]
    system_pids: Sequence[int]
    """The processes of the system behind all sides, such as sshd."""
    seconds: float
    rounds: int
    after: Callable[[Cell], None]
    """Called when a cell has been measured on one side, to remove its files and jobs."""
    report: Callable[[str], None]
    """Called with a line about each finished step."""
    samples: dict[Cell, dict[str, list[Sample]]] = field(default_factory=dict)
    """The results, by the names of the sides."""

    async def run(self, cells: Sequence[Cell]) -> None:
        """Measure these cells in all rounds."""
        for number in range(self.rounds):
            order = random.sample(cells, len(cells))
            for done, cell in enumerate(order, 1):
                rates = [await self._measured(cell, side) for side in self._shuffled()]
                where = f"round {number + 1}/{self.rounds}, {done}/{len(order)}"
                self.report(f"{where}: {cell}: {', '.join(filter(None, rates))}")

    def _shuffled(self) -> list[Side]:
        return random.sample(self.sides, len(self.sides))

    async def _measured(self, cell: Cell, side: Side) -> str:
        """Measure a cell on one side; a description of the result."""
        operation, accounts = OPERATIONS[cell.operation], self.accounts[: cell.users]
        with side.clients(operation, accounts, min(_WARMING, cell.users)) as clients:
            if not clients:
                return ""
            await closed_loop(clients, calls=cell.users)
        with side.clients(operation, accounts, cell.clients) as clients:
            sample = await self._sample(side, clients)
        self.after(cell)
        self.samples.setdefault(cell, {}).setdefault(side.name, []).append(sample)
        return f"{side.name} {sample.calls_per_second:.0f}/s {sample.errors or ''}".rstrip()

    async def _sample(self, side: Side, clients: Sequence[Call]) -> Sample:
        watched = (*side.pids, *self.system_pids)
        with processes.peaks(lambda: processes.memory_mib(*side.pids), every=0.5) as memory:
            before, own = processes.cpu_seconds(*watched), time.process_time()
            measured = await closed_loop(clients, seconds=self.seconds)
            own = time.process_time() - own
            cpu = processes.spent(before, processes.cpu_seconds(*watched)) | {"client": own}
        calls = len(measured.latencies)
        return Sample(
            calls_per_second=measured.rate,
            p50=measured.quantile(0.5),
            p90=measured.quantile(0.9),
            p99=measured.quantile(0.99),
            outcomes=dict(measured.outcomes),
            cpu={name: seconds / calls * 1e6 for name, seconds in cpu.items()},
            memory=memory,
        )


def counted(number: int, what: str) -> str:
    """Such as `1 client`, `64 clients`."""
    return f"{number} {what}{'s' * (number > 1)}"
