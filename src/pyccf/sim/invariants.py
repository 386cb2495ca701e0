"""The safety rules of consensus as functions of what replicas look like at one moment.

`check_state` judges it; what may happen from one moment to the next is `steps`. Both look at
`Replica` values only, so the scenario driver and the simulator share them. They say what is wrong
and never repair, and no rule knows how the engine works inside. Rules are named as in the
specification (consensus-cft.md §14.1), after CCF's TLA+ models. Pairs are compared only where
something changed, when told what changed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from itertools import pairwise

from pyccf.consensus.api import Leadership
from pyccf.sim.replicas import (
    ACTIVE,
    COMPLETED,
    ORDERED,
    RETIRED_COMMITTED,
    SIGNED,
    Found,
    Network,
    Nodes,
    Progress,
    Replica,
    Violation,
)
from pyccf.types import VIEW_MAX, NodeId, SeqNo, View

FIRST_VIEW = 2


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


def _quorum(n: int) -> int:
    return n // 2 + 1


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
