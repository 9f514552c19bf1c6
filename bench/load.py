"""A closed loop: clients that call, each waiting for its answer before its next call."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

Call = Callable[[int], Awaitable[str]]
"""Makes the n-th call of all; its outcome, which is an HTTP status or the name of an error."""

LONGEST = 60.0
"""A call that takes longer has failed, s."""


@dataclass
class Measured:
    """The result of a run of calls: latencies in seconds, sorted; outcomes, counted; wall-clock seconds."""

    latencies: list[float] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Calls per second."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    def quantile(self, part: float) -> float:
        """The latency below which `part` of the calls stayed, in milliseconds."""
        index = min(len(self.latencies) - 1, int(len(self.latencies) * part))
        return self.latencies[index] * 1000 if self.latencies else float("nan")

    @property
    def errors(self) -> dict[str, int]:
        """Everything that was not a success, counted."""
        return {what: n for what, n in self.outcomes.items() if not what.startswith("2")}


async def closed_loop(clients: Sequence[Call], *, seconds: float = 0, calls: int = 0) -> Measured:
    """Let the clients call for `seconds`, and until `calls` have begun; it ends when the last one is answered."""
    measured, begun = Measured(), 0
    start = time.perf_counter()

    async def calling(call: Call) -> None:
        nonlocal begun
        while begun < calls or time.perf_counter() - start < seconds:
            begun += 1
            await _timed(call, begun - 1, measured)

    await asyncio.gather(*(calling(call) for call in clients))
    measured.seconds = time.perf_counter() - start
    measured.latencies.sort()
    return measured


async def _timed(call: Call, number: int, measured: Measured) -> None:
    begin = time.perf_counter()
    try:
        async with asyncio.timeout(LONGEST):
            outcome = await call(number)
    except TimeoutError:
        outcome = "TimeoutError"
    measured.outcomes[outcome] += 1
    measured.latencies.append(time.perf_counter() - begin)
