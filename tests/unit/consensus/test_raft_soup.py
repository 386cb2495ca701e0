"""Whatever peers say, in whatever order: nothing is raised and no rule of one replica is broken.

Messages are made without regard to what a peer could honestly say, sent as bytes, and mixed with
what happens on the node itself. Rules that compare replicas are for the simulator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyccf.consensus.raft import (
    AppendEntries,
    AppendEntriesResponse,
    ElectionType,
    Message,
    ProposeRequestVote,
    RaftSettings,
    RequestVote,
    RequestVoteResponse,
)
from pyccf.sim.invariants import check_state
from pyccf.sim.replicas import Replica
from pyccf.sim.steps import check_step
from pyccf.sim.stub import RECONFIGURATION, StubNode
from support.raft import candidate, entry, follower, leader, replica
from support.raft import settings as rules

views = st.integers(1, 6)
seqnos = st.integers(0, 12)
kinds = st.sampled_from(list(ElectionType))


@st.composite
def append_entries(draw: st.DrawFn) -> AppendEntries:
    term = draw(views)
    view = draw(st.integers(1, term))
    prev_idx = draw(seqnos)
    prev_view = draw(st.integers(0, view)) if prev_idx else 0
    made = [
        entry(
            draw(st.sampled_from([view, view, view, view, 1])),
            prev_idx + 1 + i,
            signature=draw(st.booleans()),
            nodes=draw(st.sampled_from(["", "", "", "l me o", "l o", "me a b", "a b"])),
        ).encode()
        for i in range(draw(st.integers(0, 4)))
    ]
    idx = prev_idx + len(made)
    commit = draw(seqnos)
    return AppendEntries(term, prev_idx, idx, prev_view, commit, view if made else prev_view, made)


@st.composite
def votes(draw: st.DrawFn) -> RequestVote:
    term = draw(views)
    return RequestVote(term, draw(seqnos), draw(st.integers(0, term)), draw(kinds))


messages: st.SearchStrategy[Message] = st.one_of(
    append_entries(),
    append_entries(),
    st.builds(AppendEntriesResponse, views, seqnos, st.booleans()),
    votes(),
    st.builds(RequestVoteResponse, views, st.booleans(), kinds),
    st.builds(ProposeRequestVote, views),
)
senders = st.sampled_from(["l", "o", "a", "b", "me", "stranger"])
steps = st.one_of(
    st.tuples(st.just("message"), senders, messages),
    st.tuples(st.just("message"), senders, messages),
    st.tuples(st.just("message"), senders, messages),
    st.tuples(st.just("bytes"), senders, st.binary(max_size=60)),
    st.tuples(st.just("tick"), st.sampled_from([1, 10, 50, 100, 1000])),
    st.tuples(st.just("order"), st.booleans()),
    st.tuples(st.just("configure"), st.sampled_from(["me a b", "a b", "me a", "me l o"])),
    st.just(("flush",)),
    st.tuples(st.just("congested"), senders, st.booleans()),
    st.just(("hand over",)),
)

STARTS: dict[str, Callable[[RaftSettings], StubNode]] = {
    "joiner": lambda r: _joiner(r),
    "follower": follower,
    "candidate": candidate,
    "leader": lambda r: leader("a b", r),
    "alone": lambda r: leader("", r),
}


def _joiner(r: RaftSettings) -> StubNode:
    node = replica("me", r)
    node.raft.join(1, 0, [])
    return node


def perform(node: StubNode, step: tuple[Any, ...]) -> None:
    raft = node.raft
    match step:
        case ("message", sender, AppendEntries() as message):
            node.raft.handle(sender, message)
        case ("message", sender, message):
            raft.receive(sender, message.encode())
        case ("bytes", sender, data):
            raft.receive(sender, data)
        case ("tick", elapsed):
            raft.tick(elapsed)
        case ("order", committable) if raft.can_replicate:
            node.order("x", committable)
        case ("configure", nodes) if raft.can_replicate:
            node.order("", kind=RECONFIGURATION, nodes=tuple(nodes.split()))
        case ("flush",):
            raft.flush()
        case ("congested", peer, yes):
            raft.congested(peer, yes)
        case ("hand over",):
            raft.hand_over()
        case _:
            pass


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(STARTS)), st.booleans(), st.lists(steps, max_size=25))
def test_soup(start: str, pre_vote: bool, soup: list[tuple[Any, ...]]) -> None:
    node = STARTS[start](rules(pre_vote=pre_vote, window=3, batch_entries=2))
    before = _seen(node)
    for step in soup:
        perform(node, step)
        after = _seen(node)
        found = check_step(before, after) + [
            v for v in check_state(after) if v.rule not in NEEDS_OTHERS
        ]
        assert found == [], step
        before = after


NEEDS_OTHERS = {"QuorumLogInv", "ReplicationInv", "NoLeaderBeforeInitialTerm"}
"""Rules that one replica cannot keep when its peers lie, or that are about other beginnings."""


def _seen(node: StubNode) -> dict[str, Replica]:
    return {"me": node.observe()}
