"""The transfers of a pyfirecrest: files that move by jobs of the system."""

from io import BytesIO

from firecrest.FirecrestException import MultipartUploadException

from tests.clients.pyfirecrest_run import JOB_SECONDS, LARGE, Calls, Run


async def moves(run: Run, directory: str) -> None:
    """On the account that the scheduler has for the user, and on a given one."""
    call, system = run.call, run.system
    await call("upload", system, str(run.small), directory, "one")
    await call("cp", system, f"{directory}/one", f"{directory}/two")
    moved = await call("mv", system, f"{directory}/two", f"{directory}/three", run.site.account)
    run.results["mv"] = await call("view", system, f"{directory}/three")
    run.results["transfer job"] = [moved["transferJob"]["system"], *sorted(moved["transferJob"])]


async def s3(run: Run, directory: str) -> None:
    """A large file, without an account."""
    await run.call("upload", run.system, str(run.large), directory, "x")
    await run.call("download", run.system, f"{directory}/x", run.back("s3"))
    run.results["download s3"] = run.came("s3")


async def s3_in_steps(run: Run, directory: str) -> None:
    """A large file that the caller does not wait for, on a given account."""
    call, system, account = run.call, run.system, run.site.account
    path, back = f"{directory}/x", run.back("s3 in steps")
    up = Calls(
        await call("upload", system, str(run.large), directory, "x", account, blocking=False)
    )
    await up("upload_file_to_stage")
    await up("wait_for_transfer_job", timeout=JOB_SECONDS)
    down = Calls(await call("download", system, path, back, account, blocking=False))
    await down("wait_for_transfer_job", timeout=JOB_SECONDS)
    await down("download_file_from_stage")
    data = [each.value("transfer_data")["transferJob"]["system"] for each in (up, down)]
    run.results["download s3, in steps"] = [run.came("s3 in steps"), *data]


async def open_files(run: Run, directory: str) -> None:
    """Files that are open already."""
    if run.takes("upload", "file_size"):
        named = {"file_size": len(LARGE)}
        await run.call("upload", run.system, BytesIO(LARGE), directory, "x", **named)
        checksum = await run.call("checksum", run.system, f"{directory}/x")
        run.results["upload of an open file"] = checksum["checksum"]


async def streamer(run: Run, directory: str) -> None:
    """A large file, straight to and from the job."""
    if "upload.upload_file_streamer" in run.public:
        options = {"transfer_method": "streamer"}
        await run.call("upload", run.system, str(run.large), directory, "x", **options)
        await run.call("download", run.system, f"{directory}/x", run.back("streamer"), **options)
        run.results["download streamer"] = run.came("streamer")


async def streamer_in_steps(run: Run, directory: str) -> None:
    """A large file that the caller does not wait for."""
    if "upload.upload_file_streamer" not in run.public:
        return
    call, system, options = run.call, run.system, {"transfer_method": "streamer", "blocking": False}
    up = Calls(await call("upload", system, str(run.large), directory, "x", **options))
    await up("wait_for_streamer_job_to_listen")
    await up("upload_file_streamer")
    await up("wait_for_transfer_job", timeout=JOB_SECONDS)
    back = run.back("streamer in steps")
    down = Calls(await call("download", system, f"{directory}/x", back, **options))
    run.results["download streamer, method"] = down.value("transfer_data")["transferDirectives"][
        "transferMethod"
    ]
    if run.results["download streamer, method"] == "streamer":
        await down("wait_for_streamer_job_to_listen")
        await down("download_file_streamer")
        run.results["download streamer, in steps"] = run.came("streamer in steps")


async def wormhole(run: Run, directory: str) -> None:
    """A large file by magic-wormhole, as far as the client goes."""
    if "upload.wormhole_code" not in run.public:
        return
    call, system, options = run.call, run.system, {"transfer_method": "wormhole"}
    up = Calls(await call("upload", system, str(run.large), directory, "x", **options))
    checksum = await call("checksum", system, f"{directory}/x")
    run.results["upload wormhole"] = [up.value("wormhole_code"), checksum["checksum"]]
    path, back = f"{directory}/x", run.back("wormhole")
    down = Calls(await call("download", system, path, back, blocking=False, **options))
    run.results["download wormhole, code"] = down.value("wormhole_code").count("-")
    try:
        await down("receive_file_wormhole")
    except MultipartUploadException as error:
        run.results["download wormhole"] = type(error).__name__
    await call("cancel_job", system, down.value("transfer_data")["transferJob"]["jobId"])


GROUPS = (moves, s3, s3_in_steps, open_files, streamer, streamer_in_steps, wormhole)
