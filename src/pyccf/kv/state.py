"""The data itself: one dict per map, and how to undo what is not committed yet.

A map's dict holds, for each key, a pair (value, seqno of its last write). Every change of a key
appends one record to the undo log: the pair that was there before. The log reaches back to the last
compacted seqno, so any state from there on can be rebuilt by laying old pairs over the dict.
Pairs are never changed in place: a key is unchanged exactly when its pair is the same object.

(spec: kv-and-tables.md §1, §3; architecture: one dict per map plus an undo log)
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from pyccf.kv.pairs import Pair, Undo, undo_seqno
from pyccf.types import SeqNo, View

INSERT_SINGLY_MAX = 64
"""Up to so many new keys are put into a sorted list one by one, above it is sorted again."""

ADDED_MAX = 65_536
"""With more new keys than this since the last iteration the sorted list is given up."""


class MapState:
    """One map: its latest content and what is needed to know how old it is."""

    __slots__ = ("added", "base", "created", "data", "name", "order", "rolled", "version")

    def __init__(self, name: str, created: SeqNo) -> None:
        self.name = name
        self.created = created
        """Seqno of the transaction that made the map exist."""
        self.version: SeqNo = 0
        """Last seqno that changed the map; 0 when nothing ever did."""
        self.base: SeqNo = 0
        """Last seqno, of those already compacted, that changed the map."""
        self.rolled = 0
        """Number of the last roll-back (see `State.rollbacks`) that took changes away."""
        self.data: dict[bytes, Pair] = {}
        self.order: list[bytes] | None = None
        """Keys in order as of the last iteration, possibly with keys removed since; never changed
        in place, so iterations may hold on to it."""
        self.added: list[bytes] = []
        """Keys that came since `order` was made."""

    def note_new_key(self, key: bytes) -> None:
        """Remember a key that came into `data`. To be called only while `order` is kept."""
        added = self.added
        added.append(key)
        if len(added) > ADDED_MAX:
            self.order = None
            self.added = []

    def sorted_keys(self) -> list[bytes]:
        """All keys ascending, perhaps with some that are gone. Not to be changed by the caller."""
        order = self.order
        data = self.data
        added = self.added
        if order is None or len(order) + len(added) > 2 * len(data) + INSERT_SINGLY_MAX:
            self.order = order = sorted(data)
            self.added = []
        elif added:
            order = order.copy()
            if len(added) <= INSERT_SINGLY_MAX:
                for key in added:
                    at = bisect_left(order, key)
                    if at == len(order) or order[at] != key:
                        order.insert(at, key)
            else:
                order = sorted(dict.fromkeys(order + added))
            self.order = order
            self.added = []
        return order


class State:
    """All maps at the latest seqno, with the way back to the compacted one."""

    __slots__ = (
        "committed",
        "created",
        "epoch",
        "maps",
        "rollbacks",
        "undo",
        "version",
        "view",
        "views",
    )

    def __init__(self, view: View, version: SeqNo = 0) -> None:
        self.view = view
        """View of the next transaction."""
        self.version: SeqNo = version
        """Seqno of the last transaction."""
        self.committed: SeqNo = version
        """Last compacted seqno: nothing below it can be read or rolled back to."""
        self.epoch = 0
        """Changes whenever any content does: equal epochs mean equal state."""
        self.rollbacks = 0
        """How many roll-backs took transactions away."""
        self.maps: dict[str, MapState] = {}
        self.undo: list[Undo] = []
        """Ascending by seqno, all above `committed`."""
        self.created: list[tuple[SeqNo, str]] = []
        """Maps that came into being above `committed`, ascending."""
        self.views: list[tuple[SeqNo, View]] = [(version, view)]
        """Ascending: from this seqno on, this view; the first covers `committed`."""

    def view_of(self, seqno: SeqNo) -> View:
        """View of a transaction from `committed` to `version`."""
        assert self.committed <= seqno <= self.version
        views = self.views
        at = bisect_right(views, seqno, key=_first) - 1
        return views[at][1]

    def undone_since(self, seqno: SeqNo) -> list[Undo]:
        """Undo records of the transactions above `seqno`, ascending."""
        return self.undo[bisect_right(self.undo, seqno, key=undo_seqno) :]


def _first(pair: tuple[SeqNo, View]) -> SeqNo:
    return pair[0]
