"""Runs every command of pyfirecrest's command line, and prints their output as JSON.

    python -m tests.clients.pyfirecrest_commands < site.json

Run by the interpreter that has the version in question; the input has the fields of `Site`. The output: `public` are
the commands that this version has, `called` those of them that were used, `found` is what they said.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import typer.main
import typer.testing
from firecrest.cli2 import app

from tests.clients.pyfirecrest_run import JOB_SECONDS, LARGE, LINES, SLEEP, Site


class Firecrest:
    """The command `firecrest`, in this process."""

    def __init__(self, site: Site) -> None:
        self.public = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
        self.called: set[str] = set()
        self._environment = {
            "FIRECREST_URL": site.url,
            "FIRECREST_SYSTEM": site.system,
            "FIRECREST_CLIENT_ID": site.client_id,
            "FIRECREST_CLIENT_SECRET": site.client_secret,
            "AUTH_TOKEN_URL": site.token_url,
            "NO_COLOR": "1",
            "COLUMNS": "300",
        }

    def __call__(self, *words: str) -> str:
        """The command's output. Raises RuntimeError with the output when it fails."""
        self.called.add(words[0])
        done = typer.testing.CliRunner().invoke(app, words, env=self._environment)
        if done.exit_code:
            raise RuntimeError(f"{words}: {done.output}") from done.exception
        return done.stdout.rstrip("\n")

    def json(self, *words: str) -> Any:
        """The JSON that the command prints."""
        return json.loads(self(*words))


def everything(firecrest: Firecrest, site: Site, local: Path) -> dict[str, Any]:
    """The output of all commands."""
    return {
        **status(firecrest),
        **files(firecrest, site.directory, local),
        **transfers(firecrest, f"{site.directory}/transfers", local),
        **jobs(firecrest, site.directory, local),
    }


def status(firecrest: Firecrest) -> dict[str, Any]:
    """What there is."""
    return {
        "server-version": firecrest("server-version"),
        "systems": [each["name"] for each in firecrest.json("systems")],
        "get-nodes": [each["name"] for each in firecrest.json("get-nodes")],
        "get-reservations": [each["name"] for each in firecrest.json("get-reservations")],
        "get-partitions": [each["name"] for each in firecrest.json("get-partitions")],
        "id": firecrest("id"),
        "id --json": firecrest.json("id", "--json")["user"]["name"],
    }


def files(firecrest: Firecrest, directory: str, local: Path) -> dict[str, Any]:
    """One file, in all ways."""
    small, back = local / "small", local / "back"
    small.write_text(LINES)
    path, link, archive = f"{directory}/a/one two", f"{directory}/a/link", f"{directory}/a.tar.gz"
    firecrest("mkdir", "-p", f"{directory}/a/.b")
    firecrest("upload", str(small), f"{directory}/a", "one two")
    firecrest("symlink", path, link)
    firecrest("chmod", path, "640")
    firecrest("chown", path, "--group", "alice")
    firecrest("compress", f"{directory}/a", archive)
    firecrest("mkdir", f"{directory}/out")
    firecrest("extract", archive, f"{directory}/out")
    firecrest("download", path, str(back))
    firecrest("rm", "--force", f"{directory}/out/a/link")
    return {
        "ls": [each["name"] for each in firecrest.json("ls", f"{directory}/a")],
        "ls -a": [each["name"] for each in firecrest.json("ls", "-a", f"{directory}/a")],
        "rm": [each["name"] for each in firecrest.json("ls", f"{directory}/out/a")],
        "stat": firecrest.json("stat", path)["mode"],
        "stat -L": firecrest.json("stat", "-L", link)["size"],
        "file": firecrest("file", path),
        "checksum": firecrest.json("checksum", path)["checksum"],
        "head": firecrest("head", "-n", "1", path),
        "head -": firecrest("head", "--lines=-10", path),
        "tail": firecrest("tail", "-n", "1", path),
        "tail +": firecrest("tail", "--lines=+12", path),
        "download": back.read_text(),
    }


def transfers(firecrest: Firecrest, directory: str, local: Path) -> dict[str, Any]:
    """By jobs, on the user's default account."""
    large, back = local / "large", local / "large back"
    large.write_bytes(LARGE)
    firecrest("mkdir", directory)
    firecrest("upload", str(large), directory)
    firecrest("cp", f"{directory}/large", f"{directory}/copy")
    firecrest("mv", f"{directory}/copy", f"{directory}/moved")
    firecrest("download", f"{directory}/moved", str(back))
    return {"large": back.read_bytes() == LARGE}


def jobs(firecrest: Firecrest, directory: str, local: Path) -> dict[str, Any]:
    """One that ends, and one that is joined and cancelled."""
    script, sleeper = local / "job.sh", local / "sleeper.sh"
    script.write_text('#!/bin/bash\necho "hello $GREETING"\n')
    sleeper.write_text(SLEEP)
    options = ("submit", "--working-dir", directory)
    job = str(firecrest.json(*options, "-e", "GREETING=you", str(script))["jobId"])
    (ended,) = firecrest.json("wait-for-job", job)
    (metadata,) = firecrest.json("job-metadata", job)
    sleeping = str(firecrest.json(*options, str(sleeper))["jobId"])
    deadline = time.monotonic() + JOB_SECONDS
    while firecrest.json("job-info", sleeping)[0]["status"]["state"] != "RUNNING":
        assert time.monotonic() < deadline
    firecrest("attach-to-job", sleeping, f"touch {directory}/joined")
    listed = [str(each["jobId"]) for each in firecrest.json("job-info")]
    firecrest("cancel", sleeping)
    return {
        "wait-for-job": ended["status"]["state"],
        "job-metadata": firecrest("head", metadata["standardOutput"]),
        "job-info": sleeping in listed,
        "attach-to-job": firecrest("file", f"{directory}/joined"),
        "cancel": firecrest.json("wait-for-job", sleeping)[0]["status"]["state"],
    }


def main() -> None:
    """Run as a program."""
    site = Site(**json.load(sys.stdin))
    firecrest = Firecrest(site)
    with tempfile.TemporaryDirectory() as local:
        results = everything(firecrest, site, Path(local))
    called = sorted(firecrest.called)
    print(json.dumps({"public": firecrest.public, "called": called, "results": results}))


if __name__ == "__main__":
    main()
