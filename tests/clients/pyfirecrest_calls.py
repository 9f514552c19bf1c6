"""Calls every public method of one pyfirecrest, and prints as JSON what came back.

    python -m tests.clients.pyfirecrest_calls sync|async < site.json

Run by the interpreter that has the version in question; the input has the fields of `Site`. The output: `public` are
the methods and properties that this version has, `called` those of them that were used, `found` is what they gave.
"""

import asyncio
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import firecrest
from firecrest import v2

from tests.clients import pyfirecrest_transfers as transfers
from tests.clients.pyfirecrest_run import SLEEP, Calls, Run, Site

SCRIPT = '#!/bin/bash\necho "hello $GREETING"\n'


async def status(run: Run, directory: str) -> None:
    """What there is."""
    call, result, system = run.call, run.results, run.system
    if "client.server_version" in run.public:
        result["server_version"] = await call("server_version")
    result["systems"] = [each["name"] for each in await call("systems")]
    result["nodes"] = [each["name"] for each in await call("nodes", system)]
    result["partitions"] = [each["name"] for each in await call("partitions", system)]
    result["reservations"] = [each["name"] for each in await call("reservations", system)]
    userinfo = await call("userinfo", system)
    result["userinfo"] = [userinfo["user"]["name"], userinfo["group"]["name"]]


async def sessions(run: Run, directory: str) -> None:
    """The methods that send no request."""
    call = Calls(run.new_client())
    call.value("log")(10, "a message")
    call.value("set_api_version")("2.5.0")
    if "client.set_maximum_s3_connections" in run.public:
        call.value("set_maximum_s3_connections")(2)
    await call("close_session")
    closed = [call.value("is_session_closed")]
    await call("create_new_session")
    closed.append(call.value("is_session_closed"))
    systems = [each["name"] for each in await call("systems")]
    await call("close_session")
    run.results["session"] = [*closed, systems]


async def files(run: Run, directory: str) -> None:
    """One file, in all ways."""
    call, result, system = run.call, run.results, run.system
    made = await call("mkdir", system, f"{directory}/a/.b", create_parents=True)
    result["mkdir"] = made["type"]
    await call("upload", system, str(run.small), f"{directory}/a", "it's 1.txt")
    path, link = f"{directory}/a/it's 1.txt", f"{directory}/a/link"
    await call("symlink", system, path, link)
    option: dict[str, Any]
    for option in ({}, {"show_hidden": True}, {"recursive": True}, {"dereference": True}):
        listed = await call("list_files", system, f"{directory}/a", **option)
        result[" ".join(["list_files", *option])] = [f"{e['type']} {e['name']}" for e in listed]
    listed = await call("list_files", system, f"{directory}/a", numeric_uid=True)
    result["list_files numeric_uid"] = all(entry["user"].isdigit() for entry in listed)
    for end, rest in (("head", "exclude_trailing"), ("tail", "exclude_beginning")):
        for option in ({}, {"num_bytes": 4}, {"num_lines": 2}, {"num_lines": 9, rest: True}):
            named = [f"{key}={value}" for key, value in option.items()]
            content = (await call(end, system, path, **option))["content"]
            result[" ".join([end, *named])] = content.splitlines()
    result["view"] = await call("view", system, path)
    result["checksum"] = (await call("checksum", system, path))["checksum"]
    result["file_type"] = await call("file_type", system, path)
    result["chmod"] = (await call("chmod", system, path, "640"))["permissions"]
    result["chown"] = (await call("chown", system, path, run.site.client_id, ""))["user"]
    result["stat"] = await call("stat", system, path)
    result["stat of a link"] = await call("stat", system, link)
    result["stat dereference"] = await call("stat", system, link, dereference=True)
    await call("download", system, path, run.back("small"))
    result["download"] = Path(run.back("small")).read_text()
    await call("rm", system, path)
    result["stat of nothing"] = await run.refusal("stat", system, path)


async def archives(run: Run, directory: str) -> None:
    """Packed and unpacked."""
    call, system, archive = run.call, run.system, f"{directory}/a.tar.gz"
    source = f"{directory}/from/tree"
    await call("mkdir", system, f"{source}/some", create_parents=True)
    for name in ("out", "matching"):
        await call("mkdir", system, f"{directory}/{name}")
    for name in (source, f"{source}/some"):
        await call("upload", system, str(run.small), name, "one")
    await call("compress", system, source, archive)
    await call("extract", system, archive, f"{directory}/out")
    run.results["extract"] = await call("view", system, f"{directory}/out/tree/some/one")
    if run.takes("compress", "match_pattern"):
        archive, target = f"{directory}/a.tar.bz2", f"{directory}/matching"
        options = {"compression": "bzip2", "match_pattern": ".*/some/.*"}
        await call("compress", system, source, archive, **options)
        await call("extract", system, archive, target, compression="bzip2")
        listed = await call("list_files", system, target, recursive=True)
        run.results["extract matching"] = [e["name"] for e in listed if e["type"] == "-"]


async def jobs(run: Run, directory: str) -> None:
    """To their end, from each kind of script."""
    call, result, system = run.call, run.results, run.system
    job = await call("submit", system, directory, SCRIPT, env_vars={"GREETING": "a, b = 'c'"})
    ended = await run.ended(job["jobId"])
    result["job_info"] = [ended["status"]["state"], ended["user"], ended["account"]]
    (metadata,) = await call("job_metadata", system, str(job["jobId"]))
    result["job_metadata"] = metadata["script"]
    result["submit"] = await call("view", system, metadata["standardOutput"])
    script = run.local / "job.sh"
    script.write_text("#!/bin/bash\nexit 3\n")
    job = await call("submit", system, directory, script_local_path=str(script))
    ended = await run.ended(job["jobId"])
    result["submit script_local_path"] = [ended["status"]["state"], ended["status"]["exitCode"]]
    if run.takes("submit", "script_remote_path"):
        await call("upload", system, str(script), directory, "job.sh")
        named = {"script_remote_path": f"{directory}/job.sh", "account": run.site.account}
        ended = await run.ended((await call("submit", system, directory, **named))["jobId"])
        result["submit script_remote_path"] = [ended["status"]["exitCode"], ended["account"]]
    result["job_info of nothing"] = await run.refusal("job_info", system, "99999999")


async def waiting_job(run: Run, directory: str) -> None:
    """A job with a working directory, which waits there."""
    if run.takes("submit", "reservation"):
        placed = {"partition": "debug", "reservation": "training"}
        job = await run.call("submit", run.system, directory, SLEEP, **placed)
        (queued,) = await run.call("job_info", run.system, str(job["jobId"]))
        run.results["submit partition reservation"] = queued["partition"]
        await run.call("cancel_job", run.system, str(job["jobId"]))


async def running_job(run: Run, directory: str) -> None:
    """One that is listed, joined and cancelled, by a client that was told the server's version."""
    call, result, system = Calls(run.new_client()), run.results, run.system
    if "client.server_version" in run.public:
        call.value("set_api_version")(await call("server_version"))
    job_id = str((await call("submit", system, directory, SLEEP))["jobId"])
    await run.reached(job_id, "RUNNING")
    await call("attach_to_job", system, job_id, f"touch {directory}/joined")
    names = [entry["name"] for entry in await call("list_files", system, directory)]
    result["attach_to_job"] = "joined" in names
    options: dict[str, Any] = {"allusers": True, "account": "proj1", "name": "sbatch"}
    options |= {"time_window": "1h"}
    request = [{}, *({key: options[key]} for key in options if run.takes("job_info", key))]
    for option in request:
        listed = [str(job["jobId"]) for job in await call("job_info", system, **option)]
        result[" ".join(["job_info", "listed", *option])] = job_id in listed
    await call("cancel_job", system, job_id)
    result["cancel_job"] = (await run.ended(job_id))["status"]["state"]
    await call("close_session")


GROUPS: tuple[Callable[[Run, str], Awaitable[None]], ...] = (
    status,
    sessions,
    files,
    archives,
    jobs,
    waiting_job,
    running_job,
    *transfers.GROUPS,
)


async def everything(kind: str, site: Site) -> Run:
    """All groups at once, each in a directory of its own."""
    client = {"sync": v2.Firecrest, "async": v2.AsyncFirecrest}[kind]
    credentials = firecrest.ClientCredentialsAuth(
        site.client_id, site.client_secret, site.token_url
    )
    with tempfile.TemporaryDirectory() as local:
        run = Run(lambda: client(site.url, authorization=credentials), site, Path(local))
        directories = [f"{site.directory}/{group.__name__}" for group in GROUPS]
        await asyncio.gather(*(run.call("mkdir", site.system, path) for path in directories))
        calls = (group(run, path) for group, path in zip(GROUPS, directories, strict=True))
        await asyncio.gather(*calls)
        await run.call("close_session")
        return run


def main(kind: str) -> None:
    """Run as a program."""
    run = asyncio.run(everything(kind, Site(**json.load(sys.stdin))))
    print(
        json.dumps({"public": run.public, "called": sorted(Calls.called), "results": run.results}),
    )


if __name__ == "__main__":
    main(sys.argv[1])
