"""What transfers leave whose jobs could not tidy up: on a real SSH server; a scheduler says what it is told."""

import asyncio
import os
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from passerelle.runtime import caller
from passerelle.runtime.caller import Caller
from passerelle.runtime.errors import ApiError, BackendUnavailable, Unauthenticated
from passerelle.storage.access.system_access import SystemAccess
from passerelle.storage.commands.plain_commands import PlainCommands
from passerelle.storage.config import StorageSection
from passerelle.storage.jobs.port import AgentWork, Leftovers, hidden_part
from passerelle.storage.jobs.private_files import PrivateFiles
from passerelle.storage.staging import tidying
from passerelle.storage.staging.tidying import Tidying
from tests.unit.storage.world import World, as_alice

SECONDS = 20
ELSEWHERE = {"key": "an object", "upload": "7"}


@dataclass
class Scheduler:
    """Answers as told, and counts who asks."""

    ended_jobs: dict[str, bool | None] = field(default_factory=dict)
    tokens: list[str] = field(default_factory=list)
    error: ApiError | None = None

    async def ends(self, system: str) -> Mapping[str, bool | None]:
        """What it was told."""
        self.tokens.append(caller.current().token)
        if self.error:
            raise self.error
        return self.ended_jobs

    async def wait_for_requests(self, times: int = 1) -> None:
        """Until it has been asked so many times more."""
        until = len(self.tokens) + times
        async with asyncio.timeout(SECONDS):
            while len(self.tokens) < until:
                await asyncio.sleep(0.01)


@dataclass
class Store:
    """A staging method whose transfers leave something elsewhere."""

    removed: list[Mapping[str, str]] = field(default_factory=list)
    error: ApiError | None = None

    async def remove(self, elsewhere: Mapping[str, str]) -> bool:
        """Keep what was asked for."""
        if self.error:
            raise self.error
        if elsewhere != ELSEWHERE:
            return False
        self.removed.append(elsewhere)
        return True


@dataclass
class Site:
    """A user's transfers on one system."""

    world: World
    scheduler: Scheduler
    store: Store
    tidying: Tidying

    async def transfer(self, left: Leftovers, job_id: str = "") -> Path:
        """The file of a transfer; its job is known when it has an id."""
        with as_alice():
            work = AgentWork("", {"secret": "x"}, left)
            path = await self.world.private.put(str(self.world.root), str(uuid.uuid4()), work)
            if job_id:
                await self.world.private.record(path, job_id)
        return Path(path)

    def watch(self, token: str = "") -> None:
        """As a request of alice does."""
        with caller.bind(Caller("alice", token)):
            self.tidying.watch()

    async def gone(self, *paths: Path) -> None:
        """Until they are."""
        async with asyncio.timeout(SECONDS):
            while any(os.path.lexists(path) for path in paths):
                await asyncio.sleep(0.01)

    def part(self) -> Path:
        """Content that has begun to arrive."""
        part = Path(hidden_part(str(self.world.root / "target")))
        part.write_text("half")
        return part


@pytest.fixture
async def site(world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setattr(tidying, "_FIRST_PAUSE", 0.02)
    monkeypatch.setattr(tidying, "_LONGEST_PAUSE", 0.02)
    scheduler, store = Scheduler(), Store()
    tidying_jobs = Tidying(world.system, world.files, world.private, scheduler, [store])
    yield Site(world, scheduler, store, tidying_jobs)
    await tidying_jobs.close()


async def test_what_is_left_of_a_job_that_is_over_goes(site: Site) -> None:
    part = site.part()
    file = await site.transfer(Leftovers(str(part), ELSEWHERE), "1")
    directory = Path(hidden_part(str(site.world.root / "target")))
    (directory / "sub").mkdir(parents=True)
    other = await site.transfer(Leftovers(str(directory)), "2")
    site.scheduler.ended_jobs = {"1": False, "2": False}
    site.watch()
    await site.gone(file, part, other, directory)
    assert site.store.removed == [ELSEWHERE]


async def test_jobs_that_are_not_over_are_left_alone_and_asked_about_again(site: Site) -> None:
    file = await site.transfer(Leftovers(str(site.part()), ELSEWHERE), "1")
    site.scheduler.ended_jobs = {"1": None}
    site.watch()
    await site.scheduler.wait_for_requests(3)
    assert (file.exists(), site.store.removed) == (True, [])
    site.scheduler.ended_jobs = {"1": False}
    await site.gone(file)
    assert site.store.removed == [ELSEWHERE]


async def test_what_a_good_job_has_brought_out_stays(site: Site) -> None:
    out = await site.transfer(Leftovers(elsewhere=ELSEWHERE), "1")
    site.scheduler.ended_jobs = {"1": True}
    site.watch()
    await site.gone(out)
    assert site.store.removed == []
    arrived = await site.transfer(
        Leftovers(hidden_part(str(site.world.root / "x")), ELSEWHERE), "1"
    )
    site.watch()
    await site.gone(arrived)
    assert site.store.removed == [ELSEWHERE]  # whose removal had failed in the job


async def test_a_job_that_nobody_knows_is_over_after_a_while(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    purged = await site.transfer(Leftovers(elsewhere=ELSEWHERE), "1")
    never_submitted = await site.transfer(Leftovers())
    site.watch()
    await site.scheduler.wait_for_requests(3)
    assert (purged.exists(), never_submitted.exists()) == (True, True)
    monkeypatch.setattr(tidying, "_DOUBT", 0)
    await site.gone(purged, never_submitted)
    assert ELSEWHERE in site.store.removed


async def test_a_job_may_be_noted_late(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    file = await site.transfer(Leftovers(elsewhere=ELSEWHERE))
    site.scheduler.ended_jobs = {"1": None}
    site.watch()
    await site.scheduler.wait_for_requests()
    with as_alice():
        await site.world.private.record(str(file), "1")
    await site.scheduler.wait_for_requests(2)
    monkeypatch.setattr(tidying, "_DOUBT", 0)
    await site.scheduler.wait_for_requests(3)
    assert file.exists()
    site.scheduler.ended_jobs = {"1": False}
    await site.gone(file)


async def test_a_transfer_that_has_tidied_up_itself_is_forgotten(site: Site) -> None:
    file = await site.transfer(Leftovers(elsewhere=ELSEWHERE), "1")
    site.scheduler.ended_jobs = {"1": None}
    site.watch()
    await site.scheduler.wait_for_requests(2)
    file.unlink()
    site.scheduler.ended_jobs = {"1": False}
    other = await site.transfer(Leftovers(), "2")
    site.scheduler.ended_jobs["2"] = False
    site.watch()
    await site.gone(other)
    assert site.store.removed == []


async def test_what_cannot_be_removed_is_kept_in_mind(site: Site) -> None:
    outside = await site.transfer(Leftovers(hidden_part("/etc/x")), "1")
    file = await site.transfer(Leftovers(), "1")
    site.scheduler.ended_jobs = {"1": False}
    site.watch()
    await site.gone(file)
    await until_idle(site)
    assert outside.exists()


async def test_what_others_or_users_have_put_there_is_not_obeyed(site: Site) -> None:
    root = site.world.root
    thesis = root / "thesis"
    thesis.write_text("years of work")
    invalid = await site.transfer(Leftovers(str(thesis), ELSEWHERE), "1")
    broken = await site.transfer(Leftovers(), "2")
    broken.write_bytes(b"\xff" * 300)
    names = [f".passerelle-transfer-{uuid.uuid4()}" for _ in range(3)]
    os.mkfifo(root / names[0])
    (root / names[1]).symlink_to(invalid)
    (root / names[2]).write_bytes(invalid.read_bytes())
    (root / names[2]).chmod(0o644)  # as another user's would have to be
    (root / ".passerelle-transfer-mine").write_text("kept")
    site.scheduler.ended_jobs = {"1": False, "2": False}
    site.watch()
    await site.gone(invalid)
    assert thesis.read_text() == "years of work"
    assert site.store.removed == [ELSEWHERE]
    assert all(os.path.lexists(root / name) for name in (*names, ".passerelle-transfer-mine"))


async def test_transfers_of_other_systems_and_stores_are_not_ours(site: Site) -> None:
    others = PrivateFiles(
        SystemAccess(site.world.pool, site.world.system, StorageSection(), PlainCommands), "other"
    )
    work = AgentWork("", {}, Leftovers(elsewhere=ELSEWHERE))
    with as_alice():
        other = await others.put(str(site.world.root), str(uuid.uuid4()), work)
        await others.record(other, "1")
    store = await site.transfer(Leftovers(elsewhere={"key": "in another store"}), "1")
    ours = await site.transfer(Leftovers(elsewhere=ELSEWHERE), "1")
    site.scheduler.ended_jobs = {"1": False}
    site.watch()
    await site.gone(ours)
    await until_idle(site)
    assert (Path(other).exists(), store.exists()) == (True, True)


async def test_a_store_that_is_away_is_asked_again(site: Site) -> None:
    file = await site.transfer(Leftovers(hidden_part(str(site.world.root / "x")), ELSEWHERE), "1")
    site.scheduler.ended_jobs = {"1": False}
    site.store.error = BackendUnavailable("away")
    site.watch()
    await site.scheduler.wait_for_requests(3)
    assert file.exists()
    site.store.error = None
    await site.gone(file)
    assert site.store.removed == [ELSEWHERE]


async def test_a_scheduler_that_is_away_is_asked_again(site: Site) -> None:
    file = await site.transfer(Leftovers(), "1")
    site.scheduler.error = BackendUnavailable("away")
    site.watch()
    await site.scheduler.wait_for_requests(3)
    site.scheduler.error, site.scheduler.ended_jobs = None, {"1": False}
    await site.gone(file)


async def test_a_refused_token_ends_it_until_there_is_a_new_one(site: Site) -> None:
    file = await site.transfer(Leftovers(), "1")
    site.scheduler.ended_jobs = {"1": False}
    site.scheduler.error = Unauthenticated("revoked")
    site.watch("old")
    await site.scheduler.wait_for_requests()
    async with asyncio.timeout(SECONDS):
        while not site.tidying._watches["", "", "alice"].asleep:
            await asyncio.sleep(0.01)
    assert (file.exists(), site.scheduler.tokens) == (True, ["old"])
    site.scheduler.error = None
    site.watch("new")
    await site.gone(file)
    assert site.scheduler.tokens[-1] == "new"


async def test_any_request_goes_on_with_what_an_expired_token_has_interrupted(site: Site) -> None:
    file = await site.transfer(Leftovers(), "1")
    site.scheduler.ended_jobs = {"1": None}
    with caller.bind(Caller("alice", "old", expires=time.time() + tidying._TOO_LATE + 0.5)):
        site.tidying.watch()
    await site.scheduler.wait_for_requests()
    async with asyncio.timeout(SECONDS):
        while not site.tidying._watches["", "", "alice"].asleep:
            await asyncio.sleep(0.01)
    site.scheduler.ended_jobs = {"1": False}
    with caller.bind(Caller("bob", "another's")):
        site.tidying.resume()
    assert file.exists()
    with caller.bind(Caller("alice", "new")):
        site.tidying.resume()
    await site.gone(file)
    assert set(site.scheduler.tokens) == {"old", "new"}


async def test_a_request_hands_its_token_on(site: Site) -> None:
    await site.transfer(Leftovers(), "1")
    site.scheduler.ended_jobs = {"1": None}
    site.watch("old")
    await site.scheduler.wait_for_requests()
    site.watch("new")
    await site.scheduler.wait_for_requests(2)
    assert site.scheduler.tokens[-1] == "new"


async def test_nobody_asks_when_nothing_is_unfinished(site: Site) -> None:
    site.watch()
    await until_idle(site)
    assert site.scheduler.tokens == []


async def until_idle(site: Site) -> None:
    """Until no transfer is looked after."""
    async with asyncio.timeout(SECONDS):
        while site.tidying._tasks:
            await asyncio.sleep(0.01)


async def test_persons_who_share_an_account_are_served_with_their_own_tokens(site: Site) -> None:
    """One whose token is refused does not end what another's may do."""
    file = await site.transfer(Leftovers(), "1")
    site.scheduler.ended_jobs = {"1": None}
    for subject in ("ann", "ben"):
        with caller.bind(Caller("alice", f"token of {subject}", "https://idp", subject)):
            site.tidying.watch()
    async with asyncio.timeout(SECONDS):
        while len(set(site.scheduler.tokens)) < 2:
            await asyncio.sleep(0.01)
    assert set(site.tidying._watches) == {
        ("https://idp", subject, "alice") for subject in ("ann", "ben")
    }
    site.scheduler.ended_jobs = {"1": False}
    await site.gone(file)
