"""A fault at every call by which ledger and snapshots change, in every way, then a new start."""

from __future__ import annotations

from pathlib import Path

from support.crash_points import WAYS, survey


def test_after_any_fault_there_is_a_valid_beginning(tmp_path: Path) -> None:
    outcomes = list(survey(tmp_path))
    assert len(outcomes) > 150
    assert {o.way for o in outcomes} == set(WAYS)
    assert {o.call for o in outcomes} >= {"create", "write", "sync", "rename", "truncate", "remove"}
    assert any(o.reopened for o in outcomes), "opening has something to mend"
