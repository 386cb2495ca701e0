"""A fault at every call by which ledger and snapshots change, in every way, then a new start."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import crash_points_past
from support.crash_points import WAYS, survey


def test_after_any_fault_there_is_a_valid_beginning(tmp_path: Path) -> None:
    outcomes = list(survey(tmp_path))
    assert len(outcomes) > 150
    assert {o.way for o in outcomes} == set(WAYS)
    assert {o.call for o in outcomes} >= {"create", "write", "sync", "rename", "truncate", "remove"}
    assert any(o.reopened for o in outcomes), "opening has something to mend"


@pytest.mark.parametrize("act", crash_points_past.ACTS)
def test_after_any_fault_what_was_there_is_there(tmp_path: Path, act: str) -> None:
    outcomes = list(crash_points_past.survey(tmp_path, act))
    assert len(outcomes) > 150
    assert {o.way for o in outcomes} == set(crash_points_past.WAYS)
    assert {o.call for o in outcomes} >= {"create", "write", "sync", "rename", "sync_directory"}
