"""The node as its consensus engine sees it: others' entries are executed, undone, made final.

An entry is taken over only after everything about it was checked: its form, its place, its tag,
which covers both of its parts, and, for a signature, the root and both signatures over it. What is
refused has changed nothing (spec: consensus-cft.md §6.1). Roll-back and compaction walk down the
same list of rooms as a commit does: chunks, store, history (spec: kv-and-tables.md §3.2).
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from pyccf.errors import InvalidLedger, PyccfError
from pyccf.ledger import signature
from pyccf.ledger.entry import (
    FIXED,
    FIXED_SIZE,
    FORCE_CHUNK_AFTER,
    HEADER_SIZE,
    PREFIX_SIZE,
    VIEW_MASK,
    Entry,
    parse,
)
from pyccf.ledger.follow import Follower, decode_private, decode_public
from pyccf.ledger.history import SIGNATURES_MAP
from pyccf.node.outputs import Channel
from pyccf.node.signers import Signers
from pyccf.node.states import READING_PUBLIC_LEDGER

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyccf.consensus.api import PeerMessage
    from pyccf.crypto.keys import PublicKey
    from pyccf.kv.changes import Changes
    from pyccf.node.node import Node
    from pyccf.types import NodeId, SeqNo, TxID, View

_sha256 = sha256


class Replica:
    """Executor of one node."""

    def __init__(self, node: Node, service_key: Callable[[], PublicKey]) -> None:
        self._node = node
        self._signers = Signers(node.store, service_key)
        self._follower = Follower(node.store, node.history)
        self.public_only = False
        """Private parts and tags are not looked at: the secrets are not known yet (private.py)."""
        self.tail: dict[SeqNo, bytes] = {}
        """Entries after what is committed, as long as that is so."""

    # --- forward --------------------------------------------------------------------------------

    def apply_plain(self, view: View, first: SeqNo, entries: list[bytes], at: int) -> int:
        """Take over the plain ones that entries[at:] begin with; how many."""
        node = self._node
        plain = self._follower.take(view, first, entries, at, node.chunker, self.public_only)
        if plain and node.state != READING_PUBLIC_LEDGER:
            node.followed(plain)
            if self.public_only:
                self.tail.update((entry.seqno, entry.data) for entry in plain)
        return len(plain)

    def apply(self, expected: TxID, data: bytes) -> bool:
        """Take over any entry that another node ordered; whether it is a signature.

        Slower than `apply_plain`. Raises InvalidLedger, having changed nothing.
        """
        view, seqno = expected
        parsed = parse(data)
        if parsed.seqno != seqno or parsed.view != view:
            raise InvalidLedger(
                f"Expected entry {view}.{seqno}, got {parsed.view}.{parsed.seqno}.", seqno=seqno
            )
        maps = decode_public(parsed.public_sections, seqno)
        committable = SIGNATURES_MAP in maps
        if parsed.ciphertext and committable:
            raise InvalidLedger("A signature writes to a private map.", seqno=seqno)
        if not self.public_only:
            private = self._open(seqno, parsed.iv, parsed.tag, parsed.ciphertext, parsed.public)
            maps = {**maps, **private}
        if committable:
            self._signers.check(signature.parse(parsed), self._node.history.root())
        elif parsed.flags & FORCE_CHUNK_AFTER:
            raise InvalidLedger("A chunk cannot end after this entry.", seqno=seqno)
        self._take(Entry(view, seqno, data, committable, parsed.leaf), maps, parsed.flags)
        return committable

    def _open(self, seqno: SeqNo, iv: bytes, tag: bytes, sealed: bytes, public: bytes) -> Changes:
        """What an entry wrote to private maps."""
        return decode_private(
            self._node.history.secrets.open(seqno, iv, tag, sealed, public), seqno
        )

    def _take(self, entry: Entry, maps: Changes, flags: int) -> None:
        """Make an entry that was checked the next one here."""
        if not maps and not self.public_only:
            raise InvalidLedger("The entry changes nothing.", seqno=entry.seqno)
        node = self._node
        seqno = entry.seqno
        node.history.follow(seqno, entry.leaf)
        try:
            node.store.follow(seqno, maps, entry.view)
        except PyccfError as e:
            # A hook refused a row that no honest primary could have written.
            node.store.rollback(seqno - 1, node.consensus.view)
            node.history.rollback(seqno - 1)
            raise InvalidLedger(f"Entry {seqno} is not acceptable: {e.message}", seqno=seqno) from e
        node.chunker.follow(seqno, len(entry.data), flags)
        if self.public_only and node.state != READING_PUBLIC_LEDGER:
            self.tail[seqno] = entry.data
        node.followed([entry])

    # --- private parts, later -------------------------------------------------------------------

    def private_part(self, data: bytes) -> tuple[View, SeqNo, bytes, Changes]:
        """View, seqno, Merkle leaf and private writes of an entry whose public part is known.

        Raises InvalidLedger when it is malformed or its private part does not authenticate. Where
        there is none, the leaf tells whether it is the entry that is known.
        """
        if len(data) >= FIXED_SIZE:
            word, tag, iv, public_size, kind, seqno, claims, evidence, _ = FIXED.unpack_from(data)
            end = PREFIX_SIZE + public_size
            if kind == 4 and (word >> 16) + HEADER_SIZE == len(data) >= end >= FIXED_SIZE:
                leaf = _sha256(_sha256(data).digest() + evidence + claims).digest()
                view = int.from_bytes(iv[8:], "little") & VIEW_MASK
                private: Changes = {}
                if end < len(data):
                    private = self._open(seqno, iv, tag, data[end:], data[PREFIX_SIZE:end])
                return view, seqno, leaf, private
        parsed = parse(data)
        private = {}
        if parsed.ciphertext:
            seqno = parsed.seqno
            private = self._open(seqno, parsed.iv, parsed.tag, parsed.ciphertext, parsed.public)
        return parsed.view, parsed.seqno, parsed.leaf, private

    def decrypt_all(self) -> None:
        """All secrets are known: from now on private parts are executed too."""
        self.public_only = False
        self.tail.clear()

    # --- back, and for good ---------------------------------------------------------------------

    def rollback(self, seqno: SeqNo, view: View) -> None:
        """Entries after `seqno` never happened; what comes next is in `view`."""
        node = self._node
        for beyond in [n for n in self.tail if n > seqno]:
            del self.tail[beyond]
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
        node.snapshots.committed(seqno)
        for done in [n for n in self.tail if n <= seqno]:
            del self.tail[done]
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
