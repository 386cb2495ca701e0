"""The judges can fail: with a protocol bug switched on, they find it."""

from __future__ import annotations

import pytest

from pyccf.sim import explore
from pyccf.sim.bugs import BUGS, THE_SIX

SCHEDULES_MAX = 200
"""How many schedules a bug may survive."""


@pytest.mark.parametrize("name", sorted(BUGS))
def test_a_protocol_bug_is_found(name: str) -> None:
    bug = BUGS[name]
    with bug.on():
        found = next(
            (
                outcome.violation
                for outcome, _ in map(explore.run, bug.schedules(SCHEDULES_MAX))
                if outcome.violation is not None
            ),
            None,
        )
    assert found is not None, f"{name} survived {SCHEDULES_MAX} schedules: {bug.about}"


def test_a_bug_is_gone_when_its_context_ends() -> None:
    bug = BUGS["vote-for-anyone"]
    right = getattr(bug.owner, bug.method)
    with bug.on():
        assert getattr(bug.owner, bug.method) is not right
    assert getattr(bug.owner, bug.method) is right
    assert bug.method not in bug.owner.__dict__


def test_there_are_enough_bugs_and_the_six_are_among_them() -> None:
    assert len(BUGS) >= 25
    assert set(THE_SIX) <= set(BUGS)
