"""What the node sees of a consensus engine, crash-fault-tolerant or Byzantine, and the reverse.

An `Engine` orders opaque entries. It knows of an entry its transaction id, whether it is
committable (a signature) and whether it changes the configuration; nothing else. It is told what
was ordered here, what peers sent, what the disk holds and how much time passed. It does no I/O,
keeps no clock and never blocks.

An `Executor` is the node around it: it executes entries that others ordered, undoes them, makes
them final, and carries messages. Every call of either side returns at once, and an engine never
raises for what a peer did. (spec: consensus-cft.md §16, consensus-bft.md §12)
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

from pyccf.types import Json, Millis, NodeId, SeqNo, TxID, View


class Leadership(Enum):
    """Role of this node in its current view (spec: http-api.md §9.2, leadership_state)."""

    NONE = "None"
    LEADER = "Leader"
    FOLLOWER = "Follower"
    PRE_VOTE_CANDIDATE = "PreVoteCandidate"
    CANDIDATE = "Candidate"


class PeerMessage(Protocol):
    """A message to a peer, followed on the wire by the ledger entries `first`..`last`.

    The shell attaches the entries as they stand in the ledger when it sends, and cuts a message
    whose entries are too many bytes for one frame; if an entry is no longer there it drops the
    rest.
    """

    @property
    def first(self) -> SeqNo: ...

    @property
    def last(self) -> SeqNo:
        """Less than `first` when no entries follow."""
        ...

    def encode(self) -> bytes:
        """The bytes that precede the entries."""
        ...

    def upto(self, seqno: SeqNo) -> PeerMessage:
        """The same message with the entries first..seqno only."""
        ...

    def after(self, seqno: SeqNo) -> PeerMessage:
        """The message that carries the entries seqno+1..last."""
        ...


class Executor(Protocol):
    """The node below an engine."""

    def apply_plain(self, view: View, first: SeqNo, entries: list[bytes], at: int) -> int:
        """Execute entries[at:], which another node ordered in `view`, `first` onwards; how many.

        Only those that they begin with and that `apply` would take, are not committable and change
        no configuration; perhaps not even all of these, or none.
        """
        ...

    def apply(self, expected: TxID, data: bytes) -> bool:
        """Execute an entry that another node ordered; whether it is committable.

        Calls `Engine.configure` when it changes the configuration, before it returns. Raises
        InvalidLedger, having changed nothing, when it is malformed, not `expected`, does not
        authenticate, or is a signature that does not verify.
        """
        ...

    def rollback(self, seqno: SeqNo, view: View) -> None:
        """Undo the entries after `seqno`; what is executed from now on belongs to `view`.

        Also called with the last seqno, to change the view only. Never below what is final.
        """
        ...

    def compact(self, seqno: SeqNo) -> None:
        """Entries up to `seqno` are committed. May call `Engine.retired_committed`."""
        ...

    def send(self, to: NodeId, message: PeerMessage) -> None:
        """Carry a message, after everything that was asked for before."""
        ...

    def tidy_retired(self) -> None:
        """This primary should record which retirements are committed (consensus-cft.md §9.4)."""
        ...

    def report(self, level: str, text: str) -> None:
        """Something happened that an operator may want to know."""
        ...


class Engine(Protocol):
    """Agreement on a sequence of entries."""

    @property
    def view(self) -> View:
        """View in which entries are ordered now."""
        ...

    @property
    def last(self) -> SeqNo:
        """Seqno of the last entry ordered here."""
        ...

    @property
    def committed(self) -> SeqNo:
        """Seqno up to which entries can never be undone."""
        ...

    @property
    def primary(self) -> NodeId | None:
        """The primary of this view, as far as known."""
        ...

    @property
    def can_replicate(self) -> bool:
        """Whether this node may order entries now."""
        ...

    @property
    def should_sign(self) -> bool:
        """Whether a signature is owed although nothing new was ordered (a new primary)."""
        ...

    @property
    def starved(self) -> bool:
        """Whether this node lacks entries before some that it was sent, or would be."""
        ...

    def attach(self, executor: Executor) -> None:
        """Name the node this engine works for; before anything else."""
        ...

    def start(self, view: View = 0, last: SeqNo = 0, starts: Sequence[SeqNo] = ()) -> None:
        """Lead a service that has no other node: a new one, or one just recovered.

        Of a recovered one `view` and `last` name the last entry there is, `starts` as for `join`.
        """
        ...

    def join(self, view: View, last: SeqNo, starts: list[SeqNo]) -> None:
        """Follow an existing service from `last` on (0, or the seqno of a snapshot).

        `starts` is the view history up to `last` (first seqno of each view from view 1).
        """
        ...

    def begin_anew(self, view: View, last: SeqNo, starts: list[SeqNo]) -> None:
        """Follow from a snapshot at `last`, which is beyond everything this node has.

        The executor is told to roll back to what is committed; then its state is the snapshot's.
        """
        ...

    def append(self, seqno: SeqNo, committable: bool, size: int) -> None:
        """An entry of `size` bytes was ordered by this node, in the current view."""
        ...

    def flush(self) -> None:
        """Pass on to peers what was appended since the last call."""
        ...

    def persisted(self, seqno: SeqNo) -> None:
        """This node's ledger holds all entries up to `seqno`."""
        ...

    def receive(self, sender: NodeId, data: bytes) -> None:
        """A peer, authenticated as `sender`, sent a message of this engine's (and entries)."""
        ...

    def congested(self, peer: NodeId, yes: bool) -> None:
        """The way to a peer is full (or free again): send it nothing but heartbeats meanwhile."""
        ...

    def tick(self, elapsed: Millis) -> None:
        """Time passed."""
        ...

    def configure(self, seqno: SeqNo, nodes: dict[NodeId, str]) -> None:
        """From `seqno` on these nodes (id to node-to-node address) decide.

        Called while the entry at `seqno` is being ordered or applied, before it is appended.
        """
        ...

    def retired_before(self, seqno: SeqNo) -> None:
        """The snapshot this node begins with holds its own retirement, ordered at `seqno`.

        Called after `join` and before anything that follows the snapshot is received.
        """
        ...

    def retired_committed(self, seqno: SeqNo, nodes: list[NodeId]) -> None:
        """It is committed, at `seqno`, that the retirement of these nodes is committed."""
        ...

    def hand_over(self) -> NodeId | None:
        """This primary is about to stop: ask the best peer to stand for election; which one."""
        ...

    def view_of(self, seqno: SeqNo) -> View | None: ...

    def view_history(self, since: View = 1) -> list[TxID]: ...

    def view_starts(self, upto: SeqNo) -> list[SeqNo]:
        """First seqno of each view, from view 1 on, that starts at or before `upto`."""
        ...

    def details(self) -> dict[str, Json]:
        """What /node/consensus tells (spec: consensus-cft.md §12.5)."""
        ...

    def nodes(self) -> dict[NodeId, str]:
        """Nodes of the latest configuration with their addresses."""
        ...
