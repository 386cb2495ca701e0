"""The measurement of governance: every operation is executed and counted."""

from __future__ import annotations

import json

import pytest

from bench import governance
from bench.governance import LISTING, Consortium, measure
from bench.parts import Plan
from bench.report import Results, goals, machine, text


def test_operations_are_measured_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(governance, "PROPOSALS", 12)
    monkeypatch.setattr(governance, "FEW", 3)
    monkeypatch.setattr(governance, "REPEATS", 2)
    said: list[str] = []
    found = measure(said.append, members=8)
    assert len(said) == 2
    names = [kind.name for kind in found]
    assert names[0] == "propose"
    assert LISTING in names
    assert all(kind.few > 0 and kind.many > 0 for kind in found)
    results = Results("now", machine(), Plan(1, 1, [1], [1], 1), governance=found)
    told = {goal.what.partition(",")[0] for goal in goals(results)}
    assert told == set(names) - {LISTING}
    assert "Governance" in text(results)


def test_proposals_are_kept_and_votes_decide() -> None:
    consortium = Consortium(3)
    idents = [consortium.propose(number) for number in range(4)]
    first = consortium.members[0]
    answer = json.loads(consortium.send(consortium.ballot(first, idents[0])))
    assert (answer["proposalState"], answer["ballotCount"]) == ("Open", 1)
    second = consortium.ballot(consortium.members[1], idents[0])
    assert json.loads(consortium.send(second))["proposalState"] == "Accepted"
    with pytest.raises(RuntimeError, match="ProposalNotOpen"):
        consortium.send(consortium.ballot(consortium.members[2], idents[0]))
