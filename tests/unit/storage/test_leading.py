"""The lead among the helper's threads, where threads start slowly, as on a busy machine."""

import itertools
import threading
import time

import pytest

from passerelle.storage.remote.helper.leading import Leading


class SlowThread(threading.Thread):
    """A thread that runs for a while before `start` returns."""

    def start(self) -> None:
        super().start()
        time.sleep(0.1)


def test_the_first_thread_hands_over_however_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "Thread", SlowThread)
    calls = itertools.count(1)
    second_leads = threading.Event()

    def lead() -> None:
        if next(calls) == 1:
            assert leading.hand_over()
        else:
            second_leads.set()
        second_leads.wait(10)

    leading = Leading(lead, 2)
    leading.start()
    assert second_leads.wait(5)
