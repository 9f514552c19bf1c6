"""Transfer jobs through pyfirecrest, unchanged: synchronous, asynchronous and as a command."""

from collections.abc import AsyncIterator, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from firecrest.FirecrestException import TransferJobFailedException, UnexpectedStatusException
from firecrest.v2 import AsyncFirecrest, Firecrest

from tests.e2e.target import Target
from tests.e2e.test_pyfirecrest_cli import Cli

NAME = 'it\'s a "name" -- $(id)\nof two lines'


@pytest.fixture
def source(target: Target, client: Firecrest, directory: str) -> str:
    """A tree to work on."""
    client.mkdir(target.system, f"{directory}/tree/{NAME}", create_parents=True)
    for where in ("tree", f"tree/{NAME}"):
        path = f"{directory}/{where}"
        client.upload(target.system, BytesIO(b"content\n"), path, "file.txt", file_size=8)
    client.symlink(target.system, f"{directory}/tree/file.txt", f"{directory}/tree/link")
    return f"{directory}/tree"


@pytest.fixture
def logs(target: Target, client: Firecrest) -> Iterator[list[dict[str, Any]]]:
    """Put the replies here whose jobs' logs are to be removed at the end."""
    replies: list[dict[str, Any]] = []
    yield replies
    for reply in replies:
        for path in reply["transferJob"]["logs"].values():
            client.rm(target.system, path)


def names(client: Firecrest, target: Target, path: str) -> set[str]:
    return {entry["name"] for entry in client.list_files(target.system, path)}


def test_copy_move_and_what_the_job_says(
    target: Target, client: Firecrest, source: str, logs: list[dict[str, Any]]
) -> None:
    system, copy, moved = target.system, f"{source}-copy", f"{source} {NAME}"
    logs.append(client.cp(system, source, copy, account=target.account))
    logs.append(client.mv(system, copy, moved, account=target.account))
    assert names(client, target, moved) == {"file.txt", "link", NAME}
    assert client.view(system, f"{moved}/{NAME}/file.txt") == "content\n"
    with pytest.raises(UnexpectedStatusException, match="No such file"):
        client.stat(system, copy)
    for reply, words in zip(logs, ("Copy Files Job", "Move Files Job"), strict=True):
        job = reply["transferJob"]
        output = client.view(system, job["logs"]["outputLog"])
        assert f"{words} (id:{job['jobId']})" in output
        assert client.view(system, job["logs"]["errorLog"]) == ""
        assert (job["system"], job["logs"]["outputLog"].rpartition("/")[0]) == (
            system,
            job["workingDirectory"],
        )


def test_links_are_followed_when_asked(
    target: Target, client: Firecrest, source: str, logs: list[dict[str, Any]]
) -> None:
    for dereference in (False, True):
        copy = f"{source}/copy-{dereference}"
        link = f"{source}/link"
        reply = client.cp(
            target.system, link, copy, account=target.account, dereference=dereference
        )
        logs.append(reply)
        kind = client.stat(target.system, copy)["mode"] & 0o170000
        assert (kind == 0o120000) is not dereference


def test_a_job_that_fails_is_told_so(
    target: Target, client: Firecrest, source: str, logs: list[dict[str, Any]]
) -> None:
    with pytest.raises(TransferJobFailedException) as failed:
        client.cp(target.system, f"{source}/nope", f"{source}/x", account=target.account)
    reply = failed.value._transfer_job_info
    logs.append(reply)
    error_log = reply["transferJob"]["logs"]["errorLog"]
    assert "No such file or directory" in client.view(target.system, error_log)


def test_a_target_outside_is_refused(target: Target, client: Firecrest, source: str) -> None:
    with pytest.raises(UnexpectedStatusException) as refused:
        client.mv(target.system, source, "/etc/x", account=target.account)
    assert refused.value.responses[-1].status_code == 400
    assert "does not match any of the defined filesystem paths" in str(refused.value)


@pytest.fixture
async def asynchronous(target: Target) -> AsyncIterator[AsyncFirecrest]:
    client = AsyncFirecrest(firecrest_url=target.base_url, authorization=target)
    yield client
    await client.close_session()


async def test_asynchronously(
    target: Target, asynchronous: AsyncFirecrest, source: str, logs: list[dict[str, Any]]
) -> None:
    system, account = target.system, target.account
    logs.append(await asynchronous.cp(system, source, f"{source}-copy", account=account))
    logs.append(await asynchronous.mv(system, f"{source}-copy", f"{source}-moved", account=account))
    entries = await asynchronous.list_files(system, f"{source}-moved")
    assert {entry["name"] for entry in entries} == {"file.txt", "link", NAME}
    pending = await asynchronous.mv(
        system, f"{source}-moved", f"{source}-again", account=account, blocking=False
    )
    logs.append(pending)
    await asynchronous.wait_for_job(system, pending["transferJob"]["jobId"], timeout=60)
    assert await asynchronous.stat(system, f"{source}-again")


def test_by_the_command(target: Target, client: Firecrest, source: str, tmp_path: Path) -> None:
    firecrest = Cli(target, tmp_path / "token")
    account = ("--account", target.account) if target.account else ()
    firecrest("cp", source, f"{source}-copy", *account)
    firecrest("mv", f"{source}-copy", f"{source}-new", *account)
    assert names(client, target, f"{source}-new") == {"file.txt", "link", NAME}
    jobs = jobs_about(client, target, source)
    assert sorted(job["name"] for job in jobs) == ["CopyFiles", "MoveFiles"]
    for job in jobs:
        metadata = client.job_metadata(target.system, job["jobId"])[0]
        client.rm(target.system, metadata["standardOutput"])
        client.rm(target.system, metadata["standardError"])


def jobs_about(client: Firecrest, target: Target, path: str) -> list[dict[str, Any]]:
    """The jobs of the last hour whose scripts speak of this path."""
    jobs = client.job_info(target.system, time_window="1h")
    return [
        job
        for job in jobs
        if job["name"].endswith("Files")
        and path in str(client.job_metadata(target.system, job["jobId"])[0]["script"])
    ]
