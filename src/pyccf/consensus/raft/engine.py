"""The engine: time, messages and entries come in, and go to the handler that knows the rule.

    receive   AppendEntries           append._on_append_entries            §6
              AppendEntriesResponse   progress._on_append_entries_response §7
              RequestVote             election._on_request_vote            §8.3
              RequestVoteResponse     election._on_request_vote_response   §8.4
              ProposeRequestVote      election._on_propose_request_vote    §8.8
    tick      leader                  heartbeat §5.4, CheckQuorum §10; yielding
              others                  election timer §8.1
    append    leader                  §5.1
    configure, retired_committed      membership §9
    persisted                         commit §7.1

(sections of consensus-cft.md)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from pyccf.consensus.api import Leadership
from pyccf.consensus.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Message,
    ProposeRequestVote,
    RequestVote,
    RequestVoteResponse,
    decode,
)
from pyccf.consensus.raft.yielding import Yielding
from pyccf.errors import RemoteError
from pyccf.types import Json, Millis, NodeId, SeqNo, TxID, View

VIEWS_APART = 2
"""A service starts this many views after the one it comes from (spec: §3)."""


class Raft(Yielding):
    """One replica of CCF's Raft variant; an `Engine`.

    Promises: what is committed stays, is signed, and is on this node's disk and those of a
    majority of every active configuration. Never raises for what a peer sends.
    """

    # --- beginnings -----------------------------------------------------------------------------

    def start(self, view: View = 0, last: SeqNo = 0, starts: Sequence[SeqNo] = ()) -> None:
        """Lead a service that has no other node: a new one, or one just recovered (§5.5).

        `view` and `last` are those of the last entry there is, `starts` the view history so far.
        """
        assert self.leader is None, "only a node that knows no leader is made one"
        if last:
            self.views.initialise(starts)
            self.views.begin(view, last)
            self.last = self.committed = self.disk = last
        self.view = view + VIEWS_APART
        self._become_leader()

    def join(self, view: View, last: SeqNo, starts: list[SeqNo]) -> None:
        """Follow an existing service from `last` on, 0 or the seqno of a snapshot (§9.6).

        May be said again, with a snapshot, as long as there is no entry: views heard of meanwhile
        count.
        """
        assert self.last == 0, "only a node without a ledger begins with one"
        self._begin_after(last, starts)
        if view >= self.view:
            self._become_aware_of_new_term(view)

    def begin_anew(self, view: View, last: SeqNo, starts: list[SeqNo]) -> None:
        """Follow from a snapshot that is beyond everything this log has.

        What is not committed is undone first. The vote given in the present view stays given, and
        whatever this node confirmed is before the snapshot, so nobody counted on what it forgets.
        """
        assert last > self.last, "what a snapshot does not hold is not forgotten"
        assert self.leadership is not Leadership.LEADER, "who leads has what it needs"
        self._become_follower()
        self._rollback(self.committed)
        self.committable.clear()
        self.configs.clear()
        self.peers.clear()
        self.phase = None
        self.ticking = self.starved = False
        self._begin_after(last, starts)
        if view > self.view:
            self._become_aware_of_new_term(view)

    def _begin_after(self, last: SeqNo, starts: list[SeqNo]) -> None:
        self.last = self.committed = self.disk = self.base = last
        self.views.initialise(starts)

    # --- ordering -------------------------------------------------------------------------------

    def append(self, seqno: SeqNo, committable: bool, size: int) -> None:
        """An entry of `size` bytes was ordered by this node, in the current view (§5.1)."""
        assert seqno == self.last + 1, "entries are ordered without gaps"
        assert self.can_replicate, "only a leader orders entries"
        self.last = seqno
        if committable:
            self._committable_appended(seqno)
            self.should_sign = False
        if self.views.latest != self.view:
            self.views.begin(self.view, seqno)
        self._sizes_sum += size
        self._sizes_count += 1
        unsent = self._unsent_bytes + size
        if unsent < self.settings.batch_bytes:
            self._unsent_bytes = unsent
        else:
            self._send_to_all()

    # --- messages -------------------------------------------------------------------------------

    def receive(self, sender: NodeId, data: bytes) -> None:
        """A peer, authenticated as `sender`, sent these bytes. What is no message is refused."""
        try:
            message = decode(data)
        except RemoteError as e:
            self._executor.report("fail", f"Refused a message of {sender}: {e.message}")
            return
        self.handle(sender, message)

    def handle(self, sender: NodeId, message: Message) -> None:
        """A peer sent a message."""
        if sender == self.id:
            self._executor.report("fail", "Refused a message of this node to itself")
            return
        match message:
            case AppendEntries():
                self._on_append_entries(sender, message)
            case AppendEntriesResponse():
                self._on_append_entries_response(sender, message)
            case RequestVote():
                self._on_request_vote(sender, message)
            case RequestVoteResponse():
                self._on_request_vote_response(sender, message)
            case ProposeRequestVote():
                self._on_propose_request_vote(sender, message)
            case _:
                assert_never(message)

    # --- time -----------------------------------------------------------------------------------

    def tick(self, elapsed: Millis) -> None:
        """Time passed; of a long while a part counts (`RaftSettings.election_ticks`)."""
        settings = self.settings
        elapsed = min(elapsed, max(1, settings.election_timeout // settings.election_ticks))
        self.elapsed += elapsed
        if self.leadership is Leadership.LEADER:
            self._lead(elapsed)
        elif self._may_stand() and self.elapsed >= self.settings.election_timeout:
            self._election_timeout()

    def _lead(self, elapsed: Millis) -> None:
        """Heartbeats (§5.4), then whether anybody listens (§10)."""
        if self.elapsed >= self.settings.message_timeout:
            self.elapsed = 0
            self._unsent_bytes = 0
            self._heartbeats()
        self._catch_up(elapsed)
        self._age_acks(elapsed)
        if not self._heard_of_quorum():
            self._executor.report("info", f"No quorum answers: stops leading view {self.view}")
            self._become_follower()
        else:
            self._yield_if_stalled(elapsed)

    # --- questions ------------------------------------------------------------------------------

    @property
    def primary(self) -> NodeId | None:
        """The primary of this view, as far as known."""
        return self.leader

    def view_of(self, seqno: SeqNo) -> View | None:
        """View of an entry of the log; None where there is none."""
        return self.views.view_of(seqno) if seqno <= self.last else None

    def view_history(self, since: View = 1) -> list[TxID]:
        """Where each view from `since` on starts."""
        return self.views.history(since)

    def view_starts(self, upto: SeqNo) -> list[SeqNo]:
        """First seqno of each view, from view 1 on, that starts at or before `upto`."""
        return self.views.until(upto)

    def nodes(self) -> dict[NodeId, str]:
        """Nodes of the latest configuration with their addresses."""
        return dict(self.configs[-1].nodes) if self.configs else {}

    def details(self) -> dict[str, Json]:
        """What /node/consensus tells (spec: §12.5, http-api.md §9.2)."""
        out: dict[str, Json] = {
            "acks": {
                p.id: {"last_received_ms": p.last_ack, "seqno": p.match}
                for p in self.peers.values()
            },
            "configs": [
                {
                    "idx": config.idx,
                    "nodes": {n: {"address": a} for n, a in config.nodes.items()},
                    "rid": config.idx,
                }
                for config in self.configs
            ],
            "current_view": self.view,
            "leadership_state": self.leadership.value,
            "membership_state": "Retired" if self.phase else "Active",
            "primary_id": self.leader,
            "reconfiguration_type": "OneTransaction",
            "ticking": self.ticking,
        }
        if self.phase:
            out["retirement_phase"] = self.phase.value
        return out
