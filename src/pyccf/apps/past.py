"""A committed transaction as Python applications see it."""

from __future__ import annotations

from pyccf.apps.context import HistoricalState
from pyccf.apps.typed import RawTable
from pyccf.kv.tx import Tx
from pyccf.types import Json, TxID


class PastState:
    """One transaction of the past: what it wrote, and proofs that it is in the ledger."""

    __slots__ = ("_state", "_tx")

    def __init__(self, state: HistoricalState) -> None:
        self._state = state
        self._tx: Tx | None = None

    @property
    def txid(self) -> TxID:
        return self._state.txid

    @property
    def is_signature(self) -> bool:
        """Whether it is a signature transaction, which proves others and itself has no proof."""
        return self._state.is_signature

    @property
    def receipt(self) -> dict[str, Json]:
        """JSON receipt, as served at /receipt."""
        return self._state.receipt

    @property
    def cose_receipt(self) -> bytes | None:
        """COSE receipt; None for signature transactions and where the ledger has none."""
        return self._state.cose_receipt

    @property
    def cose_signature(self) -> bytes | None:
        """The service's COSE signature over the Merkle root this transaction is under."""
        return self._state.cose_signature

    @property
    def cose_endorsements(self) -> tuple[bytes, ...] | None:
        """Endorsements from the present service back to the one that signed; None if none."""
        return self._state.cose_endorsements

    @property
    def proof(self) -> bytes | None:
        """Merkle proof in CBOR; None for signature transactions."""
        return self._state.proof

    def tx(self) -> Tx:
        """A read-only transaction over exactly what was written."""
        if self._tx is None:
            self._tx = self._state.tx()
        return self._tx

    def kv(self, name: str) -> RawTable:
        """A table with only the rows that this transaction wrote."""
        return RawTable(self.tx(), name)
