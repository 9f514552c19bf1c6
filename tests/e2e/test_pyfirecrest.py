"""pyfirecrest, unchanged, on the main jobs of its users."""

import hashlib
import os
from io import BytesIO
from pathlib import Path

import pytest
from firecrest.FirecrestException import UnexpectedStatusException
from firecrest.v2 import Firecrest

from tests.e2e.target import Target

SCRIPT = '#!/bin/bash\necho "hello $GREETING from $PWD"\necho complaint >&2\n'


def test_large_files_where_nothing_is_staged(local_target: Target, tmp_path: Path) -> None:
    """The limit for direct transfers is the client's own; up to the site's one it can be raised."""
    client = Firecrest(firecrest_url=local_target.base_url, authorization=local_target)
    content = os.urandom(2 << 20)
    (tmp_path / "x").write_bytes(content)
    where = (local_target.system, str(tmp_path / "x"), local_target.directory, "large")
    with pytest.raises(UnexpectedStatusException, match="by ops/upload and ops/download"):
        client.upload(*where)
    client.MAX_DIRECT_UPLOAD_SIZE = 5 << 20
    client.upload(*where)
    back = tmp_path / "back"
    client.download(local_target.system, f"{local_target.directory}/large", str(back))
    assert back.read_bytes() == content
    client.close_session()


def test_server_version(client: Firecrest) -> None:
    assert client.server_version() == "2.6.0"


def test_systems(target: Target, client: Firecrest) -> None:
    systems = {system["name"]: system for system in client.systems()}
    system = systems[target.system]
    assert any(
        target.directory.startswith(filesystem["path"]) for filesystem in system["fileSystems"]
    )
    assert system["dataOperation"]["max_ops_file_size"] >= 1 << 20
    assert system["ssh"]["port"] > 0


def test_nodes_partitions_and_reservations(target: Target, client: Firecrest) -> None:
    nodes = client.nodes(target.system)
    partitions = client.partitions(target.system)
    reservations = client.reservations(target.system)
    assert all(node["state"] and node["cpus"] >= 1 for node in nodes)
    assert target.partition in [partition["name"] for partition in partitions]
    assert target.partition in nodes[0]["partitions"]
    assert all(reservation["endTime"] > reservation["startTime"] for reservation in reservations)
    if target.account:  # the real Slurm
        assert {reservation["name"] for reservation in reservations} >= {"training", "alice_now"}


def test_userinfo(target: Target, client: Firecrest) -> None:
    info = client.userinfo(target.system)
    assert info["user"]["name"] == target.user
    assert info["group"]["name"] in [group["name"] for group in info["groups"]]
    if target.account:
        assert target.account in [account["name"] for account in info["accounts"]]


def test_directories(target: Target, client: Firecrest, directory: str) -> None:
    client.mkdir(target.system, f"{directory}/a/b", create_parents=True)
    client.mkdir(target.system, f"{directory}/.hidden")
    shown = client.list_files(target.system, directory)
    everything = client.list_files(target.system, directory, show_hidden=True)
    deep = client.list_files(target.system, directory, recursive=True)
    assert [(entry["name"], entry["type"]) for entry in shown] == [("a", "d")]
    assert {entry["name"] for entry in everything} == {"a", ".hidden"}
    assert {entry["name"] for entry in deep} == {"a", "a/b"}
    with pytest.raises(UnexpectedStatusException, match="File exists"):
        client.mkdir(target.system, f"{directory}/a")


def test_small_file_there_and_back(
    target: Target, client: Firecrest, directory: str, tmp_path: Path
) -> None:
    content = bytes(range(256)) * 1000
    source, back = tmp_path / "source.bin", tmp_path / "back.bin"
    source.write_bytes(content)
    client.upload(target.system, source, directory, "it's $HÄR.bin")
    client.download(target.system, f"{directory}/it's $HÄR.bin", back)
    assert back.read_bytes() == content
    client.upload(target.system, BytesIO(b""), directory, "empty", file_size=0)
    assert client.stat(target.system, f"{directory}/empty")["size"] == 0


def test_read_parts_of_a_file(target: Target, client: Firecrest, directory: str) -> None:
    system, path = target.system, f"{directory}/lines.txt"
    lines = [f"line {number:02}\n" for number in range(1, 31)]
    client.upload(system, BytesIO("".join(lines).encode()), directory, "lines.txt", file_size=240)
    assert client.view(system, path) == "".join(lines)
    assert client.head(system, path)["content"] == "".join(lines[:10])
    assert client.head(system, path, num_bytes=9)["content"] == "line 01\nl"
    assert client.tail(system, path, num_lines=2)["content"] == "".join(lines[-2:])
    assert client.tail(system, path, num_lines=29, exclude_beginning=True)["content"] == "".join(
        lines[28:]
    )


def test_stat_and_rm(target: Target, client: Firecrest, directory: str) -> None:
    path = f"{directory}/file"
    client.upload(target.system, BytesIO(b"12345"), directory, "file", file_size=5)
    stat_reply = client.stat(target.system, path)
    assert (stat_reply["size"], stat_reply["mode"] & 0o170000, stat_reply["nlink"]) == (
        5,
        0o100000,
        1,
    )
    client.rm(target.system, path)
    with pytest.raises(UnexpectedStatusException, match="cannot statx") as gone:
        client.stat(target.system, path)
    assert gone.value.responses[-1].status_code == 404


def test_checksum_and_type(target: Target, client: Firecrest, directory: str) -> None:
    name, content = "it's -a\nname.txt", b"some text\n"
    client.upload(target.system, BytesIO(content), directory, "plain", file_size=len(content))
    client.symlink(target.system, f"{directory}/plain", f"{directory}/{name}")
    for path in (f"{directory}/plain", f"{directory}/{name}"):
        assert client.checksum(target.system, path) == {
            "algorithm": "SHA256",
            "checksum": hashlib.sha256(content).hexdigest(),
        }
    assert client.file_type(target.system, f"{directory}/plain") == "ASCII text"
    assert client.file_type(target.system, directory) == "directory"
    linked = client.file_type(target.system, f"{directory}/{name}")
    assert linked == f"symbolic link to {directory}/plain"
    with pytest.raises(UnexpectedStatusException, match="No such file or directory") as gone:
        client.checksum(target.system, f"{directory}/nope")
    assert gone.value.responses[-1].status_code == 404


def test_chmod_chown_and_symlink(target: Target, client: Firecrest, directory: str) -> None:
    system, path = target.system, f"{directory}/a 'file'"
    client.upload(system, BytesIO(b"1"), directory, "a 'file'", file_size=1)
    assert client.chmod(system, path, "640")["permissions"] == "rw-r-----"
    assert client.chmod(system, path, "u+x,g=u,o=")["permissions"] == "rwxrwx---"
    group = client.userinfo(system)["group"]["name"]
    given = client.chown(system, path, target.user, group)
    assert (given["user"], given["group"]) == (target.user, group)
    assert client.chown(system, path, "", group)["group"] == group
    made = client.symlink(system, path, f"{directory}/-link")["output"]
    assert (made["type"], made["linkTarget"]) == ("l", path)
    for refused, words in (
        (lambda: client.chmod(system, path, "999"), "invalid mode: '999'"),
        (lambda: client.chown(system, path, "nobody-here", ""), "invalid user: 'nobody-here'"),
        (lambda: client.symlink(system, path, f"{directory}/-link"), "File exists"),
    ):
        with pytest.raises(UnexpectedStatusException, match=words) as error:
            refused()  # type: ignore[no-untyped-call]  # pyfirecrest has no types
        assert error.value.responses[-1].status_code == 400
    if target.user != "root":
        with pytest.raises(UnexpectedStatusException, match="Operation not permitted") as error:
            client.chown(system, path, "root", "")
        assert error.value.responses[-1].status_code == 403


def test_submit_a_string_and_read_its_output(
    target: Target, client: Firecrest, directory: str
) -> None:
    environment = {"GREETING": "a,b='c' d=$HOME"}
    job = client.submit(
        target.system,
        directory,
        script_str=SCRIPT,
        env_vars=environment,
        account=target.account,
        partition=target.partition,
    )
    job_id = str(job["jobId"])
    finished = client.wait_for_job(target.system, job_id, timeout=60)
    assert finished[0]["status"]["state"] == "COMPLETED"
    assert finished[0]["status"]["exitCode"] == 0
    assert finished[0]["workingDirectory"] == directory
    assert finished[0]["partition"] == target.partition
    assert finished[0]["account"] == target.account or target.account is None
    metadata = client.job_metadata(target.system, job_id)[0]
    assert metadata["script"] == SCRIPT
    output = client.view(target.system, metadata["standardOutput"])
    assert f"hello {environment['GREETING']} from {directory}\n" in output


def test_submit_a_local_file_that_fails(
    target: Target, client: Firecrest, directory: str, tmp_path: Path
) -> None:
    script = tmp_path / "job.sh"
    script.write_text("#!/bin/bash\nexit 3\n")
    job = client.submit(target.system, directory, script_local_path=str(script))
    finished = client.wait_for_job(target.system, str(job["jobId"]), timeout=60)
    assert (finished[0]["status"]["state"], finished[0]["status"]["exitCode"]) == ("FAILED", 3)


def test_submit_a_remote_file(target: Target, client: Firecrest, directory: str) -> None:
    script = b"#!/bin/bash\necho from a file\n"
    client.upload(target.system, BytesIO(script), directory, "my job.sh", file_size=len(script))
    job = client.submit(target.system, directory, script_remote_path=f"{directory}/my job.sh")
    client.wait_for_job(target.system, str(job["jobId"]), timeout=60)
    metadata = client.job_metadata(target.system, str(job["jobId"]))[0]
    assert "from a file" in client.view(target.system, metadata["standardOutput"])


def test_list_and_cancel(target: Target, client: Firecrest, directory: str) -> None:
    script = "#!/bin/bash\n#SBATCH --job-name=e2e-sleeper\nsleep 600\n"
    job_id = str(client.submit(target.system, directory, script_str=script)["jobId"])
    assert job_id in [job["jobId"] for job in client.job_info(target.system)]
    assert client.job_info(target.system, job_id)[0]["user"] == target.user
    client.cancel_job(target.system, job_id)
    finished = client.wait_for_job(target.system, job_id, timeout=60)
    assert finished[0]["status"]["state"].startswith("CANCELLED")


def test_attach(target: Target, client: Firecrest, directory: str) -> None:
    job_id = str(
        client.submit(target.system, directory, script_str="#!/bin/bash\nsleep 600\n")["jobId"]
    )
    while client.job_info(target.system, job_id)[0]["status"]["state"] == "PENDING":
        pass  # each round is a request
    client.attach_to_job(target.system, job_id, f"touch {directory}/attached")
    client.cancel_job(target.system, job_id)
    names = [entry["name"] for entry in client.list_files(target.system, directory)]
    assert "attached" in names


def test_a_job_that_is_not_there(target: Target, client: Firecrest) -> None:
    with pytest.raises(UnexpectedStatusException, match="Job not found") as error:
        client.job_info(target.system, "99999999")
    assert error.value.responses[-1].status_code == 404
