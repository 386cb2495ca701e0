"""Consensus of a network of one: the only node is primary for ever and its own disk is the quorum.

An entry is committed when it is committable and persisted here; entries before it are committed
with it. Refuses configurations with another node: that needs an engine that talks to peers.
"""

from __future__ import annotations

from collections import deque

from pyccf.consensus.api import Executor, Leadership
from pyccf.consensus.viewlog import ViewLog
from pyccf.errors import LocalError
from pyccf.types import Json, NodeId, SeqNo, TxID, View

FIRST_VIEW = 2
"""View in which a new service starts (spec: node-lifecycle.md §5)."""


class Solo:
    """The engine of a one-node network."""

    def __init__(self, node_id: NodeId, view: View = FIRST_VIEW, last: SeqNo = 0) -> None:
        self._id = node_id
        self._views = ViewLog()
        self._views.begin(view, last + 1)
        self._view = view
        self._last = last
        self._committed = last
        self._committable: deque[SeqNo] = deque()
        self._configs: list[tuple[SeqNo, dict[NodeId, str]]] = []
        self._executor: Executor

    def attach(self, executor: Executor) -> None:
        self._executor = executor

    should_sign = False

    def start(self, view: View = 0, last: SeqNo = 0) -> None: ...

    def join(self, view: View, last: SeqNo, starts: list[SeqNo]) -> None:
        raise LocalError("This network has one node.")

    def flush(self) -> None: ...

    def receive(self, sender: NodeId, data: bytes) -> None: ...

    def congested(self, peer: NodeId, yes: bool) -> None: ...

    def tick(self, elapsed: int) -> None: ...

    def retired_committed(self, seqno: SeqNo, nodes: list[NodeId]) -> None: ...

    def hand_over(self) -> NodeId | None:
        return None

    @property
    def view(self) -> View:
        return self._view

    @property
    def last(self) -> SeqNo:
        return self._last

    @property
    def committed(self) -> SeqNo:
        return self._committed

    @property
    def primary(self) -> NodeId | None:
        return self._id

    @property
    def can_replicate(self) -> bool:
        return True

    def append(self, seqno: SeqNo, committable: bool, size: int) -> None:
        assert seqno == self._last + 1, "entries are ordered without gaps"
        self._last = seqno
        if committable:
            self._committable.append(seqno)

    def persisted(self, seqno: SeqNo) -> None:
        assert seqno <= self._last, "the disk cannot hold what was not ordered"
        moved = False
        while self._committable and self._committable[0] <= seqno:
            self._committed = self._committable.popleft()
            moved = True
        while len(self._configs) > 1 and self._configs[1][0] <= self._committed:
            self._configs.pop(0)
        if moved:
            self._executor.compact(self._committed)

    def view_of(self, seqno: SeqNo) -> View | None:
        return self._views.view_of(seqno) if seqno <= self._last else None

    def view_history(self, since: View = 1) -> list[TxID]:
        return self._views.history(since)

    def configure(self, seqno: SeqNo, nodes: dict[NodeId, str]) -> None:
        if set(nodes) != {self._id}:
            raise LocalError(
                "This network has one node; adding or removing nodes is not possible.",
                hint="Consensus between several nodes is not part of this version.",
            )
        self._configs.append((seqno, dict(nodes)))

    def nodes(self) -> dict[NodeId, str]:
        return dict(self._configs[-1][1]) if self._configs else {}

    def details(self) -> dict[str, Json]:
        return {
            "acks": {},
            "configs": [
                {
                    "idx": idx,
                    "nodes": {n: {"address": a} for n, a in nodes.items()},
                    "rid": idx,
                }
                for idx, nodes in self._configs
            ],
            "current_view": self._view,
            "leadership_state": Leadership.LEADER.value,
            "learners": {},
            "membership_state": "Active",
            "primary_id": self._id,
            "reconfiguration_type": "OneTransaction",
            "ticking": True,
        }
