"""The leader's side of append-entries: what is sent to whom, and how much at once.

Messages are pipelined: what was sent is taken to have arrived until an answer says otherwise
(spec: consensus-cft.md §5.2). Bounds keep a peer that is far behind from being flooded, and others
from being starved: at most `window` entries are under way to it, at most `messages_max` messages go
in one turn, and in a tick no more than `catch_up` allows; it gets more when it confirms. While the
window or the way is full it gets heartbeats only. A message never spans views. Unlike CCF, which
sends at the next heartbeat or after 20,000 bytes, a node asks for what is new to be sent with each
signature and a few times between heartbeats (`flush`), so that writes commit sooner.
"""

from __future__ import annotations

from pyccf.consensus.api import Leadership
from pyccf.consensus.raft.messages import AppendEntries
from pyccf.consensus.raft.roles import Roles
from pyccf.consensus.raft.settings import RaftSettings
from pyccf.consensus.raft.state import Peer
from pyccf.crypto.entropy import Entropy
from pyccf.types import Millis, NodeId, SeqNo

SIZES_KEPT = 4096
"""The mean size of entries follows about this many of them."""
SIZE_GUESS = 256
"""Taken as the size of an entry before any was seen."""


class Sending(Roles):
    """A replica that can send entries and heartbeats."""

    def __init__(self, node_id: NodeId, settings: RaftSettings, entropy: Entropy) -> None:
        super().__init__(node_id, settings, entropy)
        self._unsent_bytes = 0
        """Bytes appended since entries were last sent to everybody."""
        self._sizes_sum = SIZE_GUESS
        self._sizes_count = 1
        self._memo: AppendEntries | None = None
        """The last message made: most peers stand at the same place."""
        self._last_at_tick: SeqNo = 0
        """The last entry when peers that are behind were last sent some more."""

    # --- sizes ----------------------------------------------------------------------------------

    def _saw_entries(self, count: int, size: int) -> None:
        self._sizes_sum += size
        self._sizes_count += count
        if self._sizes_count > SIZES_KEPT:
            self._sizes_sum //= 2
            self._sizes_count //= 2

    def _batch(self) -> int:
        """How many entries a message should carry (§5.3; correctness does not depend on it)."""
        settings = self.settings
        mean = self._sizes_sum // self._sizes_count or 1
        return max(1, min(settings.batch_entries, settings.batch_bytes // mean))

    # --- messages -------------------------------------------------------------------------------

    def _append_entries(self, start: SeqNo, end: SeqNo) -> AppendEntries:
        """The message with entries start..end; a heartbeat when end is start - 1 (§5.2)."""
        memo = self._memo
        if (
            memo is not None
            and memo.prev_idx == start - 1
            and memo.idx == end
            and memo.term == self.view
            and memo.leader_commit_idx == self.committed
        ):
            return memo
        term_of = self.term_of
        message = AppendEntries(
            self.view, start - 1, end, term_of(start - 1), self.committed, term_of(end)
        )
        self._memo = message
        return message

    def _send_range(self, peer: Peer, start: SeqNo, end: SeqNo) -> None:
        if start >= end and self._is_retired_committed():
            return
        self._executor.send(peer.id, self._append_entries(start, end))
        peer.sent = end
        peer.told = self.committed

    def _heartbeat(self, peer: Peer) -> None:
        """Say that this leader lives, from where the peer is taken to be."""
        self._send_range(peer, peer.sent + 1, peer.sent)

    def _room(self, peer: Peer) -> SeqNo:
        """Up to which entry the window lets us send."""
        return max(peer.match, peer.floor) + self.settings.window

    def _send_new(self, peer: Peer) -> bool:
        """Send what the peer was not sent yet, as far as it may be; whether anything went."""
        last = min(self.last, self._room(peer))
        start = peer.sent + 1
        allowance = peer.allowance
        if allowance is not None:
            last = min(last, peer.sent + allowance)
        if start > last or peer.congested:
            peer.behind = start <= self.last
            return False
        first = start
        batch = self._batch()
        views = self.views
        for _ in range(self.settings.messages_max):
            end = min(start + batch - 1, last)
            view = views.view_at(start)
            if view != views.latest:
                end = min(end, views.end_of(view) or end)
            self._send_range(peer, start, end)
            start = end + 1
            if start > last:
                break
        peer.behind = start <= self.last
        if allowance is not None:
            peer.allowance = allowance - (start - first)
        return True

    def _catch_up(self, elapsed: Millis) -> None:
        """Some time passed: who is behind may be sent some more."""
        fresh = self.last - self._last_at_tick
        self._last_at_tick = self.last
        more = max(1, self.settings.catch_up * elapsed // 1000)
        for peer in self.peers.values():
            if not peer.behind:
                peer.allowance = None
                continue
            peer.allowance = fresh + more
            if not peer.probe:
                self._send_new(peer)

    def _send_or_heartbeat(self, peer: Peer) -> None:
        """At least one message, as §5.2 has it."""
        peer.probe = False
        if not self._send_new(peer):
            self._heartbeat(peer)

    def _heartbeats(self) -> None:
        """The heartbeat timer fired (§5.4).

        A peer that answered nothing for long while its window is full may have ignored what it was
        sent (§6 rule 4 gives no answer), so the window starts anew behind it.
        """
        silent = self.settings.silence * self.settings.message_timeout
        for peer in list(self.peers.values()):
            if peer.sent >= self._room(peer) and peer.last_ack >= silent:
                peer.floor = peer.sent
            self._send_or_heartbeat(peer)

    def _send_to_all(self) -> None:
        """Send what is new to everybody who can take it."""
        self._unsent_bytes = 0
        self._saw_entries(0, 0)
        for peer in self.peers.values():
            if not peer.probe:
                self._send_new(peer)

    # --- asked by the node ----------------------------------------------------------------------

    def flush(self) -> None:
        """Pass on to peers what was appended or committed since the last call."""
        if self.leadership is not Leadership.LEADER or not self.peers:
            return
        self._send_to_all()
        for peer in self.peers.values():
            if peer.told < self.committed <= peer.sent and not peer.probe and not peer.congested:
                self._heartbeat(peer)

    def congested(self, peer: NodeId, yes: bool) -> None:
        """The way to a peer is full (or free again): heartbeats only, meanwhile."""
        known = self.peers.get(peer)
        if known is None:
            return
        known.congested = yes
        if not yes and known.behind and not known.probe and self.leadership is Leadership.LEADER:
            self._send_new(known)
