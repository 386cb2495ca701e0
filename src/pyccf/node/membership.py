"""Who is in the network: what the nodes table says, told to consensus and to the peers' doorman.

A change of the table makes a new configuration as soon as it is executed or applied, because a node
may be needed before its addition is committed; that a retirement is committed counts only once that
itself is committed (spec: consensus-cft.md §9, node-lifecycle.md §11, §16).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyccf.errors import InvalidLedger
from pyccf.node.states import READING_PUBLIC_LEDGER
from pyccf.service import tables
from pyccf.service.nodes import NodeStatus
from pyccf.types import Json, NodeId, SeqNo

if TYPE_CHECKING:
    from pyccf.kv.changes import MapChanges
    from pyccf.node.node import Node


class Membership:
    """Configurations, addresses and admission of one node's peers."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._addresses: dict[NodeId, str] = {}
        self._gone: set[NodeId] = set()
        """Nodes whose row was deleted: their ids never come back."""
        self._standing: dict[NodeId, bool] = {}
        """Who may send us anything, by the table as it is committed."""
        self.leaving = False
        """It is committed that this node is retired: soon nobody listens to it any more."""
        self.retired = False
        """It is committed that this node's retirement is committed: it takes no more part."""
        node.store.on_write(tables.NODES_INFO, self._written)
        node.store.on_commit(tables.NODES_INFO, self._committed)

    def address(self, node_id: NodeId) -> str | None:
        """Where a node listens for other nodes."""
        return self._addresses.get(node_id)

    def accepts(self, node_id: NodeId) -> bool:
        """Whether a node, whose certificate the service endorsed, may send us anything.

        The endorsement was written by the transaction that trusted it. A node whose table does not
        say so yet is behind: it must listen to whoever came since, or it might never catch up and
        its vote be missed for ever. Who was seen to leave for good may not speak: not before that
        is committed, for it may be the primary, whom that takes.
        """
        standing = self._standing.get(node_id)
        if standing is None:
            standing = self._standing[node_id] = self._judge(node_id)
        return standing

    def _judge(self, node_id: NodeId) -> bool:
        row = self._node.store.read_committed(tables.NODES_INFO, node_id.encode())
        if row is None:
            return node_id not in self._gone
        status, _, retired_committed = _read(row)
        return status != NodeStatus.RETIRED.value or not retired_committed

    def _written(self, seqno: SeqNo, changes: MapChanges) -> None:
        """The table changed: what that means for the configuration."""
        self._standing.clear()  # it may have come out of a snapshot, committed
        if self._node.state == READING_PUBLIC_LEDGER:
            # Nodes of a service that was: none of them takes part any more.
            return
        consensus = self._node.consensus
        before = consensus.nodes()
        after = dict(before)
        for key in sorted(changes):
            value = changes[key]
            if value is None:
                continue
            node_id = _id(key)
            status, address, _ = _read(value)
            self._addresses[node_id] = address
            if status == NodeStatus.TRUSTED.value:
                after.setdefault(node_id, address)
            elif status == NodeStatus.RETIRED.value:
                after.pop(node_id, None)
        if after != before:
            consensus.configure(seqno, after)

    def began(self) -> None:
        """The table came out of a snapshot, which is final: this node may be retired in it."""
        key = self._node.node_id.encode()
        tx = self._node.store.committed_tx()
        try:
            pair = tx.map(tables.NODES_INFO).pair(key)
        finally:
            tx.close()
        if pair is not None and _read(pair.value)[0] == NodeStatus.RETIRED.value:
            self._node.consensus.retired_before(pair.version)
            self._committed(pair.version, {key: pair.value})

    def _committed(self, seqno: SeqNo, changes: MapChanges) -> None:
        """The table's change is final."""
        self._standing.clear()
        if self._node.state == READING_PUBLIC_LEDGER:
            return
        done: list[NodeId] = []
        for key in sorted(changes):
            value = changes[key]
            node_id = _id(key)
            if value is None:
                self._gone.add(node_id)
                continue
            status, _, recorded = _read(value)
            if (
                node_id == self._node.node_id
                and status == NodeStatus.RETIRED.value
                and not self.leaving
            ):
                # Said at once: the others may part from it before it hears of the rest.
                self.leaving = True
                said = f"This node is retired: its removal committed at {seqno}"
                self._node.log("info", "", said)
            if recorded:
                done.append(node_id)
        if done:
            if self._node.node_id in done and not self.retired:
                self.retired = True
                self._node.log(
                    "info", "", f"This node was retired, and its retirement committed at {seqno}"
                )
            self._node.consensus.retired_committed(seqno, done)


def _id(key: bytes) -> NodeId:
    try:
        return key.decode()
    except UnicodeDecodeError:
        raise InvalidLedger(f"A key of {tables.NODES_INFO} is no text.") from None


def _read(raw: bytes) -> tuple[str, str, bool]:
    """Status, node-to-node address and retired_committed of a row. Raises InvalidLedger."""
    row: Json = tables.decode_row(tables.NODES_INFO, raw)
    interface = row.get("node_to_node_interface") if isinstance(row, dict) else None
    if not isinstance(row, dict):
        raise InvalidLedger(f"A row of {tables.NODES_INFO} is no object.")
    status = row.get("status")
    address = interface.get("published_address") if isinstance(interface, dict) else None
    if address is None:
        address = f"{row.get('nodehost', '')}:{row.get('nodeport', '')}"
    if not isinstance(status, str) or not isinstance(address, str):
        raise InvalidLedger(f"A row of {tables.NODES_INFO} has no status or no address.")
    return status, address, row.get("retired_committed") is True
