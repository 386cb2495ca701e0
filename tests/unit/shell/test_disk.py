"""Chunk files on a real disk: written, completed, committed, cut."""

from __future__ import annotations

import itertools
from contextlib import suppress
from pathlib import Path

import pytest

from pyccf.errors import StorageError
from pyccf.ledger import chunk
from pyccf.shell.disk import LedgerDisk
from support.failing import FailingFiles
from support.ledger_files import Counting, names, written
from support.ledgers import Service, small_service


@pytest.fixture(scope="module")
def service() -> Service:
    return small_service(40, every=5, chunk_size=2500)


def test_creates_the_main_directory_but_only_one_level(tmp_path: Path) -> None:
    LedgerDisk(tmp_path / "ledger").close()
    assert (tmp_path / "ledger").is_dir()
    with pytest.raises(StorageError, match="No such file or directory"):
        LedgerDisk(tmp_path / "a" / "b")


def test_one_write_per_call(tmp_path: Path, service: Service) -> None:
    files = Counting()
    disk = LedgerDisk(tmp_path / "l", files=files)
    disk.append(service.entries[:3])
    assert files.writes == [sum(len(e.data) for e in service.entries[:3])]
    disk.append(service.entries[3:4])
    assert len(files.writes) == 2
    disk.append([])
    assert len(files.writes) == 2
    disk.close()


def test_layout_of_a_completed_chunk(tmp_path: Path, service: Service) -> None:
    written(tmp_path / "l", service, commit=False).close()
    ends = [e.seqno for e in service.entries if e.flags & 1]
    data = (tmp_path / "l" / "ledger_1").read_bytes()
    table = int.from_bytes(data[:8], "little")
    entries = service.entries[: ends[0]]
    assert data[8:table] == b"".join(e.data for e in entries)
    positions = [8]
    for entry in entries[:-1]:
        positions.append(positions[-1] + len(entry.data))
    assert data[table:] == b"".join(p.to_bytes(4, "little") for p in positions)


def test_the_open_chunk_has_a_zero_header(tmp_path: Path, service: Service) -> None:
    disk = LedgerDisk(tmp_path / "l")
    disk.append(service.entries[:2])
    data = (tmp_path / "l" / "ledger_1").read_bytes()
    assert data == bytes(8) + service.entries[0].data + service.entries[1].data
    disk.close()


def test_commit_renames_only_what_is_completed_and_committed(
    tmp_path: Path, service: Service
) -> None:
    directory = tmp_path / "l"
    disk = written(directory, service, commit=False)
    ends = [e.seqno for e in service.entries if e.flags & 1]
    assert len(ends) >= 3
    disk.commit(ends[1] - 1)
    assert f"ledger_1-{ends[0]}.committed" in names(directory)
    assert f"ledger_{ends[0] + 1}" in names(directory)
    disk.commit(ends[1])
    assert f"ledger_{ends[0] + 1}-{ends[1]}.committed" in names(directory)
    assert disk.committed == ends[1]
    disk.commit(ends[0])
    assert disk.committed == ends[1]
    disk.commit(disk.last + 1)
    assert disk.committed == ends[1]
    disk.close()


def test_flag_before_completes_the_open_chunk(tmp_path: Path) -> None:
    service = small_service(4, chunk_size=1_000_000)
    first = service.recover("second").seqno
    service.sign()
    disk = written(tmp_path / "l", service, commit=False)
    assert names(tmp_path / "l") == ["ledger_1", f"ledger_{first}"]
    disk.commit(service.last)
    assert names(tmp_path / "l") == [f"ledger_1-{first - 1}.committed", f"ledger_{first}"]
    disk.close()


def test_a_taken_name_is_refused(tmp_path: Path, service: Service) -> None:
    disk = LedgerDisk(tmp_path / "l")
    (tmp_path / "l" / "ledger_1").write_bytes(b"something")
    with pytest.raises(StorageError, match="ledger_1: create failed: File exists"):
        disk.append(service.entries[:1])
    assert (tmp_path / "l" / "ledger_1").read_bytes() == b"something"
    disk.close()


def test_commit_overwrites_nothing(tmp_path: Path, service: Service) -> None:
    disk = written(tmp_path / "l", service, commit=False)
    end = next(e.seqno for e in service.entries if e.flags & 1)
    (tmp_path / "l" / f"ledger_1-{end}.committed").write_bytes(b"")
    with pytest.raises(StorageError, match="exists already"):
        disk.commit(end)
    disk.close()


def test_truncate_within_a_chunk_and_go_on(tmp_path: Path, service: Service) -> None:
    directory = tmp_path / "l"
    disk = written(directory, service, commit=False)
    ends = [e.seqno for e in service.entries if e.flags & 1]
    disk.commit(ends[0])
    cut = ends[1] - 2
    disk.truncate(cut)
    assert disk.last == cut
    assert names(directory) == [f"ledger_1-{ends[0]}.committed", f"ledger_{ends[0] + 1}"]
    data = (directory / f"ledger_{ends[0] + 1}").read_bytes()
    assert data == bytes(8) + b"".join(e.data for e in service.entries[ends[0] : cut])
    disk.append(service.entries[cut:])
    assert disk.read(1, disk.last) == [e.data for e in service.entries]
    disk.close()
    again = LedgerDisk(directory)
    assert again.last == len(service.entries)
    assert again.read(1, again.last) == [e.data for e in service.entries]
    again.close()


def test_truncate_leaves_what_is_committed(tmp_path: Path, service: Service) -> None:
    disk = written(tmp_path / "l", service)
    before = names(tmp_path / "l")
    disk.truncate(disk.committed - 1)
    disk.truncate(disk.last)
    assert names(tmp_path / "l") == before
    disk.close()


def test_truncate_deletes_whole_chunks(tmp_path: Path, service: Service) -> None:
    disk = written(tmp_path / "l", service, commit=False)
    end = next(e.seqno for e in service.entries if e.flags & 1)
    disk.truncate(end)
    assert names(tmp_path / "l") == ["ledger_1"]
    disk.append(service.entries[end : end + 1])
    assert names(tmp_path / "l") == ["ledger_1", f"ledger_{end + 1}"]
    disk.close()


def test_a_crash_in_a_rollback_leaves_no_gap(tmp_path: Path, service: Service) -> None:
    files = FailingFiles()
    middle = next(e.seqno for e in service.entries if e.flags & 1) - 1
    for number in itertools.count():
        directory = tmp_path / str(number)
        written(directory, service, commit=False).close()
        disk = LedgerDisk(directory, files=files)
        files.fail_at, files.how = len(files.calls) + number + 1, "crash"
        with suppress(StorageError):
            disk.truncate(middle)
        if not files.dead:
            break
        files.dead = False
        again = LedgerDisk(directory)
        assert middle <= again.last
        assert again.read(1, again.last) == [e.data for e in service.entries[: again.last]]
        again.close()
    assert number > 3


def test_recovery_files_get_their_names_when_it_is_complete(tmp_path: Path) -> None:
    service = small_service(4, chunk_size=1_000_000)
    service.sign()
    disk = written(tmp_path / "l", service)
    start = service.last
    disk.begin_recovery(start)
    rest = len(service.entries)
    service.recover("second")
    service.sign(snapshot=True)
    service.record(b"more")
    disk.append(service.entries[rest:])
    assert names(tmp_path / "l")[1:] == [
        f"ledger_{start + 1}.recovery",
        f"ledger_{start + 3}.recovery",
    ]
    disk.commit(start + 2)
    assert names(tmp_path / "l") == [
        f"ledger_1-{start}.committed",
        f"ledger_{start + 1}-{start + 2}.committed.recovery",
        f"ledger_{start + 3}.recovery",
    ]
    assert disk.read(start, start + 3) == [e.data for e in service.entries[start - 1 : start + 3]]
    disk.complete_recovery()
    assert names(tmp_path / "l") == [
        f"ledger_1-{start}.committed",
        f"ledger_{start + 1}-{start + 2}.committed",
        f"ledger_{start + 3}",
    ]
    assert disk.read(1, service.last) == [e.data for e in service.entries]
    disk.close()


def test_offsets_fit_the_table() -> None:
    assert chunk.OFFSET_MAX == 2**32 - 1
