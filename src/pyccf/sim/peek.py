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
