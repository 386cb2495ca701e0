"""Stepping down: how a replica becomes a follower, in its view or in a newer one."""

from __future__ import annotations

from pyccf.consensus.api import Leadership
from pyccf.consensus.raft.state import State
from pyccf.types import View


class Roles(State):
    """A replica that can follow."""

    def _become_follower(self) -> None:
        """Follow in the same view; unsigned entries are undone (spec: consensus-cft.md §8.6)."""
        self.leader = None
        self._restart_election_timer()
        self._reset_acks()
        self.leadership = Leadership.FOLLOWER
        self.should_sign = False
        self._rollback(self.lci())

    def _become_aware_of_new_term(self, view: View) -> None:
        """Somebody is in a newer view, or leads the one we stand in (§8.7)."""
        self.view = view
        self.voted_for = None
        self.votes.clear()
        self._become_follower()
        self.is_new_follower = True
