"""The tables of a service as they were before one of its transactions, rebuilt from the ledger.

Entries are applied one after the other from the first on. Private tables are there for who has the
ledger secrets; without, they are empty. Nothing is verified: replay what `verify` accepted.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pyccf.audit.files import StrPath
from pyccf.audit.read import parsed_entries
from pyccf.codec.text import load_json
from pyccf.errors import LocalError
from pyccf.kv import wire
from pyccf.kv.changes import Changes
from pyccf.kv.store import Store
from pyccf.ledger.entry import ParsedEntry
from pyccf.ledger.secrets import KEY_SIZE, LedgerSecret, LedgerSecrets
from pyccf.merkle.tree import Tree
from pyccf.types import SeqNo, TxID

COMPACT_EVERY = 1000
"""Entries after which what could undo them is forgotten."""

Rows = dict[str, dict[bytes, bytes | None]]


class Moment(msgspec.Struct, frozen=True):
    """A transaction and the state before it."""

    store: Store
    root: bytes
    """Of the Merkle tree over everything before."""
    txid: TxID
    writes: Rows
    """What the transaction wrote; without private maps if there are no secrets."""
    private_bytes: int
    """Size of what it wrote to private tables."""
    claims: bytes | None


def rows_of(entry: ParsedEntry, secrets: LedgerSecrets | None) -> Rows:
    """What an entry wrote, as far as it can be read."""
    public = entry.public_maps()
    if secrets is None or not entry.ciphertext:
        return public
    sealed = secrets.open(entry.seqno, entry.iv, entry.tag, entry.ciphertext, entry.public)
    return {**public, **wire.decode(sealed)}


def moment(
    directories: StrPath | Sequence[StrPath], seqno: SeqNo, secrets: LedgerSecrets | None
) -> Moment:
    """The state before `seqno`, and what that transaction made of it.

    Raises LocalError when the ledger does not begin at 1 or does not reach so far.
    """
    store = Store(0)
    tree = Tree()
    for _, entry in parsed_entries(directories, 1, seqno):
        if entry.seqno != store.version + 1:
            raise LocalError(
                f"The ledger begins at {entry.seqno}: the state before {seqno} cannot be rebuilt",
                hint="Give all directories that together hold the ledger from its first entry on.",
            )
        rows = rows_of(entry, secrets)
        if entry.seqno == seqno:
            root = tree.root()
            sealed = len(entry.ciphertext)
            txid = TxID(entry.view, seqno)
            return Moment(store, root, txid, rows, sealed, entry.claims)
        changes: Changes = rows
        store.apply(entry.seqno, changes, view=entry.view)
        tree.append(entry.leaf)
        if entry.seqno % COMPACT_EVERY == 0:
            store.compact(entry.seqno)
    raise LocalError(f"Entry {seqno} is not in the ledger.")


def past_rows(
    directories: StrPath | Sequence[StrPath],
    first: SeqNo,
    last: SeqNo,
    secrets: LedgerSecrets | None,
) -> dict[SeqNo, tuple[TxID, Rows]]:
    """What the transactions first..last wrote."""
    return {
        entry.seqno: (TxID(entry.view, entry.seqno), rows_of(entry, secrets))
        for _, entry in parsed_entries(directories, first, last)
    }


def parse_secrets(raw: bytes) -> LedgerSecrets:
    """Ledger secrets from a file: one, as 32 bytes or their hex, or JSON {version: hex}.

    One alone is taken for that of the whole ledger. Raises LocalError, without a word of the file.
    """
    wrong = LocalError(
        "The ledger secret is neither 32 bytes nor their hex nor JSON {version: hex}"
    )
    if len(raw) == KEY_SIZE:
        return LedgerSecrets([LedgerSecret(1, raw)])
    text = raw.strip()
    try:
        if not text.startswith(b"{"):
            return LedgerSecrets([_secret("1", text.decode())])
        value = load_json(text)
        assert isinstance(value, dict), "what begins with a brace and is JSON is an object"
        return LedgerSecrets(_secret(version, str(key)) for version, key in value.items())
    except ValueError:
        raise wrong from None


def _secret(version: str, key: str) -> LedgerSecret:
    found = bytes.fromhex(key)
    if len(found) != KEY_SIZE or int(version) < 1:
        raise ValueError("not a ledger secret")
    return LedgerSecret(int(version), found)
