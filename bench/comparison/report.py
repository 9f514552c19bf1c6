"""The results of a comparison, as tables to read and as JSON."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bench.comparison import results
from bench.comparison.operations import OPERATIONS
from bench.comparison.rounds import Cell, Comparison, Sample, counted

OURS = "ours"
SIDES = ("floor", OURS, "rival")
"""In the order in which they are shown."""

_WIDTH = 8
_Sides = Mapping[str, Sequence[Sample]]
"""The samples of one cell, by the names of the sides."""


def tables(comparison: Comparison) -> Iterator[str]:
    """The lines of a table for each number of users and clients, of one for memory, and of one for refused calls."""
    samples = comparison.samples
    for users, clients in sorted({(cell.users, cell.clients) for cell in samples}):
        cells = [Cell(users, clients, operation) for operation in OPERATIONS]
        there = {cell: samples[cell] for cell in cells if cell in samples}
        yield from _table(users, clients, there)
    yield from _memory(samples)
    yield from _refused(samples)


def document(comparison: Comparison) -> dict[str, Any]:
    """Everything that was measured, as JSON; the units are those of `Sample`."""
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "processors": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "seconds": comparison.seconds,
        "rounds": comparison.rounds,
        "cells": [
            asdict(cell)
            | {"samples": {side: [asdict(s) for s in each] for side, each in sides.items()}}
            for cell, sides in _in_order(comparison.samples)
        ],
    }


def _in_order(samples: Mapping[Cell, _Sides]) -> list[tuple[Cell, _Sides]]:
    """By users and clients; of each the operations in their own order."""
    order = list(OPERATIONS)
    return sorted(
        samples.items(),
        key=lambda item: (item[0].users, item[0].clients, order.index(item[0].operation)),
    )


def _table(users: int, clients: int, cells: Mapping[Cell, _Sides]) -> Iterator[str]:
    sides = [side for side in SIDES if any(side in measured for measured in cells.values())]
    groups = ("calls/s", "p50, ms", "p99, ms")
    yield f"\n{counted(clients, 'client')}, {counted(users, 'user')}"
    yield " " * 13 + "".join(f"{group:>{_WIDTH * len(sides)}}" for group in groups)
    yield (
        " " * 13
        + "".join(f"{side:>{_WIDTH}}" for _ in groups for side in sides)
        + ("   ratio to rival: calls/s [range], p50" if "rival" in sides else "")
    )
    for cell, measured in cells.items():
        figures = _figures([measured.get(side, ()) for side in sides])
        yield f"{cell.operation:13}{figures}   {_ratios(measured)}".rstrip()
    if "rival" in sides:
        yield from _means(cells)
    yield "CPU per call, µs"
    for cell, measured in cells.items():
        for side in filter(measured.__contains__, sides):
            shares = sorted(results.cpu(measured[side]).items(), key=lambda share: -share[1])
            shown = ", ".join(f"{name} {spent:.0f}" for name, spent in shares if spent >= 1)
            yield f"  {cell.operation:13}{side:7}{shown}"


def _figures(sides: Sequence[Sequence[Sample]]) -> str:
    """Calls per second of each side, then the p50 of each, then the p99."""
    values: tuple[Callable[[Sample], float], ...] = (
        lambda sample: sample.calls_per_second,
        lambda sample: sample.p50,
        lambda sample: sample.p99,
    )
    middles = [
        [results.median(samples, value) if samples else None for samples in sides]
        for value in values
    ]
    return "".join(_number(figure) for group in middles for figure in group)


def _number(value: float | None) -> str:
    """With three digits at least."""
    if value is None:
        return " " * _WIDTH
    return f"{value:{_WIDTH}.{0 if value >= 100 else 1 if value >= 10 else 2}f}"


def _ratios(sides: _Sides) -> str:
    rival = sides.get("rival", ())
    if not rival:
        return ""
    rate, p50 = (
        results.rate_ratio(sides[OURS], rival),
        results.p50_ratio(sides[OURS], rival),
    )
    if rate is None or p50 is None:
        return "refused"
    return f"{rate.median:8.2f} [{rate.least:.2f}-{rate.most:.2f}] {p50.median:8.2f}"


def _means(cells: Mapping[Cell, _Sides]) -> Iterator[str]:
    """The geometric means over the operations that count."""
    pairs = [
        (sides[OURS], sides["rival"])
        for cell, sides in cells.items()
        if OPERATIONS[cell.operation].in_mean and "rival" in sides
    ]
    rates = [ratio.median for pair in pairs if (ratio := results.rate_ratio(*pair))]
    p50s = [ratio.median for pair in pairs if (ratio := results.p50_ratio(*pair))]
    wanted = sum(operation.in_mean for operation in OPERATIONS.values())
    if rates:
        yield (
            f"geometric mean over {len(rates)} of {wanted} operations:"
            f" calls/s {statistics.geometric_mean(rates):.2f},"
            f" p50 {statistics.geometric_mean(p50s):.2f}"
        )


def _memory(samples: Mapping[Cell, _Sides]) -> Iterator[str]:
    yield "\nThe most that each process took, MiB (proportional set size)"
    for side in SIDES:
        all_samples = [sample for sides in samples.values() for sample in sides.get(side, ())]
        most = results.memory(all_samples)
        if most:
            together = max(sum(sample.memory.values()) for sample in all_samples)
            shown = ", ".join(f"{name} {mib:.0f}" for name, mib in sorted(most.items()))
            yield f"  {side:7}{shown}; all at once {together:.0f}"


def _refused(samples: Mapping[Cell, _Sides]) -> Iterator[str]:
    for cell, sides in _in_order(samples):
        for side, each in sides.items():
            if outcomes := results.refused(each):
                shown = ", ".join(f"{number} times {what}" for what, number in outcomes.items())
                yield f"refused: {cell}: {side} answered {shown}"
