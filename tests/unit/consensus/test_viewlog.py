from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pyccf.consensus.viewlog import HISTORY_MAX, ViewLog
from pyccf.types import TxID


def test_skipped_views_start_with_the_next_real_one() -> None:
    log = ViewLog()
    log.begin(2, 1)
    log.begin(4, 36)
    assert log.starts() == [1, 1, 36, 36]
    assert [log.view_of(s) for s in (0, 1, 35, 36, 99)] == [None, 2, 2, 4, 4]


def test_history_names_every_view() -> None:
    log = ViewLog([1, 1, 36, 36, 66, 66])
    assert [str(t) for t in log.history()] == ["1.1", "2.1", "3.36", "4.36", "5.66", "6.66"]
    assert [str(t) for t in log.history(since=4)] == ["4.36", "5.66", "6.66"]
    assert log.history(since=7) == []


def test_rollback_forgets_views_after_it() -> None:
    log = ViewLog([1, 1, 36])
    log.rollback(35)
    assert log.latest == 2
    assert log.view_of(40) == 2


def test_a_known_view_begins_once() -> None:
    log = ViewLog([1, 1, 36])
    log.begin(2, 50)
    assert log.starts() == [1, 1, 36]


def test_a_view_has_a_start_and_an_end_if_something_was_ordered_in_it() -> None:
    log = ViewLog([1, 1, 36, 36, 66])
    assert [log.start_of(v) for v in range(7)] == [None, None, 1, None, 36, 66, None]
    assert [log.end_of(v) for v in range(7)] == [None, None, 35, None, 65, None, None]


def test_the_history_up_to_a_seqno() -> None:
    log = ViewLog([1, 1, 36, 66])
    assert log.until(65) == [1, 1, 36]
    assert log.until(66) == [1, 1, 36, 66]
    assert log.until(0) == []


def test_a_far_jump_costs_nothing() -> None:
    log = ViewLog([1, 1])
    log.begin(2**31 - 1, 9)
    assert log.view_of(9) == 2**31 - 1
    history = log.history()
    assert len(history) == HISTORY_MAX
    assert history[-1] == TxID(2**31 - 1, 9)


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 4), st.booleans()), max_size=12))
def test_it_agrees_with_the_plain_list_of_the_specification(
    moves: list[tuple[int, int, bool]],
) -> None:
    log, plain = ViewLog(), list[int]()
    for ahead, seqnos, back in moves:
        first = (plain[-1] if plain else 1) + seqnos
        if back:
            log.rollback(first - 3)
            plain = [s for s in plain if s <= first - 3]
        else:
            view = len(plain) + ahead
            log.begin(view, first)
            plain += [first] * (view - len(plain))
    assert log.starts() == plain
    assert log.latest == len(plain)
    for seqno in range(1, 60):
        assert log.view_at(seqno) == sum(s <= seqno for s in plain)
    for v in range(1, len(plain) + 2):
        empty = v > len(plain) or (v < len(plain) and plain[v] == plain[v - 1])
        assert log.start_of(v) == (None if empty else plain[v - 1])
        assert log.end_of(v) == (None if empty or v == len(plain) else plain[v] - 1)
