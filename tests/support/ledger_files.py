"""Ledger files of a made-up service, and file systems that count or refuse."""

from __future__ import annotations

import os
from pathlib import Path

from pyccf.ledger.entry import Entry
from pyccf.shell.disk import LedgerDisk
from pyccf.shell.files import Files
from support.ledgers import Service


def signatures(entries: list[Entry]) -> list[int]:
    return [e.seqno for e in entries if e.committable]


def names(directory: Path) -> list[str]:
    return sorted(
        os.listdir(directory), key=lambda n: (int(n.split("_")[1].split("-")[0].split(".")[0]), n)
    )


def written(directory: Path, service: Service, *, commit: bool = True) -> LedgerDisk:
    disk = LedgerDisk(directory)
    disk.append(service.entries)
    if commit:
        disk.commit(signatures(service.entries)[-1])
    return disk


class Counting(Files):
    def __init__(self) -> None:
        self.writes: list[int] = []

    def write(self, fd: int, offset: int, data: bytes) -> int:
        self.writes.append(len(data))
        return super().write(fd, offset, data)


class Failing(Files):
    """Real files, one operation of which fails from the n-th time on."""

    def __init__(self, operation: str, code: int, after: int = 0) -> None:
        self.operation, self.code, self.left = operation, code, after
        self.armed = False

    def _maybe(self, operation: str) -> None:
        if self.armed and operation == self.operation:
            self.left -= 1
            if self.left < 0:
                raise OSError(self.code, os.strerror(self.code))

    def create(self, path: str) -> int:
        self._maybe("create")
        return super().create(path)

    def write(self, fd: int, offset: int, data: bytes) -> int:
        if self.armed and self.operation == "short":
            return super().write(fd, offset, data[: len(data) // 2])
        self._maybe("write")
        return super().write(fd, offset, data)

    def truncate(self, fd: int, size: int) -> None:
        self._maybe("truncate")
        super().truncate(fd, size)

    def rename(self, old: str, new: str) -> None:
        self._maybe("rename")
        super().rename(old, new)

    def sync(self, fd: int) -> None:
        self._maybe("sync")
        super().sync(fd)

    def close(self, fd: int) -> None:
        super().close(fd)
        self._maybe("close")

    def remove(self, path: str) -> None:
        self._maybe("remove")
        super().remove(path)
