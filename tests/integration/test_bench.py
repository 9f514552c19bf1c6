"""The bench itself, with a gateway in the place of the rival; and what calls cost in memory.

The CPU time that `bench.guard` measures too is judged by CI after the tests, because a busy machine makes a call
dearer: each wake-up then serves fewer calls.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import guard
from bench.accounts import prepared
from bench.stack import Stack, running_stack
from tests.cluster import Cluster


@pytest.fixture(scope="module")
def stack(cluster: Cluster) -> Iterator[Stack]:
    """A gateway of our own: its memory is looked at."""
    with running_stack(cluster.directory) as running:
        yield running


def bench(stack: Stack, output: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    where = ("--cluster", stack.cluster.directory, "--rival", stack.base_url, "--output", output)
    short = ("--users", "1", "--rounds", "1", "--seconds", "0.2")
    return subprocess.run(
        (sys.executable, "-m", "bench", *where, *short, *options),
        env=os.environ | {"RIVAL_TOKENS": stack.token()},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def left_behind() -> list[Path]:
    """What benches that have ended left in alice's home."""
    folders = Path("/home/alice").glob("passerelle-bench-*")
    return [path for path in folders if not Path("/proc", path.name.rpartition("-")[2]).exists()]


def test_the_bench_compares_two_servers_and_the_floor(stack: Stack, tmp_path: Path) -> None:
    before = left_behind()  # by a bench that was killed
    done = bench(stack, tmp_path, "--only", "systems,upload1MiB,submit", "--clients", "1,3")
    assert done.returncode == 0, done.stderr
    cells = json.loads((tmp_path / "bench.json").read_text())["cells"]
    assert [(cell["operation"], cell["clients"]) for cell in cells] == [
        (operation, clients)
        for clients in (1, 3)
        for operation in ("systems", "upload1MiB", "submit")
    ]
    for cell in cells:
        floor = {"floor"} if cell["operation"] != "systems" else set()
        assert cell["samples"].keys() == {"ours", "rival"} | floor
        ours = cell["samples"]["ours"][0]
        assert all(status.startswith("2") for status in ours["outcomes"])
        assert {"envoy", "client"} <= ours["cpu"].keys()
        assert ours["memory"]["storage"] > 10
    assert "geometric mean over 2 of 10 operations" in done.stdout
    assert "times</text>" in (tmp_path / "bench.svg").read_text()
    assert set(left_behind()) <= set(before)


def test_a_rival_that_refuses_does_not_count(stack: Stack, tmp_path: Path) -> None:
    unknown = ("--rival-system", "unknown")
    done = bench(stack, tmp_path, "--only", "stat", "--clients", "1", *unknown)
    assert done.returncode == 0, done.stderr  # the gateway has refused nothing
    assert "refused: stat, 1 client, 1 user: rival answered" in done.stdout
    assert "geometric mean" not in done.stdout


async def test_512_uploads_at_once_take_bounded_memory(stack: Stack) -> None:
    async with prepared(stack.cluster, ("alice",)) as accounts:
        assert await guard.uploads_mib(stack, accounts) < guard.UPLOADS_LIMIT
