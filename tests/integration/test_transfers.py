"""Copies from one system to another, over two SSH servers: whole and the same, or not there."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from grpc import StatusCode

from passerelle.runtime.caller import Caller
from passerelle.runtime.errors import Forbidden
from passerelle.v1 import transfers_pb2 as pb
from passerelle.v1.access_pb2 import Access
from passerelle.v1.transfers_pb2_grpc import TransferServiceStub
from tests.unit.storage.world import METADATA, World, debris, remote, serving_storage

LONG = 64 << 20  # bytes; enough for something to happen while it is copied


class Pair(NamedTuple):
    """Two systems, `lab` and `other`, behind one service."""

    lab: World
    other: World
    stub: TransferServiceStub

    def transfer(self, source: Path, target: Path, **more: Any) -> Any:
        """The call that copies a file of `lab` to `other`."""
        request = pb.TransferFileRequest(
            system="lab",
            path=str(source),
            **{"target_system": "other", "target": str(target), **more},
        )
        return self.stub.TransferFile(request, metadata=METADATA)


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    for name in ("lab", "other"):
        (tmp_path / name).mkdir()
    async with (
        remote(tmp_path / "lab") as lab,
        remote(tmp_path / "other", name="other") as other,
        serving_storage(lab, other) as channel,
    ):
        yield Pair(lab, other, TransferServiceStub(channel))


@pytest.fixture
def source(pair: Pair) -> Path:
    """A long file on `lab`."""
    path = pair.lab.root / "source"
    path.write_bytes(os.urandom(1 << 20) * (LONG >> 20))
    return path


@pytest.fixture
def target(pair: Pair) -> Path:
    """Where it shall go on `other`."""
    return pair.other.root / "target"


async def progress_of(call: Any) -> list[pb.TransferProgress]:
    """All that a call says."""
    return [progress async for progress in call]


async def refused(call: Any) -> tuple[StatusCode, str]:
    """How a call fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await progress_of(call)
    return caught.value.code(), str(caught.value.details())


def part_of(target: Path) -> Path | None:
    """What has arrived of a target that is not whole yet, if anything."""
    return next(
        (entry for entry in target.parent.glob(".*.passerelle-part") if entry.stat().st_size), None
    )


async def once_some_arrived(target: Path, act: Callable[[], Awaitable[None]], call: Any) -> Any:
    """What the call says when `act` happens after the target's first bytes have come."""
    saying = asyncio.create_task(progress_of(call))
    while part_of(target) is None and not saying.done():
        await asyncio.sleep(0.002)
    assert not target.exists()
    await act()
    return await saying


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
async def test_a_file_is_copied(pair: Pair, target: Path, size: int) -> None:
    content = os.urandom(size)
    (pair.lab.root / "source").write_bytes(content)
    progress = await progress_of(pair.transfer(pair.lab.root / "source", target))
    assert target.read_bytes() == content
    assert debris(pair.other.root) == []
    first, last = progress[0], progress[-1]
    assert (first.bytes_total, first.finished, first.sha256) == (size, False, "")
    assert (last.bytes_done, last.bytes_total, last.bytes_resumed) == (size, size, 0)
    assert last.finished
    assert last.sha256 == hashlib.sha256(content).hexdigest()


async def test_names_need_not_be_utf8(pair: Pair) -> None:
    source = os.fsencode(pair.lab.root) + b"/a \xff\n'"
    target = os.fsencode(pair.other.root) + b'/b \xfe\n"'
    Path(os.fsdecode(source)).write_bytes(b"content")
    request = pb.TransferFileRequest(
        system="lab", raw_path=source, target_system="other", raw_target=target
    )
    assert (await progress_of(pair.stub.TransferFile(request, metadata=METADATA)))[-1].finished
    assert Path(os.fsdecode(target)).read_bytes() == b"content"


async def test_a_target_that_is_there_is_replaced_only_when_asked(pair: Pair, target: Path) -> None:
    source = pair.lab.root / "source"
    source.write_bytes(b"new")
    target.write_bytes(b"old")
    code, words = await refused(pair.transfer(source, target))
    assert (code, target.read_bytes()) == (StatusCode.ALREADY_EXISTS, b"old")
    assert "On system other" in words
    await progress_of(pair.transfer(source, target, overwrite=True))
    assert target.read_bytes() == b"new"


async def test_a_target_that_appears_meanwhile_stays(
    pair: Pair, source: Path, target: Path
) -> None:
    async def appear() -> None:
        target.write_bytes(b"somebody else's")

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await once_some_arrived(target, appear, pair.transfer(source, target))
    assert caught.value.code() is StatusCode.ALREADY_EXISTS
    assert target.read_bytes() == b"somebody else's"
    last = (await progress_of(pair.transfer(source, target, overwrite=True, resume=True)))[-1]
    assert last.bytes_resumed == LONG  # nothing had to be sent again
    assert target.read_bytes() == source.read_bytes()


async def test_within_one_system(pair: Pair) -> None:
    source, target = pair.lab.root / "source", pair.lab.root / "target"
    source.write_bytes(b"content")
    here = {"target_system": "lab"}
    assert (await progress_of(pair.transfer(source, target, **here)))[-1].finished
    assert target.read_bytes() == b"content"
    code, words = await refused(pair.transfer(source, source, overwrite=True, **here))
    assert (code, words) == (StatusCode.INVALID_ARGUMENT, "target is the file itself")


async def test_what_cannot_be_copied_names_the_system(pair: Pair, target: Path) -> None:
    root = pair.lab.root
    (root / "source").write_bytes(b"content")
    os.mkfifo(root / "pipe")
    assert await refused(pair.transfer(root / "none", target)) == (
        StatusCode.NOT_FOUND,
        f"On system lab: {root}/none: No such file or directory",
    )
    for odd in (root, root / "pipe"):
        code, words = await refused(pair.transfer(odd, target))
        assert code is StatusCode.FAILED_PRECONDITION
        assert words.startswith(f"On system lab: {odd}: ")
    code, words = await refused(pair.transfer(root / "source", target / "in" / "none"))
    assert code is StatusCode.NOT_FOUND
    assert words.startswith("On system other: ")
    code, words = await refused(pair.transfer(root / "source", pair.other.root, overwrite=True))
    assert (code, words) == (
        StatusCode.FAILED_PRECONDITION,
        f"On system other: {pair.other.root}: Is a directory",
    )
    assert debris(pair.other.root) == []


@pytest.mark.parametrize(
    ("invalid", "message"),
    [
        ({"target": "relative"}, "target must be an absolute path"),
        ({"target": ""}, "target must be an absolute path"),
        ({"target": "/etc/passwd"}, "target is in none of the filesystems of system other"),
        ({"path": "/etc/passwd"}, "path is in none of the filesystems of system lab"),
    ],
)
async def test_bad_input(pair: Pair, target: Path, invalid: dict[str, Any], message: str) -> None:
    fields: dict[str, Any] = {
        "path": str(pair.lab.root / "source"),
        "target": str(target),
    } | invalid
    request = pb.TransferFileRequest(system="lab", target_system="other", **fields)
    call = pair.stub.TransferFile(request, metadata=METADATA)
    assert await refused(call) == (StatusCode.INVALID_ARGUMENT, message)


async def test_systems_without_a_store_in_common(pair: Pair, target: Path) -> None:
    (pair.lab.root / "source").write_bytes(b"content")
    staged = pair.transfer(pair.lab.root / "source", target, method="STAGED")
    assert await refused(staged) == (
        StatusCode.FAILED_PRECONDITION,
        "Systems lab and other stage with no store in common.",
    )


async def test_an_unknown_target_system(pair: Pair, target: Path) -> None:
    code, _ = await refused(pair.transfer(pair.lab.root / "source", target, target_system="none"))
    assert code is StatusCode.NOT_FOUND


class ReaderOf:
    """An authority for which alice may read everywhere, and write only on one system."""

    def __init__(self, writable: str) -> None:
        self.writable = writable

    async def caller(self, token: str, *, access: Access, system: str) -> Caller:
        """Alice, or Forbidden."""
        if access.relation == "can_write" and system != self.writable:
            raise Forbidden(f"alice has no can_write on {system}")
        return Caller("alice", token)


async def test_both_systems_must_allow_it_before_anything_is_opened(
    pair: Pair, target: Path
) -> None:
    source = pair.lab.root / "source"
    source.write_bytes(b"content")
    async with serving_storage(pair.lab, pair.other, authority=ReaderOf("lab")) as channel:
        strict = pair._replace(stub=TransferServiceStub(channel))
        code, words = await refused(strict.transfer(source, target))
        assert (code, words) == (StatusCode.PERMISSION_DENIED, "alice has no can_write on other")
        assert (pair.lab.server.logins, pair.other.server.logins) == (0, 0)
        here = strict.transfer(source, source.with_name("target"), target_system="lab")
        assert (await progress_of(here))[-1].finished


async def test_what_a_lost_connection_left_is_resumed(
    pair: Pair, source: Path, target: Path
) -> None:
    async def cut() -> None:
        pair.other.server.drop_all()

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await once_some_arrived(target, cut, pair.transfer(source, target))
    assert caught.value.code() is StatusCode.UNAVAILABLE
    assert "system other" in str(caught.value.details())
    assert not target.exists()
    left = part_of(target)
    assert left is not None
    arrived = left.stat().st_size
    progress = await progress_of(pair.transfer(source, target, resume=True))
    assert progress[0].bytes_resumed == progress[-1].bytes_resumed == arrived
    assert progress[-1].bytes_done == LONG
    assert target.read_bytes() == source.read_bytes()
    assert progress[-1].sha256 == hashlib.sha256(target.read_bytes()).hexdigest()
    assert debris(pair.other.root) == []


@pytest.mark.parametrize("resume", [True, False])
async def test_a_cancelled_copy_can_be_resumed_or_begun_anew(
    pair: Pair, source: Path, target: Path, resume: bool
) -> None:
    call = pair.transfer(source, target)

    async def cancel() -> None:
        call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await once_some_arrived(target, cancel, call)
    last = (await progress_of(pair.transfer(source, target, resume=resume)))[-1]
    assert bool(last.bytes_resumed) is resume
    assert target.read_bytes() == source.read_bytes()
    assert debris(pair.other.root) == []


async def test_resuming_what_never_began_begins(pair: Pair, target: Path) -> None:
    source = pair.lab.root / "source"
    source.write_bytes(b"content")
    last = (await progress_of(pair.transfer(source, target, resume=True)))[-1]
    assert (last.bytes_resumed, last.bytes_done) == (0, 7)
    assert target.read_bytes() == b"content"


@pytest.mark.parametrize("change", ["append", "replace", "shorten"])
async def test_a_source_that_changes_meanwhile_is_refused(
    pair: Pair, source: Path, target: Path, change: str
) -> None:
    async def act() -> None:
        if change == "append":
            with source.open("ab") as file:
                file.write(b"more")
        elif change == "replace":
            source.with_name("new").write_bytes(b"new")
            source.with_name("new").rename(source)
        else:
            os.truncate(source, 1 << 20)

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await once_some_arrived(target, act, pair.transfer(source, target))
    assert caught.value.code() is StatusCode.ABORTED
    assert caught.value.details() == f"On system lab: {source}: The file changed while it was read."
    assert not target.exists()
    assert debris(pair.other.root) == []


async def test_what_a_changed_source_left_is_not_resumed(
    pair: Pair, source: Path, target: Path
) -> None:
    async def cut() -> None:
        pair.other.server.drop_all()

    with pytest.raises(grpc.aio.AioRpcError):
        await once_some_arrived(target, cut, pair.transfer(source, target))
    source.write_bytes(b"another content")
    last = (await progress_of(pair.transfer(source, target, resume=True)))[-1]
    assert (last.bytes_resumed, target.read_bytes()) == (0, b"another content")


async def test_a_part_that_is_not_the_source_is_found_out_and_given_up(
    pair: Pair, source: Path, target: Path
) -> None:
    async def cut() -> None:
        pair.other.server.drop_all()

    with pytest.raises(grpc.aio.AioRpcError):
        await once_some_arrived(target, cut, pair.transfer(source, target))
    left = part_of(target)
    assert left is not None
    with left.open("r+b") as file:
        file.write(b"spoilt")
    code, words = await refused(pair.transfer(source, target, resume=True))
    assert code is StatusCode.DATA_LOSS
    assert "is not what" in words
    assert not target.exists()
    assert debris(pair.other.root) == []


async def test_copies_that_cross_each_other_do_not_wait_for_each_other(pair: Pair) -> None:
    """More of them than there are turns on either system, each needing one on both."""
    calls = []
    for number in range(12):
        for here, there in ((pair.lab, pair.other), (pair.other, pair.lab), (pair.lab, pair.lab)):
            name = f"{here.system.name}-{there.system.name}-{number}"
            (here.root / name).write_bytes(os.urandom(300_000))
            request = pb.TransferFileRequest(
                system=here.system.name,
                path=str(here.root / name),
                target_system=there.system.name,
                target=str(there.root / f"{name}.copy"),
            )
            calls.append(pair.stub.TransferFile(request, metadata=METADATA))
    async with asyncio.timeout(120):
        for progress in await asyncio.gather(*map(progress_of, calls)):
            assert progress[-1].finished
