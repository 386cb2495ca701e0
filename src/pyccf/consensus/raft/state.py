"""What one Raft replica knows, and how it goes back.

Everything is volatile: a node that crashed never comes back under its id, so neither view nor vote
need survive it (spec: consensus-cft.md §1, §2). Beside what the specification lists it keeps how
far its own disk got, because nothing is called committed by a leader before it is on its disk.
"""

from __future__ import annotations

from collections import deque
from enum import Enum

from pyccf.consensus.api import Executor, Leadership
from pyccf.consensus.raft.settings import RaftSettings
from pyccf.consensus.viewlog import ViewLog
from pyccf.crypto.entropy import Entropy, below
from pyccf.types import Millis, NodeId, SeqNo, View


class Phase(Enum):
    """How far the retirement of this node got (spec: consensus-cft.md §9.3)."""

    ORDERED = "Ordered"
    SIGNED = "Signed"
    COMPLETED = "Completed"
    RETIRED_COMMITTED = "RetiredCommitted"


class Configuration:
    """Nodes that decide from the entry at `idx` on."""

    __slots__ = ("idx", "nodes", "quorum")

    def __init__(self, idx: SeqNo, nodes: dict[NodeId, str], quorum: int) -> None:
        self.idx = idx
        self.nodes = nodes
        self.quorum = quorum


class Peer:
    """What is known of another node."""

    __slots__ = (
        "address",
        "allowance",
        "behind",
        "congested",
        "floor",
        "id",
        "last_ack",
        "match",
        "probe",
        "sent",
        "told",
    )

    def __init__(self, node_id: NodeId, address: str, sent: SeqNo) -> None:
        self.id = node_id
        self.address = address
        self.sent = sent
        """Last entry sent to it; optimistic."""
        self.match: SeqNo = 0
        """Last entry it confirmed in this leadership."""
        self.last_ack: Millis = 0
        """Time since it last answered."""
        self.floor = sent
        """Entries up to here do not count as under way."""
        self.probe = False
        """It refused something: the next heartbeat tries again, nothing before."""
        self.behind = False
        """More is to be sent as soon as it confirms."""
        self.allowance: int | None = None
        """How many entries it may be sent before the next tick; None while it is not behind."""
        self.congested = False
        """The way to it is full."""
        self.told: SeqNo = 0
        """What it was told to be committed."""


class State:
    """The variables of a replica, and roll-back."""

    def __init__(self, node_id: NodeId, settings: RaftSettings, entropy: Entropy) -> None:
        self.id = node_id
        self.settings = settings
        self._entropy = entropy
        self._executor: Executor
        self.view: View = 0
        self.last: SeqNo = 0
        self.committed: SeqNo = 0
        self.base: SeqNo = 0
        """The log began with a snapshot at this entry; 0 if it began with nothing."""
        self.starved = False
        """A leader spoke of what is beyond a hole after this log, where more is committed."""
        self.disk: SeqNo = 0
        """Entries up to here are in this node's ledger."""
        self.views = ViewLog()
        self.committable: deque[SeqNo] = deque()
        """Signatures after what is committed, ascending."""
        self._leadership = Leadership.NONE
        self._phase: Phase | None = None
        self.can_replicate = False
        """Whether this node may order entries now; asked twice for each of them."""
        self.retirement_idx: SeqNo | None = None
        self.retirement_committable_idx: SeqNo | None = None
        self.retired_committed_idx: SeqNo | None = None
        self.voted_for: NodeId | None = None
        self.leader: NodeId | None = None
        self.votes: dict[SeqNo, dict[NodeId, None]] = {}
        """Votes for this candidate by active configuration."""
        self.is_new_follower = False
        """Whether a conflicting append-entries may undo signed entries, once."""
        self.should_sign = False
        self.ticking = False
        """Whether this node may stand for election when nobody leads."""
        self.elapsed: Millis = 0
        self.configs: list[Configuration] = []
        """Active configurations, ascending."""
        self.peers: dict[NodeId, Peer] = {}
        """Everybody messages go to, in the order in which they were added."""

    def attach(self, executor: Executor) -> None:
        """Name the node this engine works for; before anything else."""
        self._executor = executor

    # --- roles ----------------------------------------------------------------------------------

    @property
    def leadership(self) -> Leadership:
        """Role of this node in its current view."""
        return self._leadership

    @leadership.setter
    def leadership(self, role: Leadership) -> None:
        self._leadership = role
        self._judge()

    @property
    def phase(self) -> Phase | None:
        """Of this node's retirement; None while it is active."""
        return self._phase

    @phase.setter
    def phase(self, phase: Phase | None) -> None:
        self._phase = phase
        self._judge()

    def _judge(self) -> None:
        leads = self._leadership is Leadership.LEADER
        self.can_replicate = leads and self._phase is not Phase.RETIRED_COMMITTED

    # --- questions ------------------------------------------------------------------------------

    def lci(self) -> SeqNo:
        """The last signature known, or what is committed when there is none after it."""
        return self.committable[-1] if self.committable else self.committed

    def term_of(self, seqno: SeqNo) -> View:
        """View of an entry; 0 for none and beyond the end (spec: §3)."""
        return self.views.view_at(seqno) if seqno <= self.last else 0

    def _quorum(self, n: int) -> int:
        """How many of n nodes decide."""
        return n // 2 + 1

    def _is_retired_committed(self) -> bool:
        return self.phase is Phase.RETIRED_COMMITTED

    def _others_decide(self) -> bool:
        """Whether any active configuration has another node."""
        own = self.id
        return any(n != own for config in self.configs for n in config.nodes)

    def _in_latest(self) -> bool:
        return bool(self.configs) and self.id in self.configs[-1].nodes

    def _highest_committable(self, upto: SeqNo) -> SeqNo | None:
        """The last uncommitted signature at or before `upto`."""
        for seqno in reversed(self.committable):
            if seqno <= upto:
                return seqno
        return None

    def _highest_possible_match(self, view: View, seqno: SeqNo) -> SeqNo:
        """Last place where a log that has `view` at `seqno` may agree with this one (§6.2)."""
        p = min(seqno, self.last)
        views = self.views
        while (at := views.view_at(p)) > view:
            start = views.start_of(at)
            p = start - 1 if start else 0
        return p

    # --- time -----------------------------------------------------------------------------------

    def _restart_election_timer(self) -> None:
        """Wait between half of the timeout and all of it (§8.1)."""
        self.elapsed = below(self._entropy, self.settings.election_timeout // 2 + 1)

    def _reset_acks(self) -> None:
        for peer in self.peers.values():
            peer.last_ack = 0

    # --- signatures -----------------------------------------------------------------------------

    def _committable_appended(self, seqno: SeqNo) -> None:
        """A signature came to the log (§5.1, §6, §11)."""
        if not self.ticking and self._in_latest():
            self.ticking = True
            self.elapsed = 0
        if self.phase is Phase.ORDERED:
            self.phase = Phase.SIGNED
            self.retirement_committable_idx = seqno
        self.committable.append(seqno)

    # --- back -----------------------------------------------------------------------------------

    def _rollback(self, seqno: SeqNo) -> None:
        """Undo the entries after `seqno`; what comes next belongs to the current view (§8.9)."""
        if seqno < self.committed:
            self._executor.report(
                "fail", f"Asked to undo entries after {seqno}, {self.committed} are committed"
            )
            return
        self._forget_after(seqno)
        self._executor.rollback(seqno, self.view)

    def _forget_after(self, seqno: SeqNo) -> None:
        self.last = min(self.last, seqno)
        self.disk = min(self.disk, seqno)
        self.views.rollback(seqno)
        committable = self.committable
        while committable and committable[-1] > seqno:
            committable.pop()
        self._undo_retirement(seqno)
        configs = self.configs
        while configs and configs[-1].idx > seqno:
            configs.pop()
        if self.phase is None and not any(self.id in config.nodes for config in configs):
            # Its addition never was. The others would elect it, and then not trust its signatures.
            self.ticking = False

    def _undo_retirement(self, seqno: SeqNo) -> None:
        """A retirement that is not committed may never have happened (§9.3)."""
        signed, ordered = self.retirement_committable_idx, self.retirement_idx
        if self.phase is Phase.SIGNED and signed is not None and signed > seqno:
            self.phase = Phase.ORDERED
            self.retirement_committable_idx = None
        if self.phase is Phase.ORDERED and ordered is not None and ordered > seqno:
            self.phase = None
            self.retirement_idx = None
