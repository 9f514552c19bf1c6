"""The program's input, as /bin/sh hands it on: every byte, complete or not at all, and nobody outlives the channel."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import pytest

from passerelle.runtime.command import Request
from passerelle.runtime.ssh import bootstrap

EVERY_BYTE = bytes(range(1, 256)) + b"\n,x\n=y\n0\n5\n\n\\n  tail \n"


class Channel:
    """A login shell that has run our line, without a server between."""

    def __init__(self, process: "subprocess.Popen[bytes]", nonce: str) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.input: IO[bytes] = process.stdin
        self.output: IO[bytes] = process.stdout
        self._nonce = nonce

    def read(self) -> tuple[bytes, int | None]:
        """The program's output to its end, and its exit status."""
        stream = bootstrap.MarkedStream(self._nonce)
        return stream.take(self.output.read()), stream.status


@contextmanager
def running(*argv: str) -> Iterator[Channel]:
    nonce = bootstrap.new_nonce()
    with subprocess.Popen(
        ("sh", "-c", bootstrap.LINE),
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        channel = Channel(process, nonce)
        channel.input.write(bootstrap.request_lines(Request(argv), nonce) + bootstrap.FRAMES)
        yield channel


@pytest.mark.parametrize(
    "data",
    [b"x", b"\n", b"no end\nof line", EVERY_BYTE, EVERY_BYTE * 20, b"a\0b\n"],
    ids=["byte", "line break", "text", "every byte", "long", "NUL"],
)
def test_input_arrives_as_it_is(data: bytes) -> None:
    with running("cat") as channel:
        for part in bootstrap.whole_input(data):
            channel.input.write(part)
        assert channel.read() == (data, 0)


def test_half_of_a_short_input_does_not_end() -> None:
    (whole,) = bootstrap.whole_input(b"one\ntwo\n")
    with running("sh", "-c", "cat; echo complete") as channel:
        channel.input.write(whole.removesuffix(bootstrap.frame(b"")))
        channel.input.close()
        output, status = channel.read()
    assert output == b"one\ntwo\n"
    assert status != 0


def test_a_program_that_does_not_read_ends_with_its_channel() -> None:
    with running("sh", "-c", "exec <&-; echo closed; exec sleep 60") as channel:
        seen = b""
        while b"closed\n" not in seen:
            seen += channel.output.read(64)
        for part in bootstrap.whole_input(b"not read\n" * 9):
            channel.input.write(part)
        channel.input.close()
        assert channel.output.read().endswith(b">143\n")
