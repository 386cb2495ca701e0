"""Every safety rule can fail: for each there is a network, or a step, that breaks it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pyccf.consensus.api import Leadership
from pyccf.sim.invariants import check_state, phase_in
from pyccf.sim.replicas import (
    COMPLETED,
    ORDERED,
    RETIRED_COMMITTED,
    SIGNED,
    Item,
    Nodes,
    Progress,
    Replica,
    chain,
)
from pyccf.sim.steps import check_step

ALL = frozenset("abc")
FIRST = Nodes(1, ALL)


def log(*entries: str) -> tuple[Item, ...]:
    """Entries as view, letter and `*` for a signature: 2x 2y* 3z."""
    out: list[Item] = []
    before = b""
    for text in entries:
        before = chain(before, text.encode())
        out.append(Item(int(text[0]), text.endswith("*"), before))
    return tuple(out)


LOG = log("2c", "2s*", "2x", "2t*")


def node(name: str, **changes: Any) -> Replica:
    """A follower in view 2 that has committed 2 of the four entries of LOG."""
    plain = Replica(
        id=name,
        view=2,
        committed=2,
        leadership=Leadership.FOLLOWER,
        phase="Active",
        log=LOG,
        configs=(FIRST,),
        reconfigurations=(FIRST,),
        peers={n: Progress(4, 2) for n in sorted(ALL - {name})},
    )
    return msgspec.structs.replace(plain, **changes)


LEADS = Leadership.LEADER


def network(**changes: dict[str, Any]) -> dict[str, Replica]:
    nodes = {"a": node("a", leadership=LEADS), "b": node("b"), "c": node("c")}
    for name, change in changes.items():
        nodes[name] = msgspec.structs.replace(nodes[name], **change)
    return nodes


def broken(nodes: dict[str, Replica], **more: Any) -> set[str]:
    return {v.rule for v in check_state(nodes, **more)}


def test_a_sound_network_breaks_no_rule() -> None:
    assert check_state(network(), in_flight=[("a", 2), ("b", 1)]) == []


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("LogInv", {"b": {"log": log("2c", "2o*", "2x", "2t*")}}),
        ("MoreThanOneLeaderInv", {"b": {"leadership": LEADS}}),
        (
            "CandidateTermNotInLogInv",
            {
                "a": {"log": (*LOG, *log("3z")[:1]), "view": 3, "leadership": LEADS},
                "b": {"view": 3, "voted_for": "b", "leadership": Leadership.CANDIDATE},
                "c": {"view": 3, "voted_for": "b"},
            },
        ),
        ("ElectionSafetyInv", {"b": {"log": (*LOG, Item(2, False, b"more"))}}),
        ("LogMatchingInv", {"b": {"log": log("2c", "2s*", "2y", "2t*")}}),
        (
            "QuorumLogInv",
            {"b": {"log": LOG[:1], "committed": 0}, "c": {"log": LOG[:1], "committed": 0}},
        ),
        ("ReplicationInv", {"a": {"committed": 4}, "b": {"log": LOG[:2]}, "c": {"log": LOG[:2]}}),
        (
            "LeaderCompletenessInv",
            {"a": {"log": LOG[:2], "view": 3}, "b": {"committed": 4}, "c": {"committed": 4}},
        ),
        ("SignatureInv", {"b": {"committed": 3}}),
        ("CommitCommittableIndices", {"b": {"committed": 9}}),
        ("MonoLogInv", {"b": {"view": 1}}),
        ("MonoLogInv", {"b": {"log": log("2c", "2s*", "2x", "1t*")}}),
        ("MonoLogInv", {"b": {"log": log("2c", "2s*", "2x", "3t*"), "view": 3}}),
        ("NoLeaderBeforeInitialTerm", {"a": {"view": 1, "log": ()}}),
        ("LogConfigurationConsistentInv", {"b": {"configs": (Nodes(1, frozenset("ab")),)}}),
        ("LogConfigurationConsistentInv", {"b": {"configs": (FIRST, Nodes(3, frozenset("ab")))}}),
        ("LogConfigurationConsistentInv", {"b": {"configs": ()}}),
        ("MembershipStateConsistentInv", {"b": {"phase": ORDERED}}),
        ("TypeInv", {"b": {"view": -1}}),
        ("TypeInv", {"b": {"phase": "Gone"}}),
        ("TypeInv", {"a": {"peers": {"b": Progress(4, 5)}}}),
    ],
)
def test_a_state_that_breaks_a_rule(rule: str, changes: dict[str, dict[str, Any]]) -> None:
    assert rule in broken(network(**changes))
    assert rule in broken(network(**changes), changed=set(changes))


def test_a_view_that_was_not_reached_cannot_be_sent() -> None:
    assert broken(network(), in_flight=[("a", 3)]) == {"MonoTermInv"}


def test_a_leader_that_is_behind_is_not_blamed_for_what_it_cannot_know() -> None:
    nodes = network(
        a={"log": LOG[:2]}, b={"view": 3, "committed": 4}, c={"view": 3, "committed": 4}
    )
    assert "LeaderCompletenessInv" not in broken(nodes)


# --- retirement -----------------------------------------------------------------------------------

WITHOUT_B = Nodes(3, frozenset("ac"))


def retiring(**changes: Any) -> Replica:
    """`b`, whose removal at 3 is signed at 4."""
    plain = node("b", phase=SIGNED, configs=(FIRST, WITHOUT_B), reconfigurations=(FIRST, WITHOUT_B))
    return msgspec.structs.replace(plain, **changes)


@pytest.mark.parametrize(
    ("phase", "changes"),
    [
        (ORDERED, {"log": LOG[:3]}),
        (SIGNED, {}),
        (COMPLETED, {"committed": 4}),
        (COMPLETED, {"committed": 4, "recorded": (Nodes(5, frozenset("b")),)}),
        (
            RETIRED_COMMITTED,
            {
                "log": (*LOG, *log("2r", "2s*")),
                "committed": 6,
                "recorded": (Nodes(5, frozenset("b")),),
            },
        ),
    ],
)
def test_the_phase_that_a_log_tells(phase: str, changes: dict[str, Any]) -> None:
    assert phase_in(retiring(**changes), "b") == phase


def test_a_node_that_takes_its_retirement_for_done_too_early() -> None:
    assert "MembershipStateConsistentInv" in broken({"b": retiring(phase=COMPLETED)})


def test_a_node_that_leads_after_it_left() -> None:
    gone = retiring(
        log=(*LOG, *log("2r", "2s*")),
        committed=6,
        configs=(WITHOUT_B,),
        recorded=(Nodes(5, frozenset("b")),),
        phase=RETIRED_COMMITTED,
        leadership=LEADS,
    )
    assert "MembershipStateConsistentInv" in broken({"b": gone})


def test_a_retirement_that_is_recorded_before_it_is_committed() -> None:
    early = retiring(recorded=(Nodes(4, frozenset("b")),))
    assert "RetiredCommittedInv" in broken({"b": early})
    never = node("a", recorded=(Nodes(3, frozenset("b")),))
    assert "RetiredCommittedInv" in broken({"a": never})


def test_a_node_that_left_and_still_decides() -> None:
    stuck = retiring(committed=4, phase=COMPLETED)
    assert "RetirementCompletedNotInConfigsInv" in broken({"b": stuck})


def test_a_leader_that_drops_a_node_before_it_can_know() -> None:
    forgetful = node(
        "a",
        leadership=LEADS,
        committed=4,
        configs=(WITHOUT_B,),
        reconfigurations=(FIRST, WITHOUT_B),
        peers={"c": Progress(4, 4)},
    )
    assert "RetiredPeersRetained" in broken({"a": forgetful})


# --- steps ----------------------------------------------------------------------------------------


def steps(was: Replica, now: Replica, *others: Replica) -> set[str]:
    rest = {r.id: r for r in others}
    return {v.rule for v in check_step({was.id: was, **rest}, {now.id: now, **rest})}


def test_a_step_that_breaks_no_rule() -> None:
    assert steps(node("b"), node("b", committed=4)) == set()


def test_a_node_that_did_not_move_is_not_looked_at() -> None:
    wrong = node("b", committed=3)
    assert check_step({"b": wrong}, {"b": wrong}) == []


CANDIDATE = Leadership.CANDIDATE
PRE = Leadership.PRE_VOTE_CANDIDATE
NONE = Leadership.NONE


@pytest.mark.parametrize(
    ("rule", "was", "now"),
    [
        ("CommittedLogAppendOnlyProp", {"committed": 4}, {}),
        ("CommittedLogAppendOnlyProp", {}, {"log": log("2c", "2o*", "2x", "2t*")}),
        ("MonotonicTermProp", {"view": 3}, {}),
        (
            "MonotonicMatchIndexProp",
            {"leadership": LEADS},
            {"leadership": LEADS, "peers": {"a": Progress(4, 1), "c": Progress(4, 2)}},
        ),
        ("PermittedLogChangesProp", {"leadership": LEADS}, {"leadership": LEADS, "log": LOG[:3]}),
        (
            "PermittedLogChangesProp",
            {"leadership": LEADS},
            {"leadership": LEADS, "log": (*LOG, Item(1, False, b"old"))},
        ),
        ("PermittedLogChangesProp", {}, {"leadership": CANDIDATE, "log": LOG[:2]}),
        (
            "PermittedLogChangesProp",
            {"leadership": CANDIDATE, "view": 3},
            {"leadership": LEADS, "view": 3, "log": LOG[:2]},
        ),
        ("StateTransitionsProp", {}, {"leadership": LEADS}),
        ("StateTransitionsProp", {"leadership": LEADS}, {"leadership": CANDIDATE, "view": 3}),
        ("StateTransitionsProp", {"leadership": NONE}, {"leadership": CANDIDATE}),
        ("StateTransitionsProp", {"leadership": LEADS}, {"leadership": NONE}),
        ("MembershipStateTransitionsProp", {"phase": RETIRED_COMMITTED}, {"phase": COMPLETED}),
        ("MembershipStateTransitionsProp", {"phase": COMPLETED}, {"phase": SIGNED}),
        ("PendingBecomesFollowerProp", {"leadership": NONE}, {"leadership": NONE}),
        (
            "NeverCommitEntryPrevTermsProp",
            {"leadership": LEADS, "view": 3},
            {"leadership": LEADS, "view": 3, "committed": 4},
        ),
        (
            "VotesGrantedMonotonicProp",
            {"leadership": CANDIDATE, "votes": frozenset("bc")},
            {"leadership": CANDIDATE, "votes": frozenset("b")},
        ),
    ],
)
def test_a_step_that_breaks_a_rule(rule: str, was: dict[str, Any], now: dict[str, Any]) -> None:
    assert rule in steps(node("b", **was), node("b", **now))


def test_a_pre_vote_candidate_may_ask_anew() -> None:
    was = node("b", leadership=PRE, votes=frozenset("bc"))
    assert steps(was, node("b", leadership=PRE, votes=frozenset("b"))) == set()


def test_committed_logs_grow_along_the_longest() -> None:
    longest = node("c", committed=4)
    other = node("b", committed=4, log=log("2c", "2s*", "2y", "2t*"))
    assert "RefinementToAbsProp" in steps(node("b"), other, longest)


def test_a_log_may_begin_at_a_snapshot() -> None:
    joined = node("b", log=LOG[1:], first=2)
    assert check_state(network() | {"b": joined}) == []
    assert joined.holds(node("a"), 4)
    assert "LogInv" in broken(network() | {"b": node("b", log=log("2o*", "2x", "2t*"), first=2)})
