"""Past ledger secrets: what the ledger itself keeps of them, and the way back from the latest.

Each row of `public:ccf.internal.historical_encrypted_ledger_secret` says from which seqno on a
secret is in use and holds the one before it, encrypted under it. Who has the latest secret and all
rows has them all. `parse` refuses (InvalidLedger) a row that is not that, `walk_back` one that does
not open under the secret it should. No error shows a key. (spec: crypto.md §5.4-5.5)
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from cryptography.exceptions import InvalidTag

from pyccf.codec.text import load_json, unb64
from pyccf.crypto import aead
from pyccf.errors import InvalidLedger
from pyccf.ledger.secrets import KEY_SIZE, LedgerSecret
from pyccf.types import SeqNo

TABLE = "public:ccf.internal.historical_encrypted_ledger_secret"


class PastSecret(msgspec.Struct, frozen=True):
    """One row, written at `seqno`: a secret is in use from `next_version` on, and `sealed` is the
    one before it, of `version`; None for the first of a ledger. `stored` is where the row before
    this one was written."""

    seqno: SeqNo
    next_version: SeqNo
    version: SeqNo | None
    sealed: bytes
    stored: SeqNo | None


def parse(seqno: SeqNo, raw: bytes) -> PastSecret:
    """The row written at `seqno`. Raises InvalidLedger when it is malformed."""
    try:
        row = load_json(raw)
        if not isinstance(row, dict):
            raise ValueError("it is no JSON object")
        following = _seqno(row.get("next_version"))
        previous = row.get("previous_ledger_secret")
        version, stored, sealed = None, None, b""
        if isinstance(previous, dict):
            version = _seqno(previous.get("version"))
            if version is None:
                raise ValueError("the secret in it has no version")
            stored = _seqno(previous.get("previous_secret_stored_version"))
            data = previous.get("encrypted_data")
            sealed = unb64(data if isinstance(data, str) else "?")
    except ValueError as error:
        raise InvalidLedger(
            f"Entry {seqno} has a malformed row in {TABLE}: {error}.", seqno=seqno
        ) from None
    # Of a rekey the row does not say it: its secret is used from the next entry on.
    return PastSecret(seqno, following or seqno + 1, version, sealed, stored)


def _seqno(value: object) -> SeqNo | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError("a version in it is no seqno")
    return value


def walk_back(past: Sequence[PastSecret], latest: bytes) -> list[LedgerSecret]:
    """Every secret of the rows of a ledger, ascending, given the key of the latest.

    Raises InvalidLedger when there is no row, or one does not open.
    """
    if not past:
        raise InvalidLedger("The ledger does not say from where on its latest secret is used.")
    newest = past[-1]
    known = {newest.next_version: LedgerSecret(newest.next_version, latest, newest.seqno)}
    key = latest
    for row in reversed(past):
        if row.version is None:
            break
        if row.version in known:
            # Recovery was completed twice: the same secret was stored once more.
            continue
        key = _open(row, key)
        known[row.version] = LedgerSecret(row.version, key, row.stored)
    return sorted(known.values(), key=lambda secret: secret.version)


def _open(row: PastSecret, key: bytes) -> bytes:
    try:
        opened = aead.open_(key, row.sealed)
    except (InvalidTag, ValueError):
        raise InvalidLedger(
            f"The ledger secret stored at {row.seqno} does not open under the next one.",
            seqno=row.seqno,
        ) from None
    if len(opened) != KEY_SIZE:
        raise InvalidLedger(
            f"The ledger secret stored at {row.seqno} has a wrong size.", seqno=row.seqno
        )
    return opened
