"""What the rules of consensus look at: replicas as they are at one moment, and what is found wrong.

Replicas that crashed are passed as they last were: a log that a dead machine held still counts for
the rules that speak of quorums, because the votes it gave were given.

A log entry carries a `chain` value that stands for itself and everything before it, so prefixes are
compared by looking at one place.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from pyccf.consensus.api import Leadership
from pyccf.consensus.raft import Raft
from pyccf.types import NodeId, SeqNo, View

ACTIVE, ORDERED, SIGNED, COMPLETED, RETIRED_COMMITTED = (
    "Active",
    "Ordered",
    "Signed",
    "Completed",
    "RetiredCommitted",
)
"""Where a node stands in its life: Active or one of the phases of retirement."""


class Item(NamedTuple):
    """One log entry as the rules see it."""

    view: View
    committable: bool
    chain: bytes
    """Equal in two logs at the same seqno exactly if everything up to there is equal."""


def chain(before: bytes, entry: bytes) -> bytes:
    """The `chain` of an entry after one whose chain is `before` (empty for the first)."""
    return hashlib.sha256(before + entry).digest()


class Nodes(NamedTuple):
    """Ids that an entry at `seqno` speaks of: a configuration or recorded retirements."""

    seqno: SeqNo
    ids: frozenset[NodeId]


class Progress(NamedTuple):
    """What a replica believes of a peer."""

    sent: SeqNo
    match: SeqNo


class Replica(msgspec.Struct, frozen=True):
    """One node's consensus state at one moment."""

    id: NodeId
    view: View
    committed: SeqNo
    leadership: Leadership
    phase: str
    """Active, or the phase of its retirement."""
    log: Sequence[Item]
    """Never changed once handed over."""
    configs: tuple[Nodes, ...]
    """Active configurations as the engine holds them, ascending."""
    reconfigurations: tuple[Nodes, ...]
    """Every configuration that stands in the log, ascending, as read from the entries."""
    recorded: tuple[Nodes, ...] = ()
    """Every entry that records retirements as committed, ascending."""
    voted_for: NodeId | None = None
    votes: frozenset[NodeId] = frozenset()
    """Who gave this candidate a vote."""
    peers: Mapping[NodeId, Progress] = {}
    first: SeqNo = 1
    """Seqno of log[0]; more than 1 for a log that begins at a snapshot (its own entry included)."""
    base: SeqNo = 0
    """Where this node began with a snapshot; its log is completed by what others have before."""

    @property
    def last(self) -> SeqNo:
        return self.first + len(self.log) - 1

    def item(self, seqno: SeqNo) -> Item | None:
        """The entry at `seqno`, None where this log has none."""
        at = seqno - self.first
        return self.log[at] if 0 <= at < len(self.log) else None

    def view_at(self, seqno: SeqNo) -> View:
        """View of an entry, 0 where there is none."""
        item = self.item(seqno)
        return item.view if item else 0

    def last_of(self, view: View) -> SeqNo:
        """Last seqno whose view is at most `view`; first - 1 if none. The log's views ascend."""
        return self.first - 1 + bisect_right(self.log, view, key=_view_of_item)

    def committable(self) -> SeqNo:
        """Last signature, or what is committed when none follows it."""
        for at in range(len(self.log) - 1, self.committed - self.first, -1):
            if self.log[at].committable:
                return self.first + at
        return self.committed

    def holds(self, other: Replica, seqno: SeqNo) -> bool:
        """Whether this log has everything the other has up to `seqno`."""
        if seqno < 1 or self is other:
            return True
        mine, theirs = self.item(seqno), other.item(seqno)
        if mine is None or theirs is None:
            # Below where a log begins there is nothing to compare: it came with a snapshot.
            return seqno < self.first if mine is None else seqno < other.first
        return mine.chain == theirs.chain


def _view_of_item(item: Item) -> View:
    return item.view


class Violation(NamedTuple):
    """A rule that does not hold, of whom and how."""

    rule: str
    nodes: tuple[NodeId, ...]
    text: str

    def __str__(self) -> str:
        return f"{self.rule} ({', '.join(self.nodes)}): {self.text}"


Found = Iterator[Violation]
Network = Mapping[NodeId, Replica]


def observe(
    engine: Raft,
    log: Sequence[Item],
    reconfigurations: Iterable[Nodes],
    recorded: Iterable[Nodes] = (),
    first: SeqNo = 1,
    base: SeqNo = 0,
) -> Replica:
    """An engine as the rules see it, with the log of the node around it.

    What the log holds comes from the ledger, not from the engine, so that the two are compared.
    """
    return Replica(
        id=engine.id,
        view=engine.view,
        committed=engine.committed,
        leadership=engine.leadership,
        phase=engine.phase.value if engine.phase else ACTIVE,
        log=log,
        configs=tuple(Nodes(c.idx, frozenset(c.nodes)) for c in engine.configs),
        reconfigurations=tuple(reconfigurations),
        recorded=tuple(recorded),
        voted_for=engine.voted_for,
        votes=frozenset(n for votes in engine.votes.values() for n in votes),
        peers={p.id: Progress(p.sent, p.match) for p in engine.peers.values()},
        first=first,
        base=base,
    )
