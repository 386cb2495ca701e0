"""Finding chunk files and walking through the entries in them, one entry in memory at a time.

Every deviation from the layout is named by the seqno of the entry it belongs to: an entry whose
length is wrong, one that is missing, a position in the table that is not where the entry begins.
When an entry is not where the one before it ends, either may be to blame; the positions table, or
in its absence the bytes of the next entry's IV, decide. (spec: ledger.md §2-4)
"""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pyccf.errors import InvalidLedger, LocalError
from pyccf.ledger import chunk
from pyccf.ledger.chunk import FIRST_OFFSET, ChunkName
from pyccf.ledger.entry import HEADER_SIZE, PREFIX_SIZE, VIEW_MASK, parse, parse_header
from pyccf.ledger.signature import is_signature
from pyccf.types import SeqNo

StrPath = str | os.PathLike[str]

BUFFER_SIZE = 1 << 20
ENTRY_BYTES_MAX = 1 << 30
"""Longer than any entry. A file with holes may claim more than there is memory."""
FILE_BYTES_MAX = 1 << 33
"""Longer than any chunk, whose positions have 32 bits."""
RESYNC_MAX = 16 * 1024 * 1024
"""How far the beginning of the next entry is searched for when an entry's length is wrong."""

_IV = struct.Struct("<QI")
_IV_AT = 24


class ChunkFile(NamedTuple):
    """A chunk file of a ledger and what its name says."""

    path: Path
    name: ChunkName


class Found(NamedTuple):
    """Chunks in order of their first seqno, and file names that were left out."""

    chunks: list[ChunkFile]
    left_out: list[str]


def find_chunks(
    directories: StrPath | Sequence[StrPath], *, include_recovery: bool = False
) -> Found:
    """Chunk files of the directories of one ledger.

    A file of the same name in several directories counts once. Left out are `.ignored` files, those
    of a recovery that is not complete (unless wanted), and uncommitted leftovers of a chunk that is
    there as a committed one. Raises LocalError when a directory cannot be listed, or what has the
    name of a chunk is no file.
    """
    if isinstance(directories, (str, os.PathLike)):
        directories = [directories]
    seen: dict[str, ChunkFile] = {}
    left_out: list[str] = []
    for directory in directories:
        try:
            names = sorted(os.listdir(directory))
        except OSError as error:
            raise LocalError(
                f"Ledger directory {os.fspath(directory)} cannot be listed: {error.strerror}."
            ) from None
        for file in names:
            name = chunk.parse_name(file)
            if name is None or file in seen:
                continue
            if name.ignored or (name.recovery and not include_recovery):
                left_out.append(file)
                continue
            path = Path(directory) / file
            if not path.is_file():
                raise LocalError(f"{path} is no file that can be read.", hint="Take it away.")
            seen[file] = ChunkFile(path, name)
    found = sorted(seen.values(), key=_order)
    covered = 0
    chunks: list[ChunkFile] = []
    for one in found:
        if not one.name.committed and one.name.first <= covered:
            left_out.append(one.path.name)
            continue
        chunks.append(one)
        if one.name.committed and one.name.last is not None:
            covered = max(covered, one.name.last)
    return Found(chunks, left_out)


def _order(one: ChunkFile) -> tuple[SeqNo, bool, str]:
    return one.name.first, not one.name.committed, one.path.name


def last_of(one: ChunkFile) -> SeqNo | None:
    """The last entry of a chunk, by its name or by its content; None if it has none to be read."""
    if one.name.last is not None:
        return one.name.last
    count = 0
    with suppress(InvalidLedger, LocalError), ChunkReader(one) as reader:
        for _ in reader.entries():
            count += 1
    return one.name.first + count - 1 if count else None


class ChunkReader:
    """An open chunk file, walked once from its first entry to its last.

    After the walk `torn` is the number of bytes of a partial entry at its end, which only an
    incomplete chunk may have. `at` is the offset of the entry given out last.
    """

    def __init__(self, one: ChunkFile) -> None:
        """Open the file. Raises LocalError when that is not possible."""
        self.path = one.path
        self.name = one.name
        self.torn = 0
        self.at = 0
        self.completed = False
        try:
            self._file: BinaryIO = one.path.open("rb", buffering=BUFFER_SIZE)
            self.size = os.fstat(self._file.fileno()).st_size
        except OSError as error:
            raise LocalError(f"Chunk {one.path} cannot be opened: {error.strerror}.") from None
        self._table_at = 0
        self._table: array[int] = array("I")

    def __enter__(self) -> ChunkReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _bad(self, seqno: SeqNo, reason: str) -> InvalidLedger:
        return InvalidLedger(reason, seqno=seqno, file=self.path.name)

    def _read_at(self, offset: int, size: int) -> bytes:
        """Bytes from anywhere; the walk goes on where it was."""
        back = self._file.tell()
        self._file.seek(offset)
        data = self._file.read(size)
        self._file.seek(back)
        return data

    def entries(self) -> Iterator[bytes]:
        """The entries, in order. Raises InvalidLedger naming the seqno of what is wrong."""
        first = self.name.first
        if self.size > FILE_BYTES_MAX:
            raise self._bad(first, f"The file has {self.size} bytes, more than a chunk can have.")
        header = self._file.read(FIRST_OFFSET)
        if len(header) < FIRST_OFFSET:
            if self.name.committed or header.strip(b"\0"):
                raise self._bad(first, f"The file has {len(header)} bytes, less than its header.")
            self.torn = len(header)
            return
        self._table_at = int.from_bytes(header, "little")
        self.completed = self._table_at != 0
        if self.name.committed:
            if self.name.last is None or self.name.last < first:
                raise self._bad(first, "The name of the file says no range of entries.")
            yield from self._walk(self.name.last - first + 1)
        else:
            yield from self._walk(None)

    def _walk(self, count: int | None) -> Iterator[bytes]:
        """Entries up to a known count, or to the table, or to the end of the file."""
        self._locate_table(count)
        end = self._table_at if self.completed and count is None else self.size
        read = self._file.read
        seqno, at = self.name.first, FIRST_OFFSET
        positions = array("I")
        previous = 0
        keep = self.completed or self.name.committed
        while (len(positions) < count) if count is not None else (at < end):
            prefix = read(PREFIX_SIZE)
            length = self._length(prefix, seqno, at, end, previous)
            if length == 0:
                self.torn = self.size - at
                return
            self.at = previous = at
            data = prefix + read(length - PREFIX_SIZE)
            if keep:
                positions.append(at)
            yield data
            at += length
            seqno += 1
        if keep:
            self._check_table(positions, at, seqno)

    def _length(self, prefix: bytes, seqno: SeqNo, at: int, end: int, previous: int) -> int:
        """Size of the entry that begins at `at`; 0 for a partial one at the end of an open chunk.

        Raises InvalidLedger when there is no entry `seqno`: naming the one before it when that is
        what has a wrong length.
        """
        reason = ""
        too_long = False
        if len(prefix) < PREFIX_SIZE:
            reason = "The entry is cut off."
        else:
            iv_seqno, _ = _IV.unpack_from(prefix, _IV_AT)
            try:
                _, length = parse_header(prefix[:HEADER_SIZE])
            except InvalidLedger as error:
                reason = error.message
            else:
                if iv_seqno != seqno:
                    reason = f"Found entry {iv_seqno} where entry {seqno} must be."
                elif at + length > end:
                    reason = f"The entry claims {length} bytes, of which {end - at} are there."
                    too_long = True
                elif length > ENTRY_BYTES_MAX:
                    reason = f"The entry claims {length} bytes, more than an entry can have."
                else:
                    return length
        if previous and self._begins_elsewhere(seqno, at, previous):
            raise self._bad(seqno - 1, "The entry's length is wrong.")
        if too_long and self._begins_elsewhere(seqno + 1, -1, at):
            raise self._bad(seqno, "The entry's length is wrong.")
        incomplete = not self.completed and not self.name.committed
        if incomplete and self._is_torn(prefix, seqno, at):
            return 0
        raise self._bad(seqno, reason)

    def _is_torn(self, prefix: bytes, seqno: SeqNo, at: int) -> bool:
        """Whether what is at the end of an open chunk is the beginning of one more entry."""
        if not prefix.strip(b"\0"):
            return True
        if len(prefix) < HEADER_SIZE:
            return True
        try:
            _, length = parse_header(prefix[:HEADER_SIZE])
        except InvalidLedger:
            return False
        if at + length <= self.size:
            return False
        iv = prefix[_IV_AT : _IV_AT + 8]
        if not seqno.to_bytes(8, "little").startswith(iv):
            return False
        return not self._is_whole_signature(at)

    def _is_whole_signature(self, at: int) -> bool:
        """Whether what remains is a signature transaction but for its length: it has no private
        domain that could be missing."""
        data = self._read_at(at, min(self.size - at, RESYNC_MAX))
        body = len(data) - HEADER_SIZE
        try:
            return is_signature(parse(data[:2] + body.to_bytes(6, "little") + data[HEADER_SIZE:]))
        except InvalidLedger:
            return False

    def _begins_elsewhere(self, seqno: SeqNo, at: int, previous: int) -> bool:
        """Whether entry `seqno` begins at another offset than `at`, after the one at `previous`."""
        index = seqno - self.name.first
        if index < len(self._table):
            position = self._table[index]
            if self._plausible(position, seqno):
                return position != at
        window = self._read_at(previous + PREFIX_SIZE, RESYNC_MAX)
        wanted = seqno.to_bytes(8, "little")
        hit = window.find(wanted)
        while hit >= 0:
            position = previous + PREFIX_SIZE + hit - _IV_AT
            if position != at and position > previous and self._plausible(position, seqno):
                return True
            hit = window.find(wanted, hit + 1)
        return False

    def _plausible(self, position: int, seqno: SeqNo) -> bool:
        """Whether an entry with this seqno begins at this offset."""
        prefix = self._read_at(position, PREFIX_SIZE)
        if len(prefix) < PREFIX_SIZE:
            return False
        try:
            _, length = parse_header(prefix[:HEADER_SIZE])
        except InvalidLedger:
            return False
        iv_seqno, iv_view = _IV.unpack_from(prefix, _IV_AT)
        public = int.from_bytes(prefix[PREFIX_SIZE - 8 : PREFIX_SIZE], "little")
        return iv_seqno == seqno and iv_view <= VIEW_MASK and PREFIX_SIZE + public <= length

    def by_table(self) -> Iterator[tuple[SeqNo, bytes]]:
        """Entries of a committed chunk where its positions table says they are, unchecked.

        For looking past a broken entry. Nothing when the table is not where it must be.
        """
        if self.name.last is None:
            return
        count = self.name.last - self.name.first + 1
        end = self.size - 4 * count
        if end < FIRST_OFFSET or self.size > FILE_BYTES_MAX:
            return
        table = array("I")
        table.frombytes(self._read_at(end, 4 * count))
        for index, position in enumerate(table):
            stop = chunk.end_of(table, index, end)
            if FIRST_OFFSET <= position < stop <= end:
                yield self.name.first + index, self._read_at(position, stop - position)

    def _locate_table(self, count: int | None) -> None:
        """Load the positions table if it is where it must be; its content is judged later."""
        at = self._table_at
        if not self.completed and not self.name.committed:
            return
        if count is not None and self.size >= FIRST_OFFSET + 4 * count:
            at = self.size - 4 * count
        elif count is None and not self._is_table(at):
            raise self._bad(
                self.name.first,
                f"The header says that the positions table is at {at} of {self.size} bytes, "
                "where there is none.",
            )
        if not FIRST_OFFSET <= at <= self.size:
            return
        # Each position is that of an entry: a table cannot be most of a file.
        data = self._read_at(at, min(self.size - at, self.size // (PREFIX_SIZE // 4)))
        usable = len(data) & ~3
        self._table = array("I")
        self._table.frombytes(data[:usable])

    def _is_table(self, at: int) -> bool:
        """Whether a positions table may begin at this offset: it names the first entry first."""
        if not FIRST_OFFSET < at < self.size or (self.size - at) % 4:
            return False
        return self._read_at(at, 4) == FIRST_OFFSET.to_bytes(4, "little")

    def _check_table(self, positions: array[int], end: int, seqno: SeqNo) -> None:
        """Compare header and table with where the entries were found."""
        first = self.name.first
        if self._table_at != end:
            raise self._bad(
                first,
                f"The header says that the positions table is at {self._table_at}, "
                f"but the entries end at {end}."
                if self._table_at
                else "The chunk is committed but its header says that it is incomplete.",
            )
        raw = self._read_at(end, self.size - end)
        table = chunk.encode_table(positions)
        if raw == table:
            return
        for i in range(len(positions)):
            if raw[4 * i : 4 * i + 4] != table[4 * i : 4 * i + 4]:
                raise self._bad(
                    first + i, "The positions table does not say where the entry begins."
                )
        extra = len(raw) - len(table)
        raise self._bad(seqno - 1, f"{extra} bytes follow the positions table.")
