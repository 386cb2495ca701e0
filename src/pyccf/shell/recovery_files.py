"""Where a recovered ledger goes on: what is behind that is set aside, nothing of it is lost.

Until the recovery is complete, files that it writes are named as its own, and everything that was
there is found again if it has to begin anew. (spec: ledger.md §10)
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from pyccf.errors import StorageError
from pyccf.ledger import chunk
from pyccf.ledger.chunk import FIRST_OFFSET, ChunkName
from pyccf.shell.chunk_files import CommittedChunks, chunk_files, read_range
from pyccf.shell.ledger_directory import LedgerDirectory
from pyccf.shell.open_chunk import OpenChunk
from pyccf.shell.resuming import left_behind
from pyccf.shell.set_aside import SetAside
from pyccf.types import SeqNo


class RecoveryFiles:
    """The files of one directory, and after which entry those of a recovery begin."""

    def __init__(
        self,
        home: LedgerDirectory,
        read_only_directories: Sequence[str],
        committed: CommittedChunks,
        aside: SetAside,
        *,
        keep: bool,
    ) -> None:
        self.start: SeqNo | None = None
        """After which entry new files belong to a recovery; None when there is none."""
        self._home = home
        self._read_only_directories = read_only_directories
        self._committed = committed
        self._aside = aside
        self._keep = keep
        self._left: list[tuple[str, str]] = []
        """Unfinished chunks that a snapshot passed over, and why they will not count."""

    def pass_over(self, opened: list[OpenChunk], seqno: SeqNo) -> list[OpenChunk]:
        """The ledger goes on after `seqno`, further than the files; the chunks still open: none.

        They keep their names until the recovery is complete: it may be begun anew without the
        snapshot that goes further.
        """
        for current in opened:
            current.close()
            self._left.append((current.file, left_behind(current.last, seqno)))
        return []

    def cut(self, opened: list[OpenChunk], seqno: SeqNo, reason: str) -> list[OpenChunk]:
        """The ledger goes on after `seqno`, before its end; the chunks that are still open.

        Raises StorageError, having changed nothing, when a read-only directory holds more.
        """
        self._refuse_read_only_beyond(seqno, reason)
        self._committed.close()
        # From the end, so that what a crash leaves has no gap.
        for current in reversed(opened):
            if current.last > seqno:
                self._shorten(current, seqno, reason)
        kept = [current for current in opened if current.last <= seqno]
        for file, name in reversed(self._home.chunks()):
            if name.committed and not name.set_aside and (name.last or 0) > seqno:
                kept += self._shorten_committed(file, name, seqno, reason)
        return kept

    def complete(self, opened: list[OpenChunk]) -> list[OpenChunk]:
        """Its files lose the `.recovery` in their names; the chunks that are still open."""
        kept: list[OpenChunk] = []
        for current in opened:
            if current.is_of_recovery:
                current.sync(always=True)
        for current in opened:
            if current.is_of_recovery:
                current.rename(current.file.removesuffix(chunk.RECOVERY))
            if current.committed:
                current.close()
            else:
                kept.append(current)
        self._home.sync_names(always=True)
        for file, reason in self._left:
            self._aside.rename(file, reason)
        self._left.clear()
        self.start = None
        return kept

    def _refuse_read_only_beyond(self, seqno: SeqNo, reason: str) -> None:
        for directory in self._read_only_directories:
            for file, name in chunk_files(self._home.files, directory):
                if name.committed and not name.set_aside and (name.last or 0) > seqno:
                    raise StorageError(
                        f"The ledger can be recovered up to {seqno} ({reason}), but the read-only"
                        f" directory {directory} holds {file}, which goes further.",
                        hint="Move that file and those after it elsewhere, or leave the directory"
                        " out of ledger.read_only_directories, and start again. See what is in"
                        " which file: pyccf recover inspect",
                    )

    def _shorten(self, current: OpenChunk, seqno: SeqNo, reason: str) -> None:
        """Cut an uncommitted chunk after `seqno`, keeping all of it in a file set aside."""
        if current.first > seqno:
            current.close()
            self._aside.rename(current.file, reason)
            return
        if self._keep:
            self._aside.copy(current.file, f"entries after {seqno} do not count: {reason}")
        current.cut(seqno)

    def _shorten_committed(
        self, file: str, name: ChunkName, seqno: SeqNo, reason: str
    ) -> list[OpenChunk]:
        """Set a committed chunk aside that goes on after `seqno`; what is good in it stays."""
        made: list[OpenChunk] = []
        if name.first <= seqno:
            holder = self._committed.holding(name.first)
            assert holder is not None
            positions: array[int] = holder.positions[: seqno - name.first + 1]
            kept = read_range(self._home.files, holder, 0, len(positions))
            self._committed.close()
            # First what is good, durably, so that a crash in between loses none of it.
            again = chunk.open_name(name.first)
            fd = self._home.create(again)
            end = FIRST_OFFSET + len(kept)
            opened = OpenChunk(self._home, again, fd, name.first, positions, end)
            made.append(opened)
            opened.write(0, chunk.encode_header(0) + kept)
            opened.sync(always=True)
            self._home.sync_names(always=True)
        self._aside.rename(file, f"entries after {seqno} do not count: {reason}")
        return made
