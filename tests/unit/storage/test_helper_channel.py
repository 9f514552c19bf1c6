"""The channel of the remote helper: its greeting among what start-up files print, however packets cut it."""

import pytest

from passerelle.storage.access.helper_channel import HelperChannel
from passerelle.storage.remote.frames import ANSWER, END, GREETING, LAST, MARK

STDERR = 1
ANSWERED = ANSWER.pack(MARK, 7, LAST, 3) + b"one" + END


@pytest.mark.parametrize("noise", [b"", b"Welcome\n", GREETING[:-1]])
async def test_answers_follow_the_greeting_however_it_is_cut(noise: bytes) -> None:
    came = noise + GREETING + ANSWERED
    for size in range(1, len(came) + 1):
        answers: list[tuple[int, int, bytes]] = []
        channel = HelperChannel("lab", lambda *answer, to=answers: to.append(answer), lambda: None)
        for at in range(0, len(came), size):
            channel.data_received(b"you are watched\n", STDERR)
            channel.data_received(came[at : at + size], None)
        assert await channel.greeted()
        assert bytes(channel.noise) == noise
        assert answers == [(7, LAST, b"one")]


async def test_its_loss_is_told_once() -> None:
    reported: list[str] = []
    channel = HelperChannel("lab", lambda *_: None, lambda: reported.append("lost"))
    channel.data_received(b"Welcome\n", None)
    channel.connection_lost(None)
    channel.connection_lost(None)
    channel.data_received(GREETING + ANSWERED, None)
    assert not await channel.greeted()
    assert not channel.open
    assert reported == ["lost"]
