"""The safety rules of consensus for a step from one moment to the next.

Named as in the specification (consensus-cft.md §14.2), after CCF's TLA+ models; what a moment must
be like is `invariants`. They say what is wrong and never repair.
"""

from __future__ import annotations

from collections.abc import Callable

from pyccf.consensus.api import Leadership
from pyccf.sim.replicas import (
    ACTIVE,
    COMPLETED,
    RETIRED_COMMITTED,
    Found,
    Network,
    Replica,
    Violation,
)


def check_step(before: Network, after: Network) -> list[Violation]:
    """What is wrong about the step from one moment to the next.

    Nodes that are new in `after`, or the same object in both, did not take part.
    """
    out: list[Violation] = []
    for node_id, now in after.items():
        was = before.get(node_id)
        if was is None or was is now:
            continue
        for rule in OF_STEP:
            out.extend(rule(was, now))
        out.extend(refinement_to_abs(was, now, before))
    return out


def committed_log_append_only(was: Replica, now: Replica) -> Found:
    """CommittedLogAppendOnlyProp."""
    if now.committed < was.committed or not now.holds(was, was.committed):
        yield Violation(
            "CommittedLogAppendOnlyProp",
            (now.id,),
            f"committed {was.committed}, now {now.committed}, and not an extension",
        )


def monotonic_term(was: Replica, now: Replica) -> Found:
    """MonotonicTermProp."""
    if now.view < was.view:
        yield Violation("MonotonicTermProp", (now.id,), f"view {was.view} became {now.view}")


def _leads_on(was: Replica, now: Replica) -> bool:
    return was.leadership is now.leadership is Leadership.LEADER and was.view == now.view


def monotonic_match_index(was: Replica, now: Replica) -> Found:
    """MonotonicMatchIndexProp: what a peer confirmed stays confirmed while one leads."""
    if not _leads_on(was, now):
        return
    for peer, before in was.peers.items():
        after = now.peers.get(peer)
        if after is not None and after.match < before.match:
            yield Violation(
                "MonotonicMatchIndexProp",
                (now.id, peer),
                f"match {before.match} became {after.match}",
            )


def permitted_log_changes(was: Replica, now: Replica) -> Found:
    """PermittedLogChangesProp: who may change its log, and how.

    A node that becomes leader cuts its log to the last signature; a step of a whole node may go on
    and order entries in the new view.
    """
    if was.last == now.last and now.holds(was, was.last):
        return
    if now.leadership in (Leadership.NONE, Leadership.FOLLOWER):
        return
    if now.leadership is Leadership.LEADER:
        kept = was.last if _leads_on(was, now) else was.committable()
        if (
            now.last >= kept
            and now.holds(was, kept)
            and all(now.view_at(s) == now.view for s in range(kept + 1, now.last + 1))
        ):
            return
    yield Violation(
        "PermittedLogChangesProp",
        (now.id,),
        f"the log of a {now.leadership.value} went from {was.view_at(was.last)}.{was.last}"
        f" to {now.view_at(now.last)}.{now.last}",
    )


_N, _F, _P, _C, _L = (
    Leadership.NONE,
    Leadership.FOLLOWER,
    Leadership.PRE_VOTE_CANDIDATE,
    Leadership.CANDIDATE,
    Leadership.LEADER,
)
TRANSITIONS: dict[Leadership, frozenset[Leadership]] = {
    _N: frozenset((_N, _F)),
    _F: frozenset((_F, _P, _C)),
    _P: frozenset((_F, _P, _C)),
    _C: frozenset((_F, _P, _C, _L)),
    _L: frozenset((_F, _L)),
}
"""What a role may become in one step."""


def state_transitions(was: Replica, now: Replica) -> Found:
    """StateTransitionsProp. A node that is a quorum by itself wins in the step in which it stands.

    Whose retirement is committed and recorded has no role.
    """
    if now.leadership in TRANSITIONS[was.leadership]:
        return
    if now.leadership is Leadership.NONE and now.phase == RETIRED_COMMITTED:
        return
    alone = bool(was.configs) and all(c.ids == {was.id} for c in was.configs)
    if alone and was.leadership is not Leadership.NONE:
        return
    yield Violation(
        "StateTransitionsProp", (now.id,), f"{was.leadership.value} became {now.leadership.value}"
    )


def membership_state_transitions(was: Replica, now: Replica) -> Found:
    """MembershipStateTransitionsProp: what is committed of a retirement stays."""
    if was.phase in (COMPLETED, RETIRED_COMMITTED) and now.phase not in (
        was.phase,
        RETIRED_COMMITTED,
    ):
        yield Violation("MembershipStateTransitionsProp", (now.id,), f"{was.phase} → {now.phase}")


def pending_becomes_follower(was: Replica, now: Replica) -> Found:
    """PendingBecomesFollowerProp: who finds itself in a configuration takes part from then on."""
    if (
        was.leadership is now.leadership is Leadership.NONE
        and now.phase == ACTIVE
        and any(now.id in c.ids for c in now.configs)
    ):
        yield Violation("PendingBecomesFollowerProp", (now.id,), "is in a configuration, no role")


def never_commit_entry_prev_terms(was: Replica, now: Replica) -> Found:
    """NeverCommitEntryPrevTermsProp: a leader commits by an entry of its own view."""
    if _leads_on(was, now) and now.committed > was.committed:
        view = now.view_at(now.committed)
        if view != now.view:
            yield Violation(
                "NeverCommitEntryPrevTermsProp",
                (now.id,),
                f"the leader of view {now.view} committed {view}.{now.committed}",
            )


def votes_granted_monotonic(was: Replica, now: Replica) -> Found:
    """VotesGrantedMonotonicProp: votes of one candidacy are not lost."""
    if (
        was.leadership is now.leadership
        and was.leadership in (Leadership.CANDIDATE, Leadership.PRE_VOTE_CANDIDATE)
        and was.view == now.view
        and not was.votes <= now.votes
        # A pre-vote candidate whose time ran out asks again, in the same view.
        and not (now.leadership is Leadership.PRE_VOTE_CANDIDATE and now.votes <= {now.id})
    ):
        lost = ", ".join(sorted(was.votes - now.votes))
        yield Violation("VotesGrantedMonotonicProp", (now.id,), f"votes of {lost} were lost")


def refinement_to_abs(was: Replica, now: Replica, before: Network) -> Found:
    """RefinementToAbsProp: a committed log grows along the longest one or extends it."""
    if now.committed <= was.committed:
        return
    longest = max(before.values(), key=lambda r: r.committed)
    if not now.holds(longest, min(now.committed, longest.committed)):
        yield Violation(
            "RefinementToAbsProp",
            (now.id, longest.id),
            f"committed up to {now.committed} along another log than the longest",
        )


OF_STEP: tuple[Callable[[Replica, Replica], Found], ...] = (
    committed_log_append_only,
    monotonic_term,
    monotonic_match_index,
    permitted_log_changes,
    state_transitions,
    membership_state_transitions,
    pending_becomes_follower,
    never_commit_entry_prev_terms,
    votes_granted_monotonic,
)
