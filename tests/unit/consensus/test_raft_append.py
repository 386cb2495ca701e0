"""AppendEntries as a follower takes it: consensus-cft.md §6, rule by rule."""

from __future__ import annotations

import pytest

from pyccf.consensus.api import Leadership
from pyccf.consensus.raft import (
    AppendEntries,
    AppendEntriesResponse,
    ElectionType,
    Phase,
    RequestVote,
)
from pyccf.errors import InvalidLedger
from pyccf.sim.stub import StubNode
from pyccf.types import TxID
from support.raft import (
    ELECTION_TIMEOUT,
    HEARTBEAT,
    answer,
    append,
    candidate,
    entry,
    follower,
    leader,
    phase,
    replica,
    role,
    settings,
    take,
)


def ack(view: int, seqno: int) -> AppendEntriesResponse:
    return AppendEntriesResponse(view, seqno, True)


def nack(view: int, seqno: int) -> AppendEntriesResponse:
    return AppendEntriesResponse(view, seqno, False)


def texts(node: StubNode) -> str:
    return "\n".join(text for _, text in node.reports)


# --- rule 1 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("pre_vote", [False, True])
def test_1a_a_candidate_follows_the_leader_of_its_view(pre_vote: bool) -> None:
    node = candidate(settings(pre_vote=pre_vote))
    view = node.raft.view
    node.raft.handle("o", append(view, (2, 2)))
    assert role(node.raft) is Leadership.FOLLOWER
    assert node.raft.leader == "o"
    assert node.raft.view == view
    assert answer(node) == ack(view, 2)


def test_1a_a_pre_vote_candidate_keeps_what_it_confirmed_to_the_leader_of_its_view() -> None:
    node = follower(settings(pre_vote=True))
    node.raft.handle("l", append(2, (2, 2), entry(2, 3)))
    assert answer(node) == ack(2, 3)
    node.raft.tick(ELECTION_TIMEOUT)
    assert role(node.raft) is Leadership.PRE_VOTE_CANDIDATE
    take(node)
    node.raft.handle("l", append(2, (2, 3)))
    assert answer(node) == ack(2, 3)
    assert role(node.raft) is Leadership.FOLLOWER


def test_1b_a_newer_view_is_followed_and_unsigned_entries_are_undone() -> None:
    node = follower()
    node.raft.handle("l", append(2, (2, 2), entry(2, 3)))
    take(node)
    node.raft.handle("o", append(5, (2, 2)))
    assert (node.raft.view, node.raft.leader, node.raft.last) == (5, "o", 2)
    assert answer(node) == ack(5, 2)


def test_1b_a_leader_steps_down_for_a_newer_view() -> None:
    node = leader("a b")
    node.order("unsigned")
    node.raft.handle("a", append(3, (2, 4)))
    assert role(node.raft) is Leadership.FOLLOWER
    assert (node.raft.last, node.raft.leader) == (4, "a")
    assert not node.raft.can_replicate


def test_1c_an_older_view_is_refused() -> None:
    node = follower()
    node.raft.handle("o", append(4, (2, 2)))
    take(node)
    node.raft.handle("l", append(2, (2, 2), entry(2, 3)))
    assert answer(node) == nack(4, 2)
    assert (node.raft.last, node.raft.leader) == (2, "o")


def test_1_a_leader_does_not_believe_that_another_leads_its_view() -> None:
    node = leader("a b")
    node.raft.handle("a", append(2, (2, 4), entry(2, 5)))
    assert role(node.raft) is Leadership.LEADER
    assert node.raft.last == 4
    assert answer(node) is None
    assert "claims to lead" in texts(node)


# --- rule 2 ---------------------------------------------------------------------------------------


def test_2a_a_hole_is_refused_with_the_end_of_the_log() -> None:
    node = follower()
    node.raft.handle("l", append(2, (2, 9), entry(2, 10)))
    assert answer(node) == nack(2, 2)
    assert node.raft.last == 2


def test_2b_another_view_is_refused_with_the_last_place_that_may_match() -> None:
    node = follower()
    node.raft.handle("l", append(3, (2, 2), entry(3, 3), entry(3, 4, signature=True)))
    node.raft.handle("l", append(5, (3, 4), entry(5, 5), entry(5, 6, signature=True)))
    take(node)
    assert node.raft.views.starts() == [1, 1, 3, 5, 5]
    # The new leader has view 4 at 6: what is here in view 5 cannot be there, view 3 may.
    node.raft.handle("o", append(7, (4, 6), entry(4, 7)))
    assert answer(node) == nack(3, 4)


# --- rule 3 ---------------------------------------------------------------------------------------


def test_3_a_matching_leader_is_known_and_restarts_the_timer() -> None:
    node = follower()
    node.raft.leader = None
    node.raft.elapsed = 99
    node.raft.handle("l", append(2, (2, 2)))
    assert node.raft.primary == "l"
    assert node.raft.elapsed <= 50


def test_3_a_leader_whose_log_does_not_match_does_not_restart_the_timer() -> None:
    node = follower()
    node.raft.elapsed = 99
    node.raft.handle("l", append(2, (2, 9)))
    assert node.raft.elapsed == 99


# --- rules 4 and 5 --------------------------------------------------------------------------------


def test_4_what_is_committed_already_is_ignored_without_an_answer() -> None:
    node = follower(commit=2)
    assert node.raft.committed == 2
    node.raft.handle("l", append(2, (2, 1), entry(2, 2, signature=True)))
    assert answer(node) is None
    assert node.raft.last == 2


# --- rule 6 ---------------------------------------------------------------------------------------


def test_6_known_entries_are_skipped_and_new_ones_taken() -> None:
    node = follower()
    three, four = entry(2, 3, data="x"), entry(2, 4, data="y")
    node.raft.handle("l", append(2, (2, 2), three))
    node.raft.handle("l", append(2, (2, 2), three, four))
    assert [m for _, m in take(node)] == [ack(2, 3), ack(2, 4)]
    assert [e.data for e in node.ledger[2:]] == ["x", "y"]


def test_6_a_repeated_message_is_confirmed_again_up_to_its_own_end_only() -> None:
    node = follower()
    first = append(2, (2, 2), entry(2, 3))
    node.raft.handle("l", first)
    node.raft.handle("l", append(2, (2, 3), entry(2, 4)))
    take(node)
    node.raft.handle("l", first)
    assert answer(node) == ack(2, 3)
    assert node.raft.last == 4


def with_signed_suffix() -> StubNode:
    """A follower with 2.3 and the signature 2.4 that nobody committed."""
    node = follower()
    node.raft.handle("l", append(2, (2, 2), entry(2, 3), entry(2, 4, signature=True)))
    take(node)
    assert node.raft.lci() == 4
    return node


def test_6_prime_a_new_follower_undoes_a_signed_suffix_that_conflicts() -> None:
    node = with_signed_suffix()
    node.raft.handle("o", append(3, (2, 2), entry(3, 3), entry(3, 4), entry(3, 5, signature=True)))
    assert answer(node) == ack(3, 5)
    assert [e.view for e in node.ledger] == [2, 2, 3, 3, 3]
    assert [str(t) for t in node.raft.views.history()] == ["1.1", "2.1", "3.3"]
    assert not node.raft.is_new_follower


def test_6_prime_a_conflict_in_the_middle_keeps_what_agrees() -> None:
    node = with_signed_suffix()
    node.raft.handle("l", append(3, (2, 4), entry(3, 5), entry(3, 6, signature=True)))
    take(node)
    node.raft.handle("o", append(4, (2, 4), entry(4, 5)))
    assert answer(node) == ack(4, 5)
    assert [e.view for e in node.ledger] == [2, 2, 2, 2, 4]


def test_6_second_a_further_conflict_in_the_same_view_is_ignored() -> None:
    node = with_signed_suffix()
    node.raft.handle("o", append(3, (2, 2), entry(3, 3), entry(3, 4, signature=True)))
    take(node)
    node.raft.handle("o", append(3, (2, 2), entry(2, 3)))
    assert answer(node) is None
    assert [e.view for e in node.ledger] == [2, 2, 3, 3]
    assert "Ignoring conflicting" in texts(node)


def test_6_an_empty_message_conflicts_with_nothing() -> None:
    node = with_signed_suffix()
    node.raft.handle("o", append(3, (2, 2)))
    assert answer(node) == ack(3, 2)
    assert node.raft.last == 4


# --- rules 7 and 8 --------------------------------------------------------------------------------


def test_7_entries_other_than_announced_are_refused() -> None:
    node = follower()
    message = append(2, (2, 2), entry(2, 3))
    node.raft.handle("l", AppendEntries(2, 2, 4, 2, 0, 2, message.entries))
    assert answer(node) == nack(2, 2)
    assert node.raft.last == 2


def test_7_an_entry_that_is_not_the_expected_one_is_refused_with_what_follows() -> None:
    node = follower()
    message = append(2, (2, 2), entry(2, 3), entry(2, 9), entry(2, 5))
    node.raft.handle("l", message)
    assert answer(node) == nack(2, 3)
    assert node.raft.last == 3 == len(node.ledger)
    assert "refused" in texts(node)


def test_7_what_precedes_a_refused_entry_is_committed_as_the_leader_says() -> None:
    node = follower()
    node.raft.handle("l", append(2, (2, 2), entry(2, 3), entry(2, 4, signature=True)))
    take(node)
    node.raft.handle("l", append(2, (2, 4), entry(2, 5), entry(2, 9), commit=4))
    assert answer(node) == nack(2, 5)
    assert (node.raft.committed, node.raft.last) == (4, 5)


def test_7_a_refused_reconfiguration_leaves_no_configuration_behind() -> None:
    node = follower()
    genuine = node.apply

    def apply(expected: TxID, data: bytes) -> bool:
        genuine(expected, data)
        node.rollback(expected.seqno - 1, 2)
        raise InvalidLedger("not acceptable")

    node.apply = apply  # type: ignore[method-assign]
    node.raft.handle("l", append(2, (2, 2), entry(2, 3, nodes="l o")))
    assert answer(node) == nack(2, 2)
    assert [c.idx for c in node.raft.configs] == [1]
    assert phase(node) is None


def test_7_views_must_ascend_and_only_after_a_signature() -> None:
    node = follower()
    node.raft.handle("l", append(2, (2, 2), entry(2, 3)))
    take(node)
    node.raft.handle("l", append(3, (2, 2), entry(2, 3), commit=0))
    take(node)
    node.raft.handle("l", append(3, (2, 3), entry(3, 4)))
    assert answer(node) == nack(3, 3)
    assert node.raft.last == 3


def test_8_a_signature_is_committable_and_starts_the_timer_of_a_trusted_node() -> None:
    node = replica()
    node.raft.join(2, 0, [])
    node.raft.handle("l", append(2, (0, 0), entry(2, 1, nodes="l me")))
    assert node.raft.details()["ticking"] is False
    node.raft.handle("l", append(2, (2, 1), entry(2, 2, signature=True)))
    assert node.raft.details()["ticking"] is True
    assert list(node.raft.committable) == [2]


def test_8_a_node_that_is_not_trusted_yet_never_starts_its_timer() -> None:
    node = follower(nodes="l o")
    assert not node.raft.ticking
    node.raft.tick(10_000)
    assert role(node.raft) is Leadership.FOLLOWER


def test_8_a_node_whose_addition_is_undone_stops_its_timer() -> None:
    """The others would elect it, and then not believe its signatures."""
    node = follower(nodes="l o")
    node.raft.handle("l", append(2, (2, 2), entry(2, 3, nodes="l o me")))
    node.raft.handle("l", append(2, (2, 3), entry(2, 4, signature=True)))
    assert node.raft.ticking
    node.raft.handle("o", append(3, (2, 2), entry(3, 3), entry(3, 4, signature=True)))
    assert not node.raft.ticking
    node.raft.tick(10_000)
    assert role(node.raft) is Leadership.FOLLOWER


def test_8_what_the_leader_committed_is_committed_as_the_signatures_arrive() -> None:
    node = follower(commit=0)
    node.raft.handle(
        "l", append(2, (2, 2), entry(2, 3), entry(2, 4, signature=True), entry(2, 5), commit=4)
    )
    assert node.raft.committed == 4
    assert list(node.raft.committable) == []


def test_8_commit_stays_at_the_last_signature_known() -> None:
    node = follower(commit=0)
    node.raft.handle("l", append(2, (2, 2), entry(2, 3), commit=3))
    assert node.raft.committed == 2


def test_8_a_commit_index_beyond_the_log_commits_what_is_here() -> None:
    node = follower(commit=0)
    node.raft.handle("l", append(2, (2, 2), commit=400))
    assert node.raft.committed == 2


def test_8_a_node_follows_its_own_retirement() -> None:
    node = follower()
    node.raft.handle("l", append(2, (2, 2), entry(2, 3, nodes="l o")))
    assert phase(node) is Phase.ORDERED
    node.raft.handle("l", append(2, (2, 3), entry(2, 4, signature=True)))
    assert phase(node) is Phase.SIGNED
    node.raft.handle("l", append(2, (2, 4), commit=4))
    assert phase(node) is Phase.COMPLETED


def test_8_nothing_is_committed_beyond_what_the_message_shows_to_agree() -> None:
    node = with_signed_suffix()
    node.raft.handle("o", append(3, (2, 2), commit=5))
    assert answer(node) == ack(3, 2)
    assert node.raft.committed == 2


# --- rule 9 ---------------------------------------------------------------------------------------


def test_9_the_view_history_begins_a_view_where_its_first_entry_is() -> None:
    node = follower()
    node.raft.handle("o", append(6, (2, 2), entry(6, 3)))
    assert node.raft.views.starts() == [1, 1, 3, 3, 3, 3]
    assert node.raft.view_of(3) == 6
    assert node.raft.view_of(4) is None


def test_a_joiner_takes_a_ledger_from_its_beginning() -> None:
    node = replica()
    node.raft.join(2, 0, [])
    node.raft.handle("l", append(4, (3, 7)))
    assert answer(node) == nack(4, 0)
    node.raft.handle("l", append(4, (0, 0), entry(2, 1, nodes="l me"), entry(2, 2, signature=True)))
    node.raft.handle("l", append(4, (2, 2), entry(4, 3)))
    assert [m for _, m in take(node)] == [ack(4, 2), ack(4, 3)]
    assert [str(t) for t in node.raft.views.history()] == ["1.1", "2.1", "3.3", "4.3"]


def test_a_joiner_goes_on_from_a_snapshot() -> None:
    node = replica()
    node.ledger.extend(entry(2, s) for s in range(1, 8))
    node.raft.configure(1, {"l": "", "me": ""})
    node.raft.join(3, 7, [1, 1, 5])
    assert (node.raft.committed, node.raft.last, node.raft.view) == (7, 7, 3)
    node.raft.handle("l", append(3, (3, 7), entry(3, 8)))
    assert answer(node) == ack(3, 8)


def test_who_is_sent_what_lies_beyond_a_hole_starves_until_it_is_filled() -> None:
    node = follower()
    node.raft.handle("l", append(2, (2, 9), entry(2, 10)))
    assert answer(node) == nack(2, 2)
    assert node.raft.starved
    node.raft.handle("l", append(2, (2, 2), commit=10))
    assert answer(node) == ack(2, 2)
    assert node.raft.starved
    node.raft.handle("l", append(2, (2, 2), entry(2, 3), commit=3))
    assert answer(node) == ack(2, 3)
    assert not node.raft.starved


def test_a_follower_begins_anew_with_a_snapshot() -> None:
    """What it confirmed is in the snapshot; the vote it gave in this view stays given."""
    node = follower(commit=2)
    node.raft.handle("l", append(2, (2, 2), entry(2, 3, nodes="l me x")))
    node.raft.handle("x", RequestVote(3, 5, 2, ElectionType.REGULAR_VOTE))
    node.raft.handle("l", append(3, (3, 9)))
    assert (node.raft.view, node.raft.voted_for, node.raft.starved) == (3, "x", True)
    node.raft.begin_anew(3, 7, [1, 1, 5])
    assert len(node.ledger) == 2  # what was not committed was undone
    node.ledger.extend(entry(3, s) for s in range(3, 8))
    node.raft.configure(6, {"l": "", "me": ""})
    assert (node.raft.committed, node.raft.last, node.raft.view) == (7, 7, 3)
    assert node.raft.voted_for == "x"
    assert [config.idx for config in node.raft.configs] == [6]
    assert not node.raft.ticking
    take(node)
    node.raft.handle("l", append(3, (3, 7), entry(3, 8, signature=True), commit=8))
    assert answer(node) == ack(3, 8)
    assert (node.raft.committed, node.raft.ticking, node.raft.starved) == (8, True, False)


def test_nobody_speaks_to_itself() -> None:
    node = follower()
    node.raft.receive("me", append(9, (2, 2)).encode())
    assert node.raft.view == 2
    assert answer(node) is None


def test_garbage_is_reported_once_and_changes_nothing() -> None:
    node = follower()
    before = node.observe()
    node.reports.clear()
    node.raft.receive("l", b"\x00garbage")
    assert node.observe() == before
    assert len(node.reports) == 1
    assert node.raft.elapsed < HEARTBEAT * 10
