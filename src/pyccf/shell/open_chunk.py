"""A chunk file of the main directory that is not yet committed: entries are added, or cut off.

The file is written as `ledger.chunk` says: a header of zeros until the chunk is complete, then the
table of positions behind the entries, and last the header that points to it. (spec: ledger.md §3)
"""

from __future__ import annotations

from array import array
from itertools import accumulate

from pyccf.ledger import chunk
from pyccf.ledger.chunk import FIRST_OFFSET, OFFSET_MAX
from pyccf.shell.ledger_directory import LedgerDirectory
from pyccf.types import SeqNo


class OpenChunk:
    """A chunk and its open file."""

    __slots__ = (
        "_home",
        "committed",
        "completed",
        "end",
        "fd",
        "file",
        "first",
        "positions",
        "replay",
        "whole",
    )

    def __init__(
        self,
        home: LedgerDirectory,
        file: str,
        fd: int,
        first: SeqNo,
        positions: array[int] | None = None,
        end: int = FIRST_OFFSET,
        *,
        completed: bool = False,
    ) -> None:
        self._home = home
        self.file = file
        self.fd = fd
        self.first = first
        self.positions = array("I") if positions is None else positions
        self.end = end
        self.completed = completed
        self.committed = False
        """Only recovery chunks stay listed once committed."""
        self.replay = False
        """Whether the file is one of before, as it was: what it holds beyond is compared, not
        trusted."""
        self.whole = False
        """Whether it was a complete chunk when that began, which may have been committed."""

    @property
    def last(self) -> SeqNo:
        return self.first + len(self.positions) - 1

    @property
    def is_of_recovery(self) -> bool:
        return self.file.endswith(chunk.RECOVERY)

    def add(self, entries: list[bytes]) -> None:
        """Write entries at the end, at once."""
        positions = list(accumulate(map(len, entries), initial=self.end))
        end = positions.pop()
        if positions[-1] > OFFSET_MAX:
            path = self._home.path_of(self.file)
            self._home.fail(path, "append", "chunk holds more than 4 GiB")
        data = entries[0] if len(entries) == 1 else b"".join(entries)
        self.write(self.end, data)
        self.sync()
        self.positions.extend(positions)
        self.end = end

    def write(self, offset: int, data: bytes) -> None:
        self._home.write(self.file, self.fd, offset, data)

    def sync(self, *, always: bool = False) -> None:
        self._home.sync(self.file, self.fd, always=always)

    def complete(self) -> None:
        """Write the positions table, then its offset into the header."""
        self._home.truncate(self.file, self.fd, self.end)
        self.write(self.end, chunk.encode_table(self.positions))
        self.sync()
        self.write(0, chunk.encode_header(self.end))
        self.sync()
        self.completed = True
        self.replay = False

    def cut(self, seqno: SeqNo) -> None:
        """Cut it after one of its entries; a file of before stays as it is."""
        count = seqno - self.first + 1
        end = self.positions[count]
        if not self.replay:
            if self.completed:
                self.write(0, chunk.encode_header(0))
            self._home.truncate(self.file, self.fd, end)
        del self.positions[count:]
        self.end = end
        self.completed = False

    def rename(self, file: str) -> None:
        self._home.rename(self.file, file)
        self.file = file

    def close(self) -> None:
        with self._home.guard(self._home.path_of(self.file), "close"):
            self._home.files.close(self.fd)
