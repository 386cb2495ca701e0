"""The ledger on disk: chunk files are opened, appended to, completed, committed, cut and read.

Files and names are those of `ledger.chunk`. The main directory is written, read-only directories
are searched when an entry is read. Entries of one call that go to one file are written at once; a
chunk is completed where an entry's flags say so. Once all of a completed chunk is committed the
file gets its `.committed` name and is never written again.

What is done to files is told in the modules that do it: `resuming` when a node starts,
`replay_files` when it starts over as a backup, `recovery_files`, `ledger_reader`. Like the
original, nothing is fsynced unless `fsync` is set, so the last entries survive the death of the
process, but not always that of the machine; what is kept of a file that a recovery cuts is always
on the disk first. A change that fails is the last one (`ledger_directory`); reading goes on.

Differences from the original, on purpose: a failed rename is an error, not a line in the log; a
file that cannot be opened is an error, only one with wrong content is set aside as `.ignored`; an
`.ignored` name that is taken is not overwritten; files not named `ledger_…` are left alone.
(spec: ledger.md §3, §9-11)
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from operator import itemgetter

from pyccf.errors import StorageError
from pyccf.ledger import chunk
from pyccf.ledger.entry import FORCE_CHUNK_AFTER, FORCE_CHUNK_BEFORE, Entry
from pyccf.shell.chunk_files import CommittedChunks
from pyccf.shell.files import Files
from pyccf.shell.ledger_directory import LedgerDirectory
from pyccf.shell.ledger_reader import READ_BYTES_MAX, LedgerReader
from pyccf.shell.open_chunk import OpenChunk
from pyccf.shell.recovery_files import RecoveryFiles
from pyccf.shell.replay_files import ReplayFiles
from pyccf.shell.resuming import Resuming
from pyccf.shell.set_aside import SetAside
from pyccf.shell.tail import Tail
from pyccf.types import SeqNo

_flags = itemgetter(1)
"""Of an entry's bytes."""


class LedgerDisk:
    """The ledger directories of one node."""

    def __init__(
        self,
        directory: str | os.PathLike[str],
        read_only_directories: Sequence[str | os.PathLike[str]] = (),
        *,
        fsync: bool = False,
        keep: bool = False,
        read_bytes_max: int = READ_BYTES_MAX,
        files: Files | None = None,
    ) -> None:
        """Open the directories; the main one is created if its parent is there.

        With `keep`, what is cut off a file is kept beside it, in a copy of the file. Raises
        LocalError when a read-only directory is none, StorageError when the disk refuses.
        """
        self.directory = os.fspath(directory)
        self.read_only_directories = [os.fspath(d) for d in read_only_directories]
        self.notes: list[str] = []
        """What was found and not taken as it is, for the operator; whoever logs it empties it."""
        self.cuts = 0
        """How often entries were cut off the end."""
        self._closed = False
        files = Files() if files is None else files
        self._home = LedgerDirectory(self.directory, files, fsync=fsync)
        self._aside = SetAside(self.directory, files, self._home.guard, self.notes)
        found = Resuming(self._home, self.read_only_directories, self._aside, self.notes, keep=keep)
        self.committed: SeqNo = found.committed
        """Up to here entries are committed; 0 for none."""
        self._committed = CommittedChunks(files, [self.directory, *self.read_only_directories])
        self._reader = LedgerReader(files, self._committed, read_bytes_max)
        self._reader.opened = found.opened
        self._go_on_after(max([found.committed, *(c.last for c in found.opened)]))
        self._replay = ReplayFiles(self._home, self._aside)
        self._recovery = RecoveryFiles(
            self._home, self.read_only_directories, self._committed, self._aside, keep=keep
        )

    @property
    def last(self) -> SeqNo:
        """The last entry; 0 for none."""
        return self._reader.last

    @property
    def set_aside(self) -> list[str]:
        """Names that were renamed to `.ignored`, in order."""
        return self._aside.renamed

    @property
    def failure(self) -> StorageError | None:
        """The error because of which nothing is written any more."""
        return self._home.failure

    # --- appending ------------------------------------------------------------------------------

    def append(self, entries: Sequence[Entry]) -> None:
        """Write the next entries. On return the operating system has them all.

        Raises StorageError; nothing of the call may then be taken for written.
        """
        self._refuse_if_failed()
        if not entries:
            return
        reader = self._reader
        first = reader.last + 1
        last = reader.last + len(entries)
        assert (entries[0].seqno, entries[-1].seqno) == (first, last), "entries have no gaps"
        row = [entry.data for entry in entries]
        flags = bytes(map(_flags, row))
        at = 0
        while at < len(row):
            upto = _row_end(flags, at)
            current = reader.opened[-1] if reader.opened else None
            if current is not None and not current.completed and flags[at] & FORCE_CHUNK_BEFORE:
                self._complete(current)
            if current is None or current.completed:
                reader.last = first + at - 1
                current = self._start(first + at)
            self._add(current, row[at:upto])
            if flags[upto - 1] & FORCE_CHUNK_AFTER:
                assert entries[upto - 1].committable, "only a signature ends a chunk"
                self._complete(current)
            at = upto
        reader.last = last
        reader.tail.extend(row)
        self._replay.reached(last)

    def _add(self, current: OpenChunk, row: list[bytes]) -> None:
        """Entries that go to one file; those that it may hold already are compared."""
        done = 0
        while current.replay and done < len(row):
            self._replay.take(current, row[done])
            done += 1
        if done < len(row):
            current.add(row[done:])

    def _complete(self, current: OpenChunk) -> None:
        """End a chunk; what a file of before holds beyond that is not lost."""
        if current.replay and self._replay.ends(current):
            current.completed = True
        else:
            current.complete()

    def _start(self, first: SeqNo) -> OpenChunk:
        """A file for the chunk that begins at `first`."""
        made = self._replay.beginning_at(first)
        if made is None:
            start = self._recovery.start
            file = chunk.open_name(first, recovery=start is not None and first > start)
            made = OpenChunk(self._home, file, self._home.create(file), first)
        self._reader.opened.append(made)
        return made

    # --- committing and cutting -----------------------------------------------------------------

    def commit(self, seqno: SeqNo) -> None:
        """Entries up to `seqno` are committed: completed chunks up to there get their last name."""
        self._refuse_if_failed()
        if not self.committed < seqno <= self.last:
            return
        kept: list[OpenChunk] = []
        renamed = False
        for current in self._reader.opened:
            if not current.completed or current.last > seqno or current.committed:
                kept.append(current)
                continue
            self._give_last_name(current)
            renamed = True
            if current.is_of_recovery:
                current.committed = True
                kept.append(current)
            else:
                current.close()
        self._reader.opened = kept
        if renamed:
            self._home.sync_names()
        self.committed = seqno

    def _give_last_name(self, current: OpenChunk) -> None:
        """It is complete and committed."""
        recovery = current.is_of_recovery
        current.rename(chunk.committed_name(current.first, current.last, recovery=recovery))

    def truncate(self, seqno: SeqNo) -> None:
        """Forget entries after `seqno`. Committed ones stay, and then nothing happens."""
        self._refuse_if_failed()
        if self.last and (seqno >= self.last or seqno < self.committed):
            return
        kept: list[OpenChunk] = []
        # From the end, so that what a crash leaves has no gap.
        for current in reversed(self._reader.opened):
            if current.committed or current.last <= seqno:
                kept.append(current)
                continue
            self._replay.resume(current)
            if current.first <= seqno:
                current.cut(seqno)
                kept.append(current)
            else:
                current.close()
                if not current.replay:
                    self._home.remove(current.file)
        kept.reverse()
        self._reader.opened = kept
        self._reader.last = seqno
        self._reader.tail.cut(seqno)
        self.cuts += 1

    # --- starting over --------------------------------------------------------------------------

    def initialise(self, seqno: SeqNo, recovery_start: SeqNo = 0) -> None:
        """Start over as a backup at `seqno`; files that are here are compared with what comes.

        A chunk that holds nothing but committed entries ends: what follows them does not come.
        `recovery_start`, if not 0, is the seqno after which files belong to a recovery.
        """
        self._refuse_if_failed()
        for current in self._reader.opened[-1:]:
            if current.last == self.committed and not (current.committed or current.replay):
                current.complete()
                self._give_last_name(current)
                self._home.sync_names()
        self._forget()
        self._replay.begin(seqno, self.last)
        self.committed = seqno
        self.cuts += 1
        self._go_on_after(seqno)
        if recovery_start:
            self._recovery.start = recovery_start

    def begin_recovery(self, seqno: SeqNo, reason: str | None = None) -> None:
        """Files that begin after `seqno` belong to a recovery until `complete_recovery`.

        With a `reason` the ledger goes on there: what it holds after `seqno` does not count, for
        that reason, and is set aside; of what is before it, nothing is written any more. Raises
        StorageError, having changed nothing, when a read-only directory holds it.
        """
        self._refuse_if_failed()
        opened = self._reader.opened
        if reason is not None and self.last < seqno:
            self._reader.opened = self._recovery.pass_over(opened, seqno)
            self.committed = seqno
            self._go_on_after(seqno)
        if reason is not None and self.last > seqno:
            if self.committed > seqno:
                self.notes.append(
                    f"There are complete files up to {self.committed}, of which the entries after"
                    f" {seqno} do not count: {reason}. Nothing is final before members accept this"
                    " service: if another host may have better copies, stop this node, and see"
                    " what all files together are worth, as they were: pyccf recover inspect DIR..."
                )
            self._reader.opened = self._recovery.cut(opened, seqno, reason)
            self.committed = min(self.committed, seqno)
            self.cuts += 1
            self._go_on_after(seqno)
        self._recovery.start = seqno

    def complete_recovery(self) -> None:
        """The recovered service is open: its files lose the `.recovery` in their names."""
        self._refuse_if_failed()
        self._reader.opened = self._recovery.complete(self._reader.opened)

    def _go_on_after(self, seqno: SeqNo) -> None:
        self._reader.last = seqno
        self._reader.tail = Tail(seqno)

    # --- reading --------------------------------------------------------------------------------

    def read(self, first: SeqNo, last: SeqNo, bytes_max: int = 0) -> list[bytes]:
        """Entries first..last, or as many of the first of them as are there and fit the limit.

        The limit is `bytes_max` if that is given; one entry is then read whatever its size.
        """
        return self._reader.read(first, last, bytes_max)

    def raw(self, first: SeqNo, last: SeqNo, bytes_max: int) -> tuple[bytes, SeqNo]:
        """Entries first..k as they are in the ledger, back to back, and k.

        k is `last` or the ledger's last entry, or less when there would be more than `bytes_max`
        bytes or another chunk begins; one entry is given whatever its size. Without an entry
        `first`: no bytes, and first - 1. Raises StorageError, InvalidLedger.
        """
        return self._reader.raw(first, last, bytes_max)

    def end_of_chunk(self, seqno: SeqNo) -> SeqNo:
        """The last entry of the chunk that holds an entry; the one before it if none does."""
        holder = self._reader.holding(seqno)
        return seqno - 1 if holder is None else holder.first + len(holder.positions) - 1

    def missing(self, seqno: SeqNo) -> str:
        """Why there is no entry `seqno`; "" when the ledger just ends before it."""
        if seqno > self.last:
            return ""
        return (
            f"Cannot find ledger file for seqno {seqno}, though there are files up to {self.last}"
        )

    # --- the end --------------------------------------------------------------------------------

    def close(self) -> None:
        """Close all files. Nothing is written: what `append` took is already written."""
        if not self._closed:
            self._closed = True
            self._forget()

    def _forget(self) -> None:
        for current in self._reader.opened:
            with suppress(OSError):
                self._home.files.close(current.fd)
        self._reader.opened = []
        self._committed.close()

    def _refuse_if_failed(self) -> None:
        assert not self._closed, "a closed ledger is not written"
        self._home.refuse_if_failed()


def _row_end(flags: bytes, at: int) -> int:
    """Where the entries end that go to the same file as entry `at`."""
    if not any(flags):
        return len(flags)
    upto = at + 1
    while upto < len(flags):
        if flags[upto - 1] & FORCE_CHUNK_AFTER or flags[upto] & FORCE_CHUNK_BEFORE:
            break
        upto += 1
    return upto
