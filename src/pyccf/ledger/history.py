"""The history: every transaction becomes an entry here and a leaf of the Merkle tree.

`append` is the hot path of a primary: one call of `sealing` makes commit evidence, seals the
private domain, builds the entry's bytes and hashes them; the leaf goes into the tree. `replay` is
the same walk for an entry somebody else wrote: it checks the encryption and appends its leaf.
Promises that leaf i is the entry with seqno i; asserts that its own entries come without gaps,
refuses (InvalidLedger) others' that do not. (spec: ledger.md §4-5, merkle-and-receipts.md §1-2)
"""

from __future__ import annotations

from collections.abc import Callable

from pyccf.errors import InvalidLedger
from pyccf.kv import wire
from pyccf.ledger.entry import Z32, Entry, ParsedEntry, parse
from pyccf.ledger.secrets import LedgerSecrets
from pyccf.merkle.tree import Tree
from pyccf.types import SeqNo, TxID

SIGNATURES_MAP = "public:ccf.internal.signatures"
"""The map whose being written makes an entry committable (spec: ledger.md §7)."""

Seal = Callable[[int, int, bytes, bytes, bytes, int], tuple[bytes, bytes]]
"""`seal` of a `sealing.Sealer`."""


class ReplayedEntry:
    """An entry that was taken over, and its private domain in clear (map sections)."""

    __slots__ = ("entry", "parsed", "private")

    def __init__(self, entry: Entry, parsed: ParsedEntry, private: bytes) -> None:
        self.entry = entry
        self.parsed = parsed
        self.private = private

    def maps(self) -> dict[str, dict[bytes, bytes | None]]:
        """Everything the transaction wrote. InvalidLedger when a section is malformed."""
        return {**self.parsed.public_maps(), **wire.decode(self.private)}


class History:
    """Secrets and tree of one ledger."""

    __slots__ = ("_append_leaf", "_changes", "_seal", "_since", "_until", "secrets", "tree")

    def __init__(self, secrets: LedgerSecrets, tree: Tree | None = None) -> None:
        self.secrets = secrets
        self.tree = Tree() if tree is None else tree
        self._seal: Seal | None = None
        """What seals entries from `_since` to before `_until`, as of `_changes` of secrets."""
        self._since: SeqNo = 0
        self._until: SeqNo = 0
        self._changes = 0
        self._append_leaf = self.tree.append

    @property
    def last(self) -> SeqNo:
        """Seqno of the last entry, 0 when there is none."""
        return self.tree.size - 1

    def append(
        self,
        txid: TxID,
        public: bytes,
        private: bytes,
        *,
        claims: bytes = Z32,
        flags: int = 0,
        committable: bool = False,
    ) -> Entry:
        """Seal and hash the transaction `txid` (encoded map sections) into the next entry.

        `claims` is the application's digest of 32 bytes. The ledger secret of its seqno must be
        known (LocalError).
        """
        view, seqno = txid
        assert seqno == self.tree.size, "entries are appended without gaps"
        seal = self._seal
        if (
            seal is None
            or not self._since <= seqno < self._until
            or self._changes != self.secrets.changes
        ):
            seal = self._look_up(seqno)
        data, leaf = seal(view, seqno, public, private, claims, flags)
        self._append_leaf(leaf)
        return Entry(view, seqno, data, committable, leaf)

    def _look_up(self, seqno: SeqNo) -> Seal:
        """What seals an entry, remembered for those after it."""
        cipher, until = self.secrets.span_at(seqno)
        seal = self._seal = cipher.sealer.seal
        self._since, self._until, self._changes = seqno, until, self.secrets.changes
        return seal

    def replay(self, data: bytes) -> ReplayedEntry:
        """Take over the next entry as somebody wrote it.

        Raises InvalidLedger when it is malformed, not the next one, or does not authenticate. Its
        signature, if it is one, is the caller's business.
        """
        parsed = parse(data)
        seqno = parsed.seqno
        if seqno != self.tree.size:
            raise InvalidLedger(f"Expected entry {self.tree.size}, got {seqno}.", seqno=seqno)
        private = self.private(parsed)
        committable = SIGNATURES_MAP in parsed.public_maps()
        entry = Entry(parsed.view, seqno, data, committable, parsed.leaf)
        self._append_leaf(entry.leaf)
        return ReplayedEntry(entry, parsed, private)

    def follow(self, seqno: SeqNo, leaf: bytes) -> None:
        """Append the leaf of an entry that was checked already (asserts that it is the next)."""
        assert seqno == self.tree.size, "entries are appended without gaps"
        self._append_leaf(leaf)

    def restore(self, tree: Tree) -> None:
        """Begin after the entries of a snapshot, whose tree this is; asserts that it adds to it."""
        assert self.tree.size < tree.size, "a history does not go back to a snapshot"
        self.tree = tree
        self._append_leaf = tree.append

    def private(self, parsed: ParsedEntry) -> bytes:
        """The private domain of an entry. InvalidLedger when it does not authenticate."""
        return self.secrets.open(
            parsed.seqno, parsed.iv, parsed.tag, parsed.ciphertext, parsed.public
        )

    def private_maps(self, parsed: ParsedEntry) -> dict[str, dict[bytes, bytes | None]]:
        """What an entry wrote to private maps. InvalidLedger when it does not authenticate."""
        return wire.decode(self.private(parsed))

    def evidence(self, txid: TxID) -> str:
        """Commit evidence of a transaction; to be revealed only once it is committed."""
        return self.secrets.cipher_at(txid.seqno).evidence(txid.view, txid.seqno)

    def root(self) -> bytes:
        """Merkle root over everything so far."""
        return self.tree.root()

    def compact(self, seqno: SeqNo) -> None:
        """Entries up to `seqno` are committed: leaves below it are not kept any longer."""
        self.tree.flush(seqno)

    def rollback(self, seqno: SeqNo) -> None:
        """Entries after `seqno` never happened."""
        self.tree.retract(seqno)
        self.secrets.rollback(seqno)
