"""What happens when the disk refuses, at whatever point."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pyccf.errors import StorageError
from pyccf.shell.disk import LedgerDisk
from pyccf.shell.files import Files
from pyccf.shell.ledger_directory import PERMIT, REPAIR
from support.ledger_files import Failing, names, signatures, written
from support.ledgers import Service, small_service


@pytest.fixture(scope="module")
def service() -> Service:
    return small_service(40, every=5, chunk_size=2500)


def append_all(disk: LedgerDisk, service: Service) -> None:
    disk.append(service.entries)


def commit_all(disk: LedgerDisk, service: Service) -> None:
    disk.commit(disk.last)


def cut(disk: LedgerDisk, service: Service) -> None:
    disk.truncate(1)


@pytest.mark.parametrize(
    ("operation", "code", "cause", "written_first", "act"),
    [
        ("write", errno.ENOSPC, "No space left on device", 0, append_all),
        ("write", errno.EIO, "Input/output error", 0, append_all),
        ("write", errno.EDQUOT, "Disk quota exceeded", 0, append_all),
        ("create", errno.EROFS, "Read-only file system", 0, append_all),
        ("create", errno.EACCES, "Permission denied", 0, append_all),
        ("truncate", errno.EIO, "Input/output error", 0, append_all),
        ("short", 0, r"only \d+ of \d+ bytes were taken", 0, append_all),
        ("rename", errno.EROFS, "Read-only file system", 1, commit_all),
        ("close", errno.EIO, "Input/output error", 1, commit_all),
        ("truncate", errno.EIO, "Input/output error", 1, cut),
        ("remove", errno.EROFS, "Read-only file system", 1, cut),
    ],
)
def test_failures_name_file_and_cause_and_end_all_writing(
    tmp_path: Path,
    service: Service,
    operation: str,
    code: int,
    cause: str,
    written_first: bool,
    act: Callable[[LedgerDisk, Service], None],
) -> None:
    files = Failing(operation, code)
    disk = LedgerDisk(tmp_path / "l", files=files)
    if written_first:
        disk.append(service.entries)
    committed = disk.committed
    files.armed = True
    with pytest.raises(StorageError, match=rf"ledger_\d+.*{cause}") as caught:
        act(disk, service)
    assert str(tmp_path) in caught.value.message
    permitted = code not in (errno.EACCES, errno.EROFS)
    assert caught.value.hint == (REPAIR if permitted else PERMIT)
    assert disk.committed == committed
    assert disk.failure is caught.value
    files.armed = False
    for again in (append_all, commit_all, cut):
        with pytest.raises(StorageError) as refused:
            again(disk, service)
        assert refused.value is caught.value
    disk.close()


@pytest.mark.parametrize("taken", range(8))
def test_after_a_failed_write_the_entries_before_it_are_there(
    tmp_path: Path, service: Service, taken: int
) -> None:
    files = Failing("write", errno.ENOSPC, after=taken)
    disk = LedgerDisk(tmp_path / "l", files=files)
    files.armed = True
    acknowledged = 0

    def one_by_one() -> None:
        nonlocal acknowledged
        for entry in service.entries:
            disk.append([entry])
            acknowledged = entry.seqno

    with pytest.raises(StorageError):
        one_by_one()
    assert disk.last == acknowledged
    assert disk.read(1, disk.last) == [e.data for e in service.entries[:acknowledged]]
    disk.close()
    again = LedgerDisk(tmp_path / "l")
    assert again.last >= acknowledged
    assert again.read(1, again.last) == [e.data for e in service.entries[: again.last]]
    again.close()


def test_a_failed_fsync_is_a_failure(tmp_path: Path, service: Service) -> None:
    files = Failing("sync", errno.EIO)
    disk = LedgerDisk(tmp_path / "l", fsync=True, files=files)
    disk.append(service.entries[:2])
    files.armed = True
    with pytest.raises(StorageError, match="fsync failed: Input/output error"):
        disk.append(service.entries[2:3])
    disk.close()


def test_fsync_writes_the_same_files(tmp_path: Path, service: Service) -> None:
    written(tmp_path / "plain", service).close()
    disk = LedgerDisk(tmp_path / "safe", fsync=True)
    disk.append(service.entries)
    disk.commit(signatures(service.entries)[-1])
    disk.close()
    for name in names(tmp_path / "plain"):
        assert (tmp_path / "safe" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()


def test_a_failed_read_does_not_end_writing(tmp_path: Path, service: Service) -> None:
    class Unreadable(Files):
        broken = False

        def read(self, fd: int, offset: int, size: int) -> bytes:
            if self.broken:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().read(fd, offset, size)

    files = Unreadable()
    disk = LedgerDisk(tmp_path / "l", files=files)
    disk.append(service.entries[:2])
    files.broken = True
    with pytest.raises(StorageError, match="read failed: Input/output error"):
        disk.read(1, 2)
    assert disk.failure is None
    disk.append(service.entries[2:3])
    disk.close()
