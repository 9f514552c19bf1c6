"""The scheduler of docs/plugins.md, installed and configured as that page says, with real processes."""

import asyncio
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from passerelle.compute.scheduler import JobDescription, JobFilter, Scheduler, State
from passerelle.runtime import caller
from passerelle.runtime.config.plugins import make, names
from passerelle.runtime.config.site import ConfigError
from passerelle.runtime.config.site import Scheduler as SchedulerChoice
from passerelle.runtime.errors import NotFound, Unsupported
from tests.unit.compute.local_shell import LocalShell

PAGE = Path(__file__).parents[2] / "docs" / "plugins.md"
MODULE = "my_site.processes"


def blocks(language: str) -> list[str]:
    """The page's blocks of one language."""
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    return found


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The page's module and entry point, as pip leaves them."""
    (source,) = (block for block in blocks("python") if "class Processes:" in block)
    package = tmp_path / "site" / "my_site"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "processes.py").write_text(source)
    ((group, points),) = (
        (group, points)
        for block in blocks("toml")
        for group, points in tomllib.loads(block)["project"]["entry-points"].items()
        if f"{MODULE}:" in str(points)
    )
    written = "".join(f"{name} = {point}\n" for name, point in points.items())
    metadata = package.with_name("my_site-1.dist-info")
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my_site\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(f"[{group}]\n{written}")
    monkeypatch.syspath_prepend(package.parent)
    yield
    for name in ("my_site", MODULE):
        sys.modules.pop(name, None)


def configured() -> SchedulerChoice:
    (system,) = (
        system
        for block in blocks("yaml")
        for system in yaml.safe_load(block)["systems"]
        if system["scheduler"]["type"] == "processes"
    )
    return SchedulerChoice.model_validate(system["scheduler"])


@pytest.fixture
def scheduler(installed: None, tmp_path: Path) -> Iterator[Scheduler]:
    made: Scheduler = make("scheduler", configured(), LocalShell(tmp_path))
    with caller.bind(caller.Caller("alice", "")):
        yield made


async def test_it_runs_jobs(scheduler: Scheduler, tmp_path: Path) -> None:
    assert "processes" in names("passerelle.schedulers")
    assert (await scheduler.ping()).startswith("up ")
    script = "#!/bin/sh\nnice >began\nexec sleep 600\n"
    job_id = await scheduler.submit(JobDescription(str(tmp_path), script=script))
    async with asyncio.timeout(20):
        while not (tmp_path / "began").exists() or not (tmp_path / "began").read_text():
            await asyncio.sleep(0.05)
    assert int((tmp_path / "began").read_text()) >= 5
    (job,) = await scheduler.job(job_id)
    assert (job.id, job.status.state) == (job_id, State.RUNNING)
    assert job_id in [found.id for found in await scheduler.jobs(JobFilter())]
    await scheduler.cancel(job_id)
    with pytest.raises(NotFound, match=r"^Job not found\.$"):
        await gone(scheduler, job_id)


async def gone(scheduler: Scheduler, job_id: str) -> None:
    async with asyncio.timeout(20):
        while await scheduler.job(job_id):
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("job_id", ["0", "4194304", "-1", "--help", "1;id", "١", "9" * 40, ""])
async def test_what_is_no_job_is_not_found(scheduler: Scheduler, job_id: str) -> None:
    for call in (scheduler.job, scheduler.cancel):
        with pytest.raises(NotFound, match=r"^Job not found\.$"):
            await call(job_id)


async def test_what_it_lacks_is_unsupported(scheduler: Scheduler) -> None:
    with pytest.raises(Unsupported):
        await scheduler.metadata("1")
    assert [*await scheduler.partitions(), *await scheduler.reservations()] == []


@pytest.mark.parametrize(
    ("changed", "told"),
    [({"options": {"nice": 20}}, "options.nice"), ({"type": "process"}, "processes")],
)
def test_a_wrong_configuration_is_told(
    installed: None, tmp_path: Path, changed: dict[str, object], told: str
) -> None:
    wrong = configured().model_copy(update=changed)
    with pytest.raises(ConfigError, match=told):
        make("scheduler", wrong, LocalShell(tmp_path))
