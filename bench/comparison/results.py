"""The results of the rounds as single numbers: medians, lower quartiles, and ratios of sides measured together."""

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.comparison.rounds import Sample


@dataclass(frozen=True)
class Ratio:
    """The ratio of two sides: the median over the rounds, the least and the most."""

    median: float
    least: float
    most: float


def refused(samples: Sequence[Sample]) -> dict[str, int]:
    """All outcomes but 2xx, counted. A cell with any of them does not count: errors are fast."""
    errors: Counter[str] = Counter()
    for sample in samples:
        errors.update(sample.errors)
    return dict(errors)


def rate_ratio(ours: Sequence[Sample], other: Sequence[Sample]) -> Ratio | None:
    """Our calls per second by the other's; None where the cell does not count."""
    return _ratio(ours, other, lambda one, two: one.calls_per_second / two.calls_per_second)


def p50_ratio(ours: Sequence[Sample], other: Sequence[Sample]) -> Ratio | None:
    """The other's p50 by ours; None where the cell does not count."""
    return _ratio(ours, other, lambda one, two: two.p50 / one.p50)


def _ratio(
    ours: Sequence[Sample], other: Sequence[Sample], value: Callable[[Sample, Sample], float]
) -> Ratio | None:
    if not ours or not other or refused(ours) or refused(other):
        return None
    values = [value(one, two) for one, two in zip(ours, other, strict=True)]
    return Ratio(statistics.median(values), min(values), max(values))


def median(samples: Sequence[Sample], value: Callable[[Sample], float]) -> float:
    """Over the rounds."""
    return statistics.median(value(sample) for sample in samples)


def cpu(samples: Sequence[Sample]) -> dict[str, float]:
    """CPU time per call by process, in µs: the lower quartile, since whatever else the machine does only adds to it."""
    names = dict.fromkeys(name for sample in samples for name in sample.cpu)
    return {name: lower_quartile([each.cpu.get(name, 0.0) for each in samples]) for name in names}


def memory(samples: Sequence[Sample]) -> dict[str, float]:
    """The most that each process took, in MiB."""
    names = dict.fromkeys(name for sample in samples for name in sample.memory)
    return {name: max(each.memory.get(name, 0.0) for each in samples) for name in names}


def lower_quartile(values: Sequence[float]) -> float:
    """The value below which a quarter of them lie."""
    return sorted(values)[len(values) // 4]
