"""The logs of a running site while somebody without a token floods it: bounded, and nobody goes uncounted."""

import asyncio
import json
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml

from tests.ports import free_port
from tests.stack import running_site, written_embedded

SIZE = 64 << 10  # bytes of one file
KEPT = 2
AT_ONCE = 64 << 10  # bytes that one write to a log may have
REQUESTS = 1500
LONG = "x" * 2000


@dataclass(frozen=True)
class Logs:
    """What was left of a site's logs when it had stopped."""

    directory: Path

    def size(self, name: str) -> int:
        """Bytes of a log with its old files."""
        return sum(file.stat().st_size for file in self.directory.glob(f"{name}*"))

    def audit(self) -> list[dict[str, str]]:
        """The lines of the audit log."""
        files = sorted(self.directory.glob("audit.log*"), reverse=True)
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Logs:
    """Those of a site that was flooded with requests of all kinds that are turned away."""
    state, port = tmp_path_factory.mktemp("state"), free_port()
    data = written_embedded(port, state)
    directory = state / "logs"
    bounds = {"max_size": SIZE, "keep": KEPT, "keep_audit": KEPT}
    data["gateway"]["logs"] = {"directory": str(directory), **bounds}
    path = state / "site.yaml"
    path.write_text(yaml.safe_dump(data))
    with running_site("--config", str(path), environment={}) as ready:
        asyncio.run(_flood(ready["ready"]))
        _until_written(ready["ready"], directory / "audit.log")
    return Logs(directory)


async def _flood(url: str) -> None:
    shown: tuple[dict[str, str], ...] = (
        {},
        {"authorization": "Bearer e30.e30.AAAA"},
        {"x-request-id": LONG},
    )
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:

        async def some(first: int) -> None:
            for number in range(first, REQUESTS, 10):
                path = "/status/systems" if number % 2 else f"/nope/{LONG}"
                await http.get(path, headers=shown[number % 3])

        await asyncio.gather(*(some(first) for first in range(10)))


def _until_written(url: str, log: Path) -> None:
    """Envoy tells a second later; of the flood's address one line a second is written: wait for some more of them."""
    deadline = time.monotonic() + 60
    for number in range(3):
        while f"last-{number}" not in log.read_text():
            assert time.monotonic() < deadline
            httpx.get(f"{url}/status/systems", headers={"x-request-id": f"last-{number}"})
            time.sleep(0.2)


def test_no_log_grows_beyond_its_bound(logs: Logs) -> None:
    assert logs.size("envoy.log") > SIZE
    for name in ("envoy.log", "auth.log", "audit.log"):
        assert logs.size(name) <= (KEPT + 1) * (SIZE + AT_ONCE), name


def test_everybody_is_counted(logs: Logs) -> None:
    """Those with a line of their own, and those that are counted together when the site stops."""
    turned_away = [line for line in logs.audit() if line.get("address") == "127.0.0.1"]
    counted = sum(int(line.get("left_out", 1)) for line in turned_away)
    assert counted >= REQUESTS // 2
    assert any("left_out" in line for line in turned_away)
    assert len(turned_away) < 100
