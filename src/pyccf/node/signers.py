"""Whose signatures count: those of the nodes of the service that the ledger is of at that point.

A ledger may hold several services, each the recovery of the one before. A signature must be by a
node in the tables, whose certificate the service of the time endorsed, and where there is a COSE
signature it must be by that service's key. Once this node has seen its own service in the ledger,
only that one counts, whatever is written about it. Refused with InvalidLedger, and the reason.
(spec: merkle-and-receipts.md §4.3, ledger.md §12)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pyccf.codec.text import load_json
from pyccf.errors import InvalidLedger
from pyccf.ledger import signature
from pyccf.ledger.certchain import endorsed_by, key_of
from pyccf.service import tables
from pyccf.service.nodes import NodeStatus

if TYPE_CHECKING:
    from pyccf.crypto.keys import PublicKey
    from pyccf.kv.pairs import Pair
    from pyccf.kv.store import Store
    from pyccf.ledger.signature import Signature
    from pyccf.types import SeqNo

KNOWN_CERTIFICATES_MAX = 64
"""How many certificates of signing nodes have their keys ready."""


class Signers:
    """Judges signatures by the tables of one store."""

    def __init__(self, store: Store, own_key: Callable[[], PublicKey]) -> None:
        self._store = store
        self._own_key = own_key
        self._keys: dict[str, PublicKey] = {}
        """Public keys of nodes by certificates that the service of the time endorsed."""
        self._row: Pair | None = None
        """The row about the service that was read last."""
        self._service: tuple[PublicKey, str] | None = None
        """Key and certificate of the service of the time."""
        self._own_from: SeqNo | None = None
        """Where this node's own service was seen first."""

    def check(self, signed: Signature, root: bytes) -> None:
        """A signature holds for everything before it, which has this root."""
        key, cert = self._service_at(signed.seqno)
        signature.verify(signed, root, self._signer(signed, cert), key)

    # --- the service ----------------------------------------------------------------------------

    def _service_at(self, seqno: SeqNo) -> tuple[PublicKey, str]:
        """Key and certificate of the service of the time."""
        if self._own_from is not None and self._own_from > self._store.version:
            # That was rolled back.
            self._own_from = self._row = None
        row = self._read(tables.SERVICE_INFO, tables.UNIT)
        if row is not None and row is not self._row:
            self._learn(row)
        if self._service is None:
            raise InvalidLedger(
                f"Signature at {seqno} comes before there is a service.", seqno=seqno
            )
        return self._service

    def _learn(self, row: Pair) -> None:
        """Take over who the service is; what makes no sense changes nothing."""
        self._row = row
        pem = _member(row, "cert")
        try:
            key = key_of(pem)
        except ValueError:
            return
        own = key == self._own_key()
        if self._own_from is not None and not own:
            return
        self._service = key, pem
        self._keys.clear()
        if own and self._own_from is None:
            self._own_from = self._store.version

    # --- the node -------------------------------------------------------------------------------

    def _signer(self, signed: Signature, service: str) -> PublicKey:
        """The key of the node that says it signed."""
        row = self._read(tables.NODES_INFO, signed.node.encode())
        if row is None:
            raise _refused(signed, f"is by {signed.node}, no node of this service")
        if not signed.cert:
            return self._key_of_row(signed, row)
        key = self._keys.get(signed.cert)
        if key is None:
            key = self._judge(signed, row, service)
        if key.id != signed.node:
            raise _refused(signed, f"carries the certificate of another node than {signed.node}")
        return key

    def _judge(self, signed: Signature, row: Pair, service: str) -> PublicKey:
        try:
            key = key_of(signed.cert)
        except ValueError as e:
            raise _refused(signed, f"has no certificate: {e}") from None
        if key.id != signed.node:
            raise _refused(signed, f"carries the certificate of another node than {signed.node}")
        if not endorsed_by(signed.cert, service):
            raise _refused(signed, "carries a certificate that the service did not endorse")
        if _member(row, "status") == NodeStatus.PENDING.value:
            raise _refused(signed, f"is by {signed.node}, which is not trusted yet")
        if len(self._keys) >= KNOWN_CERTIFICATES_MAX:
            self._keys.clear()
        self._keys[signed.cert] = key
        return key

    def _key_of_row(self, signed: Signature, row: Pair) -> PublicKey:
        """As versions 1.x had it: the certificate is in the tables, and not with the signature."""
        endorsed = self._read(tables.NODES_ENDORSED_CERTIFICATES, signed.node.encode())
        try:
            if endorsed is not None:
                return key_of(endorsed.value.decode("utf-8", "replace"))
            return key_of(_member(row, "cert"))
        except ValueError as e:
            raise _refused(signed, f"is by {signed.node}, which has no certificate: {e}") from None

    def _read(self, name: str, key: bytes) -> Pair | None:
        table = self._store.maps.get(name)
        return None if table is None else table.data.get(key)


def _member(row: Pair, name: str) -> str:
    try:
        value = load_json(row.value)
    except ValueError:
        value = None
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, str) else ""


def _refused(signed: Signature, why: str) -> InvalidLedger:
    return InvalidLedger(f"Signature at {signed.seqno} {why}.", seqno=signed.seqno)
