"""What every scheduler plugin must do, whatever stands behind it. A plugin is tested by being registered.

Where each plugin's jobs come from: `passerelle.compute.schedulers.conformance`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
import pytest_asyncio

from passerelle.compute.scheduler import JobDescription, JobFilter, NodeState, State
from passerelle.compute.schedulers.conformance import Prepared
from passerelle.runtime import caller
from passerelle.runtime.config.plugins import names
from passerelle.runtime.errors import InvalidArgument, NotFound, Unsupported
from tests.conformance.doubles import prepared_of
from tests.unit.compute.local_shell import LocalShell

GROUP = "passerelle.schedulers"

HOSTILE_IDS = [
    "1;id",
    "$(id)",
    "-1",
    "--help",
    "../1",
    "1 2",
    "1\n2",
    "",
    "abc",
    "0",
    "'",
    "9" * 40,
]


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(params=names(GROUP), scope="module", loop_scope="module")
async def prepared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Prepared]:
    home = tmp_path_factory.mktemp("home")
    async with prepared_of(GROUP, request.param)(LocalShell(home), home) as prepared:
        yield prepared


@pytest.fixture(autouse=True)
def bound(prepared: Prepared) -> Iterator[None]:
    with caller.bind(caller.Caller(prepared.user, "")):
        yield


@pytest.mark.parametrize(
    ("kind", "state", "exit_code"),
    [
        ("succeeded", State.SUCCEEDED, 0),
        ("failed", State.FAILED, 3),
        ("cancelled", State.CANCELLED, None),
        ("timeout", State.TIMEOUT, None),
        ("running", State.RUNNING, None),
    ],
)
async def test_a_job_in_each_state(
    prepared: Prepared, kind: str, state: State, exit_code: int | None
) -> None:
    (job,) = await prepared.scheduler.job(prepared.jobs[kind])
    assert (job.id, job.name, job.user) == (prepared.jobs[kind], kind, prepared.user)
    assert job.status.state is state
    assert job.status.word
    if exit_code is not None:
        assert (job.status.exit_code, job.status.signal) == (exit_code, 0)
    assert job.time.start is not None
    assert (job.time.end is not None) == state.ended
    if job.time.end is not None:
        assert job.time.end >= job.time.start


async def test_a_list_has_every_job_once_oldest_id_first(prepared: Prepared) -> None:
    job_ids = [job.id for job in await prepared.scheduler.jobs(JobFilter(user=prepared.user))]
    wanted = [prepared.jobs[kind] for kind in ("succeeded", "failed", "running", "cancelled")]
    assert [job_id for job_id in job_ids if job_id in wanted] == sorted(wanted, key=int)
    assert len(set(job_ids)) == len(job_ids)


async def test_a_list_tells_of_a_job_as_its_own_answer_does(prepared: Prepared) -> None:
    listed = {job.id: job for job in await prepared.scheduler.jobs(JobFilter(user=prepared.user))}
    for kind in ("succeeded", "failed", "cancelled", "timeout"):
        assert await prepared.scheduler.job(prepared.jobs[kind]) == (listed[prepared.jobs[kind]],)


async def test_a_list_by_name(prepared: Prepared) -> None:
    jobs = await prepared.scheduler.jobs(JobFilter(user=prepared.user, name="failed"))
    assert prepared.jobs["failed"] in [job.id for job in jobs]
    assert {job.name for job in jobs} == {"failed"}
    nobody = "nobody's; 'name"
    assert not await prepared.scheduler.jobs(JobFilter(user=prepared.user, name=nobody))


def has(prepared: Prepared, *methods: str) -> None:
    """Skip the test of what a scheduler says that it lacks."""
    if lacking := prepared.lacks.intersection(methods):
        pytest.skip(f"lacks {', '.join(sorted(lacking))}")


async def test_what_a_scheduler_lacks_is_unsupported(prepared: Prepared) -> None:
    running = prepared.jobs["running"]
    calls = {
        "metadata": lambda: prepared.scheduler.metadata(running),
        "attach": lambda: prepared.scheduler.attach(running, "true"),
        "nodes": prepared.scheduler.nodes,
        "partitions": prepared.scheduler.partitions,
        "reservations": prepared.scheduler.reservations,
        "user_info": prepared.scheduler.user_info,
    }
    for name in prepared.lacks:
        with pytest.raises(Unsupported):
            await calls[name]()


async def test_metadata(prepared: Prepared) -> None:
    has(prepared, "metadata")
    metadata = await prepared.scheduler.metadata(prepared.jobs["succeeded"])
    assert (metadata.job_id, metadata.script) == (prepared.jobs["succeeded"], prepared.script)
    for path in (metadata.standard_output, metadata.standard_error):
        assert path is not None
        assert path.startswith("/")


@pytest.mark.parametrize("job_id", ["99999999", *HOSTILE_IDS])
async def test_an_unknown_job_is_not_found_and_runs_nothing(
    prepared: Prepared, job_id: str
) -> None:
    before = len(prepared.lines)
    calls: dict[str, Callable[[str], Awaitable[object]]] = {
        "job": prepared.scheduler.job,
        "metadata": prepared.scheduler.metadata,
        "cancel": prepared.scheduler.cancel,
        "attach": lambda unknown: prepared.scheduler.attach(unknown, "true"),
    }
    for name, call in calls.items():
        if name not in prepared.lacks or job_id in HOSTILE_IDS:
            with pytest.raises(NotFound, match=r"^Job not found\.$"):
                await call(job_id)
    if job_id in HOSTILE_IDS:
        assert not any(job_id in line for line in prepared.lines[before:] if len(job_id) > 1)


async def test_ids_are_told_apart(prepared: Prepared) -> None:
    listed = await prepared.scheduler.jobs(JobFilter())
    live = [job.id for job in listed if not job.status.state.ended]
    for job_id in (*prepared.jobs.values(), *live):
        assert prepared.scheduler.is_job_id(job_id)
    for text in ("1;id", "$(id)", "-1", "--help", "../1", "1 2", "1\n2", "", "abc", "'", "١"):
        assert not prepared.scheduler.is_job_id(text)


async def test_cancelling_an_ended_job_changes_nothing(prepared: Prepared) -> None:
    await prepared.scheduler.cancel(prepared.jobs["succeeded"])
    (job,) = await prepared.scheduler.job(prepared.jobs["succeeded"])
    assert job.status.state is State.SUCCEEDED


async def test_a_missing_script_is_the_callers_mistake(prepared: Prepared) -> None:
    with pytest.raises(InvalidArgument):
        await prepared.scheduler.submit(JobDescription("/tmp", script_path="/home/alice/nosuch.sh"))


async def test_nodes_belong_to_partitions(prepared: Prepared) -> None:
    has(prepared, "nodes", "partitions")
    nodes = await prepared.scheduler.nodes()
    partitions = {partition.name for partition in await prepared.scheduler.partitions()}
    assert nodes
    assert len({node.name for node in nodes}) == len(nodes)
    for node in nodes:
        assert set(node.partitions) <= partitions
        assert node.cpus > 0
        assert node.states
        assert node.state is not NodeState.UNKNOWN
        assert all(state == state.upper() for state in node.states)


async def test_reservations_begin_before_they_end(prepared: Prepared) -> None:
    has(prepared, "reservations")
    for reservation in await prepared.scheduler.reservations():
        assert reservation.start < reservation.end


async def test_the_caller_is_in_its_groups(prepared: Prepared) -> None:
    has(prepared, "user_info")
    user_info = await prepared.scheduler.user_info()
    assert user_info.user.name == prepared.user
    assert user_info.group in user_info.groups
    assert user_info.user.id.isdecimal()


async def test_ping_answers_in_one_line(prepared: Prepared) -> None:
    reported = await prepared.scheduler.ping()
    assert reported
    assert "\n" not in reported
