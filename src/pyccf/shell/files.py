"""The few things the ledger asks of a file system, so that tests can make each of them fail.

Every method does one system call (`read` repeats it until the range is complete or the file ends)
and lets OSError through: `disk` turns it into StorageError with the name of the file. Files are
opened without buffers, so that what was written is with the operating system when `write` returns.
"""

from __future__ import annotations

import os
import stat


class Files:
    """The operating system's files."""

    def make_directory(self, path: str) -> None:
        """Create one level of directory; it may exist already."""
        try:
            os.mkdir(path)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(path).st_mode):
                raise

    def list(self, directory: str) -> list[str]:
        """Names of the files in a directory, sorted."""
        return sorted(os.listdir(directory))

    def is_directory(self, path: str) -> bool:
        return os.path.isdir(path)

    def exists(self, path: str) -> bool:
        return os.path.lexists(path)

    def create(self, path: str) -> int:
        """A new file, opened for reading and writing. FileExistsError when the name is taken."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)

    def open(self, path: str) -> int:
        """An existing file, opened for reading and writing."""
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def open_to_read(self, path: str) -> int:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def size_of(self, path: str) -> int:
        """Size of a file that is not open."""
        return os.stat(path).st_size

    def size(self, fd: int) -> int:
        return os.fstat(fd).st_size

    def read(self, fd: int, offset: int, size: int) -> bytes:
        """Bytes from `offset` on, fewer than `size` only at the end of the file."""
        data = os.pread(fd, size, offset)
        if len(data) == size or not data:
            return data
        parts = [data]
        have = len(data)
        while have < size:
            data = os.pread(fd, size - have, offset + have)
            if not data:
                break
            parts.append(data)
            have += len(data)
        return b"".join(parts)

    def write(self, fd: int, offset: int, data: bytes) -> int:
        """Write at `offset`; how many bytes were taken."""
        return os.pwrite(fd, data, offset)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def rename(self, old: str, new: str) -> None:
        os.rename(old, new)

    def remove(self, path: str) -> None:
        os.unlink(path)

    def sync(self, fd: int) -> None:
        os.fsync(fd)

    def sync_directory(self, path: str) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def close(self, fd: int) -> None:
        os.close(fd)
