"""Files of before, compared with the entries that come when a node starts over as a backup.

Where an entry is what a file holds already, nothing is written. Where it is not, the file is cut
there and later ones are removed; complete ones may have been committed, by a service of which
nobody else has them any more: they are set aside, or kept in a copy. (spec: ledger.md §9)
"""

from __future__ import annotations

from pyccf.ledger import chunk
from pyccf.shell.ledger_directory import LedgerDirectory
from pyccf.shell.open_chunk import OpenChunk
from pyccf.shell.resuming import SUPERSEDED
from pyccf.shell.set_aside import SetAside
from pyccf.types import SeqNo


class ReplayFiles:
    """The files of before, as long as they may be gone on with."""

    def __init__(self, home: LedgerDirectory, aside: SetAside) -> None:
        self._home = home
        self._aside = aside
        self._in_use = False
        self._until: SeqNo = 0
        """The last entry that they may hold."""

    def begin(self, seqno: SeqNo, last: SeqNo) -> None:
        """Entries come again after `seqno`; the files go up to `last`."""
        home = self._home
        # From the end, so that what a crash leaves has no gap.
        for file, name in reversed(home.chunks()):
            if name.committed and not name.set_aside and name.first > seqno:
                unfinished = chunk.open_name(name.first)
                if home.exists(unfinished):
                    self._aside.rename(unfinished, SUPERSEDED)
                home.rename(file, unfinished)
        self._in_use = True
        self._until = last

    def resume(self, current: OpenChunk) -> None:
        """Entries of a chunk may come once more: a file of before is compared with them again."""
        self._in_use = self._in_use or current.replay

    def reached(self, seqno: SeqNo) -> None:
        """Entries up to here came."""
        if seqno > self._until:
            self._in_use = False

    def beginning_at(self, first: SeqNo) -> OpenChunk | None:
        """The file that holds the chunk which begins there, to be compared."""
        if self._in_use:
            for file, name in self._home.chunks():
                if name.first == first and not name.ignored and not name.committed:
                    existing = OpenChunk(self._home, file, self._home.open(file), first)
                    existing.replay = True
                    existing.whole = self._home.is_complete(file)
                    return existing
        return None

    def take(self, current: OpenChunk, data: bytes) -> None:
        """Take one entry into a file that may hold it already."""
        home = self._home
        with home.guard(home.path_of(current.file), "read"):
            there = home.files.read(current.fd, current.end, len(data))
        if there != data:
            self._keep_whole(current)
            self._in_use = False
            self._remove_after(current.last + 1)
            home.truncate(current.file, current.fd, current.end)
            current.write(0, chunk.encode_header(0))
            current.write(current.end, data)
            current.sync()
            current.replay = False
        current.positions.append(current.end)
        current.end += len(data)

    def ends(self, current: OpenChunk) -> bool:
        """A chunk ends here; whether the file is that of before, with nothing to be written.

        One that goes on, or ended elsewhere, is another chunk's.
        """
        home, files = self._home, self._home.files
        header, table = chunk.encode_header(current.end), chunk.encode_table(current.positions)
        with home.guard(home.path_of(current.file), "read"):
            same = files.read(current.fd, 0, len(header)) == header
            table_same = files.read(current.fd, current.end, len(table) + 1) == table
        if current.whole and not same:
            self._keep_whole(current)
            self._in_use = False
            self._remove_after(current.last)
        return same and table_same

    def _keep_whole(self, current: OpenChunk) -> None:
        """Copy a chunk that was complete before the rest of it is given up."""
        if current.whole:
            current.whole = False
            self._aside.copy(
                current.file, f"it is not what the service holds from {current.last + 1} on"
            )

    def _remove_after(self, seqno: SeqNo) -> None:
        """Delete every chunk that begins after `seqno`, but for complete ones; from the end."""
        for file, name in reversed(self._home.chunks()):
            if name.first > seqno and not name.ignored:
                if self._home.is_complete(file):
                    self._aside.rename(file, f"it is not what the service holds from {seqno} on")
                else:
                    self._home.remove(file)
