"""Entries that another node ordered, taken over in a row: the hot path of a backup.

Only plain entries are taken here: of today's form, without flags, no signature, and writing to no
table whose changes anybody wants to know at once. All of it is checked before anything changes:
its form, its place, and the encryption of its private part. A row ends before the first entry that
is not plain, or not right: whoever called takes care of that one, and says what is wrong with it.
(spec: ledger.md §4-6, consensus-cft.md §6.1)
"""

from __future__ import annotations

from hashlib import sha256
from struct import Struct

from cryptography.exceptions import InvalidTag

from pyccf.errors import InvalidLedger, PyccfError
from pyccf.kv import wire
from pyccf.kv.changes import Changes
from pyccf.kv.store import Store
from pyccf.ledger.chunker import Chunker
from pyccf.ledger.entry import FORMAT_VERSION, HEADER_SIZE, PREFIX_SIZE, PUBLIC_HEADER
from pyccf.ledger.finished import Entry
from pyccf.ledger.history import SIGNATURES_MAP, History
from pyccf.types import SeqNo, View

PUBLIC = "public:"

FIXED = Struct("<Q16s12sQBQ32s32sQ")
"""All fixed fields of an entry of today's form (see `ledger.entry`)."""
FIXED_SIZE = FIXED.size
PUBLIC_SIZE_MIN = PUBLIC_HEADER.size
assert FIXED_SIZE == PREFIX_SIZE + PUBLIC_SIZE_MIN

_fixed = FIXED.unpack_from
_pack_iv = Struct("<QI").pack
_sha256 = sha256


def decode_public(sections: bytes, seqno: SeqNo) -> Changes:
    """What an entry wrote to public maps. Raises InvalidLedger."""
    maps = wire.decode(sections)
    for name in maps:
        if not name.startswith(PUBLIC):
            raise InvalidLedger("A private map is in the public domain.", seqno=seqno)
    return maps


def decode_private(sections: bytes, seqno: SeqNo) -> Changes:
    """What an entry wrote to private maps. Raises InvalidLedger."""
    maps = wire.decode(sections)
    for name in maps:
        if name.startswith(PUBLIC):
            raise InvalidLedger("A public map is in the private domain.", seqno=seqno)
    return maps


class Follower:
    """Takes over plain entries for one store and its history."""

    __slots__ = ("_history", "_store")

    def __init__(self, store: Store, history: History) -> None:
        self._store = store
        self._history = history

    def take(
        self,
        view: View,
        first: SeqNo,
        entries: list[bytes],
        at: int,
        chunker: Chunker,
        public_only: bool,
    ) -> list[Entry]:
        """Execute the plain ones that entries[at:], ordered in `view` from `first` on, begin with.

        Their private parts are not looked at if `public_only`.
        """
        store, history = self._store, self._history
        secrets = history.secrets
        signatures, fixed_size, version = SIGNATURES_MAP, FIXED_SIZE, FORMAT_VERSION
        header_size, prefix_size, public_min = HEADER_SIZE, PREFIX_SIZE, PUBLIC_SIZE_MIN
        taken: list[Entry] = []
        word: int
        tag: bytes
        iv: bytes
        public_size: int
        kind: int
        inner: int
        claims: bytes
        evidence: bytes
        until: SeqNo = 0
        seqno = first
        for i in range(at, len(entries)):
            data = entries[i]
            size = len(data)
            if size < fixed_size:
                break
            word, tag, iv, public_size, kind, inner, claims, evidence, _ = _fixed(data)
            end = prefix_size + public_size
            if (
                kind != 4
                or word & 0xFFFF != version
                or (word >> 16) + header_size != size
                or iv != _pack_iv(seqno, view)
                or inner != seqno
                or public_size < public_min
                or end > size
            ):
                break
            try:
                maps: Changes = {}
                if end > fixed_size:
                    maps = decode_public(data[fixed_size:end], seqno)
                if end < size and not public_only:
                    if seqno >= until:
                        cipher, until = secrets.span_at(seqno)
                    clear = cipher.open_parts(iv, data[end:] + tag, data[prefix_size:end])
                    private = decode_private(clear, seqno)
                    maps = {**maps, **private} if maps else private
            except (PyccfError, InvalidTag):
                break
            if signatures in maps or store.is_watched(maps) or not (maps or public_only):
                break
            leaf = _sha256(_sha256(data).digest() + evidence + claims).digest()
            history.follow(seqno, leaf)
            store.follow(seqno, maps, view)
            chunker.append(seqno, size)
            taken.append(Entry(view, seqno, data, False, leaf))
            seqno += 1
        return taken
