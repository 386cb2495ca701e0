from __future__ import annotations

import pytest

from pyccf.errors import RpcError
from pyccf.http.message import Request
from pyccf.node.waiting import Held, WaitingRoom, Wish, parse_wish
from pyccf.types import TxID


def request(**headers: str) -> Request:
    return Request("POST", "/app/x", {k.replace("_", "-"): v for k, v in headers.items()})


def held(seqno: int, deadline: int) -> Held:
    return Held(TxID(2, seqno), Wish(False, 10), deadline, lambda b: None, 200, {}, b"", False)


def test_no_header_no_wish() -> None:
    assert parse_wish(request()) is None


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
    assert room.ripe(2) == []
    assert room.ripe(4) == [early]
    room.finish(early)
    assert room.overdue(19) == []
    assert room.overdue(100) == [late]
    assert room.ripe(9) == []
    assert len(room) == 0
