"""When entries become final (spec: consensus-cft.md §6, §7.1, §7.2)."""

from __future__ import annotations

from pyccf.consensus.api import Leadership
from pyccf.consensus.raft.membership import Membership
from pyccf.consensus.raft.state import Configuration, Phase
from pyccf.types import SeqNo


class Commit(Membership):
    """A replica that can commit."""

    # --- as leader ------------------------------------------------------------------------------

    def _own_progress(self) -> SeqNo:
        """Stricter than CCF: what is not on this disk is not counted."""
        return self.disk

    def _agreed_in(self, config: Configuration) -> SeqNo:
        """Up to where a majority of one configuration agrees."""
        peers = self.peers
        own = self.id
        progress = [
            self._own_progress() if n == own else peers[n].match if n in peers else 0
            for n in config.nodes
        ]
        progress.sort()
        return progress[len(progress) - config.quorum] if progress else 0

    def _agreed_index(self) -> SeqNo:
        """Up to where a majority of every active configuration agrees (§7.1, §9.2)."""
        return min((self._agreed_in(config) for config in self.configs), default=0)

    def _commit_allowed(self, seqno: SeqNo) -> bool:
        """A leader commits by a signature of its own view only; older ones follow with it."""
        return self.term_of(seqno) == self.view

    def _update_commit(self) -> None:
        """Commit what is agreed on, as leader (§7.1)."""
        if not self.committable:
            return
        agreed = self._agreed_index()
        assert agreed <= self.last, "nobody has more of the leader's log than the leader"
        if agreed < self.committable[0]:
            return
        seqno = self._highest_committable(agreed)
        if seqno is not None and self._commit_allowed(seqno):
            self._commit(seqno)

    def persisted(self, seqno: SeqNo) -> None:
        """This node's ledger holds all entries up to `seqno`."""
        assert seqno <= self.last, "the disk cannot hold what was not ordered"
        if seqno > self.disk:
            self.disk = seqno
            if self.leadership is Leadership.LEADER:
                self._update_commit()

    # --- as follower ----------------------------------------------------------------------------

    def _commit_if_possible(self, seqno: SeqNo) -> None:
        """Commit what a leader says is committed, as far as it is here (§6).

        `seqno` may lie beyond what is here.
        """
        if seqno > self.committed and self.term_of(seqno) <= self.view:
            found = self._highest_committable(seqno)
            if found is not None:
                self._commit(found)

    # --- both -----------------------------------------------------------------------------------

    def _commit(self, seqno: SeqNo) -> None:
        """Everything up to this signature is final (§7.2)."""
        if seqno <= self.committed:
            return
        assert seqno <= self.last, "only what is in the log can be committed"
        committable = self.committable
        while committable and committable[0] <= seqno:
            committable.popleft()
        self.committed = seqno
        signed = self.retirement_committable_idx
        if self.phase is Phase.SIGNED and signed is not None and signed <= seqno:
            self.phase = Phase.COMPLETED
        self._executor.compact(seqno)
        if self._drop_configurations() and self.leadership is Leadership.LEADER:
            self._executor.tidy_retired()
