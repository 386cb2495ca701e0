"""The node as its consensus engine sees it: others' entries are executed, undone, made final.

An entry is taken over only after everything about it was checked: its form, its place, the
encryption of its private part and, for a signature, the root and both signatures over it. What is
refused has changed nothing (spec: consensus-cft.md §6.1). Roll-back and compaction walk down the
same list of rooms as a commit does: chunks, store, history (spec: kv-and-tables.md §3.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyccf.crypto import certs
from pyccf.errors import InvalidLedger, PyccfError
from pyccf.kv import wire
from pyccf.ledger import signature
from pyccf.ledger.entry import FORCE_CHUNK_AFTER, Entry, ParsedEntry, parse
from pyccf.ledger.history import SIGNATURES_MAP
from pyccf.node.outputs import Channel
from pyccf.service import tables

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyccf.consensus.api import PeerMessage
    from pyccf.crypto.keys import PublicKey
    from pyccf.node.node import Node
    from pyccf.types import NodeId, SeqNo, TxID, View

KNOWN_CERTIFICATES_MAX = 64
"""How many certificates of signing nodes have their keys ready."""


class Replica:
    """Executor of one node."""

    def __init__(self, node: Node, service_key: Callable[[], PublicKey]) -> None:
        self._node = node
        self._service_key = service_key
        self._keys: dict[str, PublicKey] = {}
        """Public keys by the certificate that names them."""

    # --- forward --------------------------------------------------------------------------------

    def apply(self, expected: TxID, data: bytes) -> bool:
        """Take over an entry that another node ordered; whether it is a signature.

        Raises InvalidLedger, having changed nothing.
        """
        node = self._node
        parsed = parse(data)
        view, seqno = expected
        if parsed.seqno != seqno or parsed.view != view:
            raise InvalidLedger(
                f"Expected entry {view}.{seqno}, got {parsed.view}.{parsed.seqno}.", seqno=seqno
            )
        history = node.history
        maps = parsed.public_maps()
        committable = SIGNATURES_MAP in maps
        private = wire.decode(history.private(parsed)) if parsed.ciphertext else None
        if private:
            if not maps.keys().isdisjoint(private):
                raise InvalidLedger("A map is in both domains of the entry.", seqno=seqno)
            maps = {**maps, **private}
        if committable:
            if private:
                raise InvalidLedger("A signature writes to a private map.", seqno=seqno)
            self._check_signature(parsed)
        elif parsed.flags & FORCE_CHUNK_AFTER:
            raise InvalidLedger("A chunk cannot end after this entry.", seqno=seqno)
        if not maps:
            raise InvalidLedger("The entry changes nothing.", seqno=seqno)
        history.follow(parsed)
        try:
            node.store.apply(seqno, maps, view=view)
        except PyccfError as e:
            # A hook refused a row that no honest primary could have written.
            node.store.rollback(seqno - 1, node.consensus.view)
            history.rollback(seqno - 1)
            raise InvalidLedger(f"Entry {seqno} is not acceptable: {e.message}", seqno=seqno) from e
        node.chunker.follow(seqno, len(data), parsed.flags)
        node.followed(Entry(view, seqno, data, committable, parsed.leaf))
        return committable

    def _check_signature(self, parsed: ParsedEntry) -> None:
        """A signature holds for everything before it and is by a node of this service."""
        signed = signature.parse(parsed)
        nodes = self._node.store.maps.get(tables.NODES_INFO)
        if nodes is None or signed.node.encode() not in nodes.data:
            raise InvalidLedger(
                f"Signature at {signed.seqno} is by {signed.node}, no node of this service.",
                seqno=signed.seqno,
            )
        key = self._keys.get(signed.cert)
        if key is None:
            try:
                key = certs.public_key(signed.cert)
            except ValueError as e:
                raise InvalidLedger(
                    f"Signature at {signed.seqno} has no certificate: {e}", seqno=signed.seqno
                ) from None
            if len(self._keys) >= KNOWN_CERTIFICATES_MAX:
                self._keys.clear()
            self._keys[signed.cert] = key
        if key.id != signed.node:
            raise InvalidLedger(
                f"Signature at {signed.seqno} carries the certificate of another node than"
                f" {signed.node}.",
                seqno=signed.seqno,
            )
        signature.verify(signed, self._node.history.root(), key, self._service_key())

    # --- back, and for good ---------------------------------------------------------------------

    def rollback(self, seqno: SeqNo, view: View) -> None:
        """Entries after `seqno` never happened; what comes next is in `view`."""
        node = self._node
        undone = node.store.version > seqno
        node.store.rollback(seqno, view)
        if not undone:
            return
        node.chunker.rollback(seqno)
        node.history.rollback(seqno)
        node.undone(seqno)

    def compact(self, seqno: SeqNo) -> None:
        """Everything up to `seqno` is committed."""
        node = self._node
        node.chunker.compact(seqno)
        node.store.compact(seqno)
        node.history.compact(seqno)
        node.committed(seqno)

    # --- peers and reports ----------------------------------------------------------------------

    def send(self, to: NodeId, message: PeerMessage) -> None:
        """Carry a message, after everything that was asked for before."""
        self._node.send_to(to, Channel.CONSENSUS, message)

    def tidy_retired(self) -> None:
        """Have the retirements that are committed recorded, once the present step is over."""
        self._node.tidy_due = True

    def report(self, level: str, text: str) -> None:
        self._node.log(level, "", text)
