"""Any entry of a ledger at once: where each one is, and which ones touched which map.

A `Book` walks through the chunk files once and keeps, for each entry, its file and offset, for each
map the seqnos that wrote to it, and the present rows of the few governance tables that say who
takes part. That is about 20 bytes for each entry and 8 for each map it wrote to; entries themselves
are read from disk when they are asked for. The walk may run in a thread of its own: what it has
passed can be read meanwhile.

What cannot be parsed ends the walk and is told as `problem`; nothing is judged here otherwise
(`audit.verify` does that). Refuses, with LocalError, seqnos that are not there.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

import msgspec

from pyccf.audit.files import ChunkFile, ChunkReader, StrPath, find_chunks
from pyccf.errors import InvalidLedger, LocalError
from pyccf.kv import wire
from pyccf.kv.changes import Changes
from pyccf.ledger.entry import HEADER_SIZE, ParsedEntry, parse, parse_header
from pyccf.ledger.secrets import LedgerSecrets
from pyccf.ledger.signature import SIGNATURES
from pyccf.service import tables
from pyccf.types import SeqNo

ROSTERS = (
    tables.MEMBERS_INFO,
    tables.MEMBERS_CERTS,
    tables.USERS_INFO,
    tables.USERS_CERTS,
    tables.NODES_INFO,
    tables.NODES_ENDORSED_CERTIFICATES,
    tables.SERVICE_INFO,
    tables.SERVICE_CONFIG,
    tables.PROPOSALS_INFO,
)
"""Tables whose present rows are kept."""
GOVERNANCE = "public:ccf.gov."
PRIVATE = "private "
"""Put before the names of private maps where they stand beside public ones."""


class Row(msgspec.Struct, frozen=True):
    """A value and the entry that wrote it."""

    value: bytes
    seqno: SeqNo


class Book:
    """The index of one ledger; grows while `read` runs."""

    def __init__(
        self, directories: StrPath | Sequence[StrPath], secrets: LedgerSecrets | None = None
    ) -> None:
        """Raises LocalError when there is no ledger."""
        found = find_chunks(directories)
        if not found.chunks:
            raise LocalError("There are no ledger files in the directory.")
        self.chunks: list[ChunkFile] = found.chunks
        self.left_out = found.left_out
        self.first = found.chunks[0].name.first
        self.secrets = secrets
        self.bytes_total = sum(one.path.stat().st_size for one in found.chunks)
        self.bytes_done = 0
        self.complete = False
        self.problem = ""
        self.signatures = array("Q")
        self.governance = array("Q")
        self.maps: dict[str, array[int]] = {}
        self.roster: dict[str, dict[bytes, Row]] = {name: {} for name in ROSTERS}
        self._file = array("L")
        self._at = array("Q")

    # --- reading ahead --------------------------------------------------------------------------

    def read(self) -> None:
        """Walk through the ledger to its end, or to what cannot be read."""
        try:
            for number, one in enumerate(self.chunks):
                if one.name.first != self.last + 1:
                    raise InvalidLedger(
                        f"The file begins with entry {one.name.first}, not {self.last + 1}.",
                        seqno=self.last + 1,
                        file=one.path.name,
                    )
                done = self.bytes_done
                with ChunkReader(one) as reader:
                    for data in reader.entries():
                        self._take(number, reader.at, parse(data))
                        self.bytes_done = done + reader.at
                    self.bytes_done = done + reader.size
        except (InvalidLedger, LocalError) as error:
            self.problem = error.message
        self.complete = True

    def _take(self, file: int, at: int, entry: ParsedEntry) -> None:
        seqno = entry.seqno
        if seqno != self.last + 1:
            raise InvalidLedger(f"Found entry {seqno} where {self.last + 1} must be.", seqno=seqno)
        public = entry.public_maps()
        governs = False
        for name, changes in public.items():
            self._note(name, seqno)
            if name.startswith(GOVERNANCE):
                governs = True
                rows = self.roster.get(name)
                if rows is not None:
                    for key, value in changes.items():
                        if value is None:
                            rows.pop(key, None)
                        else:
                            rows[key] = Row(value, seqno)
        for name in self.private_maps(entry):
            self._note(PRIVATE + name, seqno)
        if SIGNATURES in public:
            self.signatures.append(seqno)
        if governs:
            self.governance.append(seqno)
        self._file.append(file)
        self._at.append(at)

    def _note(self, name: str, seqno: SeqNo) -> None:
        seqnos = self.maps.get(name)
        if seqnos is None:
            seqnos = self.maps[name] = array("Q")
        seqnos.append(seqno)

    # --- looking up -----------------------------------------------------------------------------

    @property
    def last(self) -> SeqNo:
        """Seqno of the last entry that is known by now; one before the first if none is."""
        return self.first + len(self._at) - 1

    def entry(self, seqno: SeqNo) -> ParsedEntry:
        """One entry, from disk. Raises LocalError when it is not there, InvalidLedger when it has
        been changed into something unreadable since."""
        data = self.data(seqno)
        entry = parse(data)
        if entry.seqno != seqno:
            raise InvalidLedger("The file was changed while it was looked at.", seqno=seqno)
        return entry

    def data(self, seqno: SeqNo) -> bytes:
        """The bytes of one entry."""
        index = seqno - self.first
        if not 0 <= index < len(self._at):
            raise LocalError(f"Entry {seqno} is not in the ledger.")
        path = self.file_of(seqno).path
        try:
            with path.open("rb") as file:
                file.seek(self._at[index])
                header = file.read(HEADER_SIZE)
                if len(header) < HEADER_SIZE:
                    raise InvalidLedger("The file was cut off.", seqno=seqno, file=path.name)
                _, size = parse_header(header)
                return header + file.read(size - HEADER_SIZE)
        except OSError as error:
            raise LocalError(f"{path.name} cannot be read: {error.strerror}.") from None

    def file_of(self, seqno: SeqNo) -> ChunkFile:
        """The file an entry is in."""
        return self.chunks[self._file[seqno - self.first]]

    def private_maps(self, entry: ParsedEntry) -> Changes:
        """What an entry wrote to private maps; nothing without secrets."""
        if self.secrets is None or not entry.ciphertext:
            return {}
        opened = self.secrets.open(entry.seqno, entry.iv, entry.tag, entry.ciphertext, entry.public)
        return wire.decode(opened)

    def covering(self, seqno: SeqNo) -> SeqNo | None:
        """The first signature at or after an entry; None when none covers it."""
        at = bisect_left(self.signatures, seqno)
        return self.signatures[at] if at < len(self.signatures) else None

    def seqnos(self, name: str | None, before: SeqNo | None, count: int) -> list[SeqNo]:
        """Entries that wrote to a map (all, if None), newest first, the last `count` of those
        below `before`."""
        if name is None:
            end = self.last if before is None else min(before - 1, self.last)
            return list(range(end, max(end - count, self.first - 1), -1))
        known = self.maps.get(name)
        if known is None:
            return []
        return newest(known, before, count)


def newest(seqnos: array[int], before: SeqNo | None, count: int) -> list[SeqNo]:
    """The last `count` of ascending seqnos below `before`, newest first."""
    end = len(seqnos) if before is None else bisect_right(seqnos, before - 1)
    return list(reversed(seqnos[max(end - count, 0) : end]))
