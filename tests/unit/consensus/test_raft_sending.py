"""What a leader sends, and how much at once: consensus-cft.md §5, and the bounds beside it."""

from __future__ import annotations

from pyccf.consensus.raft import AppendEntries, ElectionType, RequestVoteResponse
from pyccf.sim.stub import RECONFIGURATION, StubNode
from pyccf.types import NodeId, SeqNo
from support.raft import (
    ELECTION_TIMEOUT,
    HEARTBEAT,
    ack,
    append,
    candidate,
    leader,
    nack,
    settings,
    take,
)


def ranges(node: StubNode, to: NodeId) -> list[tuple[SeqNo, SeqNo]]:
    """First and last of the append-entries sent to a peer since last asked."""
    return [
        (m.first, m.last) for peer, m in take(node) if peer == to and isinstance(m, AppendEntries)
    ]


def test_nothing_goes_out_before_it_is_asked_for() -> None:
    node = leader("a b")
    node.order("x")
    assert take(node) == []
    node.raft.flush()
    assert ranges(node, "a") == [(5, 5)]


def test_what_was_sent_is_taken_to_have_arrived() -> None:
    node = leader("a b")
    for _ in range(3):
        node.order("x")
        node.raft.flush()
    node.raft.flush()
    assert ranges(node, "b") == [(5, 5), (6, 6), (7, 7)]


def test_a_backup_passes_nothing_on() -> None:
    node = candidate()
    node.raft.flush()
    assert take(node) == []


def test_a_heartbeat_carries_what_is_new_or_nothing() -> None:
    node = leader("a b")
    node.raft.tick(HEARTBEAT)
    node.order("x")
    node.raft.tick(HEARTBEAT)
    assert ranges(node, "a") == [(5, 4), (5, 5)]


def test_a_message_tells_what_precedes_its_entries_and_what_is_committed() -> None:
    node = leader("a b")
    node.order("x")
    node.raft.flush()
    assert take(node)[0][1] == AppendEntries(2, 4, 5, 2, 4, 2)


def test_many_bytes_do_not_wait_for_the_end_of_the_turn() -> None:
    node = leader("a b")
    for _ in range(3):
        node.order("x" * 50_000)
    assert ranges(node, "a") == [(5, 7)]


def test_messages_carry_about_128_kib() -> None:
    node = leader("a b")
    for _ in range(4000):
        node.raft._saw_entries(1, 8192)
    for _ in range(20):
        node.order("x")
    node.raft.flush()
    first, last = ranges(node, "a")[0]
    assert last - first + 1 == 128 // 8


def test_a_message_never_spans_views() -> None:
    node = leader("a b", settings(batch_entries=100))
    node.order("", committable=True)
    node.raft.handle("a", append(3, (2, 4)))
    node.raft.tick(ELECTION_TIMEOUT)
    node.raft.handle("b", RequestVoteResponse(4, True, ElectionType.REGULAR_VOTE))
    for _ in range(3):
        node.order("", committable=True)
    node.raft.peers["a"].sent = 2
    take(node)
    node.raft.flush()
    assert ranges(node, "a") == [(3, 5), (6, 8)]


# --- bounds ---------------------------------------------------------------------------------------

NARROW = settings(window=10, batch_entries=4)


def test_a_window_bounds_what_is_under_way() -> None:
    node = leader("a b", NARROW)
    for _ in range(30):
        node.order("x")
    node.raft.flush()
    assert ranges(node, "a") == [(5, 8), (9, 12), (13, 14)]
    node.raft.flush()
    assert ranges(node, "a") == []


def test_a_full_window_lets_heartbeats_through() -> None:
    node = leader("a b", NARROW)
    for _ in range(30):
        node.order("x")
    node.raft.flush()
    take(node)
    node.raft.tick(HEARTBEAT)
    assert ranges(node, "a") == [(15, 14)]


def test_a_confirmation_makes_room_at_once() -> None:
    node = leader("a b", NARROW)
    for _ in range(30):
        node.order("x")
    node.raft.flush()
    take(node)
    ack(node, "a", 8)
    assert ranges(node, "a") == [(15, 18)]
    for seqno in (12, 14, 18, 22, 26, 30, 34):
        ack(node, "a", seqno)
    assert node.raft.peers["a"].sent == 34
    assert not node.raft.peers["a"].behind


def test_a_peer_is_sent_a_bounded_number_of_messages_at_once() -> None:
    node = leader("a b", settings(batch_entries=1, messages_max=3))
    for _ in range(8):
        node.order("x")
    node.raft.flush()
    assert ranges(node, "a") == [(5, 5), (6, 6), (7, 7)]
    ack(node, "a", 5)
    assert ranges(node, "a") == [(8, 8), (9, 9), (10, 10)]


def test_who_is_behind_is_sent_so_much_in_a_tick_and_what_is_new() -> None:
    node = leader("a b", settings(batch_entries=5, messages_max=1, catch_up=1000))
    for _ in range(40):
        node.order("x")
    node.raft.flush()
    assert ranges(node, "a") == [(5, 9)]
    node.raft.tick(4)
    assert node.raft.peers["a"].allowance == 44 + 4 - 5, "all is new since it leads"
    take(node)
    node.raft.tick(4)
    assert ranges(node, "a") == [(15, 18)], "four in four milliseconds"
    ack(node, "a", 18)
    assert ranges(node, "a") == []
    for _ in range(3):
        node.order("x")
    node.raft.tick(1)
    assert ranges(node, "a") == [(19, 22)], "one, and the three that are new"


def test_who_has_caught_up_is_sent_everything_again() -> None:
    node = leader("a b", settings(batch_entries=5, messages_max=1, catch_up=1000))
    for _ in range(12):
        node.order("x")
    node.raft.flush()
    node.raft.tick(1)
    for seqno in (9, 14, 16):
        ack(node, "a", seqno)
    assert not node.raft.peers["a"].behind
    node.raft.tick(1)
    assert node.raft.peers["a"].allowance is None
    take(node)
    for _ in range(5):
        node.order("x")
    node.raft.flush()
    assert ranges(node, "a") == [(17, 21)]


def test_however_short_a_tick_is_catching_up_ends() -> None:
    node = leader("a b", settings(batch_entries=5, messages_max=1, catch_up=1))
    for _ in range(12):
        node.order("x")
    node.raft.flush()
    node.raft.tick(1)
    for _ in range(12):
        node.raft.tick(1)
    assert node.raft.peers["a"].sent == 16


def test_a_congested_peer_gets_heartbeats_only() -> None:
    node = leader("a b")
    node.raft.congested("a", True)
    node.order("x")
    node.raft.flush()
    assert ranges(node, "a") == []
    node.raft.tick(HEARTBEAT)
    assert ranges(node, "a") == [(5, 4)]
    node.raft.congested("a", False)
    assert ranges(node, "a") == [(5, 5)]


def test_congestion_of_one_peer_is_not_that_of_another() -> None:
    node = leader("a b")
    node.raft.congested("a", True)
    node.raft.congested("stranger", True)
    node.order("x")
    node.raft.flush()
    assert ranges(node, "b") == [(5, 5)]


def test_a_newcomer_catches_up_window_by_window() -> None:
    node = leader("a b", NARROW)
    for _ in range(21):
        node.order("x")
    node.order("", kind=RECONFIGURATION, nodes=("me", "a", "b", "c"))
    take(node)
    nack(node, "c", 2, 0)
    node.raft.tick(HEARTBEAT)
    sent = ranges(node, "c")
    assert sent == [(1, 4), (5, 8), (9, 10)]
    while sent:
        ack(node, "c", sent.pop(0)[1])
        sent += ranges(node, "c")
    assert node.raft.peers["c"].match == node.raft.last


def test_a_silent_peer_with_a_full_window_is_tried_further_on() -> None:
    """It may have committed what it is sent, and then it does not answer (§6 rule 4)."""
    node = leader("a b", NARROW)
    for _ in range(40):
        node.order("x")
    nack(node, "a", 2, 4)
    ack(node, "b", 4)
    seen: list[tuple[SeqNo, SeqNo]] = []
    for _ in range(60):
        node.raft.tick(HEARTBEAT)
        ack(node, "b", 4)
        seen += ranges(node, "a")
    assert (43, 44) in seen


def test_a_stale_view_is_not_sent_from_memory() -> None:
    node = leader("a b")
    node.raft.tick(HEARTBEAT)
    node.order("", committable=True)
    ack(node, "a", 4)
    node.raft.flush()
    ack(node, "a", 5)
    take(node)
    node.raft.tick(HEARTBEAT)
    assert take(node)[0][1] == AppendEntries(2, 5, 5, 2, 5, 2)


def test_what_was_committed_is_passed_on_once() -> None:
    node = leader("a b")
    node.order("", committable=True)
    node.raft.flush()
    take(node)
    ack(node, "a", 5)
    node.raft.flush()
    assert take(node) == [(peer, AppendEntries(2, 5, 5, 2, 5, 2)) for peer in ("a", "b")]
    node.raft.flush()
    assert take(node) == []
