"""What the ledger directories hold when a node starts, made ready to go on with.

A crash may leave a partial entry at the end of an unfinished chunk: it is dropped, and kept in a
copy where that is wanted. A chunk whose table was lost is completed again. What is no ledger file,
belongs to a recovery that never came to its end, or ends before committed files go on, is set
aside. (spec: ledger.md §9, §10)
"""

from __future__ import annotations

from collections.abc import Sequence

from pyccf.errors import InvalidLedger, LocalError
from pyccf.ledger import chunk
from pyccf.ledger.chunk import FIRST_OFFSET, ChunkName
from pyccf.ledger.entry import FORCE_CHUNK_AFTER
from pyccf.shell.chunk_files import chunk_files, layout
from pyccf.shell.ledger_directory import LedgerDirectory
from pyccf.shell.open_chunk import OpenChunk
from pyccf.shell.set_aside import SetAside
from pyccf.types import SeqNo

SUPERSEDED = "the entries in it are in committed files"


def left_behind(last: SeqNo, goes_on_after: SeqNo) -> str:
    """Why an unfinished chunk does not count that ends where the ledger does not go on."""
    return (
        f"the ledger goes on after {goes_on_after}, and nothing says which of its entries,"
        f" up to {last}, were committed"
    )


class Resuming:
    """One look at the directories; `opened` and `committed` are what was found."""

    def __init__(
        self,
        home: LedgerDirectory,
        read_only_directories: Sequence[str],
        aside: SetAside,
        notes: list[str],
        *,
        keep: bool,
    ) -> None:
        """With `keep`, what is cut off a file is kept beside it.

        Raises LocalError when a read-only directory is none, StorageError when the disk refuses.
        """
        self.opened: list[OpenChunk] = []
        """Unfinished or uncommitted chunks, ascending."""
        self.committed: SeqNo = 0
        """Up to where committed files go."""
        self._home = home
        self._files = home.files
        self._aside = aside
        self._notes = notes
        self._keep = keep
        self._ranges: list[tuple[SeqNo, SeqNo]] = []
        """Which entries committed files hold."""
        for directory in read_only_directories:
            if not self._files.is_directory(directory):
                raise LocalError(f"Read-only ledger directory {directory} is not a directory.")
            for _, name in chunk_files(self._files, directory):
                if not name.set_aside:
                    self._note_committed(name)
        with home.guard(home.path, "create directory"):
            self._files.make_directory(home.path)
        self._look_into_main()

    def _look_into_main(self) -> None:
        candidates: list[tuple[str, ChunkName]] = []
        if self._was_completing():
            for file, name in self._home.chunks():
                if name.recovery and not name.ignored:
                    self._home.rename(file, file.removesuffix(chunk.RECOVERY))
            self._home.sync_names(always=True)
        for file, name in self._home.chunks():
            if name.set_aside:
                if not name.ignored:
                    self._aside.rename(file, "it belongs to a recovery that was not completed")
            elif name.committed:
                self._note_committed(name)
            else:
                candidates.append((file, name))
        for file, name in candidates:
            if name.last is not None and name.last <= self.committed:
                self._leave_behind(file, name.first, name.last)
            else:
                self._open(file, name)
        self.opened.sort(key=lambda c: c.last)

    def _was_completing(self) -> bool:
        """Whether a recovery was complete, and only its last files are still named as its own.

        They lose that in order, and the first one begins with the entry that forces a chunk.
        """
        chunks = self._home.chunks()
        left = [(file, name) for file, name in chunks if name.recovery and not name.ignored]
        if not left:
            return False
        file, first = left[0][0], left[0][1].first
        before = [(f, n) for f, n in chunks if n.committed and not n.set_aside and n.first < first]
        follows = any(name.last == first - 1 for _, name in before)
        return (
            follows
            and not self._home.begins_service(file)
            and any(self._home.begins_service(f) for f, _ in before)
        )

    def _note_committed(self, name: ChunkName) -> None:
        if name.committed and name.last is not None:
            self.committed = max(self.committed, name.last)
            self._ranges.append((name.first, name.last))

    def _leave_behind(self, file: str, first: SeqNo, last: SeqNo) -> None:
        """Set a chunk aside that ends where committed files go on already."""
        missing = first
        for begin, end in sorted(self._ranges):
            if begin <= missing:
                missing = max(missing, end + 1)
        covered = missing > last
        self._aside.rename(file, SUPERSEDED if covered else left_behind(last, self.committed))

    def _open(self, file: str, name: ChunkName) -> None:
        """Rebuild the positions of an uncommitted chunk and drop its partial tail."""
        files = self._files
        fd = self._home.open(file)
        with self._home.guard(self._home.path_of(file), "open"):
            try:
                size = files.size(fd)
                positions, end, completed = layout(files, fd, size)
            except InvalidLedger as error:
                files.close(fd)
                self._aside.rename(file, f"it is no ledger file: {error.message}")
                return
            if not positions:
                files.close(fd)
                self._drop_empty(file, size)
                return
            if not completed:
                if end < size:
                    self._keep_torn(file, name.first + len(positions) - 1, size - end)
                if files.read(fd, 0, FIRST_OFFSET) != chunk.encode_header(0):
                    files.write(fd, 0, chunk.encode_header(0))
                if end < size:
                    files.truncate(fd, end)
        last = name.first + len(positions) - 1
        if last <= self.committed:
            files.close(fd)
            self._leave_behind(file, name.first, last)
            return
        opened = OpenChunk(self._home, file, fd, name.first, positions, end, completed=completed)
        self.opened.append(opened)
        if not completed and files.read(fd, positions[-1], 2)[1] & FORCE_CHUNK_AFTER:
            # The entry that ends the chunk is there, its table was lost: chunks must end
            # where the primary said, on every node.
            opened.complete()

    def _drop_empty(self, file: str, size: int) -> None:
        """A file without a complete entry."""
        if self._keep and size > FIRST_OFFSET:
            self._aside.rename(file, f"none of its {size} bytes are a complete entry")
            return
        self._home.remove(file)
        if size > FIRST_OFFSET:
            self._notes.append(f"Ledger file {file} held no complete entry and was removed")

    def _keep_torn(self, file: str, last: SeqNo, size: int) -> None:
        """The end of a file is no complete entry: a crash cut it off."""
        reason = f"its last {size} bytes, after entry {last}, are no complete entry"
        if self._keep:
            self._aside.copy(file, reason)
        self._notes.append(f"Ledger file {file} was cut after entry {last}: {reason}")
