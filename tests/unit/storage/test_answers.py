"""Answers of the helper among whatever else is printed on its channel."""

import pytest

from passerelle.storage.access.answers import Answers, Spoiled
from passerelle.storage.remote.frames import ANSWER, END, LAST, MARK, MORE

FIRST = (7, MORE, b"one")
SECOND = (8, LAST, MARK + b"two" + END)
NOISE = b"later\nYou have mail.\0\xff"


def framed(number: int, status: int, payload: bytes) -> bytes:
    return ANSWER.pack(MARK, number, status, len(payload)) + payload + END


@pytest.mark.parametrize("noise", [b"", NOISE, MARK[:2]])
def test_answers_come_whole_however_they_are_cut(noise: bytes) -> None:
    came = noise + framed(*FIRST) + noise + framed(*SECOND) + noise
    for size in range(1, len(came) + 1):
        answers = Answers()
        pieces = [came[at : at + size] for at in range(0, len(came), size)]
        result = [answer for piece in pieces for answer in answers.take(piece)]
        assert result == [FIRST, SECOND]


def test_what_is_printed_into_an_answer_spoils_it() -> None:
    whole = framed(*SECOND)
    answers = Answers()
    assert list(answers.take(framed(*FIRST) + whole[:-6])) == [FIRST]
    with pytest.raises(Spoiled):
        list(answers.take(NOISE + whole[-6:]))
