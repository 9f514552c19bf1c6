"""How much of a service one user and one client may have."""

from contextlib import ExitStack

import pytest

from passerelle.runtime.caller import Caller
from passerelle.runtime.errors import Overloaded, RateLimited
from passerelle.runtime.pipeline.limits import CallLimits


class Clock:
    """A clock that stands until it is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def caller(subject: str, client_id: str = "", issuer: str = "https://id.example.org") -> Caller:
    return Caller(subject, "token", issuer=issuer, subject=subject, client_id=client_id)


def test_without_limits_everything_passes() -> None:
    limits = CallLimits()
    with ExitStack() as stack:
        for _ in range(10_000):
            stack.enter_context(limits.one_call(caller("alice", "ui")))


def test_so_many_at_once_of_each_user() -> None:
    limits = CallLimits(open_per_user=2)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(limits.one_call(caller("alice")))
        with pytest.raises(Overloaded, match="2 requests open"):
            stack.enter_context(limits.one_call(caller("alice")))
        stack.enter_context(limits.one_call(caller("bob")))
        stack.enter_context(limits.one_call(caller("alice", issuer="https://other.example.org")))
    with limits.one_call(caller("alice")):
        pass


def test_so_many_a_second_of_each_user() -> None:
    clock = Clock()
    limits = CallLimits(per_user=2, clock=clock)

    def passed(user: str) -> int:
        for number in range(1000):
            try:
                with limits.one_call(caller(user)):
                    pass
            except RateLimited:
                return number
        return 1000

    assert [passed("alice"), passed("alice"), passed("bob")] == [20, 0, 20]
    clock.now = 3
    assert passed("alice") == 6
    clock.now = 1000
    assert passed("alice") == 20


def test_a_client_of_many_users() -> None:
    limits = CallLimits(per_user=1, per_client=2, clock=Clock())
    for number in range(20):
        with limits.one_call(caller(f"user{number}", "workflow")):
            pass
    output = "2 requests a second of one client"
    with pytest.raises(RateLimited, match=output), limits.one_call(caller("user99", "workflow")):
        pass
    with limits.one_call(caller("user99", "ui")), limits.one_call(caller("user99")):
        pass


def test_what_is_refused_says_when() -> None:
    limits = CallLimits(per_user=0.1, clock=Clock())
    with limits.one_call(caller("alice")):
        pass
    with pytest.raises(RateLimited) as refused, limits.one_call(caller("alice")):
        pass
    assert refused.value.headers == {
        "retry-after": "10",
        "ratelimit-policy": '"user";q=1;w=1',
        "ratelimit": '"user";r=0;t=10',
        "ratelimit-reset": "10",
    }
