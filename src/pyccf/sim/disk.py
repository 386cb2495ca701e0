"""The ledger of one simulated node: a list that is written, cut and made final.

Promises what a node's shell promises: entries are written in order and read back as they were
written. That they are written may be told to the node later (`lag`); of what was cut meanwhile it
is never told. What no node may ask for raises `Broken`: a gap, cutting what is committed,
committing what is not there.
"""

from __future__ import annotations

from collections import deque

from pyccf.ledger.entry import Entry
from pyccf.ledger.snapshot import parse_name
from pyccf.types import Millis, SeqNo


class Broken(Exception):
    """A node asked its shell for something that must never be asked for."""


class Shelf:
    """The committed snapshots of one node."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self._damaged: set[str] = set()

    def save(self, name: str, data: bytes, *, whole: bool = True) -> None:
        """Write a snapshot, which may be damaged in doing so."""
        if name in self.files:
            raise Broken(f"snapshot {name} was written twice")
        self.files[name] = data
        if not whole:
            self._damaged.add(name)

    def offers(self, since: SeqNo) -> bool:
        """Whether the one that is offered, `since` or newer, is of any use."""
        name = self.newest(since - 1)
        return name is not None and name not in self._damaged

    def newest(self, since: SeqNo = 0) -> str | None:
        """Name of the newest one that is after `since`."""
        seqnos = {name: found.seqno for name in self.files if (found := parse_name(name))}
        newest = max(seqnos, key=lambda name: seqnos[name], default=None)
        return newest if newest is not None and seqnos[newest] > since else None

    def size(self, name: str) -> int | None:
        """Its size; None when there is none of that name."""
        return len(self.files[name]) if name in self.files else None

    def read(self, name: str, start: int, end: int) -> bytes:
        """Its bytes start..end-1."""
        return self.files[name][start:end]


class Disk:
    """Entries of one node, in memory; entry i of the list has seqno i + 1."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.committed: SeqNo = 0
        self.unchanged: SeqNo = 0
        """Up to here nothing was cut or written since somebody set this."""
        self.lag: Millis = 0
        """How long it takes until a write is told to be done."""
        self._writing: deque[tuple[Millis, SeqNo]] = deque()
        self.snapshots = Shelf()

        self.base: SeqNo = 0
        """Where it began with a snapshot: what is before, the judges know and the node does not."""

    def begin(self, before: list[Entry]) -> None:
        """The ledger begins after these entries, of which this node gets no more than it has."""
        if self.entries and len(before) <= len(self.entries):
            raise Broken(f"a ledger with {len(self.entries)} entries was to begin at {len(before)}")
        self.entries = before
        self._writing.clear()
        self.base = self.committed = len(before)

    @property
    def last(self) -> SeqNo:
        return len(self.entries)

    def append(self, entries: list[Entry], now: Millis) -> None:
        """Write entries that follow the last one."""
        for entry in entries:
            if entry.seqno != len(self.entries) + 1:
                raise Broken(f"entry {entry.seqno} was written after {len(self.entries)}")
            self.entries.append(entry)
        self._writing.append((now + self.lag, len(self.entries)))

    def truncate(self, seqno: SeqNo) -> None:
        """Cut everything after `seqno`."""
        if seqno < self.committed:
            raise Broken(f"the ledger was cut to {seqno}, but {self.committed} is committed")
        del self.entries[seqno:]
        self.unchanged = min(self.unchanged, seqno)
        writing = self._writing
        while writing and writing[-1][1] > seqno:
            when, _ = writing.pop()
            if not writing or writing[-1][1] < seqno:
                writing.append((when, seqno))

    def begin_recovery(self, seqno: SeqNo) -> None:
        """What is after `seqno` does not count; everything up to there is final."""
        del self.entries[seqno:]
        self.unchanged = min(self.unchanged, seqno)
        self._writing.clear()

    def commit(self, seqno: SeqNo) -> None:
        """Everything up to `seqno` is final."""
        if seqno > len(self.entries):
            raise Broken(f"{seqno} was committed, but the ledger ends at {len(self.entries)}")
        if seqno < self.committed:
            raise Broken(f"{seqno} was committed after {self.committed}")
        self.committed = seqno

    def read(self, first: SeqNo, last: SeqNo) -> list[bytes]:
        """Entries first..last as far as they are there."""
        if first <= self.base:
            return []
        return [entry.data for entry in self.entries[first - 1 : last]]

    def written(self, now: Millis) -> SeqNo | None:
        """Up to where writes are done by now, if more are than when last asked."""
        writing = self._writing
        done: SeqNo | None = None
        while writing and writing[0][0] <= now:
            done = writing.popleft()[1]
        return done

    @property
    def next_written(self) -> Millis | None:
        """When the next write will be done; None when nothing is being written."""
        return self._writing[0][0] if self._writing else None
