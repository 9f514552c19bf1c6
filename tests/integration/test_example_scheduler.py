"""The example of a scheduler plugin, installed as an operator would, and put through the conformance suite."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from passerelle.compute.scheduler import JobDescription, NodeState, Refused, Scheduler, State
from passerelle.runtime import caller
from passerelle.runtime.command import Output
from passerelle.runtime.config import plugins
from passerelle.runtime.config.plugins import make, names
from passerelle.runtime.config.site import Scheduler as SchedulerChoice
from passerelle.runtime.errors import (
    ApiError,
    BackendUnavailable,
    Forbidden,
    NotFound,
    Unsupported,
)
from tests.conformance.doubles import prepared_of
from tests.unit.compute.local_shell import LocalShell

REPO = Path(__file__).parents[2]
EXAMPLE = REPO / "examples" / "scheduler-lsf"


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that the example is installed in, with its entry point."""
    source, where = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    for path in (path for path in EXAMPLE.rglob("*") if path.suffix != ".pyc" and path.is_file()):
        copy = source / path.relative_to(EXAMPLE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-build-isolation", "--no-deps")
    subprocess.run((*pip, "--target", where, source), check=True, capture_output=True)
    return where


@pytest.fixture
def installed(target: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(target)
    plugins.installed.cache_clear()
    yield target
    plugins.installed.cache_clear()
    for name in [name for name in sys.modules if name.startswith("passerelle_lsf")]:
        del sys.modules[name]


@pytest.fixture
def lsf(installed: Path) -> Any:
    """The plugin's module."""
    from passerelle_lsf import scheduler

    return scheduler


@pytest.fixture
def system(lsf: Any, tmp_path: Path) -> Iterator[Scheduler]:
    """The scheduler as it is configured, with documented programs."""
    from passerelle_lsf.conformance import install

    install(tmp_path)
    with caller.bind(caller.Caller("alice", "")):
        yield make("scheduler", SchedulerChoice(type="lsf"), LocalShell(tmp_path))


def test_the_conformance_suite_finds_it_and_is_content(target: Path) -> None:
    suite = ("tests/conformance/test_schedulers.py", "-k", "lsf")
    run = subprocess.run(
        (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *suite),
        cwd=REPO,
        env=os.environ | {"PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    assert " passed" in run.stdout


def test_it_is_short() -> None:
    assert len((EXAMPLE / "passerelle_lsf" / "scheduler.py").read_text().splitlines()) < 200


@pytest.mark.parametrize("page", ["docs/plugins.md", "examples/scheduler-lsf/README.md"])
def test_it_is_documented_as_it_is(page: str, installed: Path) -> None:
    text = (REPO / page).read_text()
    section = text.partition("\n## A scheduler\n")[2].partition("\n## ")[0]
    source = (EXAMPLE / "passerelle_lsf" / "scheduler.py").read_text()
    assert all(block in source for block in blocks("python", section))
    (system,) = (
        system
        for block in blocks("yaml", text)
        for system in yaml.safe_load(block)["systems"]
        if system.get("scheduler", {}).get("type") == "lsf"
    )
    assert make("scheduler", SchedulerChoice.model_validate(system["scheduler"]), LocalShell(REPO))


def blocks(language: str, text: str) -> list[str]:
    """The blocks of one language."""
    matches: list[str] = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return matches


def test_a_plugin_without_anything_to_be_tested_on_is_told(installed: Path) -> None:
    assert "lsf" in names("passerelle.schedulers")
    (installed / "passerelle_lsf" / "conformance.py").rename(installed / "away.py")
    try:
        with pytest.raises(LookupError, match=r"'lsf'.*passerelle_lsf\.conformance"):
            prepared_of("passerelle.schedulers", "lsf")
    finally:
        (installed / "away.py").rename(installed / "passerelle_lsf" / "conformance.py")


async def test_a_job_has_its_directory_variables_and_streams(
    system: Scheduler, tmp_path: Path
) -> None:
    (tmp_path / "in").write_text("from stdin\n")
    odd = "a b'\"$(id)\nnext"
    job_id = await system.submit(
        JobDescription(
            str(tmp_path),
            name="-odd; name",
            script='#!/bin/sh\npwd; cat; printf "%s|" "$ODD" "${LC_ALL-unset}"; echo oops >&2\n',
            standard_input="in",
            standard_output="out.%J",
            standard_error="err",
            environment={"ODD": odd},
        )
    )
    await ended(system, job_id)
    (job,) = await system.job(job_id)
    assert (job.name, job.status.state) == ("-odd; name", State.SUCCEEDED)
    assert (tmp_path / f"out.{job_id}").read_text() == f"{tmp_path}\nfrom stdin\n{odd}|unset|"
    assert (tmp_path / "err").read_text() == "oops\n"


async def test_a_script_on_the_system(system: Scheduler, tmp_path: Path) -> None:
    script = tmp_path / "a script.sh"
    script.write_text('#!/bin/sh\nprintf "%s" "$LC_ALL"\n')
    job_id = await system.submit(
        JobDescription(str(tmp_path), script_path=str(script), environment={"LC_ALL": "C.UTF-8"})
    )
    await ended(system, job_id)
    assert (tmp_path / f"lsf-{job_id}.out").read_text() == "C.UTF-8"


async def ended(system: Scheduler, job_id: str) -> None:
    async with asyncio.timeout(20):
        while not (await system.job(job_id))[0].status.state.ended:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("field", "value"), [("partition", "nosuch"), ("name", "array[1-9]"), ("script_path", "/no/x")]
)
async def test_a_refusal_names_the_field(
    system: Scheduler, tmp_path: Path, field: str, value: str
) -> None:
    script = None if field == "script_path" else "#!/bin/sh\n"
    change: dict[str, Any] = {field: value}
    job = replace(JobDescription(str(tmp_path), script=script), **change)
    with pytest.raises(Refused) as refusal:
        await system.submit(job)
    assert [field_error.name for field_error in refusal.value.fields] == [f"job.{field}"]


async def test_a_missing_program_is_named(system: Scheduler, tmp_path: Path) -> None:
    (tmp_path / "bin" / "lsid").unlink()
    with pytest.raises(BackendUnavailable, match="lsid is not found"):
        await system.ping()


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("Job <123> is not found", NotFound),
        ("Job <123>: No matching job found", NotFound),
        ("Job <123>: User permission denied", Forbidden),
        ("LIM is down; try later", BackendUnavailable),
        ("lsid: getentitlementinfo() failed: LIM is down; try later", BackendUnavailable),
        ("batch daemon not responding ... still trying", BackendUnavailable),
        ("LSF daemon (LIM) not responding ... still trying", BackendUnavailable),
        ("Cannot connect to LSF. Please wait ...", BackendUnavailable),
    ],
)
def test_words_of_the_documentation(lsf: Any, words: str, kind: type[ApiError]) -> None:
    assert type(lsf.ERRORS.error(Output(255, "", f"notice\n{words}\n"))) is kind


def record(**fields: str) -> dict[str, str]:
    """A record as bjobs prints it, of a job that is done."""
    done = {"JOBID": "22005", "JOBINDEX": "0", "STAT": "DONE", "JOB_NAME": "ls -l"}
    who = {"USER": "otptest", "QUEUE": "short-dmg", "PROJ_NAME": "default"}
    where = {"EXEC_HOST": "cn019:cn019", "NEXEC_HOST": "1", "SUB_CWD": "$HOME", "EXEC_CWD": ""}
    times = {"START_TIME": "Dec 28 19:56", "FINISH_TIME": "Dec 28 19:56 L"}
    spent = {"RUN_TIME": "16038 second(s)", "RUNTIMELIMIT": "1440.0/cn019"}
    end = {"EXIT_CODE": "", "EXIT_REASON": "", "PEND_REASON": ""}
    return done | who | where | times | spent | end | fields


def test_a_job_of_an_array_that_is_done(lsf: Any) -> None:
    job = lsf.job_of(record(JOBINDEX="3"))
    assert (job.id, job.name, job.account, job.node_count) == ("22005[3]", "ls -l", "default", 1)
    assert (job.status.state, job.status.exit_code, job.status.signal) == (State.SUCCEEDED, 0, 0)
    assert (job.time.elapsed, job.time.limit) == (16038, 86400)
    assert job.time.start == job.time.end


@pytest.mark.parametrize(
    ("fields", "state", "code", "signal"),
    [
        ({"STAT": "EXIT", "EXIT_CODE": "3"}, State.FAILED, 3, 0),
        ({"STAT": "EXIT", "EXIT_CODE": "137"}, State.FAILED, 137, 9),
        ({"STAT": "EXIT", "EXIT_REASON": "TERM_OWNER: job killed by owner"}, State.CANCELLED, None, None),
        ({"STAT": "EXIT", "EXIT_CODE": "140", "EXIT_REASON": "TERM_RUNLIMIT: …"}, State.TIMEOUT, 140, 12),
        ({"STAT": "EXIT", "EXIT_CODE": "1", "EXIT_REASON": "TERM_UNKNOWN: …"}, State.FAILED, 1, 0),
        ({"STAT": "PSUSP", "PEND_REASON": "held"}, State.PENDING, None, None),
        ({"STAT": "SSUSP"}, State.SUSPENDED, None, None),
        ({"STAT": "ZOMBI"}, State.UNSPECIFIED, None, None),
    ],
)  # fmt: skip
def test_a_state_is_made_of_the_record(
    lsf: Any, fields: dict[str, str], state: State, code: int | None, signal: int | None
) -> None:
    status = lsf.job_of(record(**fields)).status
    assert (status.state, status.word) == (state, fields["STAT"])
    assert (status.exit_code, status.signal) == (code, signal)


@pytest.mark.parametrize(
    ("word", "used", "state"),
    [
        ("ok", "0", NodeState.IDLE),
        ("ok", "2", NodeState.MIXED),
        ("closed_Full", "55", NodeState.ALLOCATED),
        ("closed_Adm", "0", NodeState.DRAIN),
        ("unavail", "0", NodeState.DOWN),
        ("unreach", "0", NodeState.DOWN),
        ("closed_Excl", "1", NodeState.UNKNOWN),
    ],
)
def test_a_state_of_a_host(lsf: Any, word: str, used: str, state: NodeState) -> None:
    node = lsf.node_of({"HOST_NAME": "hostA", "STATUS": word, "MAX": "55", "NJOBS": used})
    assert (node.state, node.states, node.cpus) == (state, (word.upper(),), 55)
    assert lsf.node_of({"HOST_NAME": "a", "STATUS": word, "MAX": "-", "NJOBS": used}).cpus == 0


@pytest.mark.parametrize(
    ("text", "now", "time"),
    [
        ("Dec 28 19:56 L", "2026-12-29", "2026-12-28T19:56"),
        ("Dec 28 19:56", "2027-01-02", "2026-12-28T19:56"),
        ("Feb 29 00:01", "2030-01-02", None),
        ("Feb 29 00:01", "2028-03-02", "2028-02-29T00:01"),
        ("Jan  7 09:59 L", "2027-01-07", "2027-01-07T09:59"),
        ("", "2027-01-07", None),
        ("-", "2027-01-07", None),
    ],
)
def test_a_time_without_a_year_is_the_last_one(
    lsf: Any, text: str, now: str, time: str | None
) -> None:
    wanted = time and datetime.fromisoformat(time).replace(tzinfo=UTC).timestamp()
    assert lsf.epoch(text, datetime.fromisoformat(now).replace(tzinfo=UTC)) == wanted


async def test_an_unknown_job_by_status_zero(lsf: Any) -> None:
    for output in (
        Output(0, "", "Job <9> is not found\n"),
        Output(255, "", "Job <9> is not found"),
    ):
        assert lsf.records(output) == []
    with pytest.raises(BackendUnavailable):
        lsf.records(Output(255, "", "LIM is down; try later\n"))


async def test_what_it_does_not_do_is_unsupported(system: Scheduler) -> None:
    for call in (system.reservations(), system.metadata("930"), system.attach("930", "true")):
        with pytest.raises(Unsupported, match=r"^LSF "):
            await call
