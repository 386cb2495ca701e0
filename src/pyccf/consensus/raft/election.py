"""Standing for election, voting, and becoming leader (spec: consensus-cft.md §5.5, §8)."""

from __future__ import annotations

from pyccf.consensus.api import Leadership
from pyccf.consensus.raft.commit import Commit
from pyccf.consensus.raft.messages import (
    ElectionType,
    ProposeRequestVote,
    RequestVote,
    RequestVoteResponse,
)
from pyccf.types import VIEW_MAX, NodeId, SeqNo, View


class Election(Commit):
    """A replica that can be elected."""

    # --- standing -------------------------------------------------------------------------------

    def _may_stand(self) -> bool:
        """§8.1, §11: not before it saw a signature that covers its trust, not once it left."""
        return self.ticking and not self._is_retired_committed()

    def _election_timeout(self) -> None:
        """Nobody led for too long (§8.1)."""
        if self.settings.pre_vote:
            self._become_pre_vote_candidate()
        else:
            self._become_candidate()

    def _become_pre_vote_candidate(self) -> None:
        """Ask who would vote for this node, in the view as it is (§8.5)."""
        if not self.configs:
            return
        self.leadership = Leadership.PRE_VOTE_CANDIDATE
        self.leader = None
        self._restart_election_timer()
        self._stand(ElectionType.PRE_VOTE)

    def _become_candidate(self) -> None:
        """Start a new view and ask for votes; the log stays as it is for now (§8.2)."""
        if not self.configs or self.view >= VIEW_MAX:
            return
        self.leadership = Leadership.CANDIDATE
        self.leader = None
        self.voted_for = self.id
        self.view += 1
        self._restart_election_timer()
        self._reset_acks()
        self._stand(ElectionType.REGULAR_VOTE)

    def _stand(self, election_type: ElectionType) -> None:
        self.votes = {config.idx: {} for config in self.configs}
        state, view = self.leadership, self.view
        self._add_vote(self.id)
        if self.leadership is not state or self.view != view:
            return  # Its own vote was enough.
        lci = self.lci()
        ask = RequestVote(self.view, lci, self.term_of(lci), election_type)
        for node_id in self._electorate():
            self._executor.send(node_id, ask)

    def _electorate(self) -> list[NodeId]:
        """Other members of active configurations; retired peers are not asked."""
        found: dict[NodeId, None] = {}
        for config in self.configs:
            found.update(dict.fromkeys(config.nodes))
        found.pop(self.id, None)
        return list(found)

    # --- counting -------------------------------------------------------------------------------

    def _add_vote(self, voter: NodeId) -> None:
        """Count a vote in each active configuration that has the voter (§8.4)."""
        for config in self.configs:
            if voter in config.nodes:
                self.votes.setdefault(config.idx, {})[voter] = None
        if self._has_won():
            if self.leadership is Leadership.PRE_VOTE_CANDIDATE:
                self._become_candidate()
            else:
                self._become_leader()

    def _has_won(self) -> bool:
        """Every active configuration must give its majority (§9.2)."""
        return all(
            len(self.votes.get(config.idx, ())) >= self._quorum(len(config.nodes))
            for config in self.configs
        )

    # --- leading --------------------------------------------------------------------------------

    def _become_leader(self) -> None:
        """Lead this view: what is not signed is lost, and a signature is owed (§5.5)."""
        if self._is_retired_committed():
            return
        self._rollback(self._kept_by_new_leader())
        self.leadership = Leadership.LEADER
        self.leader = self.id
        self.should_sign = True
        self.starved = False
        self.elapsed = 0
        self._unsent_bytes = 0
        self._last_at_tick = self.last
        for peer in self.peers.values():
            peer.last_ack = 0
            peer.match = 0
            peer.sent = peer.floor = self.last
            peer.probe = peer.behind = False
            peer.allowance = None
        self._executor.report("info", f"Leads view {self.view} from {self.last}")
        if not self._others_decide():
            self._update_commit()
        for peer in list(self.peers.values()):
            self._heartbeat(peer)
        self._executor.tidy_retired()

    def _kept_by_new_leader(self) -> SeqNo:
        """The last signature; before anything is committed, the genesis entry is kept (§5.5)."""
        return self.lci() if self.committed > 0 else self.last

    # --- handlers -------------------------------------------------------------------------------

    def _on_request_vote(self, sender: NodeId, message: RequestVote) -> None:
        """RequestVote (§8.3). Who asks need not be known, who answers need not be a member."""
        if message.term < self.view:
            self._answer_vote(sender, False, message.election_type)
            return
        if message.term > self.view:
            self._become_aware_of_new_term(message.term)
        grant = self._may_grant(sender, message)
        if grant and message.election_type is ElectionType.REGULAR_VOTE:
            self._restart_election_timer()
            self.leader = None
            self.voted_for = sender
        self._answer_vote(sender, grant, message.election_type)

    def _answer_vote(self, to: NodeId, grant: bool, election_type: ElectionType) -> None:
        self._executor.send(to, RequestVoteResponse(self.view, grant, election_type))

    def _may_grant(self, candidate: NodeId, message: RequestVote) -> bool:
        """§8.3 rule 3."""
        if message.election_type is ElectionType.REGULAR_VOTE and not self._is_free(candidate):
            return False
        return self._is_up_to_date(
            message.term_of_last_committable_idx, message.last_committable_idx
        )

    def _is_free(self, candidate: NodeId) -> bool:
        """No leader of this view is known and no other candidate has this vote."""
        return self.leader is None and self.voted_for in (None, candidate)

    def _is_up_to_date(self, view: View, seqno: SeqNo) -> bool:
        """Signatures are compared, not log ends: by view, then by seqno."""
        lci = self.lci()
        return (view, seqno) >= (self.term_of(lci), lci)

    def _on_request_vote_response(self, sender: NodeId, message: RequestVoteResponse) -> None:
        """RequestVoteResponse (§8.4)."""
        expected = _ASKED.get(self.leadership)
        if expected is None:
            return
        if message.election_type is not expected:
            self._executor.report(
                "debug", f"A vote of {sender} came too late: this node is {self.leadership.value}"
            )
            return
        if sender not in self.peers:
            self._executor.report("fail", f"A vote came from {sender}, an unknown node")
            return
        if message.term > self.view:
            self._become_aware_of_new_term(message.term)
        elif message.term == self.view and message.vote_granted:
            self._add_vote(sender)

    def _on_propose_request_vote(self, sender: NodeId, message: ProposeRequestVote) -> None:
        """ProposeRequestVote (§8.8): a leader leaves and wants this node to follow it."""
        if (
            self._may_stand()
            and message.term == self.view
            and self.leadership is not Leadership.LEADER
        ):
            self._become_candidate()


_ASKED = {
    Leadership.PRE_VOTE_CANDIDATE: ElectionType.PRE_VOTE,
    Leadership.CANDIDATE: ElectionType.REGULAR_VOTE,
}
"""What kind of votes a role is waiting for."""
