"""The safety rules of consensus as functions of what replicas look like.

`check_state` judges one moment, `check_step` one step from a moment to the next. Both look at
`Replica` values only, so the scenario driver and the simulator share them. They say what is wrong
and never repair, and no rule knows how the engine works inside. Rules are named as in the
specification (consensus-cft.md §14.1, §14.2), after CCF's TLA+ models.

Replicas that crashed are passed as they last were: a log that a dead machine held still counts for
the rules that speak of quorums, because the votes it gave were given.

A log entry carries a `chain` value that stands for itself and everything before it, so prefixes are
compared by looking at one place. Both functions compare only pairs in which something changed when
told what changed.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import msgspec

from pyccf.consensus.api import Leadership
from pyccf.consensus.raft import Raft
from pyccf.types import VIEW_MAX, NodeId, SeqNo, View

ACTIVE, ORDERED, SIGNED, COMPLETED, RETIRED_COMMITTED = (
    "Active",
    "Ordered",
    "Signed",
    "Completed",
    "RetiredCommitted",
)
"""Where a node stands in its life: Active or one of the phases of retirement."""

FIRST_VIEW = 2


class Item(NamedTuple):
    """One log entry as the rules see it."""

    view: View
    committable: bool
    chain: bytes
    """Equal in two logs at the same seqno exactly if everything up to there is equal."""


def chain(before: bytes, entry: bytes) -> bytes:
    """The `chain` of an entry after one whose chain is `before` (empty for the first)."""
    return hashlib.sha256(before + entry).digest()


class Nodes(NamedTuple):
    """Ids that an entry at `seqno` speaks of: a configuration or recorded retirements."""

    seqno: SeqNo
    ids: frozenset[NodeId]


class Progress(NamedTuple):
    """What a replica believes of a peer."""

    sent: SeqNo
    match: SeqNo


class Replica(msgspec.Struct, frozen=True):
    """One node's consensus state at one moment."""

    id: NodeId
    view: View
    committed: SeqNo
    leadership: Leadership
    phase: str
    """Active, or the phase of its retirement."""
    log: Sequence[Item]
    """Never changed once handed over."""
    configs: tuple[Nodes, ...]
    """Active configurations as the engine holds them, ascending."""
    reconfigurations: tuple[Nodes, ...]
    """Every configuration that stands in the log, ascending, as read from the entries."""
    recorded: tuple[Nodes, ...] = ()
    """Every entry that records retirements as committed, ascending."""
    voted_for: NodeId | None = None
    votes: frozenset[NodeId] = frozenset()
    """Who gave this candidate a vote."""
    peers: Mapping[NodeId, Progress] = {}
    first: SeqNo = 1
    """Seqno of log[0]; more than 1 for a log that begins at a snapshot (its own entry included)."""
    base: SeqNo = 0
    """Where this node began with a snapshot; its log is completed by what others have before."""

    @property
    def last(self) -> SeqNo:
        return self.first + len(self.log) - 1

    def item(self, seqno: SeqNo) -> Item | None:
        """The entry at `seqno`, None where this log has none."""
        at = seqno - self.first
        return self.log[at] if 0 <= at < len(self.log) else None

    def view_at(self, seqno: SeqNo) -> View:
        """View of an entry, 0 where there is none."""
        item = self.item(seqno)
        return item.view if item else 0

    def last_of(self, view: View) -> SeqNo:
        """Last seqno whose view is at most `view`; first - 1 if none. The log's views ascend."""
        return self.first - 1 + bisect_right(self.log, view, key=_view_of_item)

    def committable(self) -> SeqNo:
        """Last signature, or what is committed when none follows it."""
        for at in range(len(self.log) - 1, self.committed - self.first, -1):
            if self.log[at].committable:
                return self.first + at
        return self.committed

    def holds(self, other: Replica, seqno: SeqNo) -> bool:
        """Whether this log has everything the other has up to `seqno`."""
        if seqno < 1 or self is other:
            return True
        mine, theirs = self.item(seqno), other.item(seqno)
        if mine is None or theirs is None:
            # Below where a log begins there is nothing to compare: it came with a snapshot.
            return seqno < self.first if mine is None else seqno < other.first
        return mine.chain == theirs.chain


def _view_of_item(item: Item) -> View:
    return item.view


class Violation(NamedTuple):
    """A rule that does not hold, of whom and how."""

    rule: str
    nodes: tuple[NodeId, ...]
    text: str

    def __str__(self) -> str:
        return f"{self.rule} ({', '.join(self.nodes)}): {self.text}"


Found = Iterator[Violation]
Network = Mapping[NodeId, Replica]


def check_state(
    nodes: Network,
    in_flight: Iterable[tuple[NodeId, View]] = (),
    changed: Collection[NodeId] | None = None,
) -> list[Violation]:
    """What is wrong at this moment.

    `in_flight` are sender and view of messages under way. `changed` limits the look to these nodes
    and their pairs with all others; None looks at all.
    """
    out: list[Violation] = []
    touched = [r for r in nodes.values() if changed is None or r.id in changed]
    for rule in OF_ONE:
        for replica in touched:
            out.extend(rule(replica))
    for pair_rule in OF_TWO:
        for a in touched:
            for b in nodes.values():
                if a is not b:
                    out.extend(pair_rule(a, b))
                    if changed is not None and b.id not in changed:
                        out.extend(pair_rule(b, a))
    for all_rule in OF_ALL:
        out.extend(all_rule(nodes))
    out.extend(mono_term(nodes, in_flight))
    return out


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


def _quorum(n: int) -> int:
    return n // 2 + 1


def observe(
    engine: Raft,
    log: Sequence[Item],
    reconfigurations: Iterable[Nodes],
    recorded: Iterable[Nodes] = (),
    first: SeqNo = 1,
    base: SeqNo = 0,
) -> Replica:
    """An engine as the rules see it, with the log of the node around it.

    What the log holds comes from the ledger, not from the engine, so that the two are compared.
    """
    return Replica(
        id=engine.id,
        view=engine.view,
        committed=engine.committed,
        leadership=engine.leadership,
        phase=engine.phase.value if engine.phase else ACTIVE,
        log=log,
        configs=tuple(Nodes(c.idx, frozenset(c.nodes)) for c in engine.configs),
        reconfigurations=tuple(reconfigurations),
        recorded=tuple(recorded),
        voted_for=engine.voted_for,
        votes=frozenset(n for votes in engine.votes.values() for n in votes),
        peers={p.id: Progress(p.sent, p.match) for p in engine.peers.values()},
        first=first,
        base=base,
    )


# --- state, one replica (§14.1) -------------------------------------------------------------------


def signature(r: Replica) -> Found:
    """SignatureInv, CommitCommittableIndices: what is committed ends with a signature."""
    item = r.item(r.committed)
    if item is not None and not item.committable:
        yield Violation("SignatureInv", (r.id,), f"entry {r.committed} is committed, no signature")
    if r.committed > r.last:
        yield Violation(
            "CommitCommittableIndices", (r.id,), f"committed {r.committed} beyond last {r.last}"
        )


def mono_log(r: Replica) -> Found:
    """MonoLogInv: views ascend along the log, and only right after a signature.

    What is committed was looked at before it was, and cannot change.
    """
    if r.log and r.log[-1].view > r.view:
        yield Violation(
            "MonoLogInv", (r.id,), f"last entry has view {r.log[-1].view}, the node {r.view}"
        )
    for at in range(max(1, r.committed - r.first + 1), len(r.log)):
        a, b = r.log[at - 1], r.log[at]
        if b.view < a.view or (b.view > a.view and not a.committable):
            yield Violation(
                "MonoLogInv",
                (r.id,),
                f"view {a.view} at {r.first + at - 1} is followed by view {b.view}"
                + ("" if b.view < a.view else " without a signature"),
            )


def no_leader_before_initial_term(r: Replica) -> Found:
    """NoLeaderBeforeInitialTerm."""
    if r.leadership is Leadership.LEADER and r.view < FIRST_VIEW:
        yield Violation("NoLeaderBeforeInitialTerm", (r.id,), f"leader in view {r.view}")


def log_configuration_consistent(r: Replica) -> Found:
    """LogConfigurationConsistentInv: active are the last committed configuration and later ones."""
    expected = list(r.reconfigurations)
    while len(expected) > 1 and expected[1].seqno <= r.committed:
        expected.pop(0)
    begun = r.base and r.configs and r.configs[0].seqno <= r.base
    if begun and expected and expected[0].seqno <= r.configs[0].seqno:
        # A snapshot tells who decides, and when that was last looked at, not since when.
        expected[0] = Nodes(r.configs[0].seqno, expected[0].ids)
    if list(r.configs) != expected:
        yield Violation(
            "LogConfigurationConsistentInv",
            (r.id,),
            f"active {_draw(r.configs)}, the log says {_draw(expected)}",
        )


def removal(r: Replica, node_id: NodeId) -> SeqNo | None:
    """Where this log removes a node for good; None if it does not, or takes it back later."""
    at: SeqNo | None = None
    member = False
    for config in r.reconfigurations:
        if node_id in config.ids:
            member, at = True, None
        elif member and at is None:
            at = config.seqno
    return at


def _was_taken_back(r: Replica, node_id: NodeId) -> bool:
    """Whether an id was used again after its removal, which the rules of retirement exclude."""
    spans, inside = 0, False
    for config in r.reconfigurations:
        if node_id in config.ids and not inside:
            spans += 1
        inside = node_id in config.ids
    return spans > 1


def phase_in(r: Replica, node_id: NodeId) -> str:
    """The phase of a node's retirement as this log and its commit index tell."""
    at = removal(r, node_id)
    if at is None:
        return ACTIVE
    if any(x.seqno <= r.committed and node_id in x.ids for x in r.recorded):
        return RETIRED_COMMITTED
    if at <= r.committed:
        return COMPLETED
    return SIGNED if at <= r.committable() else ORDERED


def membership_state_consistent(r: Replica) -> Found:
    """MembershipStateConsistentInv: a node knows the phase of its own retirement."""
    if _was_taken_back(r, r.id):
        return
    expected = phase_in(r, r.id)
    if r.phase != expected:
        yield Violation(
            "MembershipStateConsistentInv", (r.id,), f"is {r.phase}, its log says {expected}"
        )
    if r.phase == RETIRED_COMMITTED and r.leadership in (
        Leadership.LEADER,
        Leadership.CANDIDATE,
        Leadership.PRE_VOTE_CANDIDATE,
    ):
        yield Violation(
            "MembershipStateConsistentInv",
            (r.id,),
            f"is {r.leadership.value} although its retirement is committed and recorded",
        )


def retired_committed(r: Replica) -> Found:
    """RetiredCommittedInv: a retirement is recorded only once it is committed."""
    for entry in r.recorded:
        for node_id in sorted(entry.ids):
            at = removal(r, node_id)
            if _was_taken_back(r, node_id):
                continue
            if at is None or at > entry.seqno or at > r.committed:
                yield Violation(
                    "RetiredCommittedInv",
                    (r.id,),
                    f"entry {entry.seqno} records the retirement of {node_id}, "
                    + ("which is not in the log" if at is None else f"ordered at {at}")
                    + f"; committed {r.committed}",
                )


def retirement_completed(r: Replica) -> Found:
    """RetirementCompletedNotInConfigsInv, and that retiring peers are still served (§2.2, §16.3).

    RetirementCompletedAreRetirementCompletedInv holds by the way the phase is computed here.
    """
    for node_id in sorted({n for c in r.reconfigurations for n in c.ids}):
        if phase_in(r, node_id) != COMPLETED or _was_taken_back(r, node_id):
            continue
        if any(node_id in c.ids for c in r.configs):
            yield Violation(
                "RetirementCompletedNotInConfigsInv",
                (r.id,),
                f"{node_id} has completed its retirement and is in an active configuration",
            )
        # A log that begins at a snapshot may never have known it as a peer.
        whole = r.first == 1 and not r.base
        if r.leadership is Leadership.LEADER and whole and node_id not in (r.id, *r.peers):
            yield Violation(
                "RetiredPeersRetained", (r.id,), f"{node_id} was dropped before it could know"
            )


def type_inv(r: Replica) -> Found:
    """TypeInv: every variable is of its kind and in its range."""
    wrong = [
        what
        for what, good in (
            ("view", 0 <= r.view <= VIEW_MAX),
            ("committed", r.committed >= 0),
            ("phase", r.phase in (ACTIVE, ORDERED, SIGNED, COMPLETED, RETIRED_COMMITTED)),
            ("configs", all(a.seqno < b.seqno for a, b in pairwise(r.configs))),
            ("peers", r.id not in r.peers),
            ("sent", all(0 <= p.sent <= r.last + 1 for p in _leads(r))),
            ("match", all(0 <= p.match <= r.last for p in _leads(r))),
        )
        if not good
    ]
    if wrong:
        yield Violation("TypeInv", (r.id,), f"out of range: {', '.join(wrong)}")


def _leads(r: Replica) -> Iterable[Progress]:
    return r.peers.values() if r.leadership is Leadership.LEADER else ()


def _draw(configs: Iterable[Nodes]) -> str:
    return " ".join(f"{c.seqno}:{{{','.join(sorted(c.ids))}}}" for c in configs) or "none"


OF_ONE: tuple[Callable[[Replica], Found], ...] = (
    type_inv,
    signature,
    mono_log,
    no_leader_before_initial_term,
    log_configuration_consistent,
    membership_state_consistent,
    retired_committed,
    retirement_completed,
)


# --- state, two replicas (§14.1) ------------------------------------------------------------------


def log_inv(a: Replica, b: Replica) -> Found:
    """LogInv: of two committed logs one is a prefix of the other."""
    upto = min(a.committed, b.committed)
    if not a.holds(b, upto):
        yield Violation("LogInv", (a.id, b.id), f"committed logs differ at or before {upto}")


def more_than_one_leader(a: Replica, b: Replica) -> Found:
    """MoreThanOneLeaderInv: a view has one leader."""
    if a.leadership is b.leadership is Leadership.LEADER and a.view == b.view:
        yield Violation("MoreThanOneLeaderInv", (a.id, b.id), f"both lead view {a.view}")


def election_safety(a: Replica, b: Replica) -> Found:
    """ElectionSafetyInv: nobody has more entries of a leader's view than the leader."""
    if a.leadership is not Leadership.LEADER:
        return
    theirs = b.last_of(a.view)
    if b.view_at(theirs) == a.view and theirs > a.last_of(a.view):
        yield Violation(
            "ElectionSafetyInv", (a.id, b.id), f"the other has {a.view}.{theirs}, the leader not"
        )


def log_matching(a: Replica, b: Replica) -> Found:
    """LogMatchingInv: the same view at the same seqno means the same log up to there."""
    floor = max(a.first, b.first)
    for seqno in range(min(a.last, b.last), floor - 1, -1):
        mine, theirs = a.log[seqno - a.first], b.log[seqno - b.first]
        if mine.view == theirs.view:
            if mine.chain != theirs.chain:
                yield Violation(
                    "LogMatchingInv", (a.id, b.id), f"two logs with {mine.view}.{seqno} differ"
                )
            return


def leader_completeness(a: Replica, b: Replica) -> Found:
    """LeaderCompletenessInv: a leader has what was committed in earlier views and its own.

    What a node in a later view committed may be of an earlier view and yet unknown to this leader,
    which then is none any more (figure 8 of the Raft paper).
    """
    if a.leadership is not Leadership.LEADER or b.view > a.view:
        return
    if not a.holds(b, b.committed):
        yield Violation(
            "LeaderCompletenessInv",
            (a.id, b.id),
            f"the leader of view {a.view} lacks what is committed up to {b.committed}",
        )


OF_TWO: tuple[Callable[[Replica, Replica], Found], ...] = (
    log_inv,
    more_than_one_leader,
    election_safety,
    log_matching,
    leader_completeness,
)


# --- state, all replicas (§14.1) ------------------------------------------------------------------


def _holders(r: Replica, config: Nodes, nodes: Network) -> int:
    """How many members of a configuration have what `r` has committed."""
    count = 0
    for node_id in config.ids:
        other = nodes.get(node_id)
        if other is not None and other.last >= r.committed and other.holds(r, r.committed):
            count += 1
    return count


def quorum_log(nodes: Network) -> Found:
    """QuorumLogInv: every quorum of a node's current configuration knows what it committed."""
    for r in nodes.values():
        if not r.configs or r.committed < max(1, r.configs[0].seqno):
            continue
        config = r.configs[0]
        without = len(config.ids) - _holders(r, config, nodes)
        if without >= _quorum(len(config.ids)):
            yield Violation(
                "QuorumLogInv",
                (r.id,),
                f"a quorum of {_draw((config,))} lacks what is committed up to {r.committed}",
            )


def replication(nodes: Network) -> Found:
    """ReplicationInv: the longest committed log is on a quorum of its newest configuration."""
    r = max(nodes.values(), key=lambda r: r.committed, default=None)
    if r is None or not r.configs or r.committed < max(1, r.configs[0].seqno):
        return
    config = r.configs[0]
    held = _holders(r, config, nodes)
    if held < _quorum(len(config.ids)):
        yield Violation(
            "ReplicationInv",
            (r.id,),
            f"only {held} of {_draw((config,))} have what is committed up to {r.committed}",
        )


def candidate_term_not_in_log(nodes: Network) -> Found:
    """CandidateTermNotInLogInv: nothing is ordered in a view that is about to be won."""
    for r in nodes.values():
        if r.leadership is not Leadership.CANDIDATE or not r.configs:
            continue
        voters = {n.id for n in nodes.values() if n.view == r.view and n.voted_for == r.id}
        if any(len(voters & c.ids) < _quorum(len(c.ids)) for c in r.configs):
            continue
        for other in nodes.values():
            if other.view_at(other.last_of(r.view)) == r.view:
                yield Violation(
                    "CandidateTermNotInLogInv",
                    (r.id, other.id),
                    f"view {r.view} can be won by the one and is in the log of the other",
                )


OF_ALL: tuple[Callable[[Network], Found], ...] = (
    quorum_log,
    replication,
    candidate_term_not_in_log,
)


def mono_term(nodes: Network, in_flight: Iterable[tuple[NodeId, View]]) -> Found:
    """MonoTermInv: nobody sends a view that it has not reached."""
    for sender, view in in_flight:
        replica = nodes.get(sender)
        if replica is not None and view > replica.view:
            yield Violation(
                "MonoTermInv", (sender,), f"sent view {view}, is in view {replica.view}"
            )


# --- steps (§14.2) --------------------------------------------------------------------------------


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
