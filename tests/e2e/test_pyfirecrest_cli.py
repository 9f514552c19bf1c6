"""The command `firecrest` of pyfirecrest, unchanged, as its users type it."""

import hashlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from firecrest.v2 import Firecrest

from tests.e2e.target import Target

FIRECREST = Path(sys.executable).parent / "firecrest"


class Cli:
    """Runs the command for one user and system."""

    def __init__(self, target: Target, token_file: Path) -> None:
        token_file.write_text(target.token())
        self._environment = os.environ | {
            "FIRECREST_URL": target.base_url,
            "FIRECREST_SYSTEM": target.system,
            "FIRECREST_TOKEN_COMMAND": f"cat {token_file}",
            "NO_COLOR": "1",
            "COLUMNS": "200",
        }

    def __call__(self, *arguments: str) -> str:
        """What the command prints; fails with its words if it fails."""
        done = subprocess.run(
            (str(FIRECREST), *arguments),
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def firecrest(target: Target, tmp_path: Path) -> Cli:
    return Cli(target, tmp_path / "token")


def test_status(target: Target, client: Firecrest, firecrest: Cli) -> None:
    assert firecrest("server-version").strip().endswith("2.6.0")
    assert target.system in firecrest("systems")
    assert all(node["name"] in firecrest("get-nodes") for node in client.nodes(target.system))
    assert target.partition in firecrest("get-partitions")
    firecrest("get-reservations")
    assert target.user in firecrest("id")
    assert json.loads(firecrest("id", "--json"))["user"]["name"] == target.user


def test_files(firecrest: Cli, directory: str, tmp_path: Path) -> None:
    source, back = tmp_path / "source.txt", tmp_path / "back.txt"
    source.write_text("first\nlast\n")
    firecrest("mkdir", f"{directory}/sub")
    firecrest("upload", str(source), f"{directory}/sub", "copy.txt")
    assert "copy.txt" in firecrest("ls", f"{directory}/sub")
    assert firecrest("head", "-n", "1", f"{directory}/sub/copy.txt").strip() == "first"
    assert firecrest("tail", "-n", "1", f"{directory}/sub/copy.txt").strip() == "last"
    assert "11" in firecrest("stat", f"{directory}/sub/copy.txt")
    firecrest("download", f"{directory}/sub/copy.txt", str(back))
    assert back.read_bytes() == source.read_bytes()
    firecrest("rm", "--force", f"{directory}/sub")
    assert "copy.txt" not in firecrest("ls", directory)


def test_what_files_are(target: Target, firecrest: Cli, directory: str, tmp_path: Path) -> None:
    source, path = tmp_path / "source.txt", f"{directory}/a copy"
    source.write_text("first\n")
    firecrest("upload", str(source), directory, "a copy")
    firecrest("chmod", path, "600")
    firecrest("chown", path, "--owner", target.user, "--group", "")
    firecrest("symlink", path, f"{directory}/link")
    document = json.loads(firecrest("stat", f"{directory}/link"))
    assert stat.S_ISLNK(document["mode"])
    assert firecrest("file", path).strip() == "ASCII text"
    checksum = json.loads(firecrest("checksum", path))
    assert checksum["checksum"] == hashlib.sha256(b"first\n").hexdigest()
    assert stat.S_IMODE(json.loads(firecrest("stat", path))["mode"]) == 0o600


def test_jobs(firecrest: Cli, directory: str, tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    script.write_text('#!/bin/bash\necho "done with $WORK"\n')
    submitted = firecrest("submit", "--working-dir", directory, "-e", "WORK=it", str(script))
    job_id = str(json.loads(submitted)["jobId"])
    assert "COMPLETED" in firecrest("wait-for-job", job_id)
    assert job_id in firecrest("job-info")
    output = json.loads(firecrest("job-metadata", job_id))[0]["standardOutput"]
    assert "done with it" in firecrest("head", output)


def test_cancel(firecrest: Cli, directory: str, tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    script.write_text("#!/bin/bash\nsleep 600\n")
    submitted = firecrest("submit", "--working-dir", directory, str(script))
    job_id = str(json.loads(submitted)["jobId"])
    firecrest("cancel", job_id)
    assert "CANCELLED" in firecrest("wait-for-job", job_id)
