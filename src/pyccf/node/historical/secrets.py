"""Ledger secrets of the past: those the node holds, and older ones found by walking back.

Each secret but the first says where the one before it was stored: in an entry, encrypted under it.
What is found there is kept for the life of the process, apart from the node's own secrets, which
follow the ledger forward (spec: historical-and-indexing.md §1.4, crypto.md §5.4).
"""

from __future__ import annotations

from pyccf.codec.text import unb64
from pyccf.crypto import aead
from pyccf.errors import InvalidLedger, LocalError
from pyccf.ledger.entry import ParsedEntry
from pyccf.ledger.secrets import KEY_SIZE, EntryCipher, LedgerSecret, LedgerSecrets
from pyccf.service import tables
from pyccf.types import SeqNo

_TABLE = tables.HISTORICAL_ENCRYPTED_LEDGER_SECRET


class PastSecrets:
    """All secrets this node can have, the earliest one first."""

    def __init__(self, own: LedgerSecrets) -> None:
        self._own = own
        self._older = LedgerSecrets()

    def cipher_at(self, seqno: SeqNo) -> EntryCipher:
        """What sealed the entry at `seqno`; LocalError when that secret is not known (yet)."""
        first = self._own.earliest()
        if first is not None and seqno >= first.version:
            return self._own.at(seqno).cipher
        return self._older.at(seqno).cipher

    def stored_before(self, seqno: SeqNo) -> SeqNo | None:
        """Where the next older secret is stored if it takes that to read `seqno`, else None.

        Raises LocalError when nothing says where.
        """
        earliest = self._earliest()
        if earliest is None or seqno >= earliest.version:
            return None
        stored = earliest.previous_stored_version
        if stored is None:
            raise LocalError(
                f"Earliest known ledger secret at {earliest.version} has no earlier secret stored"
                f" version ({seqno})"
            )
        return stored

    def learn(self, entry: ParsedEntry) -> None:
        """Take the secret before the earliest known one from the entry it is stored in.

        Only public tables are looked at. Raises InvalidLedger when it is not there.
        """
        earliest = self._earliest()
        assert earliest is not None, "older secrets are found through newer ones"
        raw = entry.public_maps().get(_TABLE, {}).get(tables.UNIT)
        row = None if raw is None else tables.decode_row(_TABLE, raw)
        previous = row.get("previous_ledger_secret") if isinstance(row, dict) else None
        if not isinstance(previous, dict):
            raise _bad(entry, "does not hold the ledger secret before")
        version, sealed = previous.get("version"), previous.get("encrypted_data")
        stored = previous.get("previous_secret_stored_version")
        if not isinstance(version, int) or isinstance(version, bool) or not isinstance(sealed, str):
            raise _bad(entry, "holds a malformed record of the ledger secret before")
        if not 0 < version < earliest.version:
            raise _bad(entry, f"holds a ledger secret from {version} on as the one before")
        try:
            key = aead.open_(earliest.key, unb64(sealed))
        except (aead.InvalidTag, ValueError):
            raise _bad(entry, "holds a ledger secret that does not open under the next") from None
        if len(key) != KEY_SIZE:
            raise _bad(entry, "holds a ledger secret of a wrong size")
        if not isinstance(stored, int) or isinstance(stored, bool) or stored >= entry.seqno:
            stored = None
        self._older.add(LedgerSecret(version, key, stored))

    def _earliest(self) -> LedgerSecret | None:
        return self._older.earliest() or self._own.earliest()


def _bad(entry: ParsedEntry, what: str) -> InvalidLedger:
    return InvalidLedger(f"Entry {entry.seqno} {what}.", seqno=entry.seqno)
