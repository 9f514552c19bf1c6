"""The recorded FirecREST v2 cases, replayed through the gateway on a real Slurm and OpenSSH.

The cases run in their order, as later ones speak of jobs and files of earlier ones.
"""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.compat.cases import Case, recorded
from tests.compat.differences import DIFFERENCES, REASONS
from tests.compat.replay import FirecrestApi, Replay

PROFILE = Path(__file__).parents[2] / "docs" / "firecrest-profile.md"
CASES = recorded()


@pytest.fixture(scope="module")
def replay(firecrest_api: FirecrestApi) -> Iterator[Replay]:
    with Replay.on(firecrest_api) as running:
        yield running


@pytest.mark.parametrize("case", CASES, ids=str)
def test_recorded_case(replay: Replay, case: Case) -> None:
    outcome = replay.outcome(case, DIFFERENCES.get(case.name))
    assert outcome.agrees, str(outcome)


def test_every_reply_names_the_version_that_clients_want(firecrest_api: FirecrestApi) -> None:
    replies = [
        httpx.get(firecrest_api.base_url + path) for path in ("/status/liveness/", "/no/such/path")
    ]
    assert [reply.headers["f7t-appversion"] for reply in replies] == ["2.6.0", "2.6.0"]


def test_every_difference_is_of_a_recorded_case_and_has_a_reason() -> None:
    assert set(DIFFERENCES) <= {case.name for case in CASES}
    assert {difference.reason for difference in DIFFERENCES.values()} == set(REASONS)


def test_every_difference_is_documented() -> None:
    page = PROFILE.read_text()
    names = [*REASONS, *DIFFERENCES]
    assert [name for name in names if f"`{name}`" not in page] == []
