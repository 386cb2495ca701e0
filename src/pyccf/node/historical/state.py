"""One committed transaction, verified: what it wrote, and every kind of proof of it.

Proofs are made when they are asked for, from the entry and the signature that covers it, which many
states share.
"""

from __future__ import annotations

from collections.abc import Callable

from pyccf.errors import LocalError
from pyccf.kv.tx import Tx
from pyccf.ledger import receipt as receipts
from pyccf.ledger.entry import ParsedEntry
from pyccf.ledger.signature import Covering
from pyccf.types import Json, TxID

STATE_OVERHEAD = 2048
"""Bytes a state takes in memory beyond those of its entry, about."""

Changes = dict[str, dict[bytes, bytes | None]]


class Endorsements:
    """What makes a proof of an earlier service one of the present service's.

    `certificates` are PEM, for JSON receipts; `cose` the chain of service identities from the
    present one back, None when there is none or none is needed.
    """

    __slots__ = ("certificates", "cose")

    def __init__(
        self, certificates: tuple[str, ...] = (), cose: tuple[bytes, ...] | None = None
    ) -> None:
        self.certificates = certificates
        self.cose = cose


PRESENT = Endorsements()
"""Of the present service: nothing is needed."""


class State:
    """One committed transaction."""

    __slots__ = (
        "_covering",
        "_endorsements",
        "_find_evidence",
        "_open_private",
        "_receipt",
        "parsed",
        "txid",
    )

    def __init__(
        self,
        parsed: ParsedEntry,
        covering: Covering,
        find_evidence: Callable[[ParsedEntry], str | None],
        endorsements: Endorsements,
        open_private: Callable[[ParsedEntry], Changes],
    ) -> None:
        self.txid = TxID(parsed.view, parsed.seqno)
        self.parsed = parsed
        self._covering = covering
        self._find_evidence = find_evidence
        self._endorsements = endorsements
        self._open_private = open_private
        self._receipt: dict[str, Json] | None = None

    @property
    def size(self) -> int:
        """What keeping it costs, about."""
        return len(self.parsed.data) + STATE_OVERHEAD

    @property
    def is_signature(self) -> bool:
        return self.parsed.seqno == self._covering.entry.seqno

    @property
    def receipt(self) -> dict[str, Json]:
        """As served at /receipt (spec: merkle-and-receipts.md §5.1)."""
        made = self._receipt
        if made is None:
            made = self._receipt = receipts.json_receipt(
                self.parsed,
                self._covering,
                self._find_evidence(self.parsed),
                self._endorsements.certificates,
            )
        return made

    @property
    def cose_signature(self) -> bytes | None:
        """COSE signature by the service over the Merkle root; None in ledgers from before it."""
        return self._covering.signature.cose

    @property
    def cose_receipt(self) -> bytes | None:
        """COSE receipt; None for a signature transaction and where there is no COSE signature."""
        if self.cose_signature is None:
            return None
        return self._provable(receipts.cose_receipt)

    @property
    def proof(self) -> bytes | None:
        """Inclusion proof in CBOR; None for a signature transaction and without commit evidence."""
        return self._provable(receipts.merkle_proof_cbor)

    @property
    def cose_endorsements(self) -> tuple[bytes, ...] | None:
        """Endorsements of service identities from the present one back; None if none is needed."""
        return self._endorsements.cose

    def _provable(self, make: Callable[[ParsedEntry, Covering, str | None], bytes]) -> bytes | None:
        if self.is_signature:
            return None
        try:
            return make(self.parsed, self._covering, self._find_evidence(self.parsed))
        except LocalError:
            # Entries from before commit evidence have no such proof.
            return None

    def changes(self) -> Changes:
        """What this transaction wrote; None is a removal. InvalidLedger if it cannot be read."""
        return {**self.parsed.public_maps(), **self._open_private(self.parsed)}

    def rows(self, name: str) -> dict[bytes, bytes | None]:
        """What this transaction wrote to one map: the private part is opened for private maps."""
        if name.startswith("public:"):
            return self.parsed.public_maps().get(name, {})
        return self._open_private(self.parsed).get(name, {})

    def tx(self) -> Tx:
        """What this transaction wrote, to be read."""
        return Tx.over(self.changes(), self.txid.seqno, self.txid.view)
