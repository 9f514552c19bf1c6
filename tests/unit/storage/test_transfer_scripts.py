"""The scripts of transfer jobs, run by a real bash on real files."""

import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from passerelle.storage.files.tarballs import Tarball
from passerelle.storage.jobs import scripts
from passerelle.storage.jobs.port import ShellWork
from tests.examples import examples

NAMES = st.text(
    st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1
).filter(lambda name: name not in (".", "..") and len(name.encode()) <= 200)
NASTY = (
    "it's",
    '"$(touch pwned)`id`"',
    "-rf",
    "a\nb",
    "a\r\nb",
    " ",
    "*",
    "\\",
    "#SBATCH -x",
    "!x",
)


def run(work: ShellWork, where: Path) -> "subprocess.CompletedProcess[str]":
    script = where / "script"
    script.write_bytes(("#!/bin/bash\n" + work.script).encode())
    done = subprocess.run(
        ("bash", str(script)),
        cwd=where,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    script.unlink()
    return done


def names_in(archive: Path) -> set[str]:
    with tarfile.open(archive) as opened:
        return set(opened.getnames())


@pytest.mark.parametrize("name", NASTY)
def test_a_name_is_data_in_every_script(tmp_path: Path, name: str) -> None:
    tree = tmp_path / "tree"
    (tree / name).mkdir(parents=True)
    (tree / name / name).write_text("content")
    there = str(tree / name)
    steps = (
        (scripts.copy(there, there + ".copy", dereference=False), "copied"),
        (scripts.move(there + ".copy", there + ".moved"), "moved"),
        (scripts.compress(Tarball(there), there + ".tgz"), "compressed"),
        (scripts.remove(there), "deleted"),
        (scripts.extract(there + ".tgz", str(tree), "gzip"), "extracted"),
    )
    for work, done in steps:
        outcome = run(work, tmp_path)
        assert (outcome.returncode, outcome.stderr) == (0, "")
        assert f"Files were successfully {done}." in outcome.stdout
    assert (tree / name / name).read_text() == "content"
    assert {entry.name for entry in tree.iterdir()} == {name, f"{name}.moved", f"{name}.tgz"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["tree"]


@settings(
    max_examples=examples(25),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(name=NAMES)
def test_whatever_a_file_is_called_it_is_moved(tmp_path: Path, name: str) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    for directory in (source, target):
        directory.mkdir(exist_ok=True)
    (source / name).write_text("x")
    assert run(scripts.move(f"{source}/{name}", f"{target}/{name}"), tmp_path).returncode == 0
    assert [entry.name for entry in target.iterdir()] == [name]
    (target / name).unlink()


@pytest.mark.parametrize(
    "work",
    [
        scripts.move("/nonexistent/a", "/nonexistent/b"),
        scripts.copy("/nonexistent/a", "/nonexistent/b", dereference=True),
        scripts.remove("/nonexistent/a"),
        scripts.extract("/nonexistent/a", "/tmp", "none"),
        scripts.compress(Tarball("/nonexistent/a"), "/nonexistent/b"),
        scripts.compress(Tarball("/nonexistent/a", pattern="x"), "/nonexistent/b"),
    ],
    ids=lambda work: work.script.split(maxsplit=2)[1],
)
def test_a_failure_is_told_on_stderr_and_by_the_exit_status(
    tmp_path: Path, work: ShellWork
) -> None:
    outcome = run(work, tmp_path)
    assert outcome.returncode > 0
    assert "successfully" not in outcome.stdout
    assert "No such file or directory" in outcome.stderr
    assert f"exit code:{outcome.returncode}" in outcome.stderr


@pytest.mark.parametrize("dereference", [False, True])
def test_links_are_copied_or_followed(tmp_path: Path, dereference: bool) -> None:
    (tmp_path / "file").write_text("content")
    (tmp_path / "link").symlink_to("file")
    copied = tmp_path / "copy"
    assert run(
        scripts.copy(f"{tmp_path}/link", str(copied), dereference=dereference), tmp_path
    ).stdout.endswith("copied.\n")
    assert copied.is_symlink() is not dereference
    tarball = Tarball(f"{tmp_path}/link", "none", dereference)
    assert run(scripts.compress(tarball, f"{tmp_path}/a.tar"), tmp_path).returncode == 0
    with tarfile.open(tmp_path / "a.tar") as archive:
        assert archive.getmember("link").issym() is not dereference


@pytest.mark.parametrize(
    ("compression", "magic"), [("gzip", b"\x1f\x8b"), ("bzip2", b"BZh"), ("xz", b"\xfd7zXZ")]
)
def test_compressions(tmp_path: Path, compression: str, magic: bytes) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_text("content")
    archive, out = tmp_path / "archive", tmp_path / "out"
    out.mkdir()
    run(scripts.compress(Tarball(f"{tmp_path}/d", compression), str(archive)), tmp_path)
    assert archive.read_bytes().startswith(magic)
    assert run(scripts.extract(str(archive), str(out), compression), tmp_path).returncode == 0
    assert (out / "d" / "f").read_text() == "content"


def test_a_pattern_chooses_files_as_find_sees_them_from_the_directory_of_the_source(
    tmp_path: Path,
) -> None:
    for name in ("d/a.txt", "d/b.txt", "d/it's.txt", "e/a.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    tarball = Tarball(f"{tmp_path}/d", pattern=r".*/\(a\|it's\)\.txt")
    assert run(scripts.compress(tarball, f"{tmp_path}/t.tgz"), tmp_path).returncode == 0
    assert names_in(tmp_path / "t.tgz") == {"./d/a.txt", "./d/it's.txt", "./e/a.txt"}


def test_an_archive_that_cannot_be_made_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "old.tgz").write_text("as it was")
    done = run(scripts.compress(Tarball(f"{tmp_path}/nope"), f"{tmp_path}/old.tgz"), tmp_path)
    assert done.returncode > 0
    assert (tmp_path / "old.tgz").read_text() == "as it was"
    assert [entry.name for entry in tmp_path.iterdir()] == ["old.tgz"]
