"""When a snapshot is taken, and what happens until it is a file.

    signature s   due: `tx_count` after the last regular one, after `interval_ms`, or asked for by
                  governance; the chunk ends there
    s committed   the primary freezes its state at s and cuts it, a slice at a time
    cut           the primary orders the evidence e: the snapshot's digest, as claims too
    signature     after e: it will prove the evidence
    committed     snapshot and receipt are handed to the shell to be written

All nodes follow where regular snapshots are due, so that the interval goes on after an election.
A snapshot whose evidence was undone, or whose primary lost its office before ordering it, is
dropped; one that a rekey overtook is taken again. Nothing waits for a snapshot: that one cannot be
written is logged and no more.
(spec: kv-and-tables.md §7.3, node-lifecycle.md §8.1-8.2)
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from pyccf.codec.text import dump_json
from pyccf.errors import Unavailable
from pyccf.kv.changes import UNIT
from pyccf.ledger import receipt as receipts
from pyccf.ledger import snapshot
from pyccf.ledger.cut import Cut
from pyccf.ledger.entry import parse
from pyccf.node.outputs import SaveSnapshot
from pyccf.types import Millis, SeqNo, TxID

if TYPE_CHECKING:
    from pyccf.ledger.entry import Entry
    from pyccf.node.node import Node

TX_COUNT = 10_000
INTERVAL_MIN: SeqNo = 3
"""Evidence and the signature after it alone never make the next snapshot due."""
PENDING_MAX = 5
"""Snapshots that are not written yet."""


class Evidence:
    """A snapshot whose evidence was ordered."""

    def __init__(self, cut: Cut, entry: Entry) -> None:
        self.cut = cut
        self.entry = entry
        self.covering: Entry | None = None
        """The first signature after the evidence."""


class Snapshotter:
    """The snapshots of one node."""

    def __init__(
        self, node: Node, tx_count: int = TX_COUNT, interval_ms: Millis | None = None
    ) -> None:
        self._node = node
        self._tx_count = max(tx_count, INTERVAL_MIN)
        self._interval = interval_ms
        self._taken_at: Millis = 0
        self._taken: SeqNo = 0
        """Where the last one was due, whatever for."""
        self.enabled = True
        """Not while a service is being recovered."""
        self._requested = False
        """Governance wants one at the next signature."""
        self._regular: list[SeqNo] = [0]
        """Where regular ones were due, ascending: the last that is final, and later ones."""
        self._due: list[SeqNo] = []
        """Signatures, not yet committed, at which a snapshot is to be taken."""
        self._cuts: deque[Cut] = deque()
        self._evidence: list[Evidence] = []

    def begin(self, seqno: SeqNo) -> None:
        """This node starts from a snapshot at `seqno`; what it was cutting itself is older."""
        for cut in self._cuts:
            self._node.store.thaw(cut.frozen)
        self._cuts.clear()
        self._evidence.clear()
        self._due.clear()
        self._regular = [seqno]
        self._taken = seqno

    def request(self) -> None:
        """Take one at the next signature."""
        self._requested = True

    # --- signatures -----------------------------------------------------------------------------

    def due(self, seqno: SeqNo) -> bool:
        """Whether a snapshot is to be taken at the signature that this primary makes now."""
        regular = seqno - self._regular[-1] >= self._tx_count
        if not (regular or self._requested or self._overdue(seqno)):
            return False
        if regular:
            self._regular.append(seqno)
        self._requested = False
        self._taken_at = self._node.now
        self._taken = seqno
        self._due.append(seqno)
        return True

    def _overdue(self, seqno: SeqNo) -> bool:
        """Whether the time is up, and something happened since."""
        if self._interval is None or self._node.now - self._taken_at < self._interval:
            return False
        return seqno - max(self._regular[-1], self._taken) >= INTERVAL_MIN

    def signed(self, entry: Entry) -> None:
        """This node ordered a signature: the proof of evidence that had none."""
        for evidence in self._evidence:
            if evidence.covering is None:
                evidence.covering = entry

    def followed(self, entry: Entry) -> None:
        """Another node ordered a signature."""
        if entry.seqno - self._regular[-1] >= self._tx_count:
            self._regular.append(entry.seqno)
            self._due.append(entry.seqno)
        self.signed(entry)

    def rollback(self, seqno: SeqNo) -> None:
        """Entries after `seqno` never happened."""
        self._requested = False
        self._taken = min(self._taken, seqno)
        while len(self._regular) > 1 and self._regular[-1] > seqno:
            self._regular.pop()
        while self._due and self._due[-1] > seqno:
            self._due.pop()
        self._evidence = [e for e in self._evidence if e.entry.seqno <= seqno]
        for evidence in self._evidence:
            if evidence.covering is not None and evidence.covering.seqno > seqno:
                evidence.covering = None

    # --- commits --------------------------------------------------------------------------------

    def committed(self, seqno: SeqNo) -> None:
        """Everything up to `seqno` is final. Called before the store forgets how it was."""
        for evidence in [e for e in self._evidence if e.covering and e.covering.seqno <= seqno]:
            self._evidence.remove(evidence)
            self._hand_out(evidence)
        while len(self._regular) > 1 and self._regular[1] <= seqno:
            self._regular.pop(0)
        at: SeqNo = 0
        while self._due and self._due[0] <= seqno:
            at = self._due.pop(0)
        node = self._node
        if at and self.enabled and node.consensus.can_replicate:
            if len(self._cuts) + len(self._evidence) >= PENDING_MAX:
                node.log(
                    "fail",
                    "",
                    f"No snapshot is taken at {at}: {PENDING_MAX} are not written yet",
                )
                return
            self._cuts.append(
                Cut(
                    node.store.freeze(at),
                    node.history.tree.leaf(at),
                    node.consensus.view_starts(at),
                    node.history.secrets.at(at).key,
                )
            )

    # --- cutting --------------------------------------------------------------------------------

    @property
    def cutting(self) -> bool:
        """Whether a snapshot is being cut."""
        return bool(self._cuts)

    def tick(self) -> None:
        """Go on cutting, a few milliseconds."""
        if self._cuts and self._cuts[0].step():
            cut = self._cuts.popleft()
            self._node.store.thaw(cut.frozen)
            self._order_evidence(cut)

    def _order_evidence(self, cut: Cut) -> None:
        node = self._node
        secrets = node.history.secrets
        if secrets.at(node.store.version + 1).version != secrets.at(cut.seqno).version:
            # Who recovers from this snapshot alone lacks the secret that its evidence is judged by.
            node.log("info", "", f"The snapshot at {cut.seqno} is dropped: a rekey came meanwhile")
            self.request()
            return
        tx = node.store.tx()
        record = snapshot.record_of(cut.digest, cut.seqno)
        tx.map(snapshot.SNAPSHOT_EVIDENCE).set(UNIT, dump_json(record))
        try:
            entry = node.order(tx, cut.digest)
        except Unavailable:
            node.log(
                "info",
                "",
                f"The snapshot at {cut.seqno} is dropped: this node does not lead any longer",
            )
            return
        self._evidence.append(Evidence(cut, entry))

    def _hand_out(self, evidence: Evidence) -> None:
        """Have a snapshot written that is proven now."""
        assert evidence.covering is not None
        node = self._node
        cut = evidence.cut
        receipt = receipts.json_receipt(
            parse(evidence.entry.data),
            parse(evidence.covering.data),
            node.history.evidence(TxID(evidence.entry.view, evidence.entry.seqno)),
        )
        name = snapshot.file_name(cut.seqno, evidence.entry.seqno)
        node.demand(SaveSnapshot(name, [*cut.pieces, dump_json(receipt)]))
