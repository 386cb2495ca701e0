"""AppendEntries as a follower takes it (spec: consensus-cft.md §6).

Where the rules give no answer none may be given: the leader would draw wrong conclusions about what
this replica has (§16.4). A confirmation speaks of the entries of its message and nothing beyond.
"""

from __future__ import annotations

from pyccf.consensus.api import Leadership
from pyccf.consensus.raft.election import Election
from pyccf.consensus.raft.messages import AppendEntries, AppendEntriesResponse
from pyccf.errors import PyccfError
from pyccf.types import NodeId, SeqNo, TxID, View


class Append(Election):
    """A replica that takes what a leader says."""

    def _on_append_entries(self, sender: NodeId, message: AppendEntries) -> None:
        """AppendEntries: the rules of §6 in their order."""
        # Rule 1.
        if message.term < self.view:
            self._refuse(sender)
            return
        if message.term > self.view or self.leadership is Leadership.CANDIDATE:
            self._become_aware_of_new_term(message.term)
        elif self.leadership is Leadership.PRE_VOTE_CANDIDATE:
            self._stop_asking()
        elif self.leadership is Leadership.LEADER:
            self._executor.report(
                "fail", f"{sender} claims to lead view {self.view}, which this node leads"
            )
            return
        # Rule 2.
        prev_idx = message.prev_idx
        here = self.term_of(prev_idx)
        if here != message.prev_term:
            self._refuse_mismatch(sender, message, here)
            return
        # Rule 3.
        self._restart_election_timer()
        self.leader = sender
        # Rules 4 and 5: no answer.
        if self._is_early(prev_idx) or prev_idx > self.last:
            return
        # Rule 6: what is here already is skipped, a conflict is resolved or ignored.
        have = min(message.idx, self.last)
        conflict = self._first_conflict(prev_idx + 1, have, message.term_of_idx)
        if conflict is not None:
            if not self._on_conflict(conflict):
                return
            have = conflict - 1
        # Rule 7, framing.
        if len(message.entries) != message.idx - prev_idx:
            self._executor.report("fail", f"{sender} sent other entries than it announced")
            self._refuse(sender)
            return
        # Rules 7 and 8.
        if have < message.idx and not self._take(sender, message, have + 1):
            self._refuse(sender)
            return
        # Rule 9. The view history needs nothing here: the first entry of a view records it.
        self._commit_if_possible(self._known_committed(message))
        if message.leader_commit_idx <= self.last:
            self.starved = False
        self._confirm(sender, message.idx)

    def _stop_asking(self) -> None:
        """A pre-vote candidate hears the leader of its view and follows it again.

        Unlike CCF, which makes it a new follower, it keeps its log: it may have confirmed unsigned
        entries to this very leader, which never goes back behind what was confirmed (§7 rule 7).
        """
        self.leadership = Leadership.FOLLOWER
        self.votes.clear()

    # --- answers --------------------------------------------------------------------------------

    def _refuse(self, to: NodeId) -> None:
        """NACK: nothing was taken; this is where the log ends."""
        self._nack(to, self.view, self.last)

    def _refuse_mismatch(self, to: NodeId, message: AppendEntries, here: View) -> None:
        """Rule 2: a hole, or another view than the leader has before its entries."""
        if here == 0:
            self.starved = True
            self._refuse(to)
            return
        match = self._highest_possible_match(message.prev_term, message.prev_idx)
        self._nack(to, self.term_of(match), match)

    def _nack(self, to: NodeId, view: View, seqno: SeqNo) -> None:
        self._executor.send(to, AppendEntriesResponse(view, seqno, False))

    def _confirm(self, to: NodeId, seqno: SeqNo) -> None:
        """ACK up to the end of the message, even if more is here."""
        self._executor.send(to, AppendEntriesResponse(self.view, seqno, True))

    def _known_committed(self, message: AppendEntries) -> SeqNo:
        """What the leader committed, as far as this log is known to be the leader's.

        CCF does not look at where the message ends. Its leaders do not send messages that end
        before what they committed to a node that has more; ours do, when they may not send more.
        """
        return min(message.leader_commit_idx, message.idx)

    # --- what is here already -------------------------------------------------------------------

    def _is_early(self, prev_idx: SeqNo) -> bool:
        """Rule 4: it speaks of what is committed here."""
        return prev_idx < self.committed

    def _first_conflict(self, first: SeqNo, upto: SeqNo, view: View) -> SeqNo | None:
        """First of the entries first..upto that is of another view than `view`."""
        if first > upto:
            return None
        views = self.views
        if views.view_at(first) != view:
            return first
        end = views.end_of(view)
        return end + 1 if end is not None and end < upto else None

    def _on_conflict(self, seqno: SeqNo) -> bool:
        """Rules 6' and 6'': undo what conflicts, once for each view learnt of; else ignore all."""
        if not self.is_new_follower:
            self._executor.report("fail", f"Ignoring conflicting AppendEntries at {seqno}")
            return False
        self._rollback(seqno - 1)
        self.is_new_follower = False
        return True

    # --- what is new ----------------------------------------------------------------------------

    def _take(self, sender: NodeId, message: AppendEntries, first: SeqNo) -> bool:
        """Apply the message's entries from `first` on; False at the first that is not acceptable.

        The view history is right before the first entry is applied: entries of a new view follow
        a signature, so the view starts where the message does.
        """
        view = message.term_of_idx
        prev_idx = message.prev_idx
        if not self._may_begin(view, first):
            self._executor.report("fail", f"{sender} sent entries of view {view} in a wrong place")
            return False
        executor = self._executor
        entries = message.entries
        leader_commit = self._known_committed(message)
        seqno = first - 1
        try:
            while seqno < message.idx:
                plain = executor.apply_plain(view, seqno + 1, entries, seqno - prev_idx)
                committable = False
                if plain:
                    seqno += plain
                else:
                    seqno += 1
                    committable = executor.apply(TxID(view, seqno), entries[seqno - prev_idx - 1])
                if view > self.views.latest:
                    self.views.begin(view, first)
                self.last = seqno
                if committable:
                    self._committable_appended(seqno)
                    self._commit_if_possible(leader_commit)
        except PyccfError as e:
            self._forget_after(self.last)
            self._executor.report("fail", f"Entry {seqno} of {sender} is refused: {e.message}")
            # The entries before it are the leader's, and may be committed: a node that left learns
            # so that it may go, even if it cannot read what was written since.
            self._commit_if_possible(leader_commit)
            return False
        size = sum(map(len, entries[first - prev_idx - 1 :]))
        self._saw_entries(message.idx - first + 1, size)
        return True

    def _may_begin(self, view: View, seqno: SeqNo) -> bool:
        """Views ascend along a log, and only right after a signature.

        Before anything is committed a new leader keeps what is not signed (§5.5).
        """
        latest = self.views.latest
        if view == latest:
            return True
        return view > latest and (self.committed == 0 or seqno - 1 == self.lci())
