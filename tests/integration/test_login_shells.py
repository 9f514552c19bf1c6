"""Whatever login shell and start-up files a user has: what runs, what it is given, and what counts as its output."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from passerelle.runtime import caller
from passerelle.runtime.caller import Caller
from passerelle.runtime.command import Command
from passerelle.runtime.errors import ApiError, BackendError, DeadlineExceeded
from passerelle.runtime.ssh.pool import SshPool, SystemShell
from passerelle.storage.access.system_access import SystemAccess
from passerelle.storage.commands.plain_commands import PlainCommands
from passerelle.storage.config import StorageSection
from passerelle.storage.files.tarballs import Tarball, Tarballs
from passerelle.storage.values import finished
from tests.cluster import Cluster
from tests.integration.login_shells import (
    READING,
    SHELLS,
    Certified,
    Login,
    login_with,
    serving,
    system_at,
)

EVERY_BYTE = bytes(range(1, 256)).decode("utf-8", "surrogateescape")
WORDS = [
    *("a b", "it's", '"q"', "$HOME", "`id`", "new\nline", "", "-n", "ü", "*", "\\", "x\\\\y", "a!b", "!!"),
    *("\n", "\n\n", "end\n", " lead", "tail ", "\t", "=x", ",x", "@X=1", "-X*", ".", "none", EVERY_BYTE),
    "\\'$(touch PWNED)\"\\'",
]  # fmt: skip
NOISE = {
    "a line": "echo Welcome to the cluster 3",
    "no line break": "printf Quota:99%%",
    "on both": "echo Welcome; sh -c 'echo Warning >&2; printf no-end >&2'",
    "much": "seq 1 20000",
    "later, too": "sh -c '(sleep 3; echo later; sleep 3) & echo now'",
}


@pytest.fixture(scope="module", name="cluster")
def plain(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster by an sshd that lets these users in."""
    with serving(cluster) as plain:
        yield plain


@pytest.fixture(scope="module")
def forced(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster by an sshd that forces a command, so that it lets no signals through."""
    with serving(cluster, forced=True) as forced:
        yield forced


@asynccontextmanager
async def connected(cluster: Cluster, login: Login) -> AsyncIterator[SshPool]:
    system = system_at(cluster)
    with caller.bind(Caller(login.name, "token")):
        async with SshPool({"lab": system}, Certified(cluster, login.name)).sweeping() as pool:
            yield pool


def shell_of(cluster: Cluster, pool: SshPool, *, timeout: float = 30) -> SystemShell:
    return SystemShell(pool, system_at(cluster), timeout=timeout)


def printed(*words: str) -> Command[bytes]:
    """Prints the words in hexadecimal, each ended by a NUL."""
    script = "printf '%s\\0' \"$@\" | od -An -v -tx1"
    return Command(("sh", "-c", script, "sh", *words), bytes.fromhex)


@pytest.mark.parametrize("shell", SHELLS)
async def test_every_word_arrives_as_it_is(cluster: Cluster, shell: str) -> None:
    login = login_with(shell)
    async with connected(cluster, login) as pool:
        result = await shell_of(cluster, pool).run(printed(*WORDS))
    assert result == b"".join(os.fsencode(word) + b"\0" for word in WORDS)
    assert not (login.home / "PWNED").exists()


@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("shell", READING)
async def test_what_start_up_files_print_is_no_output(
    cluster: Cluster, shell: str, noise: str
) -> None:
    login = login_with(shell)
    login.start_with(NOISE[noise] + "\n")
    async with connected(cluster, login) as pool:
        run = shell_of(cluster, pool).run
        assert await run(Command(("printf", "x"), str)) == "x"
        assert await run(Command(("cat",), str, stdin="in\n" * 9999)) == "in\n" * 9999
        with pytest.raises(BackendError, match=r"^odd$"):
            await run(Command(("sh", "-c", "echo odd >&2; exit 3"), str))


async def test_more_than_a_channel_holds_on_stderr(cluster: Cluster) -> None:
    login = login_with("bash")
    login.start_with("head -c 9000000 /dev/zero | tr '\\0' y >&2\n")
    (login.home / "file").write_text("x")
    async with connected(cluster, login) as pool:
        assert await shell_of(cluster, pool).run(Command(("printf", "x"), str)) == "x"
        access = SystemAccess(pool, system_at(cluster), StorageSection(), PlainCommands)
        archive = login.home / "archive"
        await Tarballs(access, 30).compress(Tarball(str(login.home / "file")), str(archive))
    assert archive.is_file()


@pytest.mark.parametrize("shell", ["bash", "zsh"])
async def test_start_up_files_that_make_one_stream_of_both(cluster: Cluster, shell: str) -> None:
    login = login_with(shell)
    login.start_with("exec 2>&1\necho Welcome\n")
    async with connected(cluster, login) as pool:
        run = shell_of(cluster, pool).run
        assert await run(Command(("printf", "x"), str)) == "x"
        assert await run(Command(("cat",), str, stdin="in\n" * 9999)) == "in\n" * 9999
        with pytest.raises(BackendError, match=r"^odd$"):
            await run(Command(("sh", "-c", "echo odd >&2; exit 3"), str))
        script = "echo greeting; cat; echo odd >&2; exit 3"
        with pytest.raises(BackendError, match=r"^odd$"):
            await run(Command(("sh", "-c", script), str, greeted=lambda line: True))


async def test_input_that_waits_for_a_line(cluster: Cluster) -> None:
    lines: list[str] = []

    def greeted(line: str) -> bool:
        lines.append(line)
        return line.endswith("now")

    script = "printf 'something else\\nfrom elsewhere: now\\nlater\\n'; cat"
    async with connected(cluster, login_with("bash")) as pool:
        command = Command(("sh", "-c", script), str, stdin="in", greeted=greeted)
        assert (await shell_of(cluster, pool).run(command)).endswith("later\nin")
    assert lines == ["something else", "from elsewhere: now"]


@pytest.mark.parametrize("helper", [True, False], ids=["helper", "commands"])
@pytest.mark.parametrize("shell", READING)
async def test_files_where_start_up_files_print(cluster: Cluster, shell: str, helper: bool) -> None:
    login = login_with(shell)
    login.start_with(NOISE["on both"] + "\n")
    name = login.home / "a!b\\' $(touch PWNED)\n'\"x"
    system = system_at(cluster)
    async with connected(cluster, login) as pool:
        access = SystemAccess(pool, system, StorageSection(remote_helper=helper), PlainCommands)
        await access.change(lambda files: files.make_directory(str(name), parents=False))
        archive = str(login.home / "it's\\\\ an!archive")
        await Tarballs(access, 30).compress(Tarball(str(name)), archive)
        made = await access.query(lambda files: files.stat(str(name), dereference=True))
        assert made.letter == "d"
        await access.change(lambda files: finished(files.remove(str(name))))
        await Tarballs(access, 30).extract(archive, str(login.home), "gzip")
    assert name.is_dir()
    assert Path(archive).is_file()
    assert not (login.home / "PWNED").exists()


@pytest.mark.parametrize("shell", READING)
async def test_what_is_printed_later_is_no_answer_of_the_helper(
    cluster: Cluster, shell: str
) -> None:
    login = login_with(shell)
    login.start_with("sh -c '(sleep 0.5; echo later; echo >>~/printed) &'\n")
    printed = login.home / "printed"
    async with connected(cluster, login) as pool:
        access = SystemAccess(pool, system_at(cluster), StorageSection(), PlainCommands)

        async def letter() -> str:
            info = await access.change(lambda files: files.stat(str(login.home), dereference=True))
            return info.letter

        while not printed.exists():
            assert await letter() == "d"
        for _ in range(100):
            assert await letter() == "d"


@pytest.mark.parametrize(
    "text",
    ["echo no entry; exit 1", "exec echo no entry", "kill -9 $$"],
    ids=["exit", "exec", "kill"],
)
async def test_start_up_files_that_end_the_shell_are_named(cluster: Cluster, text: str) -> None:
    login = login_with("bash")
    login.start_with(f"{text}\n")
    async with connected(cluster, login) as pool:
        with pytest.raises(BackendError, match="start-up file") as caught:
            await shell_of(cluster, pool).run(printed("x"))
    assert "no entry" in caught.value.detail or "kill" in text


async def test_start_up_files_that_read_the_input_are_named(cluster: Cluster) -> None:
    login = login_with("bash")
    login.start_with("read line\n")
    async with connected(cluster, login) as pool:
        with pytest.raises(BackendError, match="something else has read the input"):
            await shell_of(cluster, pool).run(printed("x"))


async def test_start_up_files_that_do_not_end_are_named(cluster: Cluster) -> None:
    login = login_with("bash")
    login.start_with("sleep 1.5\n")
    async with connected(cluster, login) as pool:
        touch = Command(("touch", "TOUCHED"), str, repeatable=False)
        with pytest.raises(DeadlineExceeded, match="start-up files"):
            await shell_of(cluster, pool, timeout=0.3).run(touch)
        await asyncio.sleep(1.5)
    assert not (login.home / "TOUCHED").exists()


async def test_a_users_own_variables(cluster: Cluster) -> None:
    login = login_with("bash")
    login.start_with(
        "export SQUEUE_FORMAT=%i SQUEUE_SORT=$'a\\nb' MINE=yes TAR_OPTIONS=--nonsense\n"
    )
    async with connected(cluster, login) as pool:
        run = shell_of(cluster, pool).run
        command = Command(("env",), str, unset=("SQUEUE_*",), environment={"NEW": "a\\b c"})
        result = (await run(command)).splitlines()
        assert {"MINE=yes", "TAR_OPTIONS=--nonsense", "NEW=a\\b c"} <= set(result)
        assert not [line for line in result if line.startswith("SQUEUE_")]
        steady = await run(Command(("env",), str))
        assert "MINE=yes" in steady
        assert "TAR_OPTIONS" not in steady


@pytest.mark.parametrize("sshd", ["cluster", "forced"])
@pytest.mark.parametrize("end", ["time", "cut", "cancel"])
@pytest.mark.parametrize("stdin", ["", "x"])
async def test_no_program_outlives_its_request(
    request: pytest.FixtureRequest, sshd: str, end: str, stdin: str
) -> None:
    cluster: Cluster = request.getfixturevalue(sshd)
    name = f"outlives-{uuid.uuid4().hex}"
    script = f"trap '' TERM; sh -c 'trap \"\" TERM; sleep 60; : {name}' & sleep 60; : {name}"
    command = Command(("sh", "-c", script), str, repeatable=False, stdin=stdin)
    async with connected(cluster, login_with("bash")) as pool:
        shell = shell_of(cluster, pool, timeout=2 if end == "time" else 30)
        running = asyncio.create_task(shell.run(command))
        while not _runs(name):
            await asyncio.sleep(0.05)
        if end == "cut":
            (await pool.connection("lab"))._ssh.abort()
        elif end == "cancel":
            running.cancel()
        with pytest.raises((ApiError, asyncio.CancelledError)):
            await running
        async with asyncio.timeout(5):
            while end == "cut" and _runs(name):
                await asyncio.sleep(0.05)
        assert not _runs(name)


def _runs(name: str) -> bool:
    return any(name in _command(process) for process in Path("/proc").glob("[0-9]*"))


def _command(process: Path) -> str:
    try:
        return (process / "cmdline").read_text(errors="replace")
    except OSError:  # it has just ended
        return ""
