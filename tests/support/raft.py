"""Raft replicas under test, over the stub executor of the scenario driver."""

from __future__ import annotations

from pyccf.consensus.api import Leadership, PeerMessage
from pyccf.consensus.raft import (
    AppendEntries,
    AppendEntriesResponse,
    ElectionType,
    Phase,
    Raft,
    RaftSettings,
    RequestVote,
)
from pyccf.crypto.entropy import SeededEntropy
from pyccf.sim.stub import RAW, RECONFIGURATION, RETIRED_COMMITTED, StubEntry, StubNode
from pyccf.types import NodeId, SeqNo, View

ELECTION_TIMEOUT = 100
HEARTBEAT = 10


def settings(
    *,
    pre_vote: bool = False,
    election_ticks: int = 1,
    window: int = 20_000,
    batch_entries: int = 1000,
    messages_max: int = 32,
    catch_up: int = 50_000,
) -> RaftSettings:
    return RaftSettings(
        message_timeout=HEARTBEAT,
        election_timeout=ELECTION_TIMEOUT,
        election_ticks=election_ticks,
        pre_vote=pre_vote,
        window=window,
        batch_entries=batch_entries,
        messages_max=messages_max,
        catch_up=catch_up,
    )


def replica(node_id: NodeId = "me", rules: RaftSettings | None = None) -> StubNode:
    """A node that knows nothing yet."""
    return StubNode(node_id, rules or settings(), SeededEntropy(node_id))


def entry(
    view: View,
    seqno: SeqNo,
    *,
    signature: bool = False,
    data: str = "",
    nodes: str = "",
    retired: str = "",
) -> StubEntry:
    """An entry as another leader orders it; `nodes` and `retired` are words apart by blanks."""
    if nodes:
        return StubEntry(view, seqno, False, RECONFIGURATION, "", tuple(nodes.split()))
    if retired:
        return StubEntry(view, seqno, False, RETIRED_COMMITTED, "", tuple(retired.split()))
    return StubEntry(view, seqno, signature, RAW, "signature" if signature else data)


def append(
    term: View,
    prev: tuple[View, SeqNo],
    *entries: StubEntry,
    commit: SeqNo = 0,
) -> AppendEntries:
    """Append-entries after `prev`, all of one view."""
    view = entries[-1].view if entries else prev[0]
    return AppendEntries(
        term,
        prev[1],
        prev[1] + len(entries),
        prev[0],
        commit,
        view,
        [e.encode() for e in entries],
    )


def take(node: StubNode) -> list[tuple[NodeId, PeerMessage]]:
    """What a node sent since last asked."""
    out = list(node.outbox)
    node.outbox.clear()
    return out


def answer(node: StubNode) -> PeerMessage | None:
    """The one message a node sent since last asked, None if it sent nothing."""
    out = take(node)
    assert len(out) < 2, out
    return out[0][1] if out else None


def ack(node: StubNode, peer: NodeId, seqno: SeqNo, term: View | None = None) -> None:
    node.raft.handle(peer, AppendEntriesResponse(term or node.raft.view, seqno, True))


def nack(node: StubNode, peer: NodeId, view: View, seqno: SeqNo) -> None:
    node.raft.handle(peer, AppendEntriesResponse(view, seqno, False))


def leader(others: str = "", rules: RaftSettings | None = None) -> StubNode:
    """A leader `me` in view 2 with these others, everything known everywhere; committed 4.

    Log: 2.1 configuration {me}, 2.2 signature, 2.3 configuration with the others, 2.4 signature.
    """
    node = replica("me", rules)
    node.raft.start()
    node.order("", kind=RECONFIGURATION, nodes=("me",))
    node.order("", committable=True)
    if others:
        node.order("", kind=RECONFIGURATION, nodes=("me", *others.split()))
        node.order("", committable=True)
        for other in others.split():
            ack(node, other, 4)
        node.raft.flush()
        assert node.raft.committed == 4
    take(node)
    node.reports.clear()
    return node


def follower(
    rules: RaftSettings | None = None, nodes: str = "l me o", commit: SeqNo = 2
) -> StubNode:
    """A follower `me` of `l` in view 2: 2.1 configuration, 2.2 signature."""
    node = replica("me", rules)
    node.raft.join(2, 0, [])
    node.raft.handle(
        "l", append(2, (0, 0), entry(2, 1, nodes=nodes), entry(2, 2, signature=True), commit=commit)
    )
    assert answer(node) == AppendEntriesResponse(2, 2, True)
    return node


def candidate(rules: RaftSettings | None = None, nodes: str = "l me o") -> StubNode:
    """`me` just stood for election in view 3 (or asks whether to, with pre-vote)."""
    node = follower(rules, nodes)
    node.raft.tick(ELECTION_TIMEOUT)
    take(node)
    return node


def vote(
    term: View,
    at: tuple[View, SeqNo],
    kind: ElectionType = ElectionType.REGULAR_VOTE,
) -> RequestVote:
    """A candidate's request, with the place of its last signature."""
    return RequestVote(term, at[1], at[0], kind)


def role(raft: Raft) -> Leadership:
    """Asked anew each time, which a type checker does not believe of an attribute."""
    return raft.leadership


def phase(node: StubNode) -> Phase | None:
    """Likewise."""
    return node.raft.phase
