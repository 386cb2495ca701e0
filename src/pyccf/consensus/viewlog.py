"""Where each view began.

Element i of the history is the first seqno of view i+1. A view in which nothing was ordered starts
where the next one does (spec: kv-and-tables.md §7.2, consensus-cft.md §3). Only views in which
something was ordered are kept, so that the size does not depend on how far views jump.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

from pyccf.types import SeqNo, TxID, View

HISTORY_MAX = 100_000
"""Views that one answer lists at most."""


class ViewLog:
    """The views of a ledger and the seqno at which each starts."""

    __slots__ = ("_firsts", "_views", "latest")

    def __init__(self, starts: Iterable[SeqNo] = ()) -> None:
        self._firsts: list[SeqNo] = []
        self._views: list[View] = []
        """The last of the views that start at the same place in `_firsts`."""
        self.latest: View = 0
        """The highest view known, 0 if none."""
        self.initialise(starts)

    def initialise(self, starts: Iterable[SeqNo]) -> None:
        """Replace everything by a history as `starts` gives it, which is ascending."""
        self._firsts.clear()
        self._views.clear()
        self.latest = 0
        for i, first in enumerate(starts):
            self.begin(i + 1, first)

    def begin(self, view: View, first: SeqNo) -> None:
        """Record that `view` starts at `first`; views skipped on the way start there as well.

        Nothing happens when the view, or a later one, is known.
        """
        assert view > 0
        firsts = self._firsts
        assert not firsts or first >= firsts[-1]
        if view <= self.latest:
            return
        if firsts and firsts[-1] == first:
            self._views[-1] = view
        else:
            firsts.append(first)
            self._views.append(view)
        self.latest = view

    def view_of(self, seqno: SeqNo) -> View | None:
        """The view in which `seqno` was or would be ordered; None before the first."""
        return self.view_at(seqno) or None

    def view_at(self, seqno: SeqNo) -> View:
        """As `view_of`, with 0 for unknown."""
        firsts = self._firsts
        if seqno < 1 or not firsts:
            return 0
        if seqno >= firsts[-1]:
            return self.latest
        at = bisect_right(firsts, seqno)
        # In front of the first recorded view there is nothing but views that start with it.
        return self._views[at - 1] if at else 0

    def start_of(self, view: View) -> SeqNo | None:
        """First seqno of a view; None when it is unknown or nothing was ordered in it."""
        at = bisect_left(self._views, view)
        if at < len(self._views) and self._views[at] == view:
            return self._firsts[at]
        return None

    def end_of(self, view: View) -> SeqNo | None:
        """Last seqno of a view; None when it is unknown, empty or the latest."""
        at = bisect_left(self._views, view)
        if at < len(self._views) - 1 and self._views[at] == view:
            return self._firsts[at + 1] - 1
        return None

    def rollback(self, seqno: SeqNo) -> None:
        """Forget views that start after `seqno`."""
        firsts = self._firsts
        while firsts and firsts[-1] > seqno:
            firsts.pop()
            self._views.pop()
        self.latest = self._views[-1] if firsts else 0

    def starts(self) -> list[SeqNo]:
        """First seqno of each view, from view 1 on."""
        out: list[SeqNo] = []
        for view, first in zip(self._views, self._firsts, strict=True):
            out.extend([first] * (view - len(out)))
        return out

    def until(self, seqno: SeqNo) -> list[SeqNo]:
        """First seqno of each view that starts at or before `seqno`."""
        return [first for first in self.starts() if first <= seqno]

    def history(self, since: View = 1) -> list[TxID]:
        """One transaction id for each view from `since`, naming where it starts.

        A view in which nothing was ordered starts where the next one does. Of a history longer than
        `HISTORY_MAX` views only the last ones are given (spec: http-api.md §8.1).
        """
        out: list[TxID] = []
        first_view = max(since, self.latest - HISTORY_MAX + 1)
        for view, first in zip(self._views, self._firsts, strict=True):
            out.extend(TxID(v, first) for v in range(first_view + len(out), view + 1))
        return out
