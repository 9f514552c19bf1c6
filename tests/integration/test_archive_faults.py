"""Archives with something wrong in them: one answer on both surfaces, and nothing of them stays."""

import bz2
import gzip
import lzma
import os
import socket
import stat
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.api.httpbody_pb2 import HttpBody

from passerelle.runtime.command import Output
from passerelle.runtime.errors import (
    ApiError,
    BackendError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unsupported,
)
from passerelle.storage.errors import FileAccessDenied, NoSpace
from passerelle.storage.files.tar_errors import packing_fault, unpacking_fault
from passerelle.v1 import storage_pb2 as pb
from passerelle.v1 import storage_pb2_grpc as pb_grpc
from tests.integration.test_archives import archive, file, link
from tests.unit.storage.profile import Profile
from tests.unit.storage.world import METADATA, debris

pytestmark = pytest.mark.usefixtures("alice")

GOOD = archive(file("good"))
WRONG: Mapping[str, bytes] = {
    "a name that leads up": archive(file("good"), file("../x")),
    "a name that leads up later": archive(file("good"), file("a/../../x")),
    "a name with errno's words that leads up": archive(file("../No space left on device")),
    "a name like what tar says": archive(file("gzip: Cannot exec: No such file or directory/../x")),
    "a hard link out": archive(file("good"), ("hard", tarfile.LNKTYPE, "/etc/passwd")),
    "a hard link up": archive(file("good"), ("hard", tarfile.LNKTYPE, "../x")),
    "a character device": archive(file("good"), ("null", tarfile.CHRTYPE, b"")),
    "a block device": archive(file("good"), ("disk", tarfile.BLKTYPE, b"")),
    "a member behind a link out": archive(link("l", "/etc"), file("l/passerelle")),
    "a member below a file": archive(file("a"), file("a/b")),
    "a name that is too long": archive(file("n" * 300)),
    "a file in its own place": archive(file("a/b"), file("a")),
    "no archive": b"no archive\n" * 100,
    "nothing": b"",
    "half of it": archive(file("good", os.urandom(4096)))[:2048],
    "a wrong checksum of a header": GOOD[:100] + b"777" + GOOD[103:],
}
REFUSED = (400, grpc.StatusCode.INVALID_ARGUMENT)
FORMATS = {"none": pb.TAR, "gzip": pb.TAR_GZ}


async def native(
    channel: grpc.aio.Channel, path: Path, content: bytes, compression: str
) -> grpc.StatusCode:
    """The status of a native WriteArchive."""
    stub: Any = pb_grpc.StorageServiceStub(channel)

    async def requests() -> Any:
        kind = FORMATS[compression]
        yield pb.WriteArchiveRequest(system="lab", path=str(path), format=kind, overwrite=True)
        yield pb.WriteArchiveRequest(content=HttpBody(data=content))

    code: grpc.StatusCode = await stub.WriteArchive(requests(), metadata=METADATA).code()
    return code


async def both(
    profile: Profile, channel: grpc.aio.Channel, tmp_path: Path, content: bytes, compression: str
) -> tuple[int, grpc.StatusCode]:
    """The statuses of the profile and the native surface, each for its own directory `into`."""
    source, into = tmp_path / "archive", tmp_path / "into"
    source.write_bytes(content)
    into.mkdir()
    (into / "old").write_text("old")
    request = {"sourcePath": str(source), "targetPath": str(into), "compression": compression}
    reply = await profile.send("Extract", **request)
    return reply.status, await native(channel, into, content, compression)


@pytest.mark.parametrize("compression", FORMATS)
@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG)
async def test_what_is_wrong_in_an_archive_is_400_on_both_surfaces(
    profile: Profile,
    channel: grpc.aio.Channel,
    tmp_path: Path,
    content: bytes,
    compression: str,
) -> None:
    if compression == "gzip" and content:
        content = gzip.compress(content)
    assert await both(profile, channel, tmp_path, content, compression) == REFUSED
    assert [path.name for path in (tmp_path / "into").iterdir()] == ["old"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "into"]


@pytest.mark.parametrize(
    ("content", "compression"),
    [
        (gzip.compress(GOOD) + b"a line\n", "gzip"),
        (gzip.compress(GOOD)[:-9], "gzip"),
        (gzip.compress(GOOD)[:-8] + bytes(8), "gzip"),
        (bz2.compress(GOOD), "gzip"),
        (GOOD, "gzip"),
        (GOOD + b"a line\n", "none"),
        (GOOD[:1024], "none"),
    ],
    ids=["garbage", "cut", "checksum", "bzip2", "plain", "plain garbage", "no end"],
)
async def test_what_is_wrong_around_an_archive_is_too(
    profile: Profile,
    channel: grpc.aio.Channel,
    tmp_path: Path,
    content: bytes,
    compression: str,
) -> None:
    assert await both(profile, channel, tmp_path, content, compression) == REFUSED
    assert [path.name for path in (tmp_path / "into").iterdir()] == ["old"]


@pytest.mark.parametrize("compression", ["gzip", "bzip2", "xz"])
async def test_the_wrong_program_is_400(profile: Profile, tmp_path: Path, compression: str) -> None:
    (tmp_path / "into").mkdir()
    packers: Mapping[str, Callable[[bytes], bytes]] = {
        "gzip": bz2.compress,
        "bzip2": lzma.compress,
        "xz": gzip.compress,
    }
    (tmp_path / "x").write_bytes(packers[compression](GOOD))
    request = {"sourcePath": str(tmp_path / "x"), "targetPath": str(tmp_path / "into")}
    reply = await profile.send("Extract", **request, compression=compression)
    assert (reply.status, reply.json["errorType"]) == (400, "error")
    assert reply.message.startswith("Remote process failed with exit status:2 and error message:")
    assert list((tmp_path / "into").iterdir()) == []


async def test_what_is_right_stays_right(profile: Profile, tmp_path: Path) -> None:
    into = tmp_path / "into"
    into.mkdir()
    with tarfile.open(tmp_path / "x.tgz", "w:gz") as tar:
        for name, mode in (("suid", 0o6755), ("closed", 0o500), ("closed/x", 0o444)):
            info = tarfile.TarInfo(name)
            info.mode = mode
            info.type = tarfile.DIRTYPE if name == "closed" else tarfile.REGTYPE
            tar.addfile(info)
        for member in (link("out", "/etc/passwd"), link("up", "../x.tgz")):
            info = tarfile.TarInfo(member[0])
            info.type, info.linkname = tarfile.SYMTYPE, str(member[2])
            tar.addfile(info)
        for _ in range(2):
            tar.addfile(tarfile.TarInfo("twice"))
        fifo = tarfile.TarInfo("fifo")
        fifo.type = tarfile.FIFOTYPE
        tar.addfile(fifo)
    request = {"sourcePath": str(tmp_path / "x.tgz"), "targetPath": str(into)}
    assert (await profile.send("Extract", **request)).status == 204
    assert stat.S_IMODE((into / "suid").stat().st_mode) == 0o755
    assert stat.S_IMODE((into / "closed").stat().st_mode) == 0o500
    assert os.readlink(into / "out") == "/etc/passwd"
    assert (into / "fifo").is_fifo()
    assert (await profile.get("View", into / "out")).status == 400
    (into / "closed").chmod(0o700)


@pytest.mark.parametrize("name", ["No such file or directory", "x: Permission denied", "a\nb: c"])
async def test_names_do_not_decide(profile: Profile, tmp_path: Path, name: str) -> None:
    source, into = tmp_path / name, tmp_path / "into"
    into.mkdir()
    source.write_bytes(gzip.compress(archive(file("../x"))))
    reply = await profile.send("Extract", sourcePath=str(source), targetPath=str(into))
    assert reply.status == 400
    reply = await profile.send("Compress", sourcePath=str(source) + "2", targetPath=str(into / "x"))
    assert reply.status == 404
    reply = await profile.send("Compress", sourcePath=str(source), targetPath=str(into))
    assert reply.status == 400
    assert not debris(tmp_path)


KINDS = ("fifo", "socket", "directory", "loop")


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[Path]:
    """A directory with what is no regular file."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "directory").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_text("x")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        yield tmp_path


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_no_file_is_no_archive(profile: Profile, odd: Path, kind: str) -> None:
    (odd / "into").mkdir()
    reply = await profile.send("Extract", sourcePath=str(odd / kind), targetPath=str(odd / "into"))
    assert reply.status == 400, reply.message
    reply = await profile.send("Compress", sourcePath=str(odd / "file"), targetPath=str(odd / kind))
    assert reply.status == 400, reply.message
    reply = await profile.send("Extract", sourcePath=str(odd / "file"), targetPath=str(odd / kind))
    assert reply.status == 400, reply.message
    assert not debris(odd)


@pytest.mark.parametrize(
    ("kind", "words"), [("fifo", "Is a named pipe"), ("socket", "Is a socket")]
)
async def test_what_is_neither_file_nor_directory_is_not_packed(
    profile: Profile, odd: Path, kind: str, words: str
) -> None:
    target = str(odd / "x.tgz")
    reply = await profile.send("Compress", sourcePath=str(odd / kind), targetPath=target)
    assert (reply.status, words in reply.message) == (400, True)
    assert not (odd / "x.tgz").exists()


async def test_what_lies_in_a_tree_is_packed_as_it_is(profile: Profile, odd: Path) -> None:
    (odd / "tree").mkdir()
    os.mkfifo(odd / "tree" / "fifo")
    (odd / "socket").rename(odd / "tree" / "socket")
    target = str(odd / "x.tgz")
    reply = await profile.send("Compress", sourcePath=str(odd / "tree"), targetPath=target)
    assert reply.status == 204
    with tarfile.open(target) as tar:
        assert sorted(tar.getnames()) == ["tree", "tree/fifo"]  # tar knows no sockets


async def test_a_pattern_that_find_does_not_understand_is_the_callers_mistake(
    profile: Profile, odd: Path
) -> None:
    request = {"sourcePath": str(odd / "file"), "targetPath": str(odd / "x.tgz")}
    reply = await profile.send("Compress", **request, matchPattern=r"\(")
    assert reply.status == 400, reply.message
    assert not (odd / "x.tgz").exists()


Kind = type[ApiError]
FULL = "No space left on device"


@pytest.mark.parametrize(
    ("status", "message", "packing", "apart", "in_place"),
    [
        (
            2,
            "tar: a: Cannot open: Permission denied",
            FileAccessDenied,
            InvalidArgument,
            FileAccessDenied,
        ),
        (2, "tar: a: Cannot stat: No such file or directory", NotFound, InvalidArgument, NotFound),
        (2, f"tar: a: Cannot write: {FULL}", NoSpace, NoSpace, NoSpace),
        (2, "tar: a: Cannot mkdir: Disk quota exceeded", NoSpace, NoSpace, NoSpace),
        (
            2,
            "tar: a: Cannot mknod: Operation not permitted",
            BackendError,
            InvalidArgument,
            InvalidArgument,
        ),
        (
            2,
            f"tar: {FULL}: Member name contains '..'",
            BackendError,
            InvalidArgument,
            InvalidArgument,
        ),
        (
            2,
            f"tar: Malformed extended header: invalid mtime=1: {FULL}",
            BackendError,
            InvalidArgument,
            InvalidArgument,
        ),
        (
            2,
            rf"tar: a\: Cannot write\: {FULL}: Cannot open: File name too long",
            InvalidArgument,
            InvalidArgument,
            InvalidArgument,
        ),
        (
            2,
            f"somebody: a: Cannot write: {FULL}",
            BackendError,
            InvalidArgument,
            InvalidArgument,
        ),
        (
            2,
            "tar (child): gzip: Cannot exec: No such file or directory",
            Unsupported,
            Unsupported,
            Unsupported,
        ),
        (
            1,
            "tar: a: file changed as we read it",
            FailedPrecondition,
            InvalidArgument,
            InvalidArgument,
        ),
        (
            1,
            "find: './x': Permission denied",  # names may break lines there
            FailedPrecondition,
            InvalidArgument,
            InvalidArgument,
        ),
        (137, f"tar: a: Cannot write: {FULL}", BackendError, BackendError, BackendError),
    ],
)
def test_only_tar_s_own_words_at_their_place_count(
    status: int, message: str, packing: Kind, apart: Kind, in_place: Kind
) -> None:
    output = Output(status, "", f"tar: Removing leading `/' from member names\n{message}\n")
    assert packing_fault(output, "gzip") is packing
    assert unpacking_fault(output, "gzip", apart=True) is apart
    assert unpacking_fault(output, "gzip", apart=False) is in_place
