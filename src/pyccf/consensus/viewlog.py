"""Where each view began.

Element i of the history is the first seqno of view i+1. A view in which nothing was ordered starts
where the next one does (spec: kv-and-tables.md §7.2).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from pyccf.types import SeqNo, TxID, View


class ViewLog:
    """The views of a ledger and the seqno at which each starts."""

    def __init__(self, starts: Iterable[SeqNo] = ()) -> None:
        self._starts = list(starts)

    def begin(self, view: View, first: SeqNo) -> None:
        """Record that `view` starts at `first`; views skipped on the way start there as well."""
        assert view > 0
        assert not self._starts or first >= self._starts[-1]
        while len(self._starts) < view:
            self._starts.append(first)

    def view_of(self, seqno: SeqNo) -> View | None:
        """The view in which `seqno` was or would be ordered; None before the first."""
        if seqno < 1 or not self._starts or seqno < self._starts[0]:
            return None
        return bisect_right(self._starts, seqno)

    def rollback(self, seqno: SeqNo) -> None:
        """Forget views that start after `seqno`."""
        while self._starts and self._starts[-1] > seqno:
            self._starts.pop()

    @property
    def latest(self) -> View:
        """The highest view known, 0 if none."""
        return len(self._starts)

    def starts(self) -> list[SeqNo]:
        """First seqno of each view, from view 1 on."""
        return list(self._starts)

    def history(self, since: View = 1) -> list[TxID]:
        """One transaction id for each view from `since`, naming where it starts.

        Views without transactions of their own are left out (spec: http-api.md §8.1).
        """
        out: list[TxID] = []
        for i, first in enumerate(self._starts):
            if i + 1 < len(self._starts) and self._starts[i + 1] == first:
                continue
            if i + 1 >= since:
                out.append(TxID(i + 1, first))
        return out
