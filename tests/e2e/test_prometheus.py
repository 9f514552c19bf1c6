"""What is written for Prometheus: promtool takes it, and a running site exports every metric that it names."""

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from passerelle.cli.up.site_file import FreePorts
from tests import real
from tests.ports import free_port
from tests.stack import running_site, written_embedded

TOP = Path(__file__).parents[2]
PROMETHEUS = TOP / "deploy" / "prometheus"
PAGES = [PROMETHEUS / "alerts.yaml", *sorted((TOP / "docs").glob("*.md"))]
SERVICES = ("auth", "compute", "storage", "gateway")
CANNOT_RUN_HERE = 77

# The parts that Prometheus makes of a histogram, and words of docs that are no metrics.
_METRIC = re.compile(r"\b(?:passerelle|envoy|process)_[a-z_]+[a-z]\b(?!\.py)")
_NO_METRIC = {"passerelle_user_ca", "envoy_response_code_class", "envoy_http_conn_manager_prefix"}
_NO_METRIC |= {path.name for path in TOP.glob("examples/*/passerelle_*")}


@pytest.fixture(scope="module")
def promtool() -> str:
    """The program; skips or fails the test where it cannot be had."""
    done = subprocess.run(
        (TOP / "deploy" / "promtool",),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
    )
    if done.returncode == CANNOT_RUN_HERE:
        real.missing("promtool", done.stderr.strip())
    assert done.returncode == 0, done.stderr
    program = done.stdout.strip()
    version = subprocess.run((program, "--version"), capture_output=True, text=True, check=True)
    real.exercised("promtool", version.stdout.splitlines()[0])
    return program


@pytest.mark.parametrize(
    "command",
    [
        ("check", "config", "prometheus.yaml"),
        ("check", "rules", "alerts.yaml"),
        ("test", "rules", "alerts.test.yaml"),
    ],
    ids=" ".join,
)
def test_promtool_takes_it(promtool: str, command: tuple[str, ...]) -> None:
    done = subprocess.run((promtool, *command), cwd=PROMETHEUS, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[set[str]]:
    """The names of all metrics of a site, scraped where `prometheus.yaml` scrapes them."""
    state, port = tmp_path_factory.mktemp("prometheus"), free_port()
    data = written_embedded(port, state)
    free = FreePorts(str(state), lambda found: str(found) not in str(data))
    addresses = {name: f"127.0.0.1:{free.first_of(1)}" for name in SERVICES}
    data["services"] = {name: {"metrics": address} for name, address in addresses.items()}
    data["gateway"]["admin"] = admin = f"127.0.0.1:{free.first_of(1)}"
    path = state / "site.yaml"
    path.write_text(yaml.safe_dump(data))
    urls = [f"http://{address}/metrics" for address in addresses.values()]
    urls.append(f"http://{admin}/stats/prometheus")
    environment = {"XDG_STATE_HOME": str(state)}
    with running_site("--config", str(path), environment=environment) as ready:
        headers = {"Authorization": f"Bearer {ready['token']}"}
        for query in (
            "/status/local/nodes",
            "/filesystem/local/ops/ls?path=/tmp",
            "/status/systems",
        ):
            reply = httpx.get(ready["ready"] + query, headers=headers, timeout=30)
            assert reply.status_code == 200, reply.text
        _wait_for_health(f"http://{addresses['gateway']}/metrics")
        yield {name for url in urls for name in _names(httpx.get(url, timeout=30).text)}


def _wait_for_health(url: str) -> None:
    deadline = time.monotonic() + 60
    while "passerelle_system_healthy{" not in httpx.get(url).text:
        assert time.monotonic() < deadline, "no health check came through"
        time.sleep(0.2)


def _names(text: str) -> Iterator[str]:
    """Of samples, and of families that have none yet, such as a counter whose labels are not known before."""
    for line in text.splitlines():
        if line.startswith("# TYPE"):
            yield line.split()[2]
        elif line and not line.startswith("#"):
            yield re.split(r"[{ ]", line, maxsplit=1)[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_is_named_is_exported(page: Path, exported: set[str]) -> None:
    named = set(_METRIC.findall(page.read_text())) - _NO_METRIC
    assert named <= exported


def test_every_metric_of_ours_is_described(exported: set[str]) -> None:
    described = _METRIC.findall((TOP / "docs" / "operating.md").read_text())
    parts = ("_bucket", "_count", "_sum", "_created")
    own = {name for name in exported if name.startswith("passerelle_") and not name.endswith(parts)}
    assert own <= set(described)


def test_no_name_of_a_metric_holds_an_address(exported: set[str]) -> None:
    assert not [name for name in exported if re.search(r"_\d+_\d+_", name)]


def test_the_alerts_name_metrics() -> None:
    assert len(set(_METRIC.findall(PAGES[0].read_text()))) > 10
