"""The profile's compress and extract, by GNU tar over a real SSH server."""

import asyncio
import os
import tarfile
from pathlib import Path

import pytest

from tests.integration.test_archives import contents, running
from tests.unit.storage.profile import Profile
from tests.unit.storage.world import remote, serving_storage

MAGIC = {"none": b"", "gzip": b"\x1f\x8b", "bzip2": b"BZh", "xz": b"\xfd7zXZ"}
KINDS = pytest.mark.parametrize("kind", MAGIC)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with awkward names in an awkward place."""
    top = tmp_path / "it's: a place" / "-tree"
    (top / "sub").mkdir(parents=True)
    for name in ("a.txt", "-b.txt", "sub/c.txt", "new\nline"):
        (top / name).write_text(name)
    (top / "link").symlink_to("a.txt")
    return top


@KINDS
async def test_what_is_compressed_can_be_extracted(
    profile: Profile, tree: Path, tmp_path: Path, kind: str
) -> None:
    packed, into = tmp_path / "host:x.tar", tmp_path / "into"
    into.mkdir()
    made = await profile.send("Compress", path=str(tree), targetPath=str(packed), compression=kind)
    assert (made.status, made.body) == (204, b"")
    assert packed.read_bytes().startswith(MAGIC[kind])
    for _ in range(2):  # what is there already is replaced
        done = await profile.send(
            "Extract", sourcePath=str(packed), targetPath=str(into), compression=kind
        )
        assert (done.status, done.body) == (204, b"")
    assert contents(into / tree.name) == contents(tree)
    assert sorted(path.name for path in into.iterdir()) == [tree.name]


async def test_backslashes_in_a_name_are_backslashes(profile: Profile, tmp_path: Path) -> None:
    (tmp_path / "a\nb").write_text("another")
    for name in (r"a\nb", r"two\\x", r"\101", "end\\"):
        (tmp_path / name).write_text(name)
        packed = str(tmp_path / "packed.tar")
        made = await profile.send("Compress", path=str(tmp_path / name), targetPath=packed)
        assert made.status == 204
        with tarfile.open(packed) as archive:
            (member,) = archive
            assert Path(member.name).name == name


@KINDS
async def test_a_pattern_is_looked_for_in_the_parent_and_keeps_the_compression(
    profile: Profile, tree: Path, tmp_path: Path, kind: str
) -> None:
    (tree.parent / "z.txt").write_text("beside")
    packed = tmp_path / "some.tar"
    reply = await profile.send(
        "Compress",
        path=str(tree),
        target_path=str(packed),
        match_pattern=r".*/\(-b\|z\).txt",
        compression=kind,
    )
    assert reply.status == 204
    assert packed.read_bytes().startswith(MAGIC[kind])
    with tarfile.open(packed) as tar:
        assert sorted(tar.getnames()) == ["./-tree/-b.txt", "./z.txt"]


async def test_links_are_followed_when_asked(profile: Profile, tree: Path, tmp_path: Path) -> None:
    packed = tmp_path / "x.tar"
    for dereference in (False, True):
        await profile.send(
            "Compress",
            path=str(tree),
            targetPath=str(packed),
            compression="none",
            dereference=dereference,
        )
        with tarfile.open(packed) as tar:
            assert tar.getmember("-tree/link").issym() is not dereference


async def test_a_target_that_is_a_link_stays_one(
    profile: Profile, tree: Path, tmp_path: Path
) -> None:
    (tmp_path / "real.tgz").write_text("old")
    (tmp_path / "link.tgz").symlink_to("real.tgz")
    await profile.send("Compress", path=str(tree), targetPath=str(tmp_path / "link.tgz"))
    assert (tmp_path / "link.tgz").is_symlink()
    assert (tmp_path / "real.tgz").read_bytes().startswith(MAGIC["gzip"])


async def test_what_fails_leaves_the_old_archive(
    profile: Profile, tree: Path, tmp_path: Path
) -> None:
    old = tmp_path / "old.tgz"
    old.write_text("old")
    reply = await profile.send("Compress", path=str(tree / "nothing"), targetPath=str(old))
    assert reply.status == 404
    assert reply.message == (
        "Remote process failed with exit status:2 and error message:"
        "tar: nothing: Cannot stat: No such file or directory\n"
        "tar: Exiting with failure status due to previous errors"
    )
    assert old.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == [tree.parent.name, "old.tgz"]


async def test_what_is_no_archive_changes_nothing(profile: Profile, tmp_path: Path) -> None:
    whole = tmp_path / "whole.tgz"
    (tmp_path / "data").write_bytes(os.urandom(1 << 20))
    with tarfile.open(whole, "w:gz") as tar:
        tar.add(tmp_path / "data", "data")
    (tmp_path / "cut.tgz").write_bytes(whole.read_bytes()[: 1 << 19])
    (tmp_path / "text").write_text("no archive")
    into = tmp_path / "into"
    into.mkdir()
    for name, kind, words in (
        ("cut.tgz", "gzip", "unexpected end of file"),
        ("text", "gzip", "not in gzip format"),
        ("text", "xz", "File format not recognized"),
        ("text", "bzip2", "not a bzip2 file"),
        ("text", "none", "does not look like a tar archive"),
    ):
        reply = await profile.send(
            "Extract", path=str(tmp_path / name), targetPath=str(into), compression=kind
        )
        assert (reply.status, words in reply.message) == (400, True), reply.message
        assert list(into.iterdir()) == []


async def test_tar_s_words_name_the_paths_that_were_given(
    profile: Profile, tree: Path, tmp_path: Path
) -> None:
    into = tmp_path / "into"
    into.mkdir()
    for method, path, target, status, words in (
        (
            "Compress",
            tree,
            tmp_path / "no" / "x",
            404,
            f"tar (child): {tmp_path}/no/x: Cannot open",
        ),
        ("Compress", tree, into, 400, f"tar (child): {into}: Cannot open: Is a directory"),
        ("Extract", tmp_path / "no", tmp_path, 404, f"tar (child): {tmp_path}/no: Cannot open"),
    ):
        reply = await profile.send(method, path=str(path), targetPath=str(target))
        assert (reply.status, words in reply.message) == (status, True), reply.message
        assert "passerelle-part" not in reply.message


async def test_both_paths_must_be_inside_the_filesystems(
    profile: Profile, tree: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").symlink_to("/var/tmp")
    for method in ("Compress", "Extract"):
        for path, target in (
            ("/etc/hosts", tmp_path / "x"),
            (tree, "/var/tmp/x"),
            (tree, tmp_path / "out" / "x"),
            (tmp_path / "out", tmp_path / "x"),
        ):
            reply = await profile.send(method, path=str(path), targetPath=str(target))
            assert (reply.status, "defined filesystem paths" in reply.message) == (400, True)


async def test_a_link_in_an_archive_is_not_written_through(
    profile: Profile, tmp_path: Path
) -> None:
    outside, into = tmp_path / "outside", tmp_path / "into"
    outside.mkdir()
    into.mkdir()
    (into / "sub").symlink_to(outside)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "x").write_text("x")
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.add(tmp_path / "sub" / "x", "sub/x")
    reply = await profile.send(
        "Extract", path=str(tmp_path / "x.tar"), targetPath=str(into), compression="none"
    )
    assert reply.status == 204
    assert list(outside.iterdir()) == []
    assert (into / "sub" / "x").read_text() == "x"


async def test_what_takes_too_long_is_ended_with_408(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "huge").open("wb") as huge:
        huge.truncate(1 << 40)
    (tmp_path / "never.tgz").write_bytes(b"")
    slow = tmp_path / "bin" / "gzip"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nexec sleep 600\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}:{os.environ['PATH']}")
    async with (
        remote(tmp_path, timeout={"command": 2, "login": 30, "connection": 30}) as world,
        serving_storage(world) as channel,
    ):
        profile, into = Profile(channel), tmp_path / "into"
        into.mkdir()
        request = [
            profile.send("Compress", path=str(tmp_path / "huge"), targetPath=str(tmp_path / "x")),
            profile.send("Extract", path=str(tmp_path / "never.tgz"), targetPath=str(into)),
        ]
        for reply in await asyncio.gather(*request):
            assert reply.status == 408
            assert reply.message == "Command execution timeout limit exceeded."
    assert not await running(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "huge", "into", "never.tgz"]
    assert list(into.iterdir()) == []


@pytest.mark.parametrize("words", ["nowhere", "link"])
async def test_a_link_that_leads_nowhere_is_packed_as_it_is(
    profile: Profile, tmp_path: Path, words: str
) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "alias").symlink_to("dir")
    (tmp_path / "dir" / "link").symlink_to(words)
    request = {"path": f"{tmp_path}/alias/link", "targetPath": f"{tmp_path}/x.tar"}
    assert (await profile.send("Compress", **request, compression="none")).status == 204
    with tarfile.open(tmp_path / "x.tar") as tar:
        assert tar.getmember("link").linkname == words
    reply = await profile.send("Compress", **request, compression="none", dereference=True)
    assert reply.status == (404 if words == "nowhere" else 400)
