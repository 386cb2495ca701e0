"""The last entries of a ledger in memory."""

from __future__ import annotations

import pytest

from pyccf.shell.tail import Tail

ENTRIES = [bytes([65 + n]) * (n + 1) for n in range(10)]


def filled(last: int = 0, *, bytes_max: int = 10_000) -> Tail:
    tail = Tail(last, bytes_max=bytes_max)
    tail.extend(ENTRIES)
    return tail


def test_gives_ranges_that_fit() -> None:
    tail = filled(100)
    assert (tail.first, tail.last) == (101, 110)
    assert tail.raw(101, 110, 1000) == (b"".join(ENTRIES), 110)
    assert tail.raw(103, 105, 1000) == (b"".join(ENTRIES[2:5]), 105)
    assert tail.raw(103, 105, 7) == (b"".join(ENTRIES[2:4]), 104)
    assert tail.raw(103, 105, 6) == (ENTRIES[2], 103)
    assert tail.raw(109, 200, 1000) == (b"".join(ENTRIES[8:]), 110)
    assert tail.raw(110, 110, 1) == (ENTRIES[9], 110), "one entry is given whatever its size"


@pytest.mark.parametrize(("first", "last"), [(100, 102), (111, 111), (105, 104), (0, 5)])
def test_gives_nothing_for_what_it_does_not_hold(first: int, last: int) -> None:
    assert filled(100).raw(first, last, 1000) == (b"", first - 1)


def test_long_ranges_come_in_steps() -> None:
    tail = Tail()
    tail.extend([b"x"] * 5000)
    at = 0
    while at < 5000:
        data, upto = tail.raw(at + 1, 5000, 1_000_000)
        assert len(data) == upto - at > 0
        at = upto


def test_the_oldest_are_let_go() -> None:
    tail = Tail(bytes_max=100)
    for seqno in range(1, 200):
        tail.extend([b"0123456789"])
        assert tail.last == seqno
        assert tail._size <= 100
        held = tail.last - tail.first + 1
        assert min(seqno, 5) <= held <= 10
        assert tail.raw(tail.first, seqno, 1000)[1] == seqno


def test_cut_and_go_on() -> None:
    tail = filled()
    tail.cut(7)
    assert (tail.first, tail.last) == (1, 7)
    tail.extend([b"new"])
    assert tail.raw(7, 8, 1000) == (ENTRIES[6] + b"new", 8)
    assert tail._size == sum(map(len, ENTRIES[:7])) + 3


def test_cut_below_what_is_held() -> None:
    tail = filled(100)
    tail.cut(50)
    assert (tail.first, tail.last) == (51, 50)
    tail.extend([b"new"])
    assert tail.raw(51, 51, 10) == (b"new", 51)
    assert tail._size == 3
