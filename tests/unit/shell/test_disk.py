"""Chunk files on a real disk, and what happens when that disk refuses."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pyccf.errors import InvalidLedger, LocalError, StorageError
from pyccf.ledger import chunk
from pyccf.ledger.entry import Entry
from pyccf.shell.chunk_files import READ_CACHE_MAX
from pyccf.shell.disk import LedgerDisk
from pyccf.shell.files import Files
from support.ledgers import Service, small_service


@pytest.fixture(scope="module")
def service() -> Service:
    return small_service(40, every=5, chunk_size=2500)


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


# --- writing --------------------------------------------------------------------------------


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


# --- cutting --------------------------------------------------------------------------------


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


# --- opening --------------------------------------------------------------------------------


def test_reopening_goes_on_where_it_stopped(tmp_path: Path, service: Service) -> None:
    directory = tmp_path / "l"
    for first in range(0, len(service.entries), 7):
        disk = LedgerDisk(directory)
        assert disk.last == first
        disk.append(service.entries[first : first + 7])
        disk.close()
    disk = LedgerDisk(directory)
    assert disk.read(1, disk.last) == [e.data for e in service.entries]
    disk.commit(disk.last)
    disk.close()
    reopened = LedgerDisk(directory)
    assert reopened.committed == max(e.seqno for e in service.entries if e.flags & 1)
    assert reopened.set_aside == []
    reopened.close()


def test_opening_sets_recovery_files_aside(tmp_path: Path, service: Service) -> None:
    directory = tmp_path / "l"
    written(directory, service, commit=False).close()
    (directory / "ledger_900.recovery").write_bytes(bytes(8))
    (directory / "ledger_901-902.committed.recovery").write_bytes(bytes(8))
    (directory / "ledger_900.recovery.ignored").write_bytes(b"earlier")
    (directory / "notes.txt").write_text("not ours")
    disk = LedgerDisk(directory)
    assert disk.set_aside == ["ledger_900.recovery", "ledger_901-902.committed.recovery"]
    assert (directory / "ledger_900.recovery.ignored").read_bytes() == b"earlier"
    assert (directory / "ledger_900.recovery.1.ignored").exists()
    assert (directory / "notes.txt").exists()
    assert disk.last == len(service.entries)
    disk.close()


def test_opening_sets_wrong_content_aside(tmp_path: Path, service: Service) -> None:
    directory = tmp_path / "l"
    directory.mkdir()
    (directory / "ledger_1").write_bytes(bytes(8) + b"\x07 this is no entry at all, clearly")
    disk = LedgerDisk(directory)
    assert disk.set_aside == ["ledger_1"]
    assert disk.last == 0
    disk.append(service.entries[:1])
    disk.close()


def test_opening_deletes_an_empty_chunk(tmp_path: Path) -> None:
    directory = tmp_path / "l"
    directory.mkdir()
    (directory / "ledger_1").write_bytes(bytes(8))
    disk = LedgerDisk(directory)
    assert names(directory) == []
    disk.close()


def test_committed_elsewhere_is_set_aside_here(tmp_path: Path, service: Service) -> None:
    end = next(e.seqno for e in service.entries if e.flags & 1)
    written(tmp_path / "old", service).close()
    fresh = LedgerDisk(tmp_path / "l")
    fresh.append(service.entries[:3])
    fresh.close()
    disk = LedgerDisk(tmp_path / "l", [tmp_path / "old"])
    assert disk.set_aside == ["ledger_1"]
    assert disk.committed >= end
    assert disk.last == disk.committed
    assert disk.read(1, 3) == [e.data for e in service.entries[:3]]
    disk.close()


def test_read_only_directories_must_exist(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="is not a directory"):
        LedgerDisk(tmp_path / "l", [tmp_path / "nowhere"])


# --- reading --------------------------------------------------------------------------------


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


# --- as a backup that starts over -----------------------------------------------------------


def test_replay_of_the_same_entries_writes_nothing(tmp_path: Path, service: Service) -> None:
    written(tmp_path / "l", service).close()
    before = {n: (tmp_path / "l" / n).read_bytes() for n in names(tmp_path / "l")}
    files = Counting()
    disk = LedgerDisk(tmp_path / "l", files=files)
    disk.initialise(0)
    assert disk.last == 0
    disk.append([e for e in service.entries if not e.flags & 1][:1])
    assert files.writes == []
    disk.append(service.entries[1:])
    disk.commit(signatures(service.entries)[-1])
    assert {n: (tmp_path / "l" / n).read_bytes() for n in names(tmp_path / "l")} == before
    disk.close()


def test_replay_that_differs_cuts_and_sets_aside_what_came_later(
    tmp_path: Path, service: Service
) -> None:
    directory = tmp_path / "l"
    written(directory, service).close()
    other = small_service(9, every=3, chunk_size=2500)
    other.record(b"another future")
    other.sign()
    assert other.entries[0].data == service.entries[0].data
    before = {data for data in (f.read_bytes() for f in directory.iterdir()) if any(data[:8])}
    disk = LedgerDisk(directory)
    disk.initialise(0)
    disk.append(other.entries)
    disk.commit(other.signed)
    # Nobody else may have what was complete.
    kept = {f.read_bytes() for f in directory.iterdir() if f.name.endswith(".ignored")}
    assert len(before) > 2
    assert before <= kept
    assert disk.read(1, disk.last) == [e.data for e in other.entries]
    disk.close()
    again = LedgerDisk(directory)
    assert again.last == len(other.entries)
    assert again.read(1, again.last) == [e.data for e in other.entries]
    again.close()


def test_a_cut_while_files_of_before_are_compared_leaves_them_sound(
    tmp_path: Path, service: Service
) -> None:
    directory = tmp_path / "l"
    written(directory, service).close()
    disk = LedgerDisk(directory)
    disk.initialise(0)
    disk.append(service.entries[:4])
    disk.truncate(3)
    data = (directory / "ledger_1").read_bytes()
    assert data == bytes(8) + b"".join(e.data for e in service.entries[:3])
    disk.append(service.entries[3:])
    assert disk.read(1, disk.last) == [e.data for e in service.entries]
    disk.close()
    again = LedgerDisk(directory)
    assert again.read(1, again.last) == [e.data for e in service.entries]
    again.close()


def test_a_torn_end_of_before_is_written_again(tmp_path: Path, service: Service) -> None:
    directory = tmp_path / "l"
    written(directory, service, commit=False).close()
    last = names(directory)[-1]
    os.truncate(directory / last, (directory / last).stat().st_size - 7)
    disk = LedgerDisk(directory)
    disk.initialise(0)
    disk.append(service.entries)
    assert disk.read(1, disk.last) == [e.data for e in service.entries]
    disk.close()
    again = LedgerDisk(directory)
    assert again.read(1, again.last) == [e.data for e in service.entries]
    again.close()


def test_starting_over_with_two_files_of_one_chunk(tmp_path: Path, service: Service) -> None:
    directory = tmp_path / "l"
    written(directory, service).close()
    committed = names(directory)[0]
    whole = (directory / committed).read_bytes()
    (directory / "ledger_1").write_bytes(bytes(8) + service.entries[0].data)
    disk = LedgerDisk(directory)
    (directory / "ledger_1").write_bytes(bytes(8) + service.entries[0].data)
    disk.initialise(0)
    assert (directory / "ledger_1").read_bytes() == whole, "the committed one is compared with"
    disk.append(service.entries)
    disk.commit(signatures(service.entries)[-1])
    assert (directory / committed).read_bytes() == whole
    disk.close()


def test_starting_over_after_a_snapshot(tmp_path: Path, service: Service) -> None:
    """Chunks up to the snapshot stay as they are, later ones are compared with what comes."""
    directory = tmp_path / "l"
    written(directory, service).close()
    ends = [e.seqno for e in service.entries if e.flags & 1]
    first, second = names(directory)[:2]
    disk = LedgerDisk(directory)
    disk.initialise(ends[0])
    assert names(directory)[:2] == [first, f"ledger_{ends[0] + 1}"]
    assert (disk.last, disk.committed) == (ends[0], ends[0])
    disk.append(service.entries[ends[0] :])
    disk.commit(ends[1])
    assert names(directory)[:2] == [first, second]
    assert disk.raw(1, ends[0], 1 << 20)[0] == b"".join(e.data for e in service.entries[: ends[0]])
    disk.close()


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


# --- a disk that fails ----------------------------------------------------------------------


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


def test_offsets_fit_the_table() -> None:
    assert chunk.OFFSET_MAX == 2**32 - 1
