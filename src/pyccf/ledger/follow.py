"""Entries that another node ordered, taken over in a row: the hot path of a backup.

Only plain entries are taken here: of today's form, without flags, no signature, and writing to no
table whose changes anybody wants to know at once. All of it is checked before anything changes:
its form, its place, and its tag, which covers both of its parts. A row ends before the first entry
that is not plain, or not right: whoever called takes care of that one, and says what is wrong with
it.
(spec: ledger.md §4-6, consensus-cft.md §6.1)
"""

from __future__ import annotations

from pyccf.errors import InvalidLedger, PyccfError
from pyccf.kv import wire
from pyccf.kv.changes import Changes
from pyccf.kv.store import Store
from pyccf.ledger.chunker import Chunker
from pyccf.ledger.finished import Entry
from pyccf.ledger.history import SIGNATURES_MAP, History
from pyccf.ledger.sealing import Sealer, unseal
from pyccf.types import SeqNo, View

PUBLIC = "public:"


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

        Private parts and tags are not looked at if `public_only`.
        """
        store, history = self._store, self._history
        secrets = history.secrets
        signatures = SIGNATURES_MAP
        taken: list[Entry] = []
        sealer: Sealer | None = None
        until: SeqNo = 0
        seqno = first
        for i in range(at, len(entries)):
            data = entries[i]
            try:
                if seqno >= until and not public_only:
                    cipher, until = secrets.span_at(seqno)
                    sealer = cipher.sealer
                found = unseal(data, view, seqno, sealer)
                if found is None:
                    break
                public, clear, leaf = found
                maps: Changes = decode_public(public, seqno) if public else {}
                if clear:
                    private = decode_private(clear, seqno)
                    maps = {**maps, **private} if maps else private
            except PyccfError:
                break
            if signatures in maps or store.is_watched(maps) or not (maps or public_only):
                break
            history.follow(seqno, leaf)
            store.follow(seqno, maps, view)
            chunker.append(seqno, len(data))
            taken.append(Entry(view, seqno, data, False, leaf))
            seqno += 1
        return taken
