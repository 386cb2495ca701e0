"""A node's state out of a snapshot: store, tree and history of views as they were at its seqno.

The public part can be restored before any secret is known, the private part whenever the ledger
secret of the snapshot is. `judge` says whether a snapshot may be believed; nothing is changed by
one that does not fit together.
(spec: kv-and-tables.md §7.4, node-lifecycle.md §6.4, §9.1)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyccf.crypto import certs
from pyccf.errors import InvalidLedger
from pyccf.ledger import signature
from pyccf.ledger import snapshot as snapshots
from pyccf.service import tables

if TYPE_CHECKING:
    from pyccf.kv.content import MapContent
    from pyccf.ledger.receipt import Proven
    from pyccf.ledger.secrets import LedgerSecrets
    from pyccf.ledger.signature import Signature
    from pyccf.ledger.snapshot import Snapshot, SnapshotName
    from pyccf.merkle.tree import Tree
    from pyccf.node.node import Node
    from pyccf.types import SeqNo


def judge(data: bytes, name: SnapshotName, service_cert_pem: str) -> Restorable:
    """A snapshot file that a service vouches for, ready to be restored.

    Everything that can be known without the ledger secret is checked: the receipt, that the file is
    what its name says, and the signature transaction in it. Raises InvalidLedger, InvalidReceipt.
    """
    snapshot = snapshots.parse(data)
    proven = snapshots.verify(snapshot, service_cert_pem)
    evidence = proven.txid.seqno if proven.txid is not None else 0
    if (snapshot.seqno, evidence) != (name.seqno, name.evidence):
        raise InvalidLedger(
            f"The snapshot is of {snapshot.seqno} with evidence at {evidence}, its name says"
            f" {name.seqno} and {name.evidence}."
        )
    service_key = certs.public_key(service_cert_pem)
    restorable = Restorable(snapshot)
    restorable.proven = proven
    restorable.service_key = service_key.der
    signed = restorable.signature
    try:
        node_key = certs.public_key(signed.cert)
    except ValueError:
        raise InvalidLedger("The signature in the snapshot has no certificate.") from None
    signature.verify(signed, signed.root, node_key, service_key)
    return restorable


def judge_by_itself(data: bytes, name: SnapshotName) -> Restorable:
    """A snapshot file that the service in it vouches for, whichever that is.

    Only a ledger that goes on with it and records it can tell more. Raises InvalidLedger,
    InvalidReceipt.
    """
    public = {one.name: one.pairs for one in snapshots.parse(data).public_maps()}
    pair = public.get(tables.SERVICE_INFO, {}).get(tables.UNIT)
    row = None if pair is None else tables.decode_row(tables.SERVICE_INFO, pair.value)
    cert = row.get("cert") if isinstance(row, dict) else None
    if not isinstance(cert, str):
        raise InvalidLedger("The snapshot does not say of which service it is.")
    found = judge(data, name, cert)
    found.by_itself = True
    return found


class Restorable:
    """A snapshot whose public part was read and fits together."""

    def __init__(self, snapshot: Snapshot) -> None:
        """Raises InvalidLedger."""
        self.snapshot = snapshot
        self.public: list[MapContent] = snapshot.public_maps()
        signed, tree = snapshots.history_of(snapshot, self.public)
        self.signature: Signature = signed
        """The signature transaction that the snapshot was taken at."""
        self.tree: Tree = tree
        self.proven: Proven | None = None
        """What its receipt proves, if that was judged."""
        self.service_key = b""
        """Of the service that vouched for it then (SPKI, DER)."""
        self.by_itself = False
        """Only the service in it vouches for it."""

    @property
    def seqno(self) -> SeqNo:
        return self.snapshot.seqno


def restore_from_snapshot(
    node: Node, restorable: Restorable, secrets: LedgerSecrets | None
) -> None:
    """Give a node the state of a snapshot; without secrets the public part.

    It replaces what the node has: nothing, or what is final and before the snapshot.

    Local hooks run for what is restored, global ones when something is committed next. Consensus is
    not told: who joins says `join` first, with the snapshot's view, seqno and `starts`, so that the
    configuration found in the tables finds it ready; who recovers says `start` when it has replayed
    the ledger. Raises InvalidLedger, LocalError for an unknown secret, having changed nothing.
    """
    snapshot = restorable.snapshot
    private = None if secrets is None else snapshot.private_maps(secrets)
    node.history.restore(restorable.tree)
    node.begin_at(snapshot.seqno, snapshot.digest)
    node.store.forget()
    node.store.restore(snapshot.seqno, snapshot.view, restorable.public)
    if private is not None:
        node.store.restore_more(private)


def restore_private(node: Node, snapshot: Snapshot, secrets: LedgerSecrets) -> None:
    """Add the private part, as it was at the snapshot, to a store that has the public part.

    For a store that went on since, its private maps must be replayed elsewhere from here. Raises
    InvalidLedger, or LocalError for an unknown secret or when private maps are there.
    """
    node.store.restore_more(snapshot.private_maps(secrets))
