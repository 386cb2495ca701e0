"""Committed chunks among several directories, and how many entries fit."""

from __future__ import annotations

import os
from array import array
from pathlib import Path

import pytest

from pyccf.errors import StorageError
from pyccf.shell.chunk_files import CommittedChunks, ReadChunk, chunk_files, fitting, read_range
from pyccf.shell.disk import LedgerDisk
from pyccf.shell.files import Files
from support.ledgers import small_service


def test_fitting_is_what_counting_says() -> None:
    positions = array("I", [8, 18, 28, 48, 49, 100])
    holder = ReadChunk(-1, 1, positions, 130)
    bounds = [*positions, 130]
    for index in range(6):
        for count in range(1, 7 - index):
            for bytes_max in range(140):
                expected = max(
                    n for n in range(count + 1) if bounds[index + n] - bounds[index] <= bytes_max
                )
                assert fitting(holder, index, count, bytes_max) == expected


def test_the_main_directory_comes_first(tmp_path: Path) -> None:
    service = small_service()
    for folder in ("main", "other"):
        disk = LedgerDisk(tmp_path / folder)
        disk.append(service.entries)
        disk.commit(service.signed)
        disk.close()
    directories = [str(tmp_path / "main"), str(tmp_path / "other")]
    files = Files()
    first = chunk_files(files, directories[0])[0][0]
    os.truncate(tmp_path / "other" / first, 20)
    chunks = CommittedChunks(files, directories)
    holder = chunks.holding(2)
    assert holder is not None
    assert chunks.holding(1) is holder
    assert read_range(files, holder, 0, 2) == b"".join(e.data for e in service.entries[:2])
    assert chunks.holding(10_000) is None
    chunks.close()
    os.unlink(tmp_path / "main" / first)
    os.truncate(tmp_path / "other" / first, 0)
    with pytest.raises(Exception, match="does not hold the entries its name says"):
        chunks.holding(1)
    chunks.close()


def test_directories_are_listed_only_for_what_is_not_known_yet(tmp_path: Path) -> None:
    class Listing(Files):
        times = 0

        def list(self, directory: str) -> list[str]:
            self.times += 1
            return super().list(directory)

    service = small_service(60, every=2, chunk_size=1)
    written = LedgerDisk(tmp_path / "l")
    half = service.entries.index(next(e for e in service.entries if e.seqno > 30 and e.flags & 1))
    written.append(service.entries[: half + 1])
    written.commit(written.last)
    files = Listing()
    chunks = CommittedChunks(files, [str(tmp_path / "l")])
    for _ in range(3):
        for seqno in range(1, half + 2):
            assert chunks.holding(seqno) is not None
    assert files.times == 1
    written.append(service.entries[half + 1 :])
    written.commit(service.signed)
    written.close()
    for seqno in range(1, service.signed + 1):
        assert chunks.holding(seqno) is not None
    assert files.times == 2
    # A file that was moved to the archive meanwhile.
    (moved, name) = chunk_files(files, str(tmp_path / "l"))[1]
    chunks = CommittedChunks(files, [str(tmp_path / "l"), str(tmp_path / "archive")])
    (tmp_path / "archive").mkdir()
    assert chunks.holding(1) is not None
    (tmp_path / "l" / moved).rename(tmp_path / "archive" / moved)
    assert chunks.holding(name.first) is not None
    chunks.close()


def test_a_file_that_became_shorter(tmp_path: Path) -> None:
    path = tmp_path / "ledger_1-1.committed"
    path.write_bytes(bytes(30))
    files = Files()
    fd = files.open_to_read(str(path))
    with pytest.raises(StorageError, match="entry 1 cannot be read: its file is too short"):
        read_range(files, ReadChunk(fd, 1, array("I", [8]), 60), 0, 1)
    files.close(fd)
    with pytest.raises(StorageError, match="with entry 1: read failed: Bad file descriptor"):
        read_range(files, ReadChunk(fd, 1, array("I", [8]), 60), 0, 1)
    with pytest.raises(StorageError, match="list directory failed: No such file"):
        chunk_files(files, str(tmp_path / "nowhere"))
