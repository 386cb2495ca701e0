"""The last entries of a ledger, kept in memory: what peers are sent is what was just written.

Holds the bytes of consecutive entries that end with the ledger's last one, at most about
`TAIL_BYTES_MAX` of them; the oldest are let go. What is cut off the ledger is cut off here.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from pyccf.types import SeqNo

TAIL_BYTES_MAX = 32 * 1024 * 1024
_COUNT_STEP = 1024
"""Entries looked at before it is asked whether they are enough."""


class Tail:
    """The entries first..last, `first` > `last` when there are none."""

    __slots__ = ("_bytes_max", "_entries", "_size", "first")

    def __init__(self, last: SeqNo = 0, *, bytes_max: int = TAIL_BYTES_MAX) -> None:
        self.first: SeqNo = last + 1
        self._entries: list[bytes] = []
        self._size = 0
        self._bytes_max = bytes_max

    @property
    def last(self) -> SeqNo:
        return self.first + len(self._entries) - 1

    def extend(self, entries: Sequence[bytes]) -> None:
        """These entries follow the last one."""
        self._entries += entries
        self._size += sum(map(len, entries))
        if self._size > self._bytes_max:
            self._shorten()

    def _shorten(self) -> None:
        """Let the oldest go until half the room is free: seldom, and then many at once."""
        kept, drop = self._size, 0
        for data in self._entries:
            if kept <= self._bytes_max // 2:
                break
            kept -= len(data)
            drop += 1
        del self._entries[:drop]
        self.first += drop
        self._size = kept

    def cut(self, seqno: SeqNo) -> None:
        """Entries after `seqno` are no more."""
        if seqno < self.first - 1:
            self._entries.clear()
            self.first = seqno + 1
            self._size = 0
            return
        keep = seqno - self.first + 1
        self._size -= sum(map(len, self._entries[keep:]))
        del self._entries[keep:]

    def raw(self, first: SeqNo, last: SeqNo, bytes_max: int) -> tuple[bytes, SeqNo]:
        """Entries first..k back to back, and k: see `LedgerDisk.raw`."""
        start = first - self.first
        if start < 0 or first > last or start >= len(self._entries):
            return b"", first - 1
        entries = self._entries[start : start + min(last - first + 1, _COUNT_STEP)]
        data = b"".join(entries)
        if len(data) > bytes_max:
            count = max(1, sum(1 for end in accumulate(map(len, entries)) if end <= bytes_max))
            return b"".join(entries[:count]), first + count - 1
        return data, first + len(entries) - 1
