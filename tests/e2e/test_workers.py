"""Services in several processes: a caller stays with one; when one crashes, reads are answered and no job doubled."""

import asyncio
import json
import os
import signal
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml

from tests import real
from tests.cluster import Cluster
from tests.compat.tokens import Issuer, published_issuer
from tests.e2e.sites import output_of
from tests.ports import free_port
from tests.stack import running_site

PATIENCE = 20.0  # seconds for a process to come back
HOME = "/home/alice"
STAT = f"/filesystem/cluster/ops/stat?path={HOME}"


@dataclass(frozen=True)
class Site:
    """A gateway before the cluster, with two workers of auth, compute and storage."""

    url: str
    pid: int
    logs: Path
    issuer: Issuer

    def client(self, subject: str, user: str = "alice") -> httpx.AsyncClient:
        """A client with a new token of that subject, which acts as `user` on the system."""
        token = self.issuer.token(user, sub=subject, jti=str(uuid.uuid4()))
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=60)

    def answered(self, service: str, subject: str) -> Counter[str]:
        """How many calls of a subject each worker of a service has answered, by the logs so far."""
        return Counter(
            line["service"]
            for log in self.logs.glob(f"{service}.?.log")
            for line in map(json.loads, log.read_text().rpartition("\n")[0].splitlines())
            if line.get("message") == "answered" and line.get("subject") == subject
        )

    async def all_answered(self, service: str, subject: str, calls: int) -> Counter[str]:
        """The same, when as many calls as there were stand in the logs, which are a little behind."""
        deadline = time.monotonic() + PATIENCE
        while (counted := self.answered(service, subject)).total() < calls:
            assert time.monotonic() < deadline, counted
            await asyncio.sleep(0.05)
        return counted

    def workers(self) -> dict[str, int]:
        """The process ids of the site's processes, by their names."""
        names = {}
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            children = ""
            with suppress(FileNotFoundError):  # a thread that has just ended
                children = (task / "children").read_text()
            for pid in children.split():
                with suppress(FileNotFoundError):  # it has just ended
                    argv = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
                    if "serve" in argv:
                        names[argv[argv.index("serve") + 1]] = int(pid)
        return names

    def kill(self, worker: str) -> None:
        """kill -9 of a worker; it is started again."""
        os.kill(self.workers()[worker], signal.SIGKILL)


@pytest.fixture(scope="module")
def site(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The site, for this module alone."""
    config = tmp_path_factory.mktemp("workers") / "site.yaml"
    host_key = cluster.known_hosts.read_text().split(" ", 1)[1].strip()
    ssh = {"host": cluster.host, "port": cluster.ssh_port, "host_keys": [host_key]}
    system = {
        "name": "cluster",
        "ssh": ssh,
        "scheduler": {"type": "slurm"},
        "filesystems": [{"path": "/home", "data_type": "users", "default_work_dir": True}],
    }
    credentials = {"type": "ca", "options": {"key_file": str(cluster.ca_key)}}
    with published_issuer() as issuer:
        issuers = [{"issuer": issuer.url, "any_audience": True}]
        data = {
            "systems": [system],
            "auth": {"issuers": issuers, "ssh_credentials": credentials},
            "services": {name: {"workers": 2} for name in ("auth", "compute", "storage")},
            "gateway": {"listen": f"127.0.0.1:{free_port()}"},
        }
        config.write_text(yaml.safe_dump(data))
        with running_site("--config", str(config), environment={}) as ready:
            real.exercised("workers", "two of auth, compute and storage")
            yield Site(ready["ready"], ready["pid"], Path(ready["logs"]), issuer)


async def neighbours(site: Site, service: str, path: str) -> tuple[str, str]:
    """Two subjects whose calls of `path` go to worker 0 and to worker 1 of a service."""
    subjects: dict[str, str] = {}
    for _ in range(40):
        subject = f"someone-{uuid.uuid4()}"
        async with site.client(subject) as client:
            assert (await client.get(path)).status_code == 200
        (worker,) = await site.all_answered(service, subject, 1)
        subjects[worker] = subject
        if len(subjects) == 2:
            return subjects[f"{service}.0"], subjects[f"{service}.1"]
    raise AssertionError(f"all went to {subjects}")


def test_every_worker_is_a_process_with_a_log_of_its_own(site: Site) -> None:
    several = {f"{name}.{number}" for name in ("auth", "compute", "storage") for number in (0, 1)}
    names = several | {"gateway"}
    assert names <= set(site.workers())
    assert names <= {log.stem for log in site.logs.glob("*.log")}


async def test_a_caller_stays_with_one_worker_whatever_his_token_and_api(site: Site) -> None:
    for subject in await neighbours(site, "storage", STAT):
        for _ in range(5):
            async with site.client(subject) as client:
                native = f"/v1/systems/cluster/files:stat?path={HOME}"
                listing = f"/filesystem/cluster/ops/ls?path={HOME}"
                for path in (STAT, native, listing):
                    assert (await client.get(path)).status_code == 200
        assert len(await site.all_answered("storage", subject, 16)) == 1


async def test_a_subject_may_have_characters_that_a_header_may_not(site: Site) -> None:
    subject = 'Zo\u00eb\r\nx-passerelle-service: "1" \U0001f600'
    for _ in range(6):
        async with site.client(subject) as client:
            assert (await client.get(STAT)).status_code == 200
    assert len(await site.all_answered("storage", subject, 6)) == 1


async def test_storage_asks_the_callers_own_worker_of_compute(site: Site) -> None:
    """So a job that storage submits is in the answer to his next question at once."""
    for subject in await neighbours(site, "compute", "/compute/cluster/jobs"):
        async with site.client(subject) as client:
            for _ in range(3):
                moved = {"path": f"{HOME}/none-{uuid.uuid4()}", "account": "proj1sub"}
                reply = await client.request(
                    "DELETE", "/filesystem/cluster/transfer/rm", params=moved
                )
                assert reply.is_success, reply.text
                job = str(reply.json()["transferJob"]["jobId"])
                jobs = (await client.get("/compute/cluster/jobs")).json()["jobs"]
                assert job in [str(one["jobId"]) for one in jobs]
        assert len(await site.all_answered("compute", subject, 7)) == 1


async def calling(
    call: Callable[[], Awaitable[httpx.Response]], clients: int, until: asyncio.Event
) -> list[httpx.Response]:
    """What so many clients are answered, who make one call after another until an event."""

    async def one() -> list[httpx.Response]:
        replies = []
        while not until.is_set():
            replies.append(await call())
        return replies

    return [
        reply
        for replies in await asyncio.gather(*(one() for _ in range(clients)))
        for reply in replies
    ]


async def come_back(site: Site, worker: str, killed: int) -> None:
    """Return when a worker is another process, which listens."""
    deadline = time.monotonic() + PATIENCE
    while site.workers().get(worker) in (None, killed):
        assert time.monotonic() < deadline, worker
        await asyncio.sleep(0.05)


async def test_reads_are_all_answered_while_a_worker_is_killed(site: Site) -> None:
    first, second = await neighbours(site, "storage", STAT)
    over = asyncio.Event()

    async def trouble() -> None:
        await asyncio.sleep(0.5)
        for _ in range(2):
            killed = site.workers()["storage.0"]
            site.kill("storage.0")
            await come_back(site, "storage.0", killed)
            await asyncio.sleep(3)  # it has started
        over.set()

    async with site.client(first) as one, site.client(second, user="bob") as other:
        bobs = STAT.replace("alice", "bob")
        replies, others, _ = await asyncio.gather(
            calling(lambda: one.get(STAT), 8, over),
            calling(lambda: other.get(bobs), 8, over),
            trouble(),
        )
        assert Counter(reply.status_code for reply in others) == {200: len(others)}
        assert Counter(reply.status_code for reply in replies) == {200: len(replies)}
        taken_over = (await site.all_answered("storage", first, len(replies)))["storage.1"]
        assert taken_over > 0
        assert set(await site.all_answered("storage", second, len(others))) == {"storage.1"}
        await until_answered_by(site, one, "storage.0", first)


async def test_new_tokens_are_judged_while_a_worker_of_auth_is_killed(site: Site) -> None:
    over = asyncio.Event()

    async def call() -> httpx.Response:
        async with site.client("always-anew") as client:
            return await client.get(STAT)

    async def trouble() -> None:
        for worker in ("auth.0", "auth.1"):
            await asyncio.sleep(0.5)
            killed = site.workers()[worker]
            site.kill(worker)
            await come_back(site, worker, killed)
            await asyncio.sleep(3)  # it has started
        over.set()

    replies, _ = await asyncio.gather(calling(call, 4, over), trouble())
    assert Counter(reply.status_code for reply in replies) == {200: len(replies)}


async def until_answered_by(
    site: Site, client: httpx.AsyncClient, worker: str, subject: str
) -> None:
    """Return when a caller's calls reach his worker again."""
    deadline = time.monotonic() + PATIENCE
    before = site.answered("storage", subject)[worker]
    while site.answered("storage", subject)[worker] == before:
        assert time.monotonic() < deadline
        assert (await client.get(STAT)).status_code == 200
        await asyncio.sleep(0.2)


async def test_no_job_is_submitted_twice_and_none_is_lost(site: Site, cluster: Cluster) -> None:
    subject, _ = await neighbours(site, "compute", "/compute/cluster/jobs")
    mark, over = f"w{uuid.uuid4().hex[:8]}", asyncio.Event()
    answers: dict[str, httpx.Response] = {}

    async with site.client(subject) as client:

        async def submit() -> httpx.Response:
            name = f"{mark}-{len(answers)}"
            answers[name] = httpx.Response(599)  # no answer yet
            job = {"name": name, "workingDirectory": HOME, "script": "#!/bin/sh\ntrue\n"}
            answers[name] = await client.post("/compute/cluster/jobs", json={"job": job})
            return answers[name]

        async def trouble() -> None:
            for _ in range(4):
                await asyncio.sleep(1)
                killed = site.workers()["compute.0"]
                site.kill("compute.0")
                await come_back(site, "compute.0", killed)
            over.set()

        await asyncio.gather(calling(submit, 6, over), trouble())
    names = Counter(submitted(cluster, mark).values())
    statuses = Counter(reply.status_code for reply in answers.values())
    assert set(statuses) <= {201, 503}, statuses
    assert statuses[201] > statuses[503]
    assert max(names.values()) == 1, "submitted twice"
    accepted = {name for name, reply in answers.items() if reply.status_code == 201}
    assert accepted <= set(names), "lost"
    for name in set(names) - accepted:
        assert "retry-after" not in answers[name].headers, "a second one would be submitted"
        assert answers[name].json()["message"].endswith("what was asked for may have been done.")


def submitted(cluster: Cluster, mark: str) -> dict[str, str]:
    """The names of all jobs that begin so, by their ids: those that Slurm remembers and those in its accounts."""
    remembered = ("squeue", "--all", "--states=all", "--noheader", "--format=%i|%j")
    in_accounts = (
        "sacct",
        "--allusers",
        "--noheader",
        "--parsable2",
        "--allocations",
        "--format=JobID,JobName",
    )
    lines = [
        line
        for command in (remembered, in_accounts)
        for line in output_of(*command, SLURM_CONF=str(cluster.slurm_conf)).splitlines()
    ]
    jobs = dict(line.strip().split("|", 1) for line in lines)
    return {job: name for job, name in jobs.items() if name.startswith(mark)}
