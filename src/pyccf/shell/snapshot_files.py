"""Snapshot files: written beside the ledger, found again, served in parts, pruned.

    snapshot_<seqno>_<evidence>             being written
    snapshot_<seqno>_<evidence>.committed   complete and durable
    ….ignored                               set aside because it is damaged

A file gets its committed name only after everything in it was flushed to the disk, so whatever has
that name is complete unless the disk lost it. What a crash left behind of one that was being
written is removed when the directory is opened. Raises StorageError with the name of the file and
the cause where the disk refuses. Nothing here reads what is in a snapshot.
(spec: node-lifecycle.md §8.2-8.4)
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import msgspec

from pyccf.errors import LocalError, StorageError
from pyccf.ledger import snapshot
from pyccf.shell.files import Files
from pyccf.types import SeqNo

WRITE_SIZE = 4 * 1024 * 1024
"""Bytes written at once, about."""
PART_MAX = 64 * 1024 * 1024
"""Bytes read at once."""

_COMMITTED = re.compile(r"snapshot_([0-9]{1,19})_[0-9]{1,19}\.committed(_[0-9]{1,19})?").fullmatch
"""Very old versions of the original appended another number."""


class SnapshotFile(msgspec.Struct, frozen=True):
    """A committed snapshot on disk."""

    seqno: SeqNo
    name: str
    directory: str
    size: int
    main: bool
    """Whether it is in the directory that is written."""

    @property
    def path(self) -> str:
        return os.path.join(self.directory, self.name)


class SnapshotFiles:
    """The snapshot directories of one node."""

    def __init__(
        self,
        directory: str | os.PathLike[str],
        read_only_directory: str | os.PathLike[str] | None = None,
        *,
        kept: int | None = None,
        files: Files | None = None,
    ) -> None:
        """Open the directories; the main one is created if its parent is there.

        `kept` is how many committed snapshots stay in the main directory, None: all. Raises
        LocalError when the read-only directory is none.
        """
        self.directory = os.fspath(directory)
        self._read_only = None if read_only_directory is None else os.fspath(read_only_directory)
        self._files = Files() if files is None else files
        self._kept = kept
        self.removed: list[str] = []
        """What opening found half written, and removed."""
        self.refused: set[str] = set()
        """Committed files that this node would not start from: it offers them to nobody."""
        self.begun: SnapshotFile | None = None
        """What this node begins with, and others need, too: offered wherever it is."""
        if self._read_only is not None and not self._files.is_directory(self._read_only):
            raise LocalError(f"Read-only snapshot directory {self._read_only} is not a directory.")
        with _guard(self.directory, "create directory"):
            self._files.make_directory(self.directory)
        for name in self._names(self.directory):
            found = snapshot.parse_name(name)
            if found is not None and not found.committed:
                self._remove(name)
                self.removed.append(name)

    # --- writing ------------------------------------------------------------------------------

    def save(self, name: str, pieces: Sequence[bytes]) -> str:
        """Write a snapshot and make it durable; its committed name. Raises StorageError.

        An existing file is kept, and none is left half written if that can be helped.
        """
        committed = name + snapshot.COMMITTED
        path, final = self._path(name), self._path(committed)
        if self._files.exists(final):
            raise StorageError(f"Snapshot file {final} exists already: it is kept.")
        with _guard(path, "create"):
            fd = self._files.create(path)
        try:
            try:
                self._write(path, fd, pieces)
                with _guard(path, "fsync"):
                    self._files.sync(fd)
            finally:
                with suppress(OSError):
                    self._files.close(fd)
            with _guard(path, "rename"):
                self._files.rename(path, final)
            with _guard(self.directory, "fsync"):
                self._files.sync_directory(self.directory)
        except StorageError:
            with suppress(OSError):
                if self._files.exists(path):
                    self._files.remove(path)
            raise
        return committed

    def _write(self, path: str, fd: int, pieces: Sequence[bytes]) -> None:
        offset = 0
        pending: list[bytes] = []
        size = 0
        for i, piece in enumerate(pieces):
            pending.append(piece)
            size += len(piece)
            if size < WRITE_SIZE and i < len(pieces) - 1:
                continue
            with _guard(path, "write"):
                taken = self._files.write(fd, offset, b"".join(pending))
            if taken != size:
                raise StorageError(
                    f"Snapshot file {path}: write failed: only {taken} of {size} bytes were taken."
                )
            offset += size
            pending.clear()
            size = 0

    def prune(self) -> list[str]:
        """Remove all but the newest committed snapshots of the main directory; which."""
        if self._kept is None:
            return []
        old = [f.name for f in self._in(self.directory)][: -self._kept]
        for name in old:
            self._remove(name)
        return old

    def set_aside(self, file: SnapshotFile) -> str:
        """Rename a damaged snapshot so that it is not looked at again; its new name."""
        target, n = file.path + snapshot.IGNORED, 1
        while self._files.exists(target):
            target, n = f"{file.path}.{n}{snapshot.IGNORED}", n + 1
        with _guard(file.path, "rename"):
            self._files.rename(file.path, target)
        return os.path.basename(target)

    def _remove(self, name: str) -> None:
        with _guard(self._path(name), "remove"), suppress(FileNotFoundError):
            self._files.remove(self._path(name))

    # --- reading ------------------------------------------------------------------------------

    def newest(self, since: SeqNo = 0) -> str | None:
        """Name of the newest snapshot of the main directory, or `begun`, that is after `since`."""
        found = [f for f in self._in(self.directory) if f.name not in self.refused]
        if self.begun is not None:
            found.append(self.begun)
        newest = max(found, key=lambda f: f.seqno, default=None)
        return newest.name if newest is not None and newest.seqno > since else None

    def candidates(self) -> list[SnapshotFile]:
        """Committed snapshots to start from, best first.

        The newest wins; of equals, the one in the read-only directory.
        """
        found = self._in(self.directory)
        if self._read_only is not None:
            found += self._in(self._read_only)
        found.reverse()
        return sorted(found, key=lambda f: -f.seqno)

    def load(self, file: SnapshotFile) -> bytes:
        """The whole content of a snapshot."""
        return b"".join(self._parts(file.path, 0, file.size))

    def size(self, name: str) -> int | None:
        """Size of a committed snapshot that is offered, None when there is none."""
        if _COMMITTED(name) is None:  # names come from clients
            return None
        path = self._offered(name)
        with _guard(path, "open"):
            try:
                return self._files.size_of(path) or None
            except FileNotFoundError:
                return None

    def read(self, name: str, start: int, end: int) -> bytes:
        """The bytes start..end-1 of a snapshot that is offered."""
        assert end - start <= PART_MAX, "a part has a limit"
        return b"".join(self._parts(self._offered(name), start, end))

    def _offered(self, name: str) -> str:
        begun = self.begun
        return begun.path if begun is not None and begun.name == name else self._path(name)

    def _parts(self, path: str, start: int, end: int) -> Iterator[bytes]:
        with _guard(path, "open"):
            fd = self._files.open_to_read(path)
        try:
            while start < end:
                with _guard(path, "read"):
                    data = self._files.read(fd, start, min(end - start, WRITE_SIZE))
                if not data:
                    raise StorageError(f"Snapshot file {path}: read failed: it is too short.")
                yield data
                start += len(data)
        finally:
            self._files.close(fd)

    def _in(self, directory: str) -> list[SnapshotFile]:
        """Committed snapshots of a directory that are not empty, oldest first."""
        found: list[SnapshotFile] = []
        for name in self._names(directory):
            match = _COMMITTED(name)
            if match is None:
                continue
            path = os.path.join(directory, name)
            size = 0
            # One that was pruned meanwhile is not there.
            with _guard(path, "open"), suppress(FileNotFoundError):
                size = self._files.size_of(path)
            if size:
                main = directory is self.directory
                found.append(SnapshotFile(int(match[1]), name, directory, size, main))
        return sorted(found, key=lambda f: (f.seqno, f.name))

    def empty(self) -> list[str]:
        """Names of committed snapshots that hold nothing."""
        directories = [self.directory, *([self._read_only] if self._read_only else ())]
        return [
            name
            for directory in directories
            for name in self._names(directory)
            if _COMMITTED(name) and not self._files.size_of(os.path.join(directory, name))
        ]

    def _names(self, directory: str) -> list[str]:
        with _guard(directory, "list directory"):
            return self._files.list(directory)

    def _path(self, name: str) -> str:
        return os.path.join(self.directory, name)


@contextmanager
def _guard(path: str, doing: str) -> Iterator[None]:
    """Turn the operating system's refusal into StorageError."""
    try:
        yield
    except OSError as error:
        cause = error.strerror or str(error)
        raise StorageError(f"Snapshot file {path}: {doing} failed: {cause}.") from None
