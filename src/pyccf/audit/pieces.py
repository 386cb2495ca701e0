"""Ledger files of a heap as they are: what can be read in each, and what came of looking at it.

A piece is read by the lengths of its entries alone, whatever its table says, so that one that is
torn or has lost its table gives what it still holds. Nothing is judged here.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import BinaryIO

import msgspec

from pyccf.audit.files import ENTRY_BYTES_MAX
from pyccf.errors import InvalidLedger
from pyccf.ledger import chunk
from pyccf.ledger.entry import FORCE_CHUNK_BEFORE, HEADER_SIZE, PREFIX_SIZE, parse_header
from pyccf.types import SeqNo


class Verdict(Enum):
    """What a file is worth."""

    USED = "used"
    """Part of the chain."""
    COPY = "copy"
    """The same bytes as another file."""
    SUPERSEDED = "superseded"
    """All its entries are in a file that is used."""
    FORKED = "forked"
    """It leaves the chain for entries that were never committed."""
    UNPROVEN = "unproven"
    """It goes on with the chain, but no signature that holds covers it."""
    DAMAGED = "damaged"
    FOREIGN = "foreign"
    """Of another ledger."""
    UNREACHABLE = "unreachable"
    """Entries between the chain and this file are missing."""
    UNFINISHED = "unfinished recovery"
    """Left by a recovery that was not completed."""
    SET_ASIDE = "set aside"
    """Somebody took it out before."""
    USABLE = "usable"
    """A snapshot that can be started from."""
    UNKNOWN = "not a ledger file"


class FileReport(msgspec.Struct, rename="camel", omit_defaults=True):
    """One file."""

    path: str
    verdict: Verdict
    reason: str = ""
    first: SeqNo | None = None
    last: SeqNo | None = None
    """Of the entries that can be read in it."""
    torn_bytes: int = 0
    """Bytes at its end that are no complete entry."""


class Gap(msgspec.Struct, frozen=True):
    """Entries that no usable file holds."""

    first: SeqNo
    last: SeqNo


class Link(msgspec.Struct, frozen=True):
    """What of a file is part of the chain."""

    path: str
    first: SeqNo
    last: SeqNo
    others: dict[SeqNo, str] = {}
    """Entries that are damaged in this file, and the files they are taken from instead."""


class Piece:
    """A chunk file that was read through once."""

    __slots__ = ("digest", "end", "fault", "name", "path", "report")

    def __init__(self, path: Path, name: chunk.ChunkName, digest: bytes) -> None:
        self.path = path
        self.name = name
        self.digest = digest
        self.end: SeqNo = name.first - 1
        """The last entry that can be read."""
        self.fault = ""
        self.report = FileReport(str(path), Verdict.UNKNOWN)

    @property
    def first(self) -> SeqNo:
        return self.name.first

    def begins_service(self) -> bool:
        """Whether its first entry, which is there, is that of a recovered service."""
        return bool(self.entry(self.first)[1] & FORCE_CHUNK_BEFORE)

    def entry(self, seqno: SeqNo) -> bytes:
        """One entry, which is there."""
        return next(self.entries(seqno))

    def entries(self, start: SeqNo) -> Iterator[bytes]:
        """Entries from `start` on, as far as they follow each other, whatever the table says."""
        with self.path.open("rb") as file:
            file.seek(chunk.FIRST_OFFSET)
            seqno = self.name.first
            while (data := _next_entry(file, seqno)) is not None:
                if seqno >= start:
                    yield data
                seqno += 1


def _next_entry(file: BinaryIO, seqno: SeqNo) -> bytes | None:
    """The entry that begins here if it is whole and of this seqno."""
    prefix = file.read(PREFIX_SIZE)
    if len(prefix) < PREFIX_SIZE or int.from_bytes(prefix[24:32], "little") != seqno:
        return None
    try:
        _, length = parse_header(prefix[:HEADER_SIZE])
    except InvalidLedger:
        return None
    data = prefix + file.read(min(length, ENTRY_BYTES_MAX) - PREFIX_SIZE)
    return data if len(data) == length else None


def entries_of(link: Link) -> Iterator[bytes]:
    """The entries that a file gives to the chain."""
    one = piece_at(link.path)
    for seqno, data in enumerate(one.entries(link.first), link.first):
        if seqno > link.last:
            break
        other = link.others.get(seqno)
        yield data if other is None else piece_at(other).entry(seqno)


def piece_at(path: str) -> Piece:
    """A file that is part of a chain."""
    name = chunk.parse_name(Path(path).name)
    assert name is not None, "only ledger files are part of a chain"
    return Piece(Path(path), name, b"")
