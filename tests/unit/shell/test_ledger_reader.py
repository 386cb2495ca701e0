"""Entries read back from memory, open chunks and committed ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyccf.errors import InvalidLedger
from pyccf.shell.chunk_files import READ_CACHE_MAX
from pyccf.shell.disk import LedgerDisk
from pyccf.shell.files import Files
from support.ledger_files import names, written
from support.ledgers import Service, small_service


@pytest.fixture(scope="module")
def service() -> Service:
    return small_service(40, every=5, chunk_size=2500)


def test_reads_across_chunks_and_directories(tmp_path: Path, service: Service) -> None:
    written(tmp_path / "old", service).close()
    disk = LedgerDisk(tmp_path / "l", [tmp_path / "old"])
    last = disk.last
    data = [e.data for e in service.entries]
    assert disk.read(1, last) == data[:last]
    assert disk.read(3, 11) == data[2:11]
    assert disk.read(last, last + 50) == data[last - 1 : last]
    assert disk.read(last + 1, last + 2) == []
    assert disk.read(0, 3) == []
    disk.append(service.entries[last:])
    assert disk.read(1, len(data)) == data
    disk.close()


def test_read_stops_at_the_limit(tmp_path: Path, service: Service) -> None:
    written(tmp_path / "l", service).close()
    sizes = [len(e.data) for e in service.entries]
    disk = LedgerDisk(tmp_path / "l", read_bytes_max=sizes[0] + sizes[1] + 1)
    assert disk.read(1, 10) == [e.data for e in service.entries[:2]]
    small = LedgerDisk(tmp_path / "l", read_bytes_max=sizes[0] - 1)
    assert small.read(1, 10) == []
    disk.close()
    small.close()


def test_the_read_cache_is_bounded(tmp_path: Path) -> None:
    service = small_service(60, every=2, chunk_size=1)
    written(tmp_path / "l", service).close()
    chunks = len(names(tmp_path / "l"))
    assert chunks > 2 * READ_CACHE_MAX

    class Handles(Files):
        def __init__(self) -> None:
            self.open_now = self.most = 0

        def open_to_read(self, path: str) -> int:
            self.open_now += 1
            self.most = max(self.most, self.open_now)
            return super().open_to_read(path)

        def close(self, fd: int) -> None:
            self.open_now -= 1
            super().close(fd)

    files = Handles()
    disk = LedgerDisk(tmp_path / "l", files=files)
    for _ in range(2):
        assert disk.read(1, disk.last) == [e.data for e in service.entries[: disk.last]]
    assert files.most <= READ_CACHE_MAX + 1
    disk.close()
    assert files.open_now == 0


def test_a_committed_chunk_without_its_entries_is_named(tmp_path: Path, service: Service) -> None:
    written(tmp_path / "l", service).close()
    first = next(n for n in names(tmp_path / "l"))
    os.truncate(tmp_path / "l" / first, 100)
    disk = LedgerDisk(tmp_path / "l")
    with pytest.raises(InvalidLedger, match="does not hold the entries its name says") as caught:
        disk.read(1, 2)
    assert caught.value.file.endswith(first)
    disk.close()


def test_raw_entries_from_memory_and_from_files(tmp_path: Path, service: Service) -> None:
    data = [e.data for e in service.entries]
    warm = written(tmp_path / "l", service)
    last = warm.last
    assert warm.raw(1, last, 1 << 20) == (b"".join(data), last), "just written: all in memory"
    assert warm.raw(5, 7, 1 << 20) == (b"".join(data[4:7]), 7)
    assert warm.raw(5, 7, len(data[4]) + len(data[5])) == (b"".join(data[4:6]), 6)
    assert warm.raw(5, 7, 1) == (data[4], 5)
    warm.close()

    cold = LedgerDisk(tmp_path / "elsewhere", [tmp_path / "l"])
    cold.append(service.entries[cold.last :])
    end = next(e.seqno for e in service.entries if e.flags & 1)
    assert cold.raw(1, last, 1 << 20) == (b"".join(data[:end]), end), "one chunk at a time"
    assert cold.raw(2, 4, len(data[1]) + len(data[2])) == (b"".join(data[1:3]), 3)
    assert cold.raw(2, 4, 1) == (data[1], 2)
    at, parts = 0, []
    while at < last:
        part, at = cold.raw(at + 1, last, 3000)
        parts.append(part)
    assert b"".join(parts) == b"".join(data)
    for first, until in ((0, 3), (last + 1, last + 5), (4, 3)):
        assert cold.raw(first, until, 1000) == (b"", first - 1)
    cold.close()


def test_entries_that_were_cut_are_not_given(tmp_path: Path, service: Service) -> None:
    disk = LedgerDisk(tmp_path / "l")
    disk.append(service.entries[:9])
    assert disk.cuts == 0
    disk.truncate(6)
    assert disk.cuts == 1
    assert disk.raw(7, 9, 1 << 20) == (b"", 6)
    assert disk.raw(5, 9, 1 << 20)[1] == 6
    disk.truncate(6)
    assert disk.cuts == 1, "nothing was cut"
    disk.append(service.entries[6:9])
    assert disk.raw(7, 9, 1 << 20)[0] == b"".join(e.data for e in service.entries[6:9])
    disk.close()
