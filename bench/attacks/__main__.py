"""`python -m bench.attacks`: what a valid user feels while others attack.

Each attack is measured in turns with times without it.
"""

import time
from typing import Any

import httpx

from bench.attacks.attacker import ATTACKS, ROUND, attacker
from bench.attacks.floods import open_calls
from bench.processes import memory_mib

_TURNS = 4  # with and without the attack: what else the machine does meanwhile counts for both
_SECONDS = 5.0  # of each
_PAUSE = 0.05


def main() -> None:
    """Measure and print a row for each attack."""
    from tests.stack import running_site

    with running_site(environment={"PASSERELLE_PORT": "8009"}) as ready:
        print(f"{'':26}{'calls':>6}{'p50':>8}{'p95':>8}{'before':>8}{'ratio':>7}  memory, MiB")
        for name, attack in ATTACKS.items():
            if attack is not open_calls:  # the only user of this site would attack himself
                _row(name, ready)


def _row(name: str, ready: dict[str, Any]) -> None:
    calm, attacked = list[float](), list[float]()
    with attacker(name, ready["ready"].removeprefix("http://"), ready["token"]) as go:
        for _ in range(_TURNS):
            calm += _calls(ready["ready"], ready["token"])
            go.set()
            attacked += _calls(ready["ready"], ready["token"])
            go.clear()
            time.sleep(ROUND)  # until the last round is over
    (p50, p95), (_, before) = _percentiles(attacked), _percentiles(calm)
    memory = ", ".join(f"{key} {mib:.0f}" for key, mib in memory_mib(ready["pid"]).items())
    figures = f"{len(attacked):6}{p50:8.1f}{p95:8.1f}{before:8.1f}{p95 / before:7.1f}"
    print(f"{name:26}{figures}  {memory}", flush=True)


def _percentiles(times: list[float]) -> tuple[float, float]:
    times.sort()
    return times[len(times) // 2], times[int(len(times) * 0.95)]


def _calls(url: str, token: str) -> list[float]:
    """Milliseconds of a user's calls, one after another with pauses; raises when one is not answered 2xx."""
    times = []
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}) as http:
        end = time.monotonic() + _SECONDS
        while time.monotonic() < end:
            begun = time.perf_counter()
            http.get("/v1/systems/local/userinfo").raise_for_status()
            times.append((time.perf_counter() - begun) * 1000)
            time.sleep(_PAUSE)
    return times


if __name__ == "__main__":
    main()
