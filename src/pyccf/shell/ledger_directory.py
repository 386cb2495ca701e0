"""The main ledger directory as something that is written: what fails once is not trusted again.

Any refusal of the operating system, and any write that takes fewer bytes than it was given, raises
StorageError with the name of the file and the cause. From then on every further change is refused
with the same error: what it would acknowledge could not be trusted. Nothing is fsynced unless that
is asked for; names that are taken are never overwritten.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from pyccf.errors import StorageError
from pyccf.ledger.chunk import FIRST_OFFSET, ChunkName
from pyccf.ledger.entry import FORCE_CHUNK_BEFORE
from pyccf.shell.chunk_files import chunk_files
from pyccf.shell.files import Files

REPAIR = (
    "Free or repair the disk, then start the node again; entries that were not acknowledged may be"
    " lost."
)
PERMIT = "Let the user that runs the node read and write there, then start it again."


class LedgerDirectory:
    """One directory of chunk files. Files are called by their names in it."""

    def __init__(self, path: str, files: Files, *, fsync: bool) -> None:
        self.path = path
        self.files = files
        self.failure: StorageError | None = None
        """The error because of which nothing is written any more."""
        self._fsync = fsync

    def path_of(self, file: str) -> str:
        return os.path.join(self.path, file)

    def chunks(self) -> list[tuple[str, ChunkName]]:
        """Its chunk files, ascending by first seqno. Raises StorageError."""
        return chunk_files(self.files, self.path)

    def exists(self, file: str) -> bool:
        return self.files.exists(self.path_of(file))

    def open(self, file: str) -> int:
        """A file that is there, for reading and writing."""
        path = self.path_of(file)
        with self.guard(path, "open"):
            return self.files.open(path)

    def create(self, file: str) -> int:
        """A new file."""
        path = self.path_of(file)
        with self.guard(path, "create"):
            fd = self.files.create(path)
        self.sync_names()
        return fd

    def rename(self, old: str, new: str) -> None:
        source = self.path_of(old)
        if self.exists(new):
            self.fail(source, "rename", f"{new} exists already")
        with self.guard(source, "rename"):
            self.files.rename(source, self.path_of(new))

    def remove(self, file: str) -> None:
        path = self.path_of(file)
        with self.guard(path, "remove"):
            self.files.remove(path)

    def write(self, file: str, fd: int, offset: int, data: bytes) -> None:
        path = self.path_of(file)
        with self.guard(path, "write"):
            taken = self.files.write(fd, offset, data)
        if taken != len(data):
            self.fail(path, "write", f"only {taken} of {len(data)} bytes were taken")

    def truncate(self, file: str, fd: int, size: int) -> None:
        with self.guard(self.path_of(file), "truncate"):
            self.files.truncate(fd, size)

    def sync(self, file: str, fd: int, *, always: bool = False) -> None:
        """Have the disk take what was written, where that is wanted."""
        if self._fsync or always:
            with self.guard(self.path_of(file), "fsync"):
                self.files.sync(fd)

    def sync_names(self, *, always: bool = False) -> None:
        """Have the disk take which files there are, where that is wanted."""
        if self._fsync or always:
            with self.guard(self.path, "fsync"):
                self.files.sync_directory(self.path)

    def is_complete(self, file: str) -> bool:
        """Whether a chunk has its table."""
        path = self.path_of(file)
        with self.guard(path, "open"):
            fd = self.files.open_to_read(path)
            try:
                return any(self.files.read(fd, 0, FIRST_OFFSET))
            finally:
                self.files.close(fd)

    def begins_service(self, file: str) -> bool:
        """Whether a chunk begins with the first entry of a recovered service."""
        path = self.path_of(file)
        with self.guard(path, "open"):
            fd = self.files.open_to_read(path)
            try:
                start = self.files.read(fd, FIRST_OFFSET, 2)
            finally:
                self.files.close(fd)
        return len(start) == 2 and bool(start[1] & FORCE_CHUNK_BEFORE)

    # --- failing --------------------------------------------------------------------------------

    def refuse_if_failed(self) -> None:
        """Raise the error after which nothing is written any more, if there was one."""
        if self.failure is not None:
            raise self.failure

    def fail(self, path: str, doing: str, cause: str, hint: str = REPAIR) -> NoReturn:
        """Something did not work: nothing is written from now on."""
        self.failure = StorageError(f"Ledger file {path}: {doing} failed: {cause}.", hint=hint)
        raise self.failure

    @contextmanager
    def guard(self, path: str, doing: str) -> Iterator[None]:
        """Turn the operating system's refusal into StorageError, which ends all writing."""
        try:
            yield
        except OSError as error:
            cause = error.strerror or str(error)
            hint = PERMIT if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) else REPAIR
        else:
            return
        self.fail(path, doing, cause, hint)
