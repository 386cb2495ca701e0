"""A leader that cannot give a member what it lacks lets somebody lead who may be able to."""

from __future__ import annotations

from pyccf.consensus.api import Leadership
from pyccf.consensus.raft import ElectionType, ProposeRequestVote, RequestVoteResponse
from pyccf.consensus.raft.yielding import STALLED_TIMEOUTS
from pyccf.sim.stub import StubNode
from support.raft import (
    ELECTION_TIMEOUT,
    HEARTBEAT,
    ack,
    append,
    entry,
    nack,
    replica,
    role,
    take,
)

BASE = 10
STALLED = STALLED_TIMEOUTS * ELECTION_TIMEOUT // HEARTBEAT
"""Ticks after which a leader yields."""


def late_leader(base: int = BASE, nodes: str = "me gone able behind") -> StubNode:
    """A leader in view 3 that began at `base`; a signature is not committed yet."""
    node = replica()
    node.raft.join(2, base, [1, 1] if base else [])
    node.raft.handle(
        "gone",
        append(
            2,
            (2 if base else 0, base),
            entry(2, base + 1, nodes=nodes),
            entry(2, base + 2, signature=True),
            commit=base + 2,
        ),
    )
    node.raft.tick(ELECTION_TIMEOUT)
    for voter in ("able", "behind"):
        node.raft.handle(voter, RequestVoteResponse(3, True, ElectionType.REGULAR_VOTE))
    assert role(node.raft) is Leadership.LEADER
    node.order("", committable=True)
    take(node)
    node.reports.clear()
    return node


def asked(node: StubNode) -> list[str]:
    """Whom the leader asked to stand since last asked."""
    return [to for to, message in take(node) if isinstance(message, ProposeRequestVote)]


def pass_time(node: StubNode, ticks: int, *, behind: int | None = 7, able: int = BASE + 3) -> None:
    """One answers as it should, the other that it has entries up to `behind` only."""
    for _ in range(ticks):
        node.raft.tick(HEARTBEAT)
        ack(node, "able", able)
        if behind is not None:
            nack(node, "behind", 2, behind)


def test_a_leader_that_cannot_help_asks_one_that_has_all_it_has() -> None:
    node = late_leader()
    pass_time(node, STALLED)
    assert asked(node) == []
    pass_time(node, 1)
    assert asked(node) == ["able"]
    assert "Asks able to lead" in node.reports[-1][1]
    assert "behind cannot do without" in node.reports[-1][1]
    pass_time(node, STALLED - 1)
    assert asked(node) == []
    pass_time(node, 1)
    assert asked(node) == ["able"]


def test_it_goes_on_while_something_is_confirmed() -> None:
    node = late_leader()
    pass_time(node, STALLED)
    ack(node, "behind", 8)  # its ledger has older entries after all
    pass_time(node, STALLED)
    assert asked(node) == []


def test_it_goes_on_while_nothing_waits_to_be_committed() -> None:
    node = late_leader(nodes="me able behind")
    pass_time(node, 3 * STALLED)
    assert node.raft.committed == BASE + 3
    assert asked(node) == []


def test_who_does_not_answer_is_not_helped_by_another_leader() -> None:
    node = late_leader(nodes="me gone able slow behind")
    node.raft.handle("slow", RequestVoteResponse(3, True, ElectionType.REGULAR_VOTE))
    for _ in range(3 * STALLED):
        pass_time(node, 1, behind=None)
        ack(node, "slow", BASE + 2)
    assert role(node.raft) is Leadership.LEADER
    assert node.raft.committed == BASE + 2
    assert asked(node) == []


def test_nobody_is_asked_who_has_less_than_the_leader() -> None:
    node = late_leader()
    pass_time(node, 3 * STALLED, able=BASE + 2)
    assert asked(node) == []


def test_a_leader_with_the_whole_log_goes_on() -> None:
    node = late_leader(base=0)
    pass_time(node, 3 * STALLED, behind=0, able=3)
    assert asked(node) == []
