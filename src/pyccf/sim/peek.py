"""What the simulator sees of a node's consensus engine. Reads, never writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyccf.consensus.raft import Raft

if TYPE_CHECKING:
    from pyccf.node.node import Node


def engine(node: Node) -> Raft:
    """The engine of a node, which is Raft in simulation."""
    consensus = node.consensus
    assert isinstance(consensus, Raft), "the simulator knows Raft"
    return consensus


def glance(raft: Raft) -> tuple[object, ...]:
    """Everything of an engine that the rules look at, in a form that is quick to compare."""
    return (
        raft.view,
        raft.last,
        raft.committed,
        raft.leadership,
        raft.phase,
        raft.voted_for,
        [c.idx for c in raft.configs],
        [(p.sent, p.match) for p in raft.peers.values()],
        [len(voters) for voters in raft.votes.values()],
    )
