"""A leader that has not what a member lacks lets somebody lead who may have it.

A node that began with a snapshot need not have the entries before it. As leader it cannot help a
member that began earlier and still lacks some of them; while that member is needed for a majority
nothing can be committed, and no member can be replaced either. The original stays like that. Here
such a leader asks another member to stand, one that has all it has itself, and so on in turn until
somebody leads who can help. Nothing but the time at which an election is held depends on this.
"""

from __future__ import annotations

from pyccf.consensus.raft.messages import ProposeRequestVote
from pyccf.consensus.raft.progress import Progress
from pyccf.consensus.raft.settings import RaftSettings
from pyccf.consensus.raft.state import Peer
from pyccf.crypto.entropy import Entropy, below
from pyccf.types import Millis, NodeId, SeqNo, View

STALLED_TIMEOUTS = 4
"""Election timeouts without any progress after which a leader yields."""


class Yielding(Progress):
    """A replica that notices that it is the wrong one to lead."""

    def __init__(self, node_id: NodeId, settings: RaftSettings, entropy: Entropy) -> None:
        super().__init__(node_id, settings, entropy)
        self._stalled: Millis = 0
        """Time since this leader last saw something confirmed that it waits for."""
        self._reached: tuple[View, SeqNo, SeqNo] = (0, 0, 0)
        """View, commit and what lacking members have together, by then."""

    def _yield_if_stalled(self, elapsed: Millis) -> None:
        """Time passed for a leader."""
        lacking = [peer for peer in self.peers.values() if self._lacks(peer)]
        reached = (self.view, self.committed, sum(peer.match for peer in lacking))
        if not lacking or not self.committable or reached != self._reached:
            self._reached = reached
            self._stalled = 0
            return
        self._stalled += elapsed
        if self._stalled < STALLED_TIMEOUTS * self.settings.election_timeout:
            return
        self._stalled = 0
        signed = self.lci()
        able = [p for p in self.peers.values() if self._decides(p) and p.match >= signed]
        if not able:
            return
        chosen = able[below(self._entropy, len(able))]
        self._executor.report(
            "info",
            f"Asks {chosen.id} to lead: this node began with a snapshot at {self.base} and lacks"
            f" entries that {', '.join(peer.id for peer in lacking)} cannot do without",
        )
        self.flush()
        self._executor.send(chosen.id, ProposeRequestVote(self.view))

    def _lacks(self, peer: Peer) -> bool:
        """Whether a member that answers has not what this log began with."""
        return peer.match < self.base and self._decides(peer)

    def _decides(self, peer: Peer) -> bool:
        """Whether it is a member of an active configuration, and answered lately."""
        return peer.last_ack < self.settings.election_timeout and any(
            peer.id in config.nodes for config in self.configs
        )
