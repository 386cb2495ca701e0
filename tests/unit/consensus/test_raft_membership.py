"""Configurations and retirement: consensus-cft.md §9; roll-back of both: §8.9."""

from __future__ import annotations

from pyccf.consensus.api import Leadership
from pyccf.consensus.raft import (
    AppendEntries,
    Phase,
    ProposeRequestVote,
    RequestVoteResponse,
)
from pyccf.sim.stub import RECONFIGURATION, RETIRED_COMMITTED, StubNode
from support.raft import (
    ELECTION_TIMEOUT,
    HEARTBEAT,
    ack,
    append,
    entry,
    follower,
    leader,
    phase,
    replica,
    role,
    take,
    vote,
)


def confirmed(node: StubNode, *peers: str) -> None:
    for peer in peers:
        ack(node, peer, node.raft.last)


# --- configurations (§9.1, §9.2) ------------------------------------------------------------------


def test_a_newcomer_is_greeted_before_the_log_grows() -> None:
    node = leader("a b")
    node.raft.configure(5, {"me": "", "a": "", "b": "", "c": "host:1"})
    assert take(node) == [("c", AppendEntries(2, 4, 4, 2, 4, 2))]
    peer = node.raft.peers["c"]
    assert (peer.sent, peer.match, peer.address) == (4, 0, "host:1")


def test_a_backup_greets_nobody() -> None:
    node = follower()
    node.raft.configure(3, {"me": "", "l": "", "o": "", "n": ""})
    assert take(node) == []
    assert node.raft.peers["n"].sent == 3


def test_the_same_nodes_again_are_no_new_configuration() -> None:
    node = leader("a b")
    node.raft.configure(5, {"me": "", "a": "", "b": ""})
    assert [c.idx for c in node.raft.configs] == [3]


def test_several_configurations_may_be_pending() -> None:
    node = leader("a b")
    for nodes in (("me", "a", "b", "c"), ("me", "a", "c"), ("me", "c")):
        node.order("", kind=RECONFIGURATION, nodes=nodes)
    assert [c.idx for c in node.raft.configs] == [3, 5, 6, 7]
    assert sorted(node.raft.nodes()) == ["c", "me"]


def test_commit_ends_the_configurations_before_and_asks_for_a_clean_up() -> None:
    node = leader("a b")
    asked: list[int] = []
    node.tidy_retired = lambda: asked.append(node.raft.committed)  # type: ignore[method-assign]
    node.order("", kind=RECONFIGURATION, nodes=("me", "a", "c"))
    node.order("", committable=True)
    assert asked == []
    confirmed(node, "a")
    assert [c.idx for c in node.raft.configs] == [5]
    assert asked == [6]


def test_a_new_leader_asks_for_a_clean_up() -> None:
    node = follower()
    asked: list[int] = []
    node.tidy_retired = lambda: asked.append(node.raft.view)  # type: ignore[method-assign]
    node.raft.tick(ELECTION_TIMEOUT)
    node.raft.handle("o", RequestVoteResponse(3, True, vote(3, (2, 2)).election_type))
    assert asked == [3]


def test_rollback_takes_configurations_back() -> None:
    node = leader("a b")
    node.order("", kind=RECONFIGURATION, nodes=("me", "a", "c"))
    node.raft.handle("a", append(3, (2, 4)))
    assert [c.idx for c in node.raft.configs] == [3]
    assert sorted(node.raft.nodes()) == ["a", "b", "me"]


# --- retirement (§9.3) ----------------------------------------------------------------------------


def test_phases_of_the_retirement_of_a_primary() -> None:
    node = leader("a b")
    assert phase(node) is None
    node.order("", kind=RECONFIGURATION, nodes=("a", "b"))
    assert phase(node) is Phase.ORDERED
    node.order("", committable=True)
    assert phase(node) is Phase.SIGNED
    confirmed(node, "a")
    assert phase(node) is Phase.SIGNED, "the new configuration has not agreed"
    confirmed(node, "b")
    assert phase(node) is Phase.COMPLETED
    assert node.raft.can_replicate, "it leads on, to record its retirement"


def completed() -> StubNode:
    """A primary whose retirement is committed, and not yet recorded as such."""
    node = leader("a b")
    node.order("", kind=RECONFIGURATION, nodes=("a", "b"))
    node.order("", committable=True)
    confirmed(node, "a", "b")
    take(node)
    return node


def test_a_primary_that_left_names_a_successor_and_stops() -> None:
    node = completed()
    node.order("", kind=RETIRED_COMMITTED, nodes=("me",))
    node.order("", committable=True)
    node.raft.flush()
    take(node)
    confirmed(node, "b")
    assert phase(node) is Phase.COMPLETED
    confirmed(node, "a")
    assert phase(node) is Phase.RETIRED_COMMITTED
    assert take(node) == [("a", ProposeRequestVote(2))]
    assert role(node.raft) is Leadership.NONE
    assert (node.raft.leader, node.raft.can_replicate) == (None, False)
    assert node.raft.retired_committed_idx == 8


def test_who_left_for_good_never_stands_and_sends_no_heartbeats() -> None:
    node = completed()
    node.order("", kind=RETIRED_COMMITTED, nodes=("me",))
    node.order("", committable=True)
    confirmed(node, "a", "b")
    take(node)
    for _ in range(20):
        node.raft.tick(ELECTION_TIMEOUT)
    node.raft.handle("a", ProposeRequestVote(2))
    assert take(node) == []
    assert role(node.raft) is Leadership.NONE


def test_who_left_for_good_still_answers() -> None:
    node = completed()
    node.order("", kind=RETIRED_COMMITTED, nodes=("me",))
    node.order("", committable=True)
    confirmed(node, "a", "b")
    take(node)
    node.raft.handle("a", vote(3, (2, 8)))
    node.raft.handle("a", append(3, (2, 8), entry(3, 9)))
    assert len(take(node)) == 2
    assert role(node.raft) is Leadership.FOLLOWER
    node.raft.tick(ELECTION_TIMEOUT)
    assert role(node.raft) is Leadership.FOLLOWER


def test_a_peer_that_left_is_spoken_to_until_that_is_recorded() -> None:
    node = leader("a b")
    node.order("", kind=RECONFIGURATION, nodes=("me", "a"))
    node.order("", committable=True)
    confirmed(node, "a")
    take(node)
    node.raft.tick(HEARTBEAT)
    assert "b" in dict(take(node))
    node.order("", kind=RETIRED_COMMITTED, nodes=("b",))
    node.order("", committable=True)
    confirmed(node, "a")
    take(node)
    node.raft.tick(HEARTBEAT)
    assert "b" not in dict(take(node))


def test_a_peer_that_left_is_told_so_once() -> None:
    node = leader("a b")
    node.order("", kind=RECONFIGURATION, nodes=("me", "a"))
    node.order("", committable=True)
    confirmed(node, "a")
    node.order("", kind=RETIRED_COMMITTED, nodes=("b",))
    node.order("", committable=True)
    node.raft.flush()
    confirmed(node, "a")
    take(node)
    node.raft.flush()
    assert dict(take(node))["b"] == AppendEntries(2, 8, 8, 2, 8, 2)
    node.order("x")
    node.raft.flush()
    assert "b" not in dict(take(node))


def test_a_retirement_that_is_not_committed_cannot_be_final() -> None:
    node = leader("a b")
    node.raft.retired_committed(4, ["me"])
    assert phase(node) is None
    assert node.raft.can_replicate
    assert node.reports[-1][0] == "fail"


def test_who_begins_with_a_snapshot_may_be_retired_in_it() -> None:
    node = replica()
    node.raft.join(2, 6, [1, 1])
    node.raft.configure(6, {"a": "", "b": ""})
    node.raft.retired_before(4)
    assert phase(node) is Phase.COMPLETED
    assert node.raft.retirement_idx == 4
    node.raft.retired_committed(8, ["me"])
    assert phase(node) is Phase.RETIRED_COMMITTED


def test_rollback_takes_a_retirement_back() -> None:
    node = follower()
    node.raft.handle("l", append(2, (2, 2), entry(2, 3, nodes="l o"), entry(2, 4, signature=True)))
    assert phase(node) is Phase.SIGNED
    node.raft.handle("o", append(3, (2, 2), entry(3, 3), entry(3, 4, signature=True)))
    assert phase(node) is None
    assert (node.raft.retirement_idx, node.raft.retirement_committable_idx) == (None, None)


def test_rollback_to_between_order_and_signature_leaves_the_retirement_ordered() -> None:
    node = follower()
    node.raft.handle(
        "l", append(2, (2, 2), entry(2, 3, nodes="l o"), entry(2, 4), entry(2, 5, signature=True))
    )
    node.raft._forget_after(4)
    assert phase(node) is Phase.ORDERED
    assert node.raft.retirement_idx == 3


def test_what_is_committed_is_never_undone() -> None:
    node = completed()
    node.raft._rollback(3)
    assert node.raft.last == 6
    assert phase(node) is Phase.COMPLETED
    assert "committed" in node.reports[-1][1]


# --- what operators see (§12.5) -------------------------------------------------------------------


def test_details() -> None:
    node = leader("a b")
    node.raft.tick(7)
    assert node.raft.details() == {
        "acks": {
            "a": {"last_received_ms": 7, "seqno": 4},
            "b": {"last_received_ms": 7, "seqno": 4},
        },
        "configs": [
            {
                "idx": 3,
                "nodes": {"a": {"address": ""}, "b": {"address": ""}, "me": {"address": ""}},
                "rid": 3,
            }
        ],
        "current_view": 2,
        "leadership_state": "Leader",
        "membership_state": "Active",
        "primary_id": "me",
        "reconfiguration_type": "OneTransaction",
        "ticking": True,
    }


def test_details_of_a_node_that_leaves() -> None:
    details = completed().raft.details()
    assert details["membership_state"] == "Retired"
    assert details["retirement_phase"] == "Completed"
