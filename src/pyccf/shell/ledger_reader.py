"""Reading entries of the ledger, wherever they are: in memory, in open chunks, in committed ones.

Never changes anything; reading fails with StorageError where the operating system refuses, with
InvalidLedger where a file does not hold what its name says. (spec: ledger.md §11)
"""

from __future__ import annotations

from pyccf.shell.chunk_files import (
    CommittedChunks,
    ReadChunk,
    fitting,
    read_range,
)
from pyccf.shell.files import Files
from pyccf.shell.open_chunk import OpenChunk
from pyccf.shell.tail import Tail
from pyccf.types import SeqNo

READ_BYTES_MAX = 64 * 1024 * 1024 - 2048
"""Most bytes one `read` returns (spec: ledger.md §11)."""


class LedgerReader:
    """Entries up to `last`; whoever writes them sets `last`, `opened` and `tail`."""

    def __init__(self, files: Files, committed: CommittedChunks, read_bytes_max: int) -> None:
        self.last: SeqNo = 0
        self.opened: list[OpenChunk] = []
        """Chunks that are not committed yet, ascending."""
        self.tail = Tail()
        self._files = files
        self._committed = committed
        self._read_bytes_max = read_bytes_max

    def read(self, first: SeqNo, last: SeqNo, bytes_max: int = 0) -> list[bytes]:
        """See `LedgerDisk.read`."""
        if bytes_max:
            last = max(first, self._fitting(first, last, bytes_max))
        found: list[bytes] = []
        seqno, left = max(first, 1), self._read_bytes_max
        if seqno != first:
            return found
        last = min(last, self.last)
        while seqno <= last:
            holder = self.holding(seqno)
            if holder is None:
                break
            count = min(last, holder.first + len(holder.positions) - 1) - seqno + 1
            got = self._read_some(holder, seqno - holder.first, count, left)
            found += got
            left -= sum(map(len, got))
            seqno += len(got)
            if len(got) < count:
                break
        return found

    def raw(self, first: SeqNo, last: SeqNo, bytes_max: int) -> tuple[bytes, SeqNo]:
        """See `LedgerDisk.raw`."""
        last = min(last, self.last)
        if not 1 <= first <= last:
            return b"", first - 1
        if first >= self.tail.first:
            return self.tail.raw(first, last, bytes_max)
        holder = self.holding(first)
        if holder is None:
            return b"", first - 1
        index = first - holder.first
        count = min(last, holder.first + len(holder.positions) - 1) - first + 1
        count = max(1, fitting(holder, index, count, bytes_max))
        return read_range(self._files, holder, index, count), first + count - 1

    def holding(self, seqno: SeqNo) -> OpenChunk | ReadChunk | None:
        """The chunk with an entry: open ones, then committed ones."""
        for current in reversed(self.opened):
            if current.first <= seqno:
                if seqno <= current.last:
                    return current
                break
        return self._committed.holding(seqno)

    def _fitting(self, first: SeqNo, last: SeqNo, bytes_max: int) -> SeqNo:
        """The last of the entries first..last, within one chunk, that fit."""
        holder = self.holding(first)
        if holder is None:
            return first - 1
        count = min(last, holder.first + len(holder.positions) - 1) - first + 1
        return first + fitting(holder, first - holder.first, count, bytes_max) - 1

    def _read_some(
        self, holder: OpenChunk | ReadChunk, index: int, count: int, bytes_max: int
    ) -> list[bytes]:
        """Up to `count` entries from number `index` of a chunk, as many as fit."""
        count = fitting(holder, index, count, bytes_max)
        if not count:
            return []
        data = read_range(self._files, holder, index, count)
        positions = holder.positions
        start = positions[index]
        bounds = [p - start for p in positions[index : index + count]] + [len(data)]
        return [data[bounds[i] : bounds[i + 1]] for i in range(count)]
