"""Configurations, and leaving for good.

A configuration holds from the moment its entry is appended and is taken back with it. A node that
left all of them is still spoken to until it is committed that its retirement is committed, because
it has to learn that (spec: consensus-cft.md §9).
"""

from __future__ import annotations

from pyccf.consensus.api import Leadership
from pyccf.consensus.raft.messages import ProposeRequestVote
from pyccf.consensus.raft.sending import Sending
from pyccf.consensus.raft.settings import RaftSettings
from pyccf.consensus.raft.state import Configuration, Peer, Phase
from pyccf.crypto.entropy import Entropy
from pyccf.types import NodeId, SeqNo


class Membership(Sending):
    """A replica that follows reconfigurations."""

    def __init__(self, node_id: NodeId, settings: RaftSettings, entropy: Entropy) -> None:
        super().__init__(node_id, settings, entropy)
        self._leavers: list[Peer] = []
        """Peers whose retirement this leader has just seen recorded."""

    def configure(self, seqno: SeqNo, nodes: dict[NodeId, str]) -> None:
        """From `seqno` on these nodes decide (§9.1). Called before the log grows."""
        latest = self.configs[-1] if self.configs else None
        if latest is not None and self._leaves(latest, nodes) and self.phase is None:
            self.phase = Phase.ORDERED
            self.retirement_idx = seqno
        if latest is None or latest.nodes != nodes:
            config = Configuration(seqno, dict(nodes), self._quorum(len(nodes)))
            self.configs.append(config)
            self._add_peers(config)

    def _leaves(self, latest: Configuration, nodes: dict[NodeId, str]) -> bool:
        return self.id in latest.nodes and self.id not in nodes

    def _add_peers(self, config: Configuration) -> None:
        """Newcomers are taken to have everything; their refusal tells where they are (§9.1)."""
        leads = self.leadership is Leadership.LEADER
        for node_id, address in config.nodes.items():
            if node_id == self.id or node_id in self.peers:
                continue
            peer = self.peers[node_id] = Peer(node_id, address, self.last + 1)
            if leads:
                peer.sent = peer.floor = self.last
                self._heartbeat(peer)

    def _drop_configurations(self) -> bool:
        """Older configurations end once a later one is committed (§7.2); whether any did."""
        configs = self.configs
        dropped = False
        while len(configs) > 1 and configs[1].idx <= self.committed:
            configs.pop(0)
            dropped = True
        return dropped

    # --- retirement -----------------------------------------------------------------------------

    def retired_before(self, seqno: SeqNo) -> None:
        """The snapshot this node begins with holds its retirement, ordered at `seqno` (§9.3)."""
        assert seqno <= self.committed, "a snapshot is final"
        self.phase = Phase.COMPLETED
        self.retirement_idx = seqno

    def retired_committed(self, seqno: SeqNo, nodes: list[NodeId]) -> None:
        """It is committed, at `seqno`, that the retirement of these nodes is committed (§9.5)."""
        for node_id in nodes:
            if node_id == self.id:
                self._leave(seqno)
                continue
            peer = self.peers.pop(node_id, None)
            if peer is not None and self.leadership is Leadership.LEADER:
                self._leavers.append(peer)

    def _leave(self, seqno: SeqNo) -> None:
        if self._is_retired_committed():
            return
        if self.phase is not Phase.COMPLETED:
            self._executor.report(
                "fail", f"Entry {seqno} records a retirement of this node that is not committed"
            )
            return
        self.phase = Phase.RETIRED_COMMITTED
        self.retired_committed_idx = seqno
        if self.leadership is Leadership.LEADER:
            self._nominate()
        self.leadership = Leadership.NONE
        self.leader = None
        self.should_sign = False

    def flush(self) -> None:
        """Pass on what is new; who left is told so, once.

        CCF says nothing more to a node from the moment its retirement is recorded, so that it often
        never learns that it is.
        """
        super().flush()
        leavers, self._leavers = self._leavers, []
        if self.leadership is Leadership.LEADER:
            for peer in leavers:
                self._send_or_heartbeat(peer)

    # --- handing over ---------------------------------------------------------------------------

    def hand_over(self) -> NodeId | None:
        """This primary is about to stop: ask the best peer to stand for election; which one.

        It is given everything first.
        """
        if self.leadership is not Leadership.LEADER:
            return None
        self.flush()
        return self._nominate()

    def _nominate(self) -> NodeId | None:
        successor = self._successor()
        if successor is None:
            return None
        self._executor.send(successor.id, ProposeRequestVote(self.view))
        return successor.id

    def _successor(self) -> Peer | None:
        """Highest match, then the newest configuration, then added first (§9.5).

        Who is silent comes last: nobody would stand, and all wait for an election timeout.
        """
        best: Peer | None = None
        rank = (False, -1, -1)
        silent = self.settings.silence * self.settings.message_timeout
        for peer in self.peers.values():
            newest = max((c.idx for c in self.configs if peer.id in c.nodes), default=0)
            own = (peer.last_ack < silent, peer.match, newest)
            if best is None or own > rank:
                best, rank = peer, own
        return best
