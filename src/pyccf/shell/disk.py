"""The ledger on disk: chunk files are opened, appended to, completed, committed, cut and read.

Files and names are those of `ledger.chunk`. The main directory is written, read-only directories
are searched when an entry is read. Entries of one call that go to one file are written at once; a
chunk is completed where an entry's flags say so. Once all of a completed chunk is committed the
file gets its `.committed` name and is never written again.

A crash may leave a partial entry at the end of an incomplete chunk; it is dropped when the
directory is opened. Like the original, nothing is fsynced unless `fsync` is set, so the last
entries survive the death of the process, but not always that of the machine; what is kept of a
file that a recovery cuts is always on the disk first.

Any refusal of the operating system, and any write that takes fewer bytes than it was given, raises
StorageError with the name of the file and the cause. After a failed change the object refuses every
further change with the same error: what it would acknowledge could not be trusted. Reading goes on.

Differences from the original, on purpose: a failed rename is an error, not a line in the log; a
file that cannot be opened is an error, only one with wrong content is set aside as `.ignored`; an
`.ignored` name that is taken is not overwritten; files not named `ledger_…` are left alone.
(spec: ledger.md §3, §9-11)
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NoReturn

from pyccf.errors import InvalidLedger, LocalError, StorageError
from pyccf.ledger import chunk
from pyccf.ledger.chunk import FIRST_OFFSET, OFFSET_MAX, ChunkName
from pyccf.ledger.entry import FORCE_CHUNK_AFTER, FORCE_CHUNK_BEFORE, Entry
from pyccf.shell.chunk_files import (
    CommittedChunks,
    ReadChunk,
    chunk_files,
    fitting,
    layout,
    read_range,
)
from pyccf.shell.files import Files
from pyccf.shell.set_aside import SetAside
from pyccf.shell.tail import Tail
from pyccf.types import SeqNo

SUPERSEDED = "the entries in it are in committed files"
READ_BYTES_MAX = 64 * 1024 * 1024 - 2048
"""Most bytes one `read` returns (spec: ledger.md §11)."""


class _OpenChunk:
    """A chunk in the main directory that is not yet (or only provisionally) committed."""

    __slots__ = (
        "committed",
        "completed",
        "end",
        "fd",
        "first",
        "path",
        "positions",
        "replay",
        "whole",
    )

    def __init__(
        self, path: str, fd: int, first: SeqNo, positions: array[int], end: int, completed: bool
    ) -> None:
        self.path = path
        self.fd = fd
        self.first = first
        self.positions = positions
        self.end = end
        self.completed = completed
        self.committed = False
        """Only recovery chunks stay listed once committed."""
        self.replay = False
        """Whether the file already holds bytes after `end` that are compared, not trusted."""
        self.whole = False
        """Whether it was a complete chunk when that began, which may have been committed."""

    @property
    def last(self) -> SeqNo:
        return self.first + len(self.positions) - 1


class LedgerDisk:
    """The ledger directories of one node. `last` and `committed` are seqnos, 0 for none."""

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
        self.last: SeqNo = 0
        self.committed: SeqNo = 0
        self.notes: list[str] = []
        """What was found and not taken as it is, for the operator; whoever logs it empties it."""
        self._keep = keep
        self.cuts = 0
        """How often entries were cut off the end."""
        self._files = Files() if files is None else files
        self._fsync = fsync
        self._read_bytes_max = read_bytes_max
        self._open: list[_OpenChunk] = []
        self._committed = CommittedChunks(
            self._files, [self.directory, *self.read_only_directories]
        )
        self._failure: StorageError | None = None
        self._aside = SetAside(self.directory, self._files, self._guard, self.notes)
        self._closed = False
        self._use_existing = False
        self._replay_until: SeqNo = 0
        self._recovery_start: SeqNo | None = None
        self._open_directories()
        self._tail = Tail(self.last)

    # --- opening ------------------------------------------------------------------------------

    def _open_directories(self) -> None:
        for directory in self.read_only_directories:
            if not self._files.is_directory(directory):
                raise LocalError(f"Read-only ledger directory {directory} is not a directory.")
            for _, name in chunk_files(self._files, directory):
                if name.committed and not name.set_aside and name.last is not None:
                    self.committed = max(self.committed, name.last)
        with self._guard(self.directory, "create directory"):
            self._files.make_directory(self.directory)
        candidates: list[tuple[str, ChunkName]] = []
        for file, name in chunk_files(self._files, self.directory):
            if name.set_aside:
                if not name.ignored:
                    self._aside.rename(file, "it belongs to a recovery that was not completed")
            elif name.committed:
                if name.last is not None:
                    self.committed = max(self.committed, name.last)
            else:
                candidates.append((file, name))
        for file, name in candidates:
            if name.last is not None and name.last <= self.committed:
                self._aside.rename(file, SUPERSEDED)
            else:
                self._open_existing(file, name)
        self._open.sort(key=lambda c: c.last)
        self.last = max([self.committed, *(c.last for c in self._open)])

    def _open_existing(self, file: str, name: ChunkName) -> None:
        """Rebuild the positions of an uncommitted chunk and drop its partial tail."""
        path = os.path.join(self.directory, file)
        with self._guard(path, "open"):
            fd = self._files.open(path)
            try:
                size = self._files.size(fd)
                positions, end, completed = layout(self._files, fd, size)
            except InvalidLedger as error:
                self._files.close(fd)
                self._aside.rename(file, f"it is no ledger file: {error.message}")
                return
            if not positions:
                self._files.close(fd)
                self._drop_empty(file, size)
                return
            if not completed:
                if end < size:
                    self._drop_torn(file, name.first + len(positions) - 1, size - end)
                if self._files.read(fd, 0, FIRST_OFFSET) != chunk.encode_header(0):
                    self._files.write(fd, 0, chunk.encode_header(0))
                if end < size:
                    self._files.truncate(fd, end)
        if name.first + len(positions) - 1 <= self.committed:
            self._files.close(fd)
            self._aside.rename(file, SUPERSEDED)
            return
        opened = _OpenChunk(path, fd, name.first, positions, end, completed)
        self._open.append(opened)
        if not completed and self._files.read(fd, positions[-1], 2)[1] & FORCE_CHUNK_AFTER:
            # The entry that ends the chunk is there, its table was lost: chunks must end
            # where the primary said, on every node.
            self._complete(opened)

    def _drop_empty(self, file: str, size: int) -> None:
        """A file without a complete entry."""
        if self._keep and size > FIRST_OFFSET:
            self._aside.rename(file, f"none of its {size} bytes are a complete entry")
            return
        path = os.path.join(self.directory, file)
        with self._guard(path, "remove"):
            self._files.remove(path)
        if size > FIRST_OFFSET:
            self.notes.append(f"Ledger file {file} held no complete entry and was removed")

    def _drop_torn(self, file: str, last: SeqNo, size: int) -> None:
        """The end of a file is no complete entry: a crash cut it off."""
        reason = f"its last {size} bytes, after entry {last}, are no complete entry"
        if self._keep:
            self._aside.copy(file, reason)
        self.notes.append(f"Ledger file {file} was cut after entry {last}: {reason}")

    # --- writing ------------------------------------------------------------------------------

    def append(self, entries: Sequence[Entry]) -> None:
        """Write the next entries. On return the operating system has them all.

        Raises StorageError; nothing of the call may then be taken for written.
        """
        self._refuse_if_failed()
        pending: list[bytes] = []
        current = self._open[-1] if self._open else None
        if current is not None and current.completed:
            current = None
        seqno = self.last
        at = current.end if current is not None else FIRST_OFFSET
        for entry in entries:
            seqno += 1
            assert entry.seqno == seqno, "entries are written without gaps"
            data = entry.data
            flags = data[1]
            if flags & FORCE_CHUNK_BEFORE and current is not None:
                self._flush(current, pending)
                self._complete(current)
                current = None
            if current is None:
                self.last = seqno - 1
                current = self._start(seqno)
                at = current.end
            if current.replay:
                self._replay(current, data)
                at = current.end
            else:
                if at > OFFSET_MAX:
                    self._fail(current.path, "append", "chunk holds more than 4 GiB")
                current.positions.append(at)
                at += len(data)
                pending.append(data)
            if flags & FORCE_CHUNK_AFTER:
                assert entry.committable, "only a signature ends a chunk"
                self._flush(current, pending)
                self._complete(current)
                current = None
        if current is not None:
            self._flush(current, pending)
        self.last = seqno
        self._tail.extend([entry.data for entry in entries])
        if seqno > self._replay_until:
            self._use_existing = False

    def _flush(self, current: _OpenChunk, pending: list[bytes]) -> None:
        if not pending:
            return
        data = pending[0] if len(pending) == 1 else b"".join(pending)
        self._write(current, current.end, data)
        current.end += len(data)
        pending.clear()
        if self._fsync:
            with self._guard(current.path, "fsync"):
                self._files.sync(current.fd)

    def _write(self, current: _OpenChunk, offset: int, data: bytes) -> None:
        with self._guard(current.path, "write"):
            taken = self._files.write(current.fd, offset, data)
        if taken != len(data):
            self._fail(current.path, "write", f"only {taken} of {len(data)} bytes were taken")

    def _start(self, first: SeqNo) -> _OpenChunk:
        """A file for the chunk that begins at `first`."""
        if self._use_existing:
            for file, name in chunk_files(self._files, self.directory):
                if name.first == first and not name.ignored and not name.committed:
                    return self._start_replay(os.path.join(self.directory, file), first)
        recovery = self._recovery_start is not None and first > self._recovery_start
        path = os.path.join(self.directory, chunk.open_name(first, recovery=recovery))
        with self._guard(path, "create"):
            fd = self._files.create(path)
        if self._fsync:
            with self._guard(self.directory, "fsync"):
                self._files.sync_directory(self.directory)
        made = _OpenChunk(path, fd, first, array("I"), FIRST_OFFSET, False)
        self._open.append(made)
        return made

    def _complete(self, current: _OpenChunk) -> None:
        """Write the positions table, then its offset into the header."""
        with self._guard(current.path, "truncate"):
            self._files.truncate(current.fd, current.end)
        self._write(current, current.end, chunk.encode_table(current.positions))
        if self._fsync:
            with self._guard(current.path, "fsync"):
                self._files.sync(current.fd)
        self._write(current, 0, chunk.encode_header(current.end))
        if self._fsync:
            with self._guard(current.path, "fsync"):
                self._files.sync(current.fd)
        current.completed = True
        current.replay = False

    # --- replay over files that were here before ----------------------------------------------

    def initialise(self, seqno: SeqNo, recovery_start: SeqNo = 0) -> None:
        """Start over as a backup at `seqno`; files that are here are compared with what comes.

        `recovery_start`, if not 0, is the seqno after which files belong to a recovery.
        """
        self._refuse_if_failed()
        self._forget()
        for file, name in chunk_files(self._files, self.directory):
            if name.committed and not name.set_aside and name.first > seqno:
                unfinished = chunk.open_name(name.first)
                if self._files.exists(os.path.join(self.directory, unfinished)):
                    self._aside.rename(unfinished, SUPERSEDED)
                self._rename(file, unfinished)
        self._use_existing = True
        self._replay_until = self.last
        self.last = self.committed = seqno
        self.cuts += 1
        self._tail = Tail(seqno)
        if recovery_start:
            self._recovery_start = recovery_start

    def _start_replay(self, path: str, first: SeqNo) -> _OpenChunk:
        with self._guard(path, "open"):
            fd = self._files.open(path)
        existing = _OpenChunk(path, fd, first, array("I"), FIRST_OFFSET, False)
        existing.replay = True
        existing.whole = self._is_complete(path)
        self._open.append(existing)
        return existing

    def _replay(self, current: _OpenChunk, data: bytes) -> None:
        """Take one entry into a file that may hold it already."""
        with self._guard(current.path, "read"):
            there = self._files.read(current.fd, current.end, len(data))
        if there != data:
            self._keep_whole(current)
            with self._guard(current.path, "truncate"):
                self._files.truncate(current.fd, current.end)
            self._write(current, 0, chunk.encode_header(0))
            self._write(current, current.end, data)
            current.replay = False
            self._use_existing = False
            self._remove_after(current.last + 1)
        current.positions.append(current.end)
        current.end += len(data)

    def _remove_after(self, seqno: SeqNo) -> None:
        """Delete every chunk of the main directory that begins after `seqno`.

        One that is complete may have been committed, by a service of which nobody else has it any
        more: it is set aside.
        """
        for file, name in chunk_files(self._files, self.directory):
            if name.first > seqno and not name.ignored:
                path = os.path.join(self.directory, file)
                if self._is_complete(path):
                    self._aside.rename(file, f"it is not what the service holds from {seqno} on")
                    continue
                with self._guard(path, "remove"):
                    self._files.remove(path)

    def _is_complete(self, path: str) -> bool:
        """Whether a chunk has its table."""
        with self._guard(path, "open"):
            fd = self._files.open_to_read(path)
            try:
                return any(self._files.read(fd, 0, FIRST_OFFSET))
            finally:
                self._files.close(fd)

    def _keep_whole(self, current: _OpenChunk) -> None:
        """Copy a chunk that was complete before the rest of it is given up."""
        if current.replay and current.whole:
            current.whole = False
            self._aside.copy(
                os.path.basename(current.path),
                f"it is not what the service holds from {current.last + 1} on",
            )

    # --- committing and cutting ---------------------------------------------------------------

    def commit(self, seqno: SeqNo) -> None:
        """Entries up to `seqno` are committed: completed chunks up to there get their last name."""
        self._refuse_if_failed()
        if not self.committed < seqno <= self.last:
            return
        kept: list[_OpenChunk] = []
        renamed = False
        for current in self._open:
            if not current.completed or current.last > seqno or current.committed:
                kept.append(current)
                continue
            recovery = current.path.endswith(chunk.RECOVERY)
            name = chunk.committed_name(current.first, current.last, recovery=recovery)
            self._rename(os.path.basename(current.path), name)
            renamed = True
            if recovery:
                current.path = os.path.join(self.directory, name)
                current.committed = True
                kept.append(current)
            else:
                self._close(current)
        self._open = kept
        if renamed and self._fsync:
            with self._guard(self.directory, "fsync"):
                self._files.sync_directory(self.directory)
        self.committed = seqno

    def _rename(self, old: str, new: str) -> None:
        source = os.path.join(self.directory, old)
        target = os.path.join(self.directory, new)
        if self._files.exists(target):
            self._fail(source, "rename", f"{new} exists already")
        with self._guard(source, "rename"):
            self._files.rename(source, target)

    def truncate(self, seqno: SeqNo) -> None:
        """Forget entries after `seqno`. Committed ones stay, and then nothing happens."""
        self._refuse_if_failed()
        if self.last and (seqno >= self.last or seqno < self.committed):
            return
        kept: list[_OpenChunk] = []
        for current in self._open:
            if current.committed or current.last <= seqno:
                kept.append(current)
            elif current.first > seqno:
                self._close(current)
                with self._guard(current.path, "remove"):
                    self._files.remove(current.path)
            else:
                self._cut(current, seqno)
                kept.append(current)
        self._open = kept
        self.last = seqno
        self.cuts += 1
        self._tail.cut(seqno)

    def _cut(self, current: _OpenChunk, seqno: SeqNo) -> None:
        """Cut a chunk after one of its entries."""
        self._keep_whole(current)
        count = seqno - current.first + 1
        end = current.positions[count]
        if current.completed or current.replay:
            self._write(current, 0, chunk.encode_header(0))
        with self._guard(current.path, "truncate"):
            self._files.truncate(current.fd, end)
        del current.positions[count:]
        current.end = end
        current.completed = False

    def begin_recovery(self, seqno: SeqNo, reason: str | None = None) -> None:
        """Files that begin after `seqno` belong to a recovery until `complete_recovery`.

        With a `reason` the ledger goes on there: what it holds after `seqno` does not count, for
        that reason, and is set aside; of what is before it, nothing is written any more. Raises
        StorageError, having changed nothing, when a read-only directory holds it.
        """
        self._refuse_if_failed()
        if reason is not None and self.last < seqno:
            # A snapshot goes further than the files.
            for current in self._open:
                self._close(current)
            self._open = []
            self.last = self.committed = seqno
            self._tail = Tail(seqno)
        if reason is not None and self.last > seqno:
            self._refuse_read_only_beyond(seqno, reason)
            self._committed.close()
            for current in self._open:
                if current.last > seqno:
                    self._shorten(current, seqno, reason)
            self._open = [current for current in self._open if current.last <= seqno]
            for file, name in chunk_files(self._files, self.directory):
                if name.committed and not name.set_aside and (name.last or 0) > seqno:
                    self._shorten_committed(file, name, seqno, reason)
            self.last = seqno
            self.committed = min(self.committed, seqno)
            self.cuts += 1
            self._tail = Tail(seqno)
        self._recovery_start = seqno

    def _refuse_read_only_beyond(self, seqno: SeqNo, reason: str) -> None:
        for directory in self.read_only_directories:
            for file, name in chunk_files(self._files, directory):
                if name.committed and not name.set_aside and (name.last or 0) > seqno:
                    raise StorageError(
                        f"The ledger can be recovered up to {seqno} ({reason}), but the read-only"
                        f" directory {directory} holds {file}, which goes further.",
                        hint="Move that file and those after it elsewhere, or leave the directory"
                        " out of ledger.read_only_directories, and start again. See what is in"
                        " which file: pyccf recover inspect",
                    )

    def _shorten(self, current: _OpenChunk, seqno: SeqNo, reason: str) -> None:
        """Cut an uncommitted chunk after `seqno`, keeping all of it in a file set aside."""
        file = os.path.basename(current.path)
        if current.first > seqno:
            self._close(current)
            self._aside.rename(file, reason)
            return
        if self._keep:
            self._aside.copy(file, f"entries after {seqno} do not count: {reason}")
        self._cut(current, seqno)

    def _shorten_committed(self, file: str, name: ChunkName, seqno: SeqNo, reason: str) -> None:
        """Set a committed chunk aside that goes on after `seqno`; what is good in it stays."""
        kept = b""
        positions = array("I")
        if name.first <= seqno:
            holder = self._committed.holding(name.first)
            assert holder is not None
            positions = holder.positions[: seqno - name.first + 1]
            kept = read_range(self._files, holder, 0, len(positions))
            self._committed.close()
        # First what is good, durably, so that a crash in between loses none of it.
        if kept:
            path = os.path.join(self.directory, chunk.open_name(name.first))
            with self._guard(path, "create"):
                fd = self._files.create(path)
            end = FIRST_OFFSET + len(kept)
            made = _OpenChunk(path, fd, name.first, positions, end, False)
            self._open.append(made)
            self._write(made, 0, chunk.encode_header(0) + kept)
            with self._guard(path, "fsync"):
                self._files.sync(fd)
        self._aside.rename(file, f"entries after {seqno} do not count: {reason}")

    def complete_recovery(self) -> None:
        """The recovered service is open: its files lose the `.recovery` in their names."""
        self._refuse_if_failed()
        kept: list[_OpenChunk] = []
        for current in self._open:
            if current.path.endswith(chunk.RECOVERY):
                old = os.path.basename(current.path)
                new = old.removesuffix(chunk.RECOVERY)
                self._rename(old, new)
                current.path = os.path.join(self.directory, new)
            if current.committed:
                self._close(current)
            else:
                kept.append(current)
        self._open = kept
        self._recovery_start = None

    # --- reading ------------------------------------------------------------------------------

    def read(self, first: SeqNo, last: SeqNo, bytes_max: int = 0) -> list[bytes]:
        """Entries first..last, or as many of the first of them as are there and fit the limit.

        The limit is `bytes_max` if that is given; one entry is then read whatever its size.
        """
        if bytes_max:
            last = max(first, self._fitting(first, last, bytes_max))
        found: list[bytes] = []
        seqno, left = max(first, 1), self._read_bytes_max
        if seqno != first:
            return found
        last = min(last, self.last)
        while seqno <= last:
            holder = self._holding(seqno)
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
        """Entries first..k as they are in the ledger, back to back, and k.

        k is `last` or the ledger's last entry, or less when there would be more than `bytes_max`
        bytes or another chunk begins; one entry is given whatever its size. Without an entry
        `first`: no bytes, and first - 1. Raises StorageError, InvalidLedger.
        """
        last = min(last, self.last)
        if not 1 <= first <= last:
            return b"", first - 1
        if first >= self._tail.first:
            return self._tail.raw(first, last, bytes_max)
        holder = self._holding(first)
        if holder is None:
            return b"", first - 1
        index = first - holder.first
        count = min(last, holder.first + len(holder.positions) - 1) - first + 1
        count = max(1, fitting(holder, index, count, bytes_max))
        return read_range(self._files, holder, index, count), first + count - 1

    def _fitting(self, first: SeqNo, last: SeqNo, bytes_max: int) -> SeqNo:
        """The last of the entries first..last, within one chunk, that fit."""
        holder = self._holding(first)
        if holder is None:
            return first - 1
        count = min(last, holder.first + len(holder.positions) - 1) - first + 1
        return first + fitting(holder, first - holder.first, count, bytes_max) - 1

    def end_of_chunk(self, seqno: SeqNo) -> SeqNo:
        """The last entry of the chunk that holds an entry; the one before it if none does."""
        holder = self._holding(seqno)
        return seqno - 1 if holder is None else holder.first + len(holder.positions) - 1

    def missing(self, seqno: SeqNo) -> str:
        """Why there is no entry `seqno`; "" when the ledger just ends before it."""
        if seqno > self.last:
            return ""
        return (
            f"Cannot find ledger file for seqno {seqno}, though there are files up to {self.last}"
        )

    def _read_some(
        self, holder: _OpenChunk | ReadChunk, index: int, count: int, bytes_max: int
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

    def _holding(self, seqno: SeqNo) -> _OpenChunk | ReadChunk | None:
        """The chunk with an entry: open ones, then committed ones."""
        for current in reversed(self._open):
            if current.first <= seqno:
                if seqno <= current.last:
                    return current
                break
        return self._committed.holding(seqno)

    # --- the end ------------------------------------------------------------------------------

    def close(self) -> None:
        """Close all files. Nothing is written: what `append` took is already written."""
        if not self._closed:
            self._closed = True
            self._forget()

    def _close(self, current: _OpenChunk) -> None:
        with self._guard(current.path, "close"):
            self._files.close(current.fd)

    def _forget(self) -> None:
        for current in self._open:
            with suppress(OSError):
                self._files.close(current.fd)
        self._open = []
        self._committed.close()

    @property
    def set_aside(self) -> list[str]:
        """Names that were renamed to `.ignored`, in order."""
        return self._aside.renamed

    @property
    def failure(self) -> StorageError | None:
        """The error because of which nothing is written any more."""
        return self._failure

    def _refuse_if_failed(self) -> None:
        assert not self._closed, "a closed ledger is not written"
        if self._failure is not None:
            raise self._failure

    def _fail(self, path: str, doing: str, cause: str) -> NoReturn:
        self._failure = StorageError(
            f"Ledger file {path}: {doing} failed: {cause}.",
            hint="Free or repair the disk, then start the node again; "
            "entries that were not acknowledged may be lost.",
        )
        raise self._failure

    @contextmanager
    def _guard(self, path: str, doing: str) -> Iterator[None]:
        """Turn the operating system's refusal into StorageError, which ends all writing."""
        try:
            yield
        except OSError as error:
            cause = error.strerror or str(error)
        else:
            return
        self._fail(path, doing, cause)
