"""AppendEntriesResponse as a leader takes it, and CheckQuorum (consensus-cft.md §7, §10)."""

from __future__ import annotations

from pyccf.consensus.api import Leadership
from pyccf.consensus.raft.append import Append
from pyccf.consensus.raft.messages import AppendEntriesResponse
from pyccf.consensus.raft.state import Configuration, Peer
from pyccf.types import Millis, NodeId


class Progress(Append):
    """A replica that knows how far its peers are."""

    def _on_append_entries_response(self, sender: NodeId, message: AppendEntriesResponse) -> None:
        """AppendEntriesResponse: the rules of §7 in their order."""
        peer = self.peers.get(sender)
        if peer is None:
            self._executor.report("fail", f"{sender}, an unknown node, answers append-entries")
            return
        if self.leadership is not Leadership.LEADER:
            return
        peer.last_ack = 0
        term = message.term
        if term > self.view:
            self._become_aware_of_new_term(term)
            return
        if not message.success:
            self._on_nack(peer, message)
            return
        if self._stale_ack(peer, message):
            return
        if message.last_log_idx > self.last:
            self._executor.report(
                "fail", f"{sender} confirms {message.last_log_idx}, the log ends at {self.last}"
            )
            return
        self._on_ack(peer, message)

    def _stale_ack(self, peer: Peer, message: AppendEntriesResponse) -> bool:
        """Rules 5 and 6: of an older view, or overtaken."""
        return message.term < self.view or message.last_log_idx < peer.match

    def _on_nack(self, peer: Peer, message: AppendEntriesResponse) -> None:
        """Rule 7: go back to where the logs may agree; the next heartbeat sends from there."""
        match = self._highest_possible_match(message.term, message.last_log_idx)
        peer.sent = max(min(match, peer.sent), peer.match)
        peer.floor = peer.sent
        peer.probe = True

    def _on_ack(self, peer: Peer, message: AppendEntriesResponse) -> None:
        """Rule 8; and who is catching up gets more."""
        if message.last_log_idx > peer.match:
            peer.match = message.last_log_idx
            self._update_commit()
        if peer.behind and not peer.probe and self.leadership is Leadership.LEADER:
            self._send_new(peer)

    # --- CheckQuorum ----------------------------------------------------------------------------

    def _age_acks(self, elapsed: Millis) -> None:
        for peer in self.peers.values():
            peer.last_ack += elapsed

    def _heard_of_quorum(self) -> bool:
        """Whether a majority of every active configuration answered lately (§10)."""
        return all(
            self._heard_in(config) >= self._quorum(len(config.nodes)) for config in self.configs
        )

    def _heard_in(self, config: Configuration) -> int:
        """Members that are this node, or answered within the election timeout."""
        peers = self.peers
        limit = self.settings.election_timeout
        return sum(1 for n in config.nodes if n not in peers or peers[n].last_ack < limit)
