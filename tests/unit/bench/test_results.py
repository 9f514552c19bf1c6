"""What the bench makes of its samples: what counts, and what is shown."""

import asyncio
import json
from xml.etree import ElementTree

import pytest

from bench.comparison import picture, report, results
from bench.comparison.rounds import Cell, Comparison, Sample
from bench.load import closed_loop


def sample(rate: float, **changed: object) -> Sample:
    figures = {
        "calls_per_second": rate,
        "p50": 1000 / rate,
        "p90": 2000 / rate,
        "p99": 3000 / rate,
        "outcomes": {"200": 100},
        "cpu": {"storage": 1e6 / rate},
        "memory": {"storage": rate},
    }
    return Sample(**figures | changed)  # type: ignore[arg-type]


def comparison(**sides: list[Sample]) -> Comparison:
    done = Comparison((), (), (), 1, 3, lambda cell: None, print)
    done.samples[Cell(1, 64, "stat")] = sides
    return done


def test_a_ratio_is_the_median_of_what_was_measured_in_the_same_round() -> None:
    ours, rival = (
        [sample(rate) for rate in (100, 300, 50)],
        [sample(rate) for rate in (10, 100, 25)],
    )
    assert results.rate_ratio(ours, rival) == results.Ratio(median=3, least=2, most=10)
    assert results.p50_ratio(ours, rival) == results.Ratio(median=3, least=2, most=10)


@pytest.mark.parametrize("outcomes", [{"200": 99, "500": 1}, {"ConnectionResetError": 1}])
def test_a_cell_with_one_wrong_answer_does_not_count(outcomes: dict[str, int]) -> None:
    good, bad = [sample(100)] * 3, [sample(100), sample(100, outcomes=outcomes), sample(100)]
    assert results.rate_ratio(good, bad) is None
    assert results.rate_ratio(bad, good) is None
    lines = "\n".join(report.tables(comparison(ours=good, rival=bad)))
    assert "geometric mean" not in lines
    assert "refused: stat, 64 clients, 1 user: rival answered 1 times" in lines


def test_the_mean_says_over_how_many_operations_it_is() -> None:
    done = comparison(ours=[sample(800)], rival=[sample(100)])
    done.samples[Cell(1, 64, "job")] = {"ours": [sample(200)], "rival": [sample(100)]}
    done.samples[Cell(1, 64, "submit")] = {"ours": [sample(1)], "rival": [sample(100)]}
    lines = "\n".join(report.tables(done))
    assert "geometric mean over 2 of 10 operations: calls/s 4.00, p50 4.00" in lines


def test_cpu_is_the_lower_quartile_and_memory_the_most() -> None:
    samples = [sample(rate) for rate in (10, 100, 1000, 10_000)]
    assert results.cpu(samples) == {"storage": 1000}
    assert results.memory(samples) == {"storage": 10_000}


def test_the_picture_shows_what_counts() -> None:
    failed = sample(9999, outcomes={"500": 1})
    done = comparison(floor=[sample(1000)], ours=[sample(500)], rival=[sample(100)])
    done.samples[Cell(1, 1, "stat")] = {"ours": [sample(50)], "rival": [failed]}
    drawn = picture.drawn(json.loads(json.dumps(report.document(done))))
    words = [element.text for element in ElementTree.fromstring(drawn).iter()]  # noqa: S314  # our own
    assert {"1 client, calls per second", "64 clients, calls per second", "5.0 times"} <= {*words}
    assert sum("times" in (word or "") for word in words) == 1


async def test_a_closed_loop_has_as_many_calls_under_way_as_clients() -> None:
    under_way: set[int] = set()

    async def call(number: int) -> str:
        under_way.add(number)
        most.append(len(under_way))
        await asyncio.sleep(0)
        under_way.remove(number)
        return "200" if number else "503"

    most: list[int] = []
    measured = await closed_loop([call] * 3, calls=10)
    assert max(most) == 3
    assert measured.outcomes == {"200": 9, "503": 1}
    assert measured.errors == {"503": 1}
    assert len(measured.latencies) == 10
