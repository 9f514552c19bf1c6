"""A program's own output is told from all else, whatever the pieces in which it comes."""

from collections.abc import Iterator
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from passerelle.runtime.ssh.bootstrap import MarkedStream

NONCE = "0123456789abcdef" * 2
BEGIN, END = f"{NONCE}<\n".encode(), f"{NONCE}>3\n".encode()


def pieces(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    yield from (data[at:to] for at, to in pairwise(places))


@given(
    before=st.binary(max_size=60),
    own=st.lists(st.sampled_from([b"x", b"\n", NONCE[:7].encode(), b"0", NONCE.encode()])),
    after=st.binary(max_size=20),
    cuts=st.lists(st.integers(0, 1000), max_size=8),
)
def test_all_of_it_and_nothing_else(
    before: bytes, own: list[bytes], after: bytes, cuts: list[int]
) -> None:
    stream = MarkedStream(NONCE)
    output = b"".join(own)
    reported = [stream.take(one) for one in pieces(before + BEGIN + output + END + after, cuts)]
    assert b"".join(reported) == output
    assert stream.status == 3


def test_what_cannot_be_a_mark_is_not_held_back() -> None:
    stream = MarkedStream(NONCE)
    assert stream.take(BEGIN + b"a line\n") == b"a line\n"
    assert stream.take(b"0123") == b""
    assert stream.take(b"x") == b"0123x"
