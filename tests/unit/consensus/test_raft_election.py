"""Elections: consensus-cft.md §5.5, §8, §11."""

from __future__ import annotations

import pytest

from pyccf.consensus.api import Leadership
from pyccf.consensus.raft import (
    AppendEntries,
    ElectionType,
    ProposeRequestVote,
    RaftSettings,
    RequestVote,
    RequestVoteResponse,
)
from pyccf.sim.stub import RECONFIGURATION, StubNode
from pyccf.types import VIEW_MAX, NodeId, SeqNo, View
from support.raft import (
    ELECTION_TIMEOUT,
    HEARTBEAT,
    ack,
    answer,
    append,
    candidate,
    entry,
    follower,
    leader,
    replica,
    role,
    settings,
    take,
    vote,
)

PRE, REGULAR = ElectionType.PRE_VOTE, ElectionType.REGULAR_VOTE


def yes(term: View, kind: ElectionType = REGULAR) -> RequestVoteResponse:
    return RequestVoteResponse(term, True, kind)


def no(term: View, kind: ElectionType = REGULAR) -> RequestVoteResponse:
    return RequestVoteResponse(term, False, kind)


# --- timer (§8.1, §11) ----------------------------------------------------------------------------


def test_a_follower_waits_between_half_the_timeout_and_all_of_it() -> None:
    seen = set()
    for seed in range(200):
        node = follower()
        node.raft._entropy = _Counter(seed)
        node.raft._restart_election_timer()
        seen.add(node.raft.elapsed)
    assert min(seen) == 0
    assert max(seen) == ELECTION_TIMEOUT // 2


class _Counter:
    def __init__(self, value: int) -> None:
        self._value = value

    def bytes(self, n: int) -> bytes:
        self._value = (self._value + 1) % 64
        return bytes([self._value] * n)


def test_a_follower_stands_when_nobody_leads() -> None:
    node = follower()
    node.raft.elapsed = 0
    node.raft.tick(ELECTION_TIMEOUT - 1)
    assert role(node.raft) is Leadership.FOLLOWER
    node.raft.tick(1)
    assert role(node.raft) is Leadership.CANDIDATE


def test_a_node_that_stood_still_hears_what_came_meanwhile_before_it_stands() -> None:
    """Whether others were silent, a late tick cannot say; several of them can."""
    node = follower(rules=settings(election_ticks=4))
    node.raft.elapsed = 0
    for _ in range(3):
        node.raft.tick(50 * ELECTION_TIMEOUT)
        assert role(node.raft) is Leadership.FOLLOWER
    node.raft.tick(50 * ELECTION_TIMEOUT)
    assert role(node.raft) is Leadership.CANDIDATE


def test_a_leader_that_stood_still_reads_answers_before_it_stops_leading() -> None:
    node = leader("a b", settings(election_ticks=4))
    for _ in range(3):
        node.raft.tick(50 * ELECTION_TIMEOUT)
        assert role(node.raft) is Leadership.LEADER
    node.raft.tick(50 * ELECTION_TIMEOUT)
    assert role(node.raft) is Leadership.FOLLOWER


def test_a_node_that_is_in_no_configuration_does_not_stand() -> None:
    node = replica()
    node.raft.join(2, 0, [])
    node.raft.ticking = True
    node.raft.tick(1000)
    assert role(node.raft) is Leadership.FOLLOWER
    assert answer(node) is None


# --- candidate (§8.2) -----------------------------------------------------------------------------


def test_a_candidate_starts_a_view_votes_for_itself_and_asks_all_others() -> None:
    node = follower()
    node.raft.handle("l", append(2, (2, 2), entry(2, 3)))
    take(node)
    node.raft.tick(ELECTION_TIMEOUT)
    raft = node.raft
    assert (raft.view, raft.voted_for, raft.leader) == (3, "me", None)
    assert raft.last == 3, "the log is not cut yet"
    ask = RequestVote(3, 2, 2, REGULAR)
    assert take(node) == [("l", ask), ("o", ask)]
    assert raft.elapsed <= ELECTION_TIMEOUT // 2


def test_a_candidate_without_votes_tries_again_in_the_next_view() -> None:
    node = candidate()
    node.raft.tick(ELECTION_TIMEOUT)
    assert role(node.raft) is Leadership.CANDIDATE
    assert node.raft.view == 4


def test_members_of_pending_configurations_are_asked_and_retired_ones_are_not() -> None:
    node = follower(nodes="l me o")
    node.raft.handle(
        "l", append(2, (2, 2), entry(2, 3, nodes="l me n"), entry(2, 4, signature=True))
    )
    node.raft.handle("l", append(2, (2, 4), commit=4))
    take(node)
    node.raft.tick(ELECTION_TIMEOUT)
    assert [to for to, _ in take(node)] == ["l", "n"]
    assert "o" in node.raft.peers


def test_views_end_where_ledgers_cannot_hold_them() -> None:
    node = follower()
    node.raft.view = VIEW_MAX
    node.raft.tick(ELECTION_TIMEOUT)
    assert node.raft.view == VIEW_MAX
    assert role(node.raft) is Leadership.FOLLOWER


# --- voting (§8.3) --------------------------------------------------------------------------------


def test_1_an_older_view_gets_no_vote() -> None:
    node = follower()
    node.raft.handle("o", vote(1, (1, 1)))
    assert answer(node) == no(2)
    assert node.raft.voted_for is None


@pytest.mark.parametrize("kind", [PRE, REGULAR])
def test_2_a_newer_view_is_taken_over(kind: ElectionType) -> None:
    node = follower()
    node.raft.handle("o", vote(7, (2, 2), kind))
    assert node.raft.view == 7
    assert answer(node) == yes(7, kind)


def test_3_whoever_knows_a_leader_of_this_view_gives_no_vote() -> None:
    node = follower()
    node.raft.handle("o", vote(2, (2, 2)))
    assert answer(node) == no(2)


def test_3_one_vote_per_view_and_the_same_again_when_asked_again() -> None:
    node = follower()
    node.raft.handle("o", vote(3, (2, 2)))
    node.raft.handle("l", vote(3, (2, 2)))
    node.raft.handle("o", vote(3, (2, 2)))
    assert [m for _, m in take(node)] == [yes(3), no(3), yes(3)]
    assert node.raft.voted_for == "o"


@pytest.mark.parametrize(
    ("at", "granted"),
    [((2, 2), True), ((2, 3), True), ((3, 1), True), ((2, 1), False), ((1, 9), False)],
)
def test_3_signatures_are_compared_by_view_then_seqno(
    at: tuple[View, SeqNo], granted: bool
) -> None:
    node = follower()
    node.raft.handle("l", append(2, (2, 2), entry(2, 3), entry(2, 4)))
    take(node)
    node.raft.handle("o", vote(5, at))
    assert answer(node) == (yes(5) if granted else no(5))


def test_4_a_vote_restarts_the_timer_and_a_refusal_does_not() -> None:
    node = follower()
    node.raft.handle("o", vote(3, (2, 1)))
    node.raft.elapsed = 99
    node.raft.handle("o", vote(3, (2, 1)))
    assert node.raft.elapsed == 99
    node.raft.handle("o", vote(3, (2, 2)))
    assert node.raft.elapsed <= 50


def test_5_a_stranger_is_answered() -> None:
    node = follower()
    node.raft.handle("stranger", vote(3, (2, 2)))
    assert take(node) == [("stranger", yes(3))]


def test_a_pre_vote_changes_nothing() -> None:
    node = follower()
    node.raft.elapsed = 77
    before = node.observe()
    node.raft.handle("o", vote(2, (2, 2), PRE))
    assert answer(node) == yes(2, PRE)
    assert node.observe() == before
    assert (node.raft.elapsed, node.raft.leader) == (77, "l")


def test_a_pre_vote_of_an_older_log_is_refused() -> None:
    node = follower()
    node.raft.handle("o", vote(2, (2, 1), PRE))
    assert answer(node) == no(2, PRE)


# --- counting (§8.4) ------------------------------------------------------------------------------


def test_a_majority_makes_a_leader() -> None:
    node = candidate(nodes="l me o p q")
    node.raft.handle("o", yes(3))
    assert role(node.raft) is Leadership.CANDIDATE
    node.raft.handle("o", yes(3))
    assert role(node.raft) is Leadership.CANDIDATE, "a repeated vote counts once"
    node.raft.handle("p", yes(3))
    assert role(node.raft) is Leadership.LEADER


@pytest.mark.parametrize(
    ("sender", "message"),
    [
        ("o", no(3)),
        ("o", yes(2)),
        ("o", yes(3, PRE)),
        ("stranger", yes(3)),
        ("stranger", yes(9)),
    ],
    ids=["refused", "old", "pre-vote", "unknown", "unknown and newer"],
)
def test_votes_that_do_not_count(sender: NodeId, message: RequestVoteResponse) -> None:
    node = candidate()
    node.raft.handle(sender, message)
    assert role(node.raft) is Leadership.CANDIDATE
    assert node.raft.view == 3


def test_an_answer_from_a_newer_view_ends_the_candidacy() -> None:
    node = candidate()
    node.raft.handle("o", no(8))
    assert role(node.raft) is Leadership.FOLLOWER
    assert node.raft.view == 8


def test_a_vote_for_a_candidacy_that_is_over_is_ignored() -> None:
    node = follower()
    node.raft.handle("o", yes(2))
    assert role(node.raft) is Leadership.FOLLOWER


def with_pending_configuration(new: str) -> StubNode:
    """A candidate that knows {l me o} and a signed but uncommitted configuration."""
    node = follower()
    node.raft.handle("l", append(2, (2, 2), entry(2, 3, nodes=new), entry(2, 4, signature=True)))
    node.raft.tick(ELECTION_TIMEOUT)
    take(node)
    return node


def test_every_active_configuration_must_elect() -> None:
    node = with_pending_configuration("me x y")
    node.raft.handle("o", yes(3))
    node.raft.handle("l", yes(3))
    assert role(node.raft) is Leadership.CANDIDATE
    node.raft.handle("x", yes(3))
    assert role(node.raft) is Leadership.LEADER


def test_a_candidate_counts_itself_only_where_it_is_a_member() -> None:
    node = with_pending_configuration("x y z")
    node.raft.handle("o", yes(3))
    node.raft.handle("x", yes(3))
    assert role(node.raft) is Leadership.CANDIDATE
    node.raft.handle("y", yes(3))
    assert role(node.raft) is Leadership.LEADER


# --- pre-vote (§8.5) ------------------------------------------------------------------------------

ASKS_FIRST = settings(pre_vote=True)


def test_pre_vote_is_on_unless_switched_off() -> None:
    assert RaftSettings().pre_vote


def test_a_pre_vote_candidate_asks_in_the_view_as_it_is() -> None:
    node = follower(ASKS_FIRST)
    node.raft.tick(ELECTION_TIMEOUT)
    assert role(node.raft) is Leadership.PRE_VOTE_CANDIDATE
    assert (node.raft.view, node.raft.voted_for) == (2, None)
    ask = RequestVote(2, 2, 2, PRE)
    assert take(node) == [("l", ask), ("o", ask)]


def test_a_pre_vote_that_is_won_starts_the_election() -> None:
    node = candidate(ASKS_FIRST)
    node.raft.handle("o", yes(2, PRE))
    assert role(node.raft) is Leadership.CANDIDATE
    assert node.raft.view == 3
    assert [m for _, m in take(node)] == [RequestVote(3, 2, 2, REGULAR)] * 2


def test_a_pre_vote_candidate_is_not_elected_by_regular_votes() -> None:
    node = candidate(ASKS_FIRST)
    node.raft.handle("o", yes(2))
    assert role(node.raft) is Leadership.PRE_VOTE_CANDIDATE


def test_a_node_that_nobody_hears_does_not_start_views() -> None:
    node = follower(ASKS_FIRST)
    for _ in range(50):
        node.raft.tick(ELECTION_TIMEOUT)
    assert node.raft.view == 2
    node.raft.handle("l", append(2, (2, 2)))
    assert role(node.raft) is Leadership.FOLLOWER


def test_a_network_of_one_elects_itself_at_once() -> None:
    node = replica("me", ASKS_FIRST)
    node.raft.join(2, 0, [])
    node.raft.handle("l", append(2, (0, 0), entry(2, 1, nodes="me"), entry(2, 2, signature=True)))
    take(node)
    node.raft.tick(ELECTION_TIMEOUT)
    assert role(node.raft) is Leadership.LEADER
    assert node.raft.view == 3


# --- becoming leader (§5.5) -----------------------------------------------------------------------


def elected() -> StubNode:
    """`me`, elected in view 3 with an unsigned entry 2.3 that it had as a follower."""
    node = follower()
    node.raft.handle("l", append(2, (2, 2), entry(2, 3)))
    node.raft.tick(ELECTION_TIMEOUT)
    take(node)
    node.raft.handle("o", yes(3))
    return node


def test_a_new_leader_undoes_what_is_not_signed_and_owes_a_signature() -> None:
    node = elected()
    raft = node.raft
    assert (raft.last, raft.leader, raft.should_sign) == (2, "me", True)
    node.order("x")
    assert raft.should_sign
    node.order("", committable=True)
    assert not raft.should_sign


def test_a_new_leader_announces_itself_at_its_last_entry() -> None:
    node = elected()
    hello = AppendEntries(3, 2, 2, 2, 2, 2)
    assert take(node) == [("l", hello), ("o", hello)]
    assert all((p.match, p.sent, p.last_ack) == (0, 2, 0) for p in node.raft.peers.values())


def test_a_new_service_starts_in_view_two_and_keeps_its_genesis() -> None:
    node = replica()
    node.raft.start()
    assert (node.raft.view, role(node.raft)) == (2, Leadership.LEADER)
    assert node.order("", kind=RECONFIGURATION, nodes=("me",)).view == 2


def test_a_recovered_service_starts_two_views_later() -> None:
    node = replica()
    node.ledger.extend(entry(4, s) for s in range(1, 10))
    node.raft.start(4, 9, [1, 1, 5])
    assert (node.raft.view, node.raft.last, node.raft.committed) == (6, 9, 9)
    assert node.raft.view_of(5) == 3
    assert node.order("x") == (6, 10)


def test_only_a_leader_orders_entries_and_without_gaps() -> None:
    with pytest.raises(AssertionError):
        follower().raft.append(3, False, 1)
    with pytest.raises(AssertionError):
        leader().raft.append(9, False, 1)


# --- hand-over (§8.8, §9.5) -----------------------------------------------------------------------


def test_a_proposed_node_stands_at_once_without_a_pre_vote() -> None:
    node = follower(ASKS_FIRST)
    node.raft.handle("l", ProposeRequestVote(2))
    assert role(node.raft) is Leadership.CANDIDATE
    assert node.raft.view == 3


@pytest.mark.parametrize("term", [1, 3])
def test_a_proposal_of_another_view_is_ignored(term: View) -> None:
    node = follower()
    node.raft.handle("l", ProposeRequestVote(term))
    assert role(node.raft) is Leadership.FOLLOWER
    assert node.raft.view == 2


def test_a_proposal_to_a_node_that_is_not_trusted_yet_is_ignored() -> None:
    node = follower(nodes="l o")
    node.raft.handle("l", ProposeRequestVote(2))
    assert role(node.raft) is Leadership.FOLLOWER


def test_a_proposal_to_the_leader_is_ignored() -> None:
    node = leader("a b")
    node.raft.handle("a", ProposeRequestVote(2))
    assert role(node.raft) is Leadership.LEADER


def test_a_primary_hands_over_to_the_peer_that_has_most() -> None:
    node = leader("a b c")
    node.order("x")
    ack(node, "b", 5)
    assert node.raft.hand_over() == "b"
    sent = take(node)
    assert [to for to, _ in sent] == ["a", "b", "c", "b"]
    assert sent[0][1] == AppendEntries(2, 4, 5, 2, 4, 2)
    assert sent[3][1] == ProposeRequestVote(2)
    assert role(node.raft) is Leadership.LEADER, "it leads until somebody else does"


def test_among_equals_the_newest_configuration_and_then_the_first_added_is_chosen() -> None:
    node = leader("a b c")
    assert node.raft.hand_over() == "a"
    node.order("", kind=RECONFIGURATION, nodes=("me", "b", "c"))
    assert node.raft.hand_over() == "b"


def test_a_peer_that_is_silent_is_asked_last() -> None:
    node = leader("a b c")
    for _ in range(6):
        node.raft.tick(HEARTBEAT)
        ack(node, "b", 4)
        ack(node, "c", 4)
    assert node.raft.hand_over() == "b"


def test_nobody_to_hand_over_to() -> None:
    assert leader().raft.hand_over() is None
    assert follower().raft.hand_over() is None


def test_heartbeats_keep_the_others_from_standing() -> None:
    node = leader("a b")
    node.raft.tick(HEARTBEAT - 1)
    assert take(node) == []
    node.raft.tick(1)
    assert [to for to, _ in take(node)] == ["a", "b"]
