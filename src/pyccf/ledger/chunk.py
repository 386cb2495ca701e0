"""Chunk files: their names and their layout. No file is opened here.

    offset  size  field (integers little-endian)
    0       8     T, offset of the positions table; 0 while the chunk is incomplete
    8       ...   entries, back to back
    T       4·n   positions table: for each entry the offset of its first byte, u32

Names are `ledger_<first>` while open or completed, `ledger_<first>-<last>.committed` once all of it
is committed; `.recovery` is appended during a recovery, `.ignored` to what must not be read again.
Name parsing is as loose as the original's, so that both see the same files. Layouts that contradict
themselves are refused with InvalidLedger. (spec: ledger.md §2-3)
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from pyccf.errors import InvalidLedger
from pyccf.ledger.entry import HEADER_SIZE as ENTRY_HEADER_SIZE
from pyccf.ledger.entry import parse_header
from pyccf.types import SeqNo

FIRST_OFFSET = 8
"""Where the first entry begins, after the header."""
OFFSET_MAX = (1 << 32) - 1

COMMITTED = ".committed"
RECOVERY = ".recovery"
IGNORED = ".ignored"

_U64 = struct.Struct("<Q")
assert array("I").itemsize == 4, "positions are 32 bits wide"


class ChunkName(NamedTuple):
    """What the name of a chunk file says. `last` is None when the name does not tell."""

    first: SeqNo
    last: SeqNo | None
    committed: bool
    recovery: bool
    ignored: bool

    @property
    def set_aside(self) -> bool:
        """Whether a starting node leaves this file out."""
        return self.recovery or self.ignored


def parse_name(name: str) -> ChunkName | None:
    """Read a file name; None when it cannot be a chunk's (no digits after the first `_`)."""
    _, underscore, rest = name.partition("_")
    first = _leading_digits(rest)
    if not underscore or not name.startswith("ledger_") or first is None:
        return None
    _, dash, tail = name.partition("-")
    last = _leading_digits(tail) if dash else None
    if dash and last is None:
        return None
    recovery = name.endswith("recovery")
    stem = name.removesuffix(RECOVERY) if recovery else name
    return ChunkName(first, last, stem.endswith("committed"), recovery, name.endswith("ignored"))


def _leading_digits(text: str) -> int | None:
    end = 0
    while end < len(text) and end < 20 and text[end] in "0123456789":
        end += 1
    return int(text[:end]) if end else None


def open_name(first: SeqNo, *, recovery: bool = False) -> str:
    """Name of a chunk being written."""
    return f"ledger_{first}{RECOVERY if recovery else ''}"


def committed_name(first: SeqNo, last: SeqNo, *, recovery: bool = False) -> str:
    """Name of a chunk all of whose entries are committed."""
    return f"ledger_{first}-{last}{COMMITTED}{RECOVERY if recovery else ''}"


def encode_header(table_offset: int) -> bytes:
    """The first eight bytes of a file; 0 says that the chunk is incomplete."""
    return _U64.pack(table_offset)


def parse_table_offset(header: bytes, size: int) -> int:
    """T from the first eight bytes of a file of `size` bytes.

    Raises InvalidLedger when the header is cut or T cannot be the offset of a table.
    """
    if len(header) < FIRST_OFFSET:
        raise InvalidLedger(f"Chunk has {size} bytes, less than its header.")
    (offset,) = _U64.unpack(header[:FIRST_OFFSET])
    if offset == 0:
        return 0
    if not FIRST_OFFSET <= offset <= size:
        raise InvalidLedger(f"Positions table is said to be at {offset} of {size} bytes.")
    if (size - offset) % 4:
        raise InvalidLedger(f"Positions table has {size - offset} bytes, not a multiple of 4.")
    return int(offset)


def encode_table(positions: Iterable[int]) -> bytes:
    """The positions table: u32 little-endian per entry."""
    table = array("I", positions)
    if sys.byteorder == "big":
        table.byteswap()
    return table.tobytes()


def parse_table(data: bytes) -> array[int]:
    """Positions from the bytes of a table. InvalidLedger when they are not ascending from 8."""
    table = array("I")
    table.frombytes(data)
    if sys.byteorder == "big":
        table.byteswap()
    before = 0
    for i, position in enumerate(table):
        if position <= before or (i == 0 and position != FIRST_OFFSET):
            raise InvalidLedger(f"Positions table names {position} for entry number {i + 1}.")
        before = position
    return table


class Scan(NamedTuple):
    """Entries found by walking their headers: where each begins, and where the last one ends."""

    positions: array[int]
    end: int


def scan(read: Callable[[int, int], bytes], size: int) -> Scan:
    """Find the entries of an incomplete chunk of `size` bytes.

    `read(offset, n)` gives up to n bytes. Stops at the first header or body that does not fit into
    the remaining bytes, and at the table of the entries before; what is before is valid. Raises
    InvalidLedger at a header no entry has.
    """
    positions = array("I")
    at = FIRST_OFFSET
    while at + ENTRY_HEADER_SIZE <= size:
        header = read(at, ENTRY_HEADER_SIZE)
        if len(header) < ENTRY_HEADER_SIZE:
            break
        if header == bytes(ENTRY_HEADER_SIZE):
            # A crash may leave a tail that was allocated but never written.
            break
        try:
            _, length = parse_header(header)
        except InvalidLedger:
            table = encode_table(positions)[: size - at]
            if size - at == len(table) and read(at, size - at) == table:
                # Written when the chunk was completed; where it is was not written any more.
                break
            raise
        if at + length > size:
            break
        positions.append(at)
        at += length
    return Scan(positions, min(at, size) if positions else FIRST_OFFSET)


def end_of(positions: Sequence[int], index: int, end: int) -> int:
    """Offset just after the entry number `index` (from 0), given where the last one ends."""
    return positions[index + 1] if index + 1 < len(positions) else end
