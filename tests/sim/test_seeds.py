"""Schedules of mixed faults and reconfigurations: a fixed set, and a few that nobody saw before."""

from __future__ import annotations

import os

import pytest

from pyccf.sim import explore
from pyccf.sim.schedule import THEMES, generate

FIXED = 60
FRESH = 12
ACTS = 80


def judge(seed: int, theme: str | None = None) -> explore.Figures:
    outcome = explore.run(generate(seed, ACTS, theme=theme))[0]
    told = f" --theme {theme}" if theme else ""
    assert outcome.violation is None, (
        f"{outcome.violation}\npython -m pyccf.sim run --seeds 1 --seed {seed} --steps {ACTS}{told}"
    )
    return outcome.figures


@pytest.mark.parametrize("first", range(0, FIXED, 10))
def test_fixed_schedules_violate_no_rule(first: int) -> None:
    total = explore.Figures()
    for seed in range(first, first + 10):
        total.add(judge(seed))
    # The schedules are about something.
    assert total.elections > 10
    assert total.reconfigurations > 10
    assert total.committed_writes > 50
    assert total.lost > 10
    assert total.unjudged <= 1


SHRUNK = {
    # The only leader that could be elected began with a snapshot, and lacked what a member needed.
    130645: [0, 1, 4, 6, 7, 9, 20, 26, 33, 41],
    # A node that had left could not read entries after a rekey, and ignored what else it was told.
    130786: [6, 7, 9, 10, 11, 17, 24, 25, 35, 36, 38, 39],
    # One that was given nothing was removed, and fetched a snapshot that says so.
    880234: [*range(16), *range(17, 22), 24, 25, *range(27, 35), 40, 41, 42, 44, 45],
    # A member lacked entries that nobody had any more.
    6101585: [*range(10, 18), 23, 24, 28, 29, 30, *range(34, 40), 52],
    6100043: [0, 1, *range(3, 8), *range(10, 15), 16, 17, 20, 24, 29],
    # One that was taken out again fetched a snapshot that it cannot read.
    6102200: [6, 7, 8, *range(11, 15), 16, 18, 19, *range(41, 47)],
    # One whose addition was undone led, and nobody believed its signatures.
    6101771: [*range(5, 26), 29, 47, 48],
}
"""Schedules that violated a rule once, and the acts that were enough for it."""
THEME = {
    880234: "growth",
    6100043: "retirement",
    6101585: "growth",
    6101771: "growth",
    6102200: "machines",
}
"""Of those whose seed did not choose it."""
WITHOUT_MAJORITY = {880234}
"""Those after which too few nodes are left to judge whether the network works again."""


@pytest.mark.parametrize("seed", SHRUNK)
def test_what_went_wrong_once_does_not_again(seed: int) -> None:
    outcome = explore.run(generate(seed, ACTS, theme=THEME.get(seed)).only(SHRUNK[seed]))[0]
    assert outcome.violation is None
    assert outcome.figures.unjudged == (seed in WITHOUT_MAJORITY)


def test_fresh_schedules_violate_no_rule() -> None:
    first = int.from_bytes(os.urandom(4), "big")
    for seed in range(first, first + FRESH):
        judge(seed)


@pytest.mark.parametrize("theme", sorted(THEMES))
def test_a_fresh_schedule_of_each_theme_violates_no_rule(theme: str) -> None:
    judge(int.from_bytes(os.urandom(4), "big"), theme)
