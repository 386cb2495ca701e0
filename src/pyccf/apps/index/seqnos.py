"""Where each key of a map was written, in memory: eight bytes a write and some for each key."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right

from pyccf.apps.index.strategy import VisitEachEntryInMap
from pyccf.errors import LocalError
from pyccf.types import SeqNo, TxID


class SeqnosByKey(VisitEachEntryInMap):
    """Key to the seqnos of the transactions that wrote it."""

    prefix = "SeqnosByKey"

    def __init__(self, map: str) -> None:
        super().__init__(map)
        self._seqnos: dict[bytes, array[int]] = {}

    def visit(self, txid: TxID, key: bytes, value: bytes) -> None:
        known = self._seqnos.get(key)
        if known is None:
            known = self._seqnos[key] = array("Q")
        known.append(txid.seqno)

    def get_write_txs_in_range(
        self, key: bytes, first: SeqNo, last: SeqNo, max_seqnos: int | None = None
    ) -> list[SeqNo] | None:
        """Seqnos from `first` to `last` that wrote a key, ascending; None if not indexed so far.

        With `max_seqnos` and more than that from `first` on, the first so many of them, also beyond
        `last` (spec: historical-and-indexing.md §6.2). LocalError when `last` is before `first`.
        """
        check_range(first, last)
        if last > self.watermark.seqno:
            return None
        known = self._seqnos.get(key)
        if known is None:
            return []
        start = bisect_left(known, first)
        if max_seqnos is not None and len(known) - start > max_seqnos:
            return list(known[start : start + max_seqnos])
        return list(known[start : bisect_right(known, last)])

    def get_all_write_txs(self, key: bytes) -> list[SeqNo]:
        """Every seqno indexed so far that wrote a key."""
        return list(self._seqnos.get(key, ()))


def check_range(first: SeqNo, last: SeqNo) -> None:
    """Refuse a range that ends before it begins."""
    if last < first:
        raise LocalError(f"Invalid range of transactions: end {last} is before start {first}")
