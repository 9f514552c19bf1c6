"""The profile's small operations on files: checksum, file, chmod, chown, symlink."""

import grp
import hashlib
import os
import pwd
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.storage.profile import Profile
from tests.unit.storage.world import remote, serving_storage

ODD = ["it's", 'dq"', "a b", "-rf", "nl\nx", "$(touch x)", "`x`", "çø-日本", "*", "back\\slash"]
FAILED = "Remote process failed with exit status:1 and error message:"
ME = pwd.getpwuid(os.getuid()).pw_name
MINE = grp.getgrgid(os.getgid()).gr_name


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text("content\n")
    path.chmod(0o644)
    return path


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A directory in none of the system's filesystems."""
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


@pytest.mark.parametrize("name", ODD)
async def test_names_are_data(profile: Profile, tmp_path: Path, name: str) -> None:
    path, link = tmp_path / name, tmp_path / f"{name}.link"
    path.write_text("content\n")
    checksum = (await profile.get("Checksum", path)).output
    assert checksum == {
        "algorithm": "SHA256",
        "checksum": hashlib.sha256(b"content\n").hexdigest(),
    }
    assert (await profile.get("FileType", path)).output == "ASCII text"
    changed = await profile.send("ChangeMode", sourcePath=str(path), mode="600")
    assert (changed.output["name"], changed.output["permissions"]) == (str(path), "rw-------")
    given = await profile.send("ChangeOwner", sourcePath=str(path), owner=ME, group=MINE)
    assert (given.output["user"], given.output["group"]) == (ME, MINE)
    made = await profile.send("MakeSymlink", sourcePath=str(path), linkPath=str(link))
    assert made.status == 201
    assert (made.output["type"], made.output["linkTarget"]) == ("l", str(path))
    assert sorted(os.listdir(tmp_path)) == sorted([name, link.name])


@pytest.mark.parametrize(
    ("method", "name", "status", "message"),
    [
        ("Checksum", "nope", 404, "sha256sum: {}: No such file or directory"),
        ("Checksum", "dir", 400, "sha256sum: {}: Is a directory"),
        ("ChangeMode", "nope", 404, "chmod: cannot access '{}': No such file or directory"),
        ("ChangeMode", "broken", 404, "chmod: cannot access '{}': No such file or directory"),
        ("ChangeOwner", "nope", 404, "chown: cannot access '{}': No such file or directory"),
        ("ChangeOwner", "file/x", 400, "chown: cannot access '{}': Not a directory"),
        ("MakeSymlink", "file", 400, "ln: failed to create symbolic link '{}': File exists"),
        ("MakeSymlink", "dir", 400, "ln: failed to create symbolic link '{}': File exists"),
        ("MakeSymlink", "no/x", 404, "ln: failed to create symbolic link '{}': No such file or {}"),
    ],
)
async def test_refusals(
    profile: Profile, file: Path, method: str, name: str, status: int, message: str
) -> None:
    (file.parent / "dir").mkdir()
    (file.parent / "broken").symlink_to("nowhere")
    path = str(file.parent / name)
    match method:
        case "Checksum":
            reply = await profile.get(method, path)
        case "MakeSymlink":
            reply = await profile.send(method, path=str(file), linkPath=path)
        case _:
            reply = await profile.send(method, path=path, mode="644")
    assert reply.status == status
    assert reply.message == FAILED + message.format(path, "directory")


async def test_file_tells_of_missing_files_and_of_links(profile: Profile, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("ä")
    (tmp_path / "ä").mkdir()
    nope = tmp_path / "nope"
    output = (await profile.get("FileType", nope)).output
    assert output == f"cannot open `{nope}' (No such file or directory)"
    assert (await profile.get("FileType", tmp_path / "link")).output == "symbolic link to ä"
    assert (await profile.get("FileType", tmp_path / "ä")).output == "directory"


async def test_a_link_is_shown_itself_when_its_target_changes(profile: Profile, file: Path) -> None:
    (file.parent / "link").symlink_to("file")
    reply = await profile.send("ChangeMode", path=str(file.parent / "link"), mode="u=rw,go=")
    assert (reply.output["type"], reply.output["linkTarget"]) == ("l", "file")
    assert file.stat().st_mode & 0o7777 == 0o600


@pytest.mark.parametrize("mode", ["999", "644' '/x", "", "u", "rwx", "77777", "u+gx", "-v", "a+r,"])
async def test_wrong_modes_name_the_field(profile: Profile, file: Path, mode: str) -> None:
    reply = await profile.send("ChangeMode", path=str(file), mode=mode)
    assert reply.status == 400
    assert reply.message == f"{FAILED}chmod: invalid mode: '{mode}'"
    assert [field["name"] for field in reply.json["data"]["fields"]] == ["mode"]
    assert file.stat().st_mode & 0o7777 == 0o644


async def test_a_null_owner_or_group_stays_as_it_is(profile: Profile, file: Path) -> None:
    """So says `firecrest chown --owner` for the group that it was not given."""
    reply = await profile.send("ChangeOwner", path=str(file), owner=ME, group=None)
    assert (reply.output["user"], reply.output["group"]) == (ME, MINE)
    reply = await profile.send("ChangeOwner", path=str(file), owner=None, group=MINE)
    assert (reply.status, reply.output["group"]) == (200, MINE)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"owner": "nobody-here"}, "invalid user: 'nobody-here'"),
        ({"group": "nobody-here"}, "invalid group: ':nobody-here'"),
        ({"owner": ME, "group": "nobody-here"}, f"invalid group: '{ME}:nobody-here'"),
        ({"owner": f"{ME}:{MINE}"}, f"invalid user: '{ME}:{MINE}'"),
        ({"owner": "--help"}, "invalid user: '--help'"),
        ({"owner": "$(id)"}, "invalid user: '$(id)'"),
    ],
)
async def test_unknown_owners(
    profile: Profile, file: Path, body: dict[str, str], message: str
) -> None:
    reply = await profile.send("ChangeOwner", path=str(file), **body)
    assert reply.status == 400
    assert reply.message == f"{FAILED}chown: {message}"


async def test_owner_and_group_by_number_and_each_alone(profile: Profile, file: Path) -> None:
    if os.getuid():
        pytest.skip("only root may give files away")
    for body, expected in (
        ({"owner": "12345", "group": "23456"}, (12345, 23456)),
        ({"owner": ME}, (os.getuid(), 23456)),
        ({"group": MINE}, (os.getuid(), os.getgid())),
        ({}, (os.getuid(), os.getgid())),
    ):
        reply = await profile.send("ChangeOwner", path=str(file), **body)
        assert reply.status == 200, reply.message
        assert (file.stat().st_uid, file.stat().st_gid) == expected


@pytest.mark.parametrize(
    ("method", "body", "field"),
    [
        ("ChangeMode", {}, "mode"),
        ("ChangeMode", {"mode": None}, "mode"),
        ("ChangeMode", {"mode": 644}, "mode"),
        ("ChangeOwner", {"owner": 5, "group": None}, "owner"),
        ("ChangeOwner", {"group": "x\0y"}, "group"),
        ("MakeSymlink", {}, "linkPath"),
        ("MakeSymlink", {"linkPath": "/x\0y"}, "linkPath"),
    ],
)
async def test_wrong_bodies_name_the_field(
    profile: Profile, file: Path, method: str, body: dict[str, object], field: str
) -> None:
    reply = await profile.send(method, path=str(file), **body)
    assert (reply.status, reply.json["errorType"]) == (400, "validation")
    assert reply.json["data"]["fields"][0]["name"] == field


@pytest.mark.parametrize("method", ["ChangeMode", "ChangeOwner", "MakeSymlink"])
async def test_bodies_without_a_path_inside(profile: Profile, method: str) -> None:
    assert "Unable to decode request" in (await profile.send(method)).message
    assert "absolute path" in (await profile.send(method, path="")).message
    outside = await profile.send(method, path="/etc/passwd")
    assert (outside.status, "any of the defined" in outside.message) == (400, True)


async def test_a_link_must_be_inside_too(profile: Profile, file: Path) -> None:
    reply = await profile.send("MakeSymlink", path=str(file), linkPath="/var/tmp/passerelle-link")
    assert (reply.status, "any of the defined" in reply.message) == (400, True)
    assert not os.path.lexists("/var/tmp/passerelle-link")


async def test_nothing_is_done_to_what_a_link_outside_points_to(
    profile: Profile, tmp_path: Path, elsewhere: Path
) -> None:
    outside = elsewhere / "file"
    outside.write_text("secret")
    outside.chmod(0o644)
    link = tmp_path / "link"
    link.symlink_to(outside)
    for reply in (
        await profile.send("ChangeMode", path=str(link), mode="600"),
        await profile.send("ChangeOwner", path=str(link), owner=ME),
        await profile.get("Checksum", link),
    ):
        assert (reply.status, "any of the defined" in reply.message) == (400, True)
    assert outside.stat().st_mode & 0o7777 == 0o644
    assert (await profile.get("FileType", link)).output == f"symbolic link to {outside}"


async def test_a_checksum_that_takes_too_long_is_408(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as huge:
        huge.truncate(1 << 42)  # takes no room, but an hour to read
    timeout = {"command": 1, "login": 30, "connection": 30}
    async with remote(tmp_path, timeout=timeout) as world, serving_storage(world) as channel:
        reply = await Profile(channel).get("Checksum", tmp_path / "huge")
    assert reply.status == 408
    assert reply.message == "Command execution timeout limit exceeded."


async def test_a_system_without_file(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path_factory.mktemp("bin")
    for name in ("sh", "env"):
        (programs / name).symlink_to(shutil.which(name) or name)
    (programs / "python3").symlink_to(Path(sys.executable).resolve())
    monkeypatch.setenv("PATH", str(programs))
    async with remote(tmp_path) as world, serving_storage(world) as channel:
        reply = await Profile(channel).get("FileType", tmp_path)
    assert (reply.status, reply.message) == (501, "The system has no program file.")
