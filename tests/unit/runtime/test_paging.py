"""Pages of lists: all items once, in their order; tokens that only fit the request that they were given out for."""

import base64

import pytest

from passerelle.runtime.errors import InvalidArgument
from passerelle.runtime.paging import LARGEST, Mark, mark_of, page_of, page_size, token_for
from passerelle.v1.compute_pb2 import ListJobsRequest, ListNodesRequest

NAMES = ["delta", "alpha", "charlie", "bravo", "echo"]


def request(size: int = 0, token: str = "", account: str = "") -> ListJobsRequest:
    return ListJobsRequest(system="daint", page_size=size, page_token=token, account=account)


def page(request: ListJobsRequest, names: list[str] = NAMES) -> tuple[list[str], str]:
    result, token = page_of(request, names, str)
    return list(result), token


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 10**9, 0])
def test_pages_hold_every_item_once_in_order(size: int) -> None:
    observed, token = page(request(size))
    while token:
        result, token = page(request(size, token))
        assert 0 < len(result) <= size
        observed += result
    assert observed == NAMES


def test_the_last_page_has_no_token_and_neither_has_an_empty_list() -> None:
    assert page(request(5))[1] == ""
    assert page(request(1), []) == ([], "")


def test_the_size_may_change_from_page_to_page() -> None:
    _, token = page(request(2))
    assert page(request(3, token)) == (NAMES[2:], "")


def test_a_page_goes_on_behind_its_last_item_when_others_came_and_went() -> None:
    _, token = page(request(2))
    assert page(request(9, token), ["foxtrot", *NAMES])[0] == NAMES[2:]
    assert page(request(9, token), NAMES[1:])[0] == NAMES[2:]


def test_a_page_goes_on_at_its_position_when_its_last_item_is_gone() -> None:
    _, token = page(request(2))
    assert page(request(9, token), ["delta", "charlie", "bravo", "echo"])[0] == ["bravo", "echo"]
    assert page(request(9, token), ["delta"]) == ([], "")


def test_of_two_items_with_one_key_the_page_goes_on_behind_the_right_one() -> None:
    jobs = ["7", "8", "7", "9"]  # a scheduler may give an id again
    _, token = page(request(3), jobs)
    assert page(request(3, token), jobs) == (["9"], "")


@pytest.mark.parametrize(("size", "expected"), [(0, LARGEST), (7, 7), (LARGEST + 1, LARGEST)])
def test_sizes_are_bounded(size: int, expected: int) -> None:
    assert page_size(request(size), LARGEST) == expected


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="page_size must not be negative"):
        page(request(-1))


@pytest.mark.parametrize(
    "token", ["%", "AA==", "é", "QUJD\n", base64.b64encode(bytes(99)).decode()]
)
def test_a_token_that_was_never_given_out_is_refused(token: str) -> None:
    with pytest.raises(InvalidArgument, match="page_token is not one that was given out"):
        page(request(1, token))


def test_a_token_of_another_request_is_refused() -> None:
    _, token = page(request(1, account="a"))
    for other in (request(1, token), request(1, token, account="b")):
        with pytest.raises(InvalidArgument, match="page_token was given out for another request"):
            page(other)


def test_a_token_of_another_method_is_refused() -> None:
    nodes = ListNodesRequest(system="daint")
    with pytest.raises(InvalidArgument, match="another request"):
        page(request(1, token_for(nodes, Mark("n", 1))))


def test_keys_may_be_any_name() -> None:
    mark = Mark("a\udcff b/ü\n", 4_000_000_000)
    assert mark_of(request(1, token_for(request(), mark))) == mark
