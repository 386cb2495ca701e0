from __future__ import annotations

from pyccf.consensus.viewlog import ViewLog
from pyccf.types import TxID


def test_skipped_views_start_with_the_next_real_one() -> None:
    log = ViewLog()
    log.begin(2, 1)
    log.begin(4, 36)
    assert log.starts() == [1, 1, 36, 36]
    assert [log.view_of(s) for s in (0, 1, 35, 36, 99)] == [None, 2, 2, 4, 4]


def test_history_names_only_views_that_ordered_something() -> None:
    log = ViewLog([1, 1, 36, 36, 66, 66])
    assert log.history() == [TxID(2, 1), TxID(4, 36), TxID(6, 66)]
    assert log.history(since=3) == [TxID(4, 36), TxID(6, 66)]


def test_rollback_forgets_views_after_it() -> None:
    log = ViewLog([1, 1, 36])
    log.rollback(35)
    assert log.latest == 2
    assert log.view_of(40) == 2
