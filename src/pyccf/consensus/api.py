"""What the node sees of a consensus engine, crash-fault-tolerant or Byzantine.

An engine orders opaque entries. It knows of an entry its transaction id, whether it is committable
(a signature) and whether it changes the configuration; nothing else. It is told what was ordered
and what the disk holds, and answers with what is committed. It does no I/O and never blocks.
"""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from pyccf.types import Json, NodeId, SeqNo, TxID, View


class Leadership(Enum):
    """Role of this node in its current view (spec: http-api.md §9.2, leadership_state)."""

    NONE = "None"
    LEADER = "Leader"
    FOLLOWER = "Follower"
    PRE_VOTE_CANDIDATE = "PreVoteCandidate"
    CANDIDATE = "Candidate"


class Engine(Protocol):
    """Agreement on a sequence of entries."""

    @property
    def view(self) -> View:
        """View in which entries are ordered now."""
        ...

    @property
    def last(self) -> SeqNo:
        """Seqno of the last entry ordered here."""
        ...

    @property
    def committed(self) -> SeqNo:
        """Seqno up to which entries can never be undone."""
        ...

    @property
    def primary(self) -> NodeId | None: ...

    @property
    def can_replicate(self) -> bool:
        """Whether this node may order entries now."""
        ...

    def append(self, seqno: SeqNo, committable: bool) -> None:
        """An entry was ordered by this node, in the current view."""
        ...

    def persisted(self, seqno: SeqNo) -> bool:
        """This node's disk holds all entries to `seqno`. True if commit moved."""
        ...

    def view_of(self, seqno: SeqNo) -> View | None: ...

    def view_history(self, since: View = 1) -> list[TxID]: ...

    def configure(self, seqno: SeqNo, nodes: dict[NodeId, str]) -> None:
        """From `seqno` on these nodes (id to node-to-node address) decide."""
        ...

    def details(self) -> dict[str, Json]:
        """What /node/consensus tells (spec: http-api.md §9.2)."""
        ...

    def nodes(self) -> dict[NodeId, str]:
        """Nodes of the latest configuration with their addresses."""
        ...
