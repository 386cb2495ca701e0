"""A file system whose calls can be made to fail, one at a time."""

from __future__ import annotations

import errno
import os

from pyccf.shell.files import Files


class FailingFiles(Files):
    """Counts the calls that change something, and fails one of them.

    `how` is what happens then: "error" refuses, "short" takes only half of what is written, "crash"
    ends everything: from then on every call fails, as if the process had ended there.
    """

    def __init__(self, fail_at: int | None = None, how: str = "error") -> None:
        self.calls: list[str] = []
        self.fail_at = fail_at
        self.how = how
        self.dead = False

    def _count(self, name: str) -> bool:
        """Whether this call is the one to fail."""
        if self.dead:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.calls.append(name)
        if self.fail_at is None or len(self.calls) != self.fail_at:
            return False
        if self.how == "crash":
            self.dead = True
        if self.how == "short" and name == "write":
            return True
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def make_directory(self, path: str) -> None:
        self._count("make_directory")
        super().make_directory(path)

    def create(self, path: str) -> int:
        self._count("create")
        return super().create(path)

    def write(self, fd: int, offset: int, data: bytes) -> int:
        if self._count("write"):
            return super().write(fd, offset, data[: len(data) // 2])
        return super().write(fd, offset, data)

    def truncate(self, fd: int, size: int) -> None:
        self._count("truncate")
        super().truncate(fd, size)

    def rename(self, old: str, new: str) -> None:
        self._count("rename")
        super().rename(old, new)

    def remove(self, path: str) -> None:
        self._count("remove")
        super().remove(path)

    def sync(self, fd: int) -> None:
        self._count("sync")
        super().sync(fd)

    def sync_directory(self, path: str) -> None:
        self._count("sync_directory")
        super().sync_directory(path)
