"""A node reduced to what consensus needs: a ledger in memory, a store that knows configurations.

It is the executor below an engine in scenario files and in tests of the engine. An entry is raw,
a configuration (the full set of nodes) or a record of committed retirements; a signature is a
committable raw entry (spec: consensus-cft.md §15.2). Its disk is always up to date.
"""

from __future__ import annotations

from collections import deque
from typing import Literal

import msgspec

from pyccf.consensus.api import PeerMessage
from pyccf.consensus.raft import AppendEntries, Raft, RaftSettings
from pyccf.crypto.entropy import Entropy
from pyccf.errors import InvalidLedger
from pyccf.sim.replicas import Item, Nodes, Replica, chain, observe
from pyccf.types import NodeId, SeqNo, TxID, View

RAW: Literal["raw"] = "raw"
RECONFIGURATION: Literal["reconfiguration"] = "reconfiguration"
RETIRED_COMMITTED: Literal["retired_committed"] = "retired_committed"


class StubEntry(msgspec.Struct, frozen=True):
    """An entry; equal entries have equal fields."""

    view: View
    seqno: SeqNo
    committable: bool
    kind: Literal["raw", "reconfiguration", "retired_committed"]
    data: str
    nodes: tuple[NodeId, ...] = ()
    """Of a configuration or a record of retirements, ascending."""

    def encode(self) -> bytes:
        return msgspec.json.encode(self)


class StubNode:
    """One node: an engine, its executor and what it has to send."""

    def __init__(self, node_id: NodeId, settings: RaftSettings, entropy: Entropy) -> None:
        self.id = node_id
        self.raft = Raft(node_id, settings, entropy)
        self.raft.attach(self)
        self.ledger: list[StubEntry] = []
        self.outbox: deque[tuple[NodeId, PeerMessage]] = deque()
        self.reports: list[tuple[str, str]] = []
        self.given: tuple[Nodes, ...] = ()
        """A configuration that no entry stands for."""
        self._raw: list[bytes] = []
        self._items: list[Item] = []
        self._records: list[Nodes] = []
        """Records of retirements that are not committed yet."""

    def give(self, nodes: dict[NodeId, str]) -> None:
        """Let these nodes decide from the beginning, without an entry that says so."""
        self.given = (Nodes(0, frozenset(nodes)),)
        self.raft.configure(0, nodes)

    # --- ordering -------------------------------------------------------------------------------

    def order(
        self,
        data: str,
        committable: bool = False,
        kind: Literal["raw", "reconfiguration", "retired_committed"] = RAW,
        nodes: tuple[NodeId, ...] = (),
    ) -> TxID:
        """Order an entry on this leader and write it to its disk."""
        raft = self.raft
        entry = StubEntry(raft.view, raft.last + 1, committable, kind, data, tuple(sorted(nodes)))
        raw = entry.encode()
        self._execute(entry, raw)
        raft.append(entry.seqno, committable, len(data))
        raft.persisted(entry.seqno)
        return TxID(entry.view, entry.seqno)

    def _execute(self, entry: StubEntry, raw: bytes) -> None:
        if entry.kind == RECONFIGURATION:
            self.raft.configure(entry.seqno, dict.fromkeys(entry.nodes, ""))
        elif entry.kind == RETIRED_COMMITTED:
            self._records.append(Nodes(entry.seqno, frozenset(entry.nodes)))
        before = self._items[-1].chain if self._items else b""
        self.ledger.append(entry)
        self._raw.append(raw)
        self._items.append(Item(entry.view, entry.committable, chain(before, raw)))

    # --- executor -------------------------------------------------------------------------------

    def apply_plain(self, view: View, first: SeqNo, entries: list[bytes], at: int) -> int:
        """None: each is looked at."""
        return 0

    def apply(self, expected: TxID, data: bytes) -> bool:
        """Execute an entry that another node ordered; whether it is a signature."""
        try:
            entry = msgspec.json.decode(data, type=StubEntry)
        except msgspec.MsgspecError as e:
            raise InvalidLedger(f"The entry cannot be read: {e}", seqno=expected.seqno) from None
        if (entry.view, entry.seqno) != expected:
            raise InvalidLedger(
                f"Expected {expected}, got {entry.view}.{entry.seqno}.", seqno=expected.seqno
            )
        self._execute(entry, data)
        return entry.committable

    def rollback(self, seqno: SeqNo, view: View) -> None:
        """Undo the entries after `seqno`."""
        assert seqno >= self.raft.committed, "what is committed is never undone"
        del self.ledger[seqno:], self._raw[seqno:], self._items[seqno:]
        self._records = [r for r in self._records if r.seqno <= seqno]

    def compact(self, seqno: SeqNo) -> None:
        """Entries up to `seqno` are committed."""
        due = [r for r in self._records if r.seqno <= seqno]
        self._records = [r for r in self._records if r.seqno > seqno]
        for record in due:
            self.raft.retired_committed(seqno, sorted(record.ids))

    def send(self, to: NodeId, message: PeerMessage) -> None:
        """Put a message in the outbox."""
        self.outbox.append((to, message))

    def tidy_retired(self) -> None:
        """Scenario files record retirements themselves."""

    def report(self, level: str, text: str) -> None:
        """Keep what was reported."""
        self.reports.append((level, text))

    # --- delivery -------------------------------------------------------------------------------

    def with_entries(self, message: PeerMessage) -> PeerMessage | None:
        """A message with its entries as they stand now; None when one is gone."""
        if not isinstance(message, AppendEntries) or message.last < message.first:
            return message
        if message.last > len(self._raw):
            return None
        entries = self._raw[message.first - 1 : message.last]
        return msgspec.structs.replace(message, entries=entries)

    # --- what the rules look at -----------------------------------------------------------------

    def observe(self) -> Replica:
        """This node as the invariants see it."""
        configs = list(self.given)
        recorded: list[Nodes] = []
        for entry in self.ledger:
            ids = frozenset(entry.nodes)
            if entry.kind == RETIRED_COMMITTED:
                recorded.append(Nodes(entry.seqno, ids))
            elif entry.kind == RECONFIGURATION and not (configs and configs[-1].ids == ids):
                configs.append(Nodes(entry.seqno, ids))
        return observe(self.raft, tuple(self._items), configs, recorded)
