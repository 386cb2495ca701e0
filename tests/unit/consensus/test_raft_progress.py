"""AppendEntriesResponse as a leader takes it (consensus-cft.md §7), commit, CheckQuorum (§10)."""

from __future__ import annotations

import pytest

from pyccf.consensus.api import Leadership
from pyccf.consensus.raft import (
    AppendEntries,
    AppendEntriesResponse,
    ElectionType,
    RequestVoteResponse,
)
from pyccf.sim.stub import RECONFIGURATION, StubNode
from support.raft import ELECTION_TIMEOUT, HEARTBEAT, ack, follower, leader, nack, role, take

_REGULAR = ElectionType.REGULAR_VOTE


def peer(node: StubNode, name: str) -> tuple[int, int]:
    found = node.raft.peers[name]
    return found.sent, found.match


def signed(node: StubNode) -> int:
    """Order an entry and a signature; the signature's seqno."""
    node.order("x")
    return node.order("", committable=True).seqno


# --- rules ----------------------------------------------------------------------------------------


def test_1_an_unknown_node_is_ignored() -> None:
    node = leader("a b")
    node.raft.handle("stranger", AppendEntriesResponse(9, 4, True))
    assert node.raft.view == 2
    assert "unknown node" in node.reports[-1][1]


def test_2_who_does_not_lead_ignores_answers() -> None:
    node = follower()
    before = node.observe()
    node.raft.handle("o", AppendEntriesResponse(9, 2, True))
    assert node.observe() == before


@pytest.mark.parametrize("success", [True, False])
def test_3_any_answer_is_a_sign_of_life(success: bool) -> None:
    node = leader("a b")
    node.raft.tick(50)
    assert node.raft.peers["a"].last_ack == 50
    node.raft.handle("a", AppendEntriesResponse(2, 4, success))
    assert node.raft.peers["a"].last_ack == 0
    assert node.raft.peers["b"].last_ack == 50


@pytest.mark.parametrize("success", [True, False])
def test_4_a_newer_view_ends_the_leadership(success: bool) -> None:
    node = leader("a b")
    node.raft.handle("a", AppendEntriesResponse(3, 4, success))
    assert role(node.raft) is Leadership.FOLLOWER
    assert node.raft.view == 3


def test_5_a_confirmation_of_an_older_view_does_not_count() -> None:
    node = leader("a b")
    signed(node)
    ack(node, "a", 6, term=1)
    assert peer(node, "a") == (4, 4)
    assert node.raft.committed == 4


def test_6_an_overtaken_confirmation_does_not_count() -> None:
    node = leader("a b")
    ack(node, "a", 3)
    assert peer(node, "a")[1] == 4


def test_7_a_refusal_sends_the_leader_back_but_never_below_a_confirmation() -> None:
    node = leader("a b")
    for _ in range(4):
        node.order("x")
    node.raft.flush()
    assert peer(node, "a") == (8, 4)
    nack(node, "a", 2, 6)
    assert peer(node, "a") == (6, 4)
    nack(node, "a", 2, 0)
    assert peer(node, "a") == (4, 4)


def test_7_a_refusal_of_an_older_view_goes_back_to_where_that_view_may_match() -> None:
    node = leader("a b")
    # Become leader of view 4, in which 5 and 6 are.
    node.raft.handle("a", AppendEntriesResponse(3, 4, True))
    node.raft.tick(ELECTION_TIMEOUT)
    node.raft.handle("a", RequestVoteResponse(4, True, _REGULAR))
    assert role(node.raft) is Leadership.LEADER
    signed(node)
    node.raft.flush()
    assert peer(node, "a") == (6, 0)
    nack(node, "a", 3, 6)
    assert peer(node, "a") == (4, 0)


def test_7_sending_goes_on_at_the_next_heartbeat_and_not_before() -> None:
    node = leader("a b")
    node.order("x")
    node.raft.flush()
    nack(node, "a", 2, 4)
    take(node)
    node.order("y")
    node.raft.flush()
    assert [to for to, _ in take(node)] == ["b"]
    node.raft.tick(HEARTBEAT)
    sent = dict(take(node))["a"]
    assert isinstance(sent, AppendEntries)
    assert (sent.prev_idx, sent.idx) == (4, 6)


def test_a_refusal_never_commits() -> None:
    node = leader("a b")
    seqno = signed(node)
    nack(node, "a", 2, seqno)
    nack(node, "b", 2, seqno)
    assert node.raft.committed == 4


def test_8_a_confirmation_moves_the_match_and_commits() -> None:
    node = leader("a b")
    seqno = signed(node)
    ack(node, "a", seqno)
    assert peer(node, "a")[1] == seqno
    assert node.raft.committed == seqno


def test_a_confirmation_of_what_was_never_ordered_is_refused() -> None:
    node = leader("a b")
    ack(node, "a", 400)
    assert peer(node, "a") == (4, 4)
    assert "log ends" in node.reports[-1][1]


# --- commit (§7.1, §7.2) --------------------------------------------------------------------------


@pytest.mark.parametrize(("others", "needed"), [("a", 1), ("a b", 1), ("a b c", 2), ("a b c d", 2)])
def test_a_majority_commits(others: str, needed: int) -> None:
    node = leader(others)
    seqno = signed(node)
    names = others.split()
    for name in names[: needed - 1]:
        ack(node, name, seqno)
    assert node.raft.committed == 4
    ack(node, names[needed - 1], seqno)
    assert node.raft.committed == seqno


def test_only_signatures_are_committed() -> None:
    node = leader("a b")
    node.order("x")
    ack(node, "a", 5)
    ack(node, "b", 5)
    assert node.raft.committed == 4


def test_the_last_signature_agreed_on_is_committed() -> None:
    node = leader("a b")
    first = signed(node)
    signed(node)
    ack(node, "a", first + 1)
    assert node.raft.committed == first


def test_an_older_view_is_committed_by_a_signature_of_the_current_one() -> None:
    node = leader("a b")
    old = signed(node)
    node.raft.handle("a", AppendEntriesResponse(3, 4, True))
    node.raft.tick(ELECTION_TIMEOUT)
    node.raft.handle("a", RequestVoteResponse(4, True, _REGULAR))
    ack(node, "a", old)
    ack(node, "b", old)
    assert node.raft.committed == 4
    new = node.order("", committable=True).seqno
    ack(node, "a", new)
    assert node.raft.committed == new


def test_every_active_configuration_must_agree() -> None:
    node = leader("a b")
    node.order("", kind=RECONFIGURATION, nodes=("me", "c", "d"))
    seqno = node.order("", committable=True).seqno
    ack(node, "a", seqno)
    ack(node, "b", seqno)
    assert node.raft.committed == 4
    ack(node, "c", seqno)
    assert node.raft.committed == seqno
    assert [c.idx for c in node.raft.configs] == [5]


def test_a_leader_counts_itself_for_what_its_disk_holds() -> None:
    node = leader("a b")
    raft = node.raft
    seqno = raft.last + 1
    raft.append(seqno, True, 10)
    ack(node, "a", seqno)
    assert raft.committed == 4
    raft.persisted(seqno)
    assert raft.committed == seqno


def test_two_peers_commit_what_the_leaders_disk_lacks() -> None:
    node = leader("a b")
    seqno = node.raft.last + 1
    node.raft.append(seqno, True, 10)
    ack(node, "a", seqno)
    ack(node, "b", seqno)
    assert node.raft.committed == seqno


def test_a_network_of_one_commits_what_its_disk_holds() -> None:
    node = leader()
    assert node.raft.committed == 2
    node.order("x")
    assert node.raft.committed == 2
    assert node.order("", committable=True).seqno == node.raft.committed


def test_the_disk_cannot_be_ahead_of_the_log() -> None:
    with pytest.raises(AssertionError):
        leader().raft.persisted(9)


# --- CheckQuorum (§10) ----------------------------------------------------------------------------


def test_a_leader_that_nobody_answers_steps_down_in_its_view() -> None:
    node = leader("a b")
    node.order("unsigned")
    node.raft.tick(ELECTION_TIMEOUT - 1)
    assert role(node.raft) is Leadership.LEADER
    node.raft.tick(1)
    assert role(node.raft) is Leadership.FOLLOWER
    assert (node.raft.view, node.raft.last, node.raft.leader) == (2, 4, None)


def test_one_of_two_backups_is_enough() -> None:
    node = leader("a b")
    for _ in range(30):
        node.raft.tick(HEARTBEAT)
        ack(node, "a", 4)
    assert role(node.raft) is Leadership.LEADER


def test_each_active_configuration_must_have_a_quorum_that_answers() -> None:
    node = leader("a b")
    node.order("", kind=RECONFIGURATION, nodes=("me", "c", "d"))
    for _ in range(12):
        node.raft.tick(HEARTBEAT)
        ack(node, "a", 4)
        ack(node, "b", 4)
    assert role(node.raft) is Leadership.FOLLOWER


def test_a_network_of_one_leads_for_ever() -> None:
    node = leader()
    node.raft.tick(10**9)
    assert node.raft.can_replicate
