"""Memory that connections share."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pyccf.http.limits import ANSWERS_WAITING_MAX, RESERVE_SIZE
from pyccf.http.room import Holding, Room


def test_the_reserve_is_there_when_the_pot_is_empty() -> None:
    room = Room(100)
    greedy, modest = Holding(room), Holding(room)
    assert greedy.fits(RESERVE_SIZE + 100)
    assert not greedy.fits(RESERVE_SIZE + 101)
    greedy.add(RESERVE_SIZE + 100)
    assert room.scarce
    assert not greedy.fits(1)
    assert modest.fits(RESERVE_SIZE)
    assert not modest.fits(RESERVE_SIZE + 1)
    greedy.add(-1)
    assert modest.fits(RESERVE_SIZE + 1)


def test_what_is_there_already_may_overdraw_the_pot() -> None:
    room = Room(100)
    answers, requests = Holding(room), Holding(room)
    answers.add(RESERVE_SIZE + 1000)
    assert room.left == -900
    assert requests.fits(RESERVE_SIZE)
    assert not requests.fits(RESERVE_SIZE + 1)
    answers.clear()
    assert (room.left, answers.size) == (100, 0)


def test_fewer_answers_wait_when_there_is_little_left() -> None:
    room = Room(100)
    one = Holding(room)
    assert not one.crowded(ANSWERS_WAITING_MAX - 1)
    assert one.crowded(ANSWERS_WAITING_MAX)
    Holding(room).add(RESERVE_SIZE + 100)
    assert not one.crowded(RESERVE_SIZE - 1)
    assert one.crowded(RESERVE_SIZE)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3 * RESERVE_SIZE)), max_size=60))
def test_the_pot_is_what_is_held_beyond_the_reserves(steps: list[tuple[int, int]]) -> None:
    room = Room(5 * RESERVE_SIZE)
    all_of_them = [Holding(room) for _ in range(4)]
    for which, size in steps:
        one = all_of_them[which]
        if one.fits(size):
            one.add(size)
        else:
            one.clear()
        beyond = sum(max(0, one.size - RESERVE_SIZE) for one in all_of_them)
        assert room.left == 5 * RESERVE_SIZE - beyond >= 0
