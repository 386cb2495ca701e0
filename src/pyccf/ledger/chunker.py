"""When a chunk file ends: only after a signature, as soon as it is large enough or somebody asks.

Every node keeps these numbers, so that a backup that becomes primary continues where the last one
stopped. The primary asks `end_requested` while it builds the signature at a seqno, before that
entry's size is known; a backup learns the answer from the flags of the entry. Versions are seqnos.
(spec: ledger.md §8)
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort

from pyccf.ledger.entry import FORCE_CHUNK_AFTER, FORCE_CHUNK_BEFORE
from pyccf.types import SeqNo

CHUNK_SIZE_MIN = 1
CHUNK_SIZE_MAX = (1 << 32) - 1
"""Positions in a chunk are 32 bits wide (spec: ledger.md §1, §3)."""
CHUNK_SIZE_DEFAULT = 5 * 1024 * 1024


class Chunker:
    """Bookkeeping of entry sizes, ends of chunks and requests for an end."""

    __slots__ = ("_base", "_ends", "_forced", "_totals", "threshold")

    def __init__(self, threshold: int = CHUNK_SIZE_DEFAULT, last: SeqNo = 0) -> None:
        """Chunks end once they hold `threshold` bytes; `last` is the seqno already ordered."""
        assert CHUNK_SIZE_MIN <= threshold <= CHUNK_SIZE_MAX, "chunk size is out of range"
        self.threshold = threshold
        self._base = last
        self._totals = [0]
        """Total size of the entries after `_base`, up to and including each."""
        self._ends: list[SeqNo] = [last] if last else []
        self._forced: list[SeqNo] = []

    @property
    def last(self) -> SeqNo:
        """Seqno of the last entry counted."""
        return self._base + len(self._totals) - 1

    def append(self, seqno: SeqNo, size: int) -> None:
        """The entry at `seqno` has `size` bytes, its header included."""
        totals = self._totals
        assert seqno == self._base + len(totals), "entries are counted without gaps"
        totals.append(totals[-1] + size)

    def force(self, seqno: SeqNo) -> None:
        """The transaction at `seqno` asks for the chunk to end at the next signature."""
        at = bisect_left(self._forced, seqno)
        if at == len(self._forced) or self._forced[at] != seqno:
            self._forced.insert(at, seqno)

    def end_requested(self, seqno: SeqNo, *, snapshot: bool = False, forced: bool = False) -> bool:
        """Whether the chunk ends with the signature at `seqno`; remembered if so.

        `snapshot` is a snapshot due or requested there, `forced` a request for a new chunk whose
        seqno the caller did not keep.
        """
        if not (snapshot or forced or self._force_pending(seqno) or self._full(seqno)):
            return False
        self._end(seqno)
        return True

    def _force_pending(self, seqno: SeqNo) -> bool:
        at = bisect_right(self._forced, seqno)
        return at > 0 and not (self._ends and self._ends[-1] >= self._forced[at - 1])

    def _full(self, seqno: SeqNo) -> bool:
        at = bisect_left(self._ends, seqno)
        start = max(self._ends[at - 1] if at else 0, self._base)
        totals = self._totals
        upto = min(seqno - self._base, len(totals) - 1)
        begin = min(start - self._base, upto)
        return totals[upto] - totals[begin] >= self.threshold

    def _end(self, seqno: SeqNo) -> None:
        if seqno not in self._ends:
            insort(self._ends, seqno)

    def follow(self, seqno: SeqNo, size: int, flags: int) -> None:
        """Count an entry another node wrote, and take the chunk ends from its flags."""
        self.append(seqno, size)
        if flags & FORCE_CHUNK_BEFORE and seqno > 1:
            self._end(seqno - 1)
        if flags & FORCE_CHUNK_AFTER:
            self._end(seqno)

    def rollback(self, seqno: SeqNo) -> None:
        """Entries after `seqno` are gone."""
        assert seqno >= self._base, "what was compacted cannot be rolled back"
        del self._totals[max(seqno - self._base, 0) + 1 :]
        del self._ends[bisect_right(self._ends, seqno) :]
        del self._forced[bisect_right(self._forced, seqno) :]

    def compact(self, seqno: SeqNo) -> None:
        """Entries up to `seqno` are committed: forget the chunks that ended before it."""
        at = bisect_left(self._ends, seqno)
        if at == 0:
            return
        end = self._ends[at - 1]
        del self._ends[:at]
        del self._forced[: bisect_right(self._forced, end)]
        drop = end - self._base
        if drop > 0:
            del self._totals[:drop]
            self._base = end
