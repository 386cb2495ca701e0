from __future__ import annotations

import weakref

import pytest

from pyccf.errors import RpcError
from pyccf.http.message import Request, encode_response
from pyccf.node.waiting import GIVEN_KEPT_MAX, Held, WaitingRoom, Wish, parse_wish, with_header
from pyccf.types import TxID


def request(**headers: str) -> Request:
    return Request("POST", "/app/x", {k.replace("_", "-"): v for k, v in headers.items()})


def held(seqno: int, deadline: int, view: int = 2) -> Held:
    return Held(TxID(view, seqno), Wish(False, 10), deadline, lambda b: None, b"", False)


def test_wishes() -> None:
    assert parse_wish(request(x_pyccf_wait="commit")) == Wish(False, 10_000)
    wish = parse_wish(request(x_pyccf_wait="receipt", x_pyccf_wait_timeout_ms="250"))
    assert wish == Wish(True, 250)


@pytest.mark.parametrize(
    "headers",
    [
        {"x_pyccf_wait": "forever"},
        {"x_pyccf_wait": ""},
        {"x_pyccf_wait": "commit", "x_pyccf_wait_timeout_ms": "0"},
        {"x_pyccf_wait": "commit", "x_pyccf_wait_timeout_ms": "-1"},
        {"x_pyccf_wait": "commit", "x_pyccf_wait_timeout_ms": "60001"},
        {"x_pyccf_wait": "commit", "x_pyccf_wait_timeout_ms": "9" * 400},
        {"x_pyccf_wait": "commit", "x_pyccf_wait_timeout_ms": "000000001" + "0" * 5000},
        {"x_pyccf_wait": "commit", "x_pyccf_wait_timeout_ms": "soon"},
    ],
)
def test_bad_wishes_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(RpcError) as e:
        parse_wish(request(**headers))
    assert e.value.status == 400
    assert e.value.code == "InvalidHeaderValue"


def test_each_answer_is_given_once() -> None:
    room = WaitingRoom()
    early, late = held(3, 50), held(5, 20)
    room.hold(early)
    room.hold(late)
    assert room.ripe(TxID(2, 2)) == []
    assert room.ripe(TxID(2, 4)) == [early]
    room.finish(early)
    assert room.overdue(19) == []
    assert room.overdue(100) == [late]
    assert room.ripe(TxID(2, 9)) == []
    assert len(room) == 0


def test_a_commit_of_a_later_view_decides_what_is_left_of_earlier_ones() -> None:
    room = WaitingRoom()
    below, above, later = held(3, 50), held(9, 50), held(8, 50, view=3)
    for one in (later, above, below):
        room.hold(one)
    assert room.ripe(TxID(2, 2)) == []
    assert room.ripe(TxID(3, 4)) == [below, above]
    assert room.ripe(TxID(3, 7)) == []
    assert room.ripe(TxID(3, 8)) == [later]


def test_an_answer_of_a_view_that_is_over_is_decided_at_once() -> None:
    room = WaitingRoom()
    assert room.ripe(TxID(3, 4)) == []
    old = held(9, 50)
    room.hold(old)
    assert room.ripe(TxID(3, 4)) == [old]


@pytest.mark.parametrize("late", [False, True])
def test_answers_that_were_given_are_not_kept(late: bool) -> None:
    """Neither until their deadlines, nor until a transaction as late as theirs is committed."""
    room = WaitingRoom()
    gone = []
    for number in range(1000):
        one = held(number, number if late else 60_000)
        gone.append(weakref.ref(one.deliver))
        room.hold(one)
        if late:
            assert room.overdue(number) == [one]
        else:
            assert room.ripe(TxID(2, number)) == [one]
            room.finish(one)
    del one
    assert sum(ref() is not None for ref in gone) <= GIVEN_KEPT_MAX + 1


@pytest.mark.parametrize("headers", [{}, {"a": "1"}, {"z": "1"}, {"a": "1", "z": "2"}])
@pytest.mark.parametrize("head", [False, True])
def test_a_header_is_added_as_if_it_had_been_there(headers: dict[str, str], head: bool) -> None:
    body = b"x\r\n\r\ny"
    added = with_header(encode_response(201, headers, body, head), "m", "v: w")
    assert added == encode_response(201, {**headers, "m": "v: w"}, body, head)
