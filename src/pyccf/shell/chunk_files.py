"""Reading chunk files: what they hold, and the committed ones among several directories.

Committed chunks are never written again; the last few that were read are kept open. Reading fails
with StorageError where the operating system refuses, with InvalidLedger where a file does not hold
what its name says. Nothing here changes a file. (spec: ledger.md §3, §11)
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol

from pyccf.errors import InvalidLedger, StorageError
from pyccf.ledger import chunk
from pyccf.ledger.chunk import FIRST_OFFSET, ChunkName
from pyccf.ledger.entry import HEADER_SIZE as ENTRY_HEADER_SIZE
from pyccf.ledger.entry import parse_header
from pyccf.shell.files import Files
from pyccf.types import SeqNo

READ_CACHE_MAX = 5
"""Committed chunks kept open for reading (spec: ledger.md §11)."""


class Holder(Protocol):
    """An open chunk file: where its entries begin, and where the last one ends."""

    fd: int
    first: SeqNo
    positions: array[int]
    end: int


class ReadChunk:
    """A committed chunk opened for reading."""

    __slots__ = ("end", "fd", "first", "positions")

    def __init__(self, fd: int, first: SeqNo, positions: array[int], end: int) -> None:
        self.fd = fd
        self.first = first
        self.positions = positions
        self.end = end


class CommittedChunks:
    """The committed chunks of a main directory, which comes first, and of read-only ones."""

    def __init__(self, files: Files, directories: Sequence[str]) -> None:
        self._files = files
        self._directories = directories
        self._cache: OrderedDict[str, ReadChunk] = OrderedDict()
        self._names: list[tuple[SeqNo, SeqNo, str]] | None = None
        """First and last entry and path of each file, as last listed; listed anew for what is not
        found in it."""

    def holding(self, seqno: SeqNo) -> ReadChunk | None:
        """The chunk with an entry, None when there is none.

        A chunk that is damaged in one directory is taken from another. Raises StorageError, and
        InvalidLedger when none of them can be used.
        """
        for cached in self._cache.values():
            if cached.first <= seqno < cached.first + len(cached.positions):
                return cached
        if self._names is not None:
            with suppress(StorageError, InvalidLedger):
                if (found := self._find(self._names, seqno)) is not None:
                    return found
        self._names = self._list()
        return self._find(self._names, seqno)

    def _list(self) -> list[tuple[SeqNo, SeqNo, str]]:
        found: list[tuple[SeqNo, SeqNo, str]] = []
        for directory in self._directories:
            main = directory is self._directories[0]
            for file, name in chunk_files(self._files, directory):
                if name.last is None or not name.committed or name.ignored:
                    continue
                if main or not name.recovery:
                    found.append((name.first, name.last, os.path.join(directory, file)))
        return found

    def _find(self, names: list[tuple[SeqNo, SeqNo, str]], seqno: SeqNo) -> ReadChunk | None:
        damage: InvalidLedger | None = None
        for first, last, path in names:
            if first <= seqno <= last:
                try:
                    return self._open(path, first, last)
                except InvalidLedger as error:
                    damage = damage or error
        if damage is not None:
            raise damage
        return None

    def _open(self, path: str, first: SeqNo, last: SeqNo) -> ReadChunk:
        files = self._files
        with _reading(path, "open"):
            fd = files.open_to_read(path)
            try:
                positions, end, completed = layout(files, fd, files.size(fd))
            except BaseException:
                files.close(fd)
                raise
        if not completed or len(positions) != last - first + 1:
            files.close(fd)
            raise InvalidLedger(
                f"Chunk {path} does not hold the entries its name says.",
                seqno=first,
                file=path,
            )
        opened = ReadChunk(fd, first, positions, end)
        self._cache[path] = opened
        while len(self._cache) > READ_CACHE_MAX:
            _, oldest = self._cache.popitem(last=False)
            files.close(oldest.fd)
        return opened

    def close(self) -> None:
        """Close what is open; it is looked for and opened again when it is read."""
        self._names = None
        for cached in self._cache.values():
            with suppress(OSError):
                self._files.close(cached.fd)
        self._cache.clear()


def chunk_files(files: Files, directory: str) -> list[tuple[str, ChunkName]]:
    """Chunk files of a directory, ascending by first seqno. Raises StorageError."""
    with _reading(directory, "list directory"):
        names = files.list(directory)
    found = [(name, parsed) for name in names if (parsed := chunk.parse_name(name)) is not None]
    return sorted(found, key=lambda item: (item[1].first, item[0]))


def layout(files: Files, fd: int, size: int) -> tuple[array[int], int, bool]:
    """Positions, end of the entries and whether complete. InvalidLedger for wrong content.

    A chunk whose table is cut is read as an incomplete one: its entries are still there.
    """
    if size < FIRST_OFFSET:
        return array("I"), 0, False
    header = files.read(fd, 0, FIRST_OFFSET)
    try:
        table = chunk.parse_table_offset(header, size)
        limit = size
        if table:
            positions = chunk.parse_table(files.read(fd, table, size - table))
            if positions and _ends_at(files, fd, positions[-1], table):
                return positions, table, True
            limit = table
    except InvalidLedger:
        limit = min(int.from_bytes(header, "little"), size)
    found = chunk.scan(lambda offset, n: files.read(fd, offset, n), limit)
    return found.positions, found.end, False


def _ends_at(files: Files, fd: int, position: int, end: int) -> bool:
    """Whether the entry at `position` ends at `end`: otherwise the table has lost its end."""
    header = files.read(fd, position, ENTRY_HEADER_SIZE)
    if len(header) < ENTRY_HEADER_SIZE or position >= end:
        return False
    return position + parse_header(header)[1] == end


def fitting(holder: Holder, index: int, count: int, bytes_max: int) -> int:
    """How many of `count` entries from number `index` on have at most `bytes_max` bytes."""
    positions = holder.positions
    limit = positions[index] + bytes_max
    if chunk.end_of(positions, index + count - 1, holder.end) <= limit:
        return count
    # The end of an entry is where the next one begins.
    return bisect_right(positions, limit, index + 1, index + count) - index - 1


def read_range(files: Files, holder: Holder, index: int, count: int) -> bytes:
    """The bytes of `count` entries from number `index` of a chunk. Raises StorageError."""
    start = holder.positions[index]
    stop = chunk.end_of(holder.positions, index + count - 1, holder.end)
    with _reading(f"with entry {holder.first + index}", "read"):
        data = files.read(holder.fd, start, stop - start)
    if len(data) != stop - start:
        raise StorageError(
            f"Ledger entry {holder.first + index} cannot be read: its file is too short."
        )
    return data


@contextmanager
def _reading(path: str, doing: str) -> Iterator[None]:
    """Turn the operating system's refusal into StorageError."""
    try:
        yield
    except OSError as error:
        cause = error.strerror or str(error)
        raise StorageError(f"Ledger file {path}: {doing} failed: {cause}.") from None
