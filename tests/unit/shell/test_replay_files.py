"""Files of before, compared with what comes when a node starts over."""

from __future__ import annotations

import itertools
import os
from contextlib import suppress
from pathlib import Path

import pytest

from pyccf.errors import StorageError
from pyccf.ledger.entry import FORCE_CHUNK_BEFORE, Entry
from pyccf.shell.disk import LedgerDisk
from support.failing import FailingFiles
from support.ledger_files import Counting, names, signatures, written
from support.ledgers import Service, small_service


@pytest.fixture(scope="module")
def service() -> Service:
    return small_service(40, every=5, chunk_size=2500)


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
    assert disk.read(1, 9) == [e.data for e in service.entries[:3]]
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


def copies(directory: Path) -> list[bytes]:
    """What was set aside."""
    return [f.read_bytes() for f in directory.glob("ledger_*.ignored")]


def starts_chunk(entry: Entry) -> Entry:
    """The same entry, but that a chunk is to begin with it."""
    data = bytearray(entry.data)
    data[1] |= FORCE_CHUNK_BEFORE
    return Entry(entry.view, entry.seqno, bytes(data), entry.committable, entry.leaf)


def test_a_chunk_that_ends_earlier_than_before_loses_nothing(
    tmp_path: Path, service: Service
) -> None:
    """A recovery begins within what this node had committed, with equal entries up to there."""
    directory = tmp_path / "l"
    written(directory, service).close()
    ends = [e.seqno for e in service.entries if e.flags & 1]
    before = {n: (directory / n).read_bytes() for n in names(directory) if "-" in n}
    middle = ends[1] - 2
    assert middle > ends[0]
    disk = LedgerDisk(directory)
    disk.initialise(0)
    disk.append(service.entries[:middle])
    disk.append([starts_chunk(service.entries[middle])])
    disk.close()
    kept = set(copies(directory))
    same = before.pop(f"ledger_1-{ends[0]}.committed")
    assert (directory / "ledger_1").read_bytes() == same
    assert set(before.values()) <= kept
    assert same not in kept
    again = LedgerDisk(directory)
    assert again.last == middle + 1
    again.close()


@pytest.mark.parametrize("back", [0, 1, 7])
@pytest.mark.parametrize("differs", [False, True])
def test_a_rollback_among_files_of_before_changes_none_of_them(
    back: int, differs: bool, tmp_path: Path, service: Service
) -> None:
    directory = tmp_path / "l"
    written(directory, service).close()
    ends = [e.seqno for e in service.entries if e.flags & 1]
    before = sorted((directory / n).read_bytes() for n in names(directory))
    disk = LedgerDisk(directory)
    disk.initialise(0)
    disk.append(service.entries[: ends[1] + 1])
    disk.truncate(ends[1] - back)
    assert disk.last == ends[1] - back
    assert disk.read(1, disk.last) == [e.data for e in service.entries[: disk.last]]
    assert sorted((directory / n).read_bytes() for n in names(directory)) == before
    if differs:
        disk.append([starts_chunk(service.entries[disk.last])])
        kept = {f.read_bytes() for f in directory.glob("ledger_*")}
        assert kept >= {data for data in before if any(data[:8])}
    else:
        disk.append(service.entries[disk.last :])
        assert sorted((directory / n).read_bytes() for n in names(directory)) == before
        assert disk.read(1, disk.last) == [e.data for e in service.entries]
    disk.close()
    again = LedgerDisk(directory)
    assert len(again.read(1, again.last)) == again.last == disk.last
    again.close()


@pytest.mark.parametrize("differs", [False, True])
def test_a_crash_while_files_are_compared_leaves_no_gap(
    differs: bool, tmp_path: Path, service: Service
) -> None:
    other = small_service(9, every=3, chunk_size=2500)
    files = FailingFiles()
    for number in itertools.count():
        directory = tmp_path / str(number)
        written(directory, service).close()
        disk = LedgerDisk(directory, files=files)
        files.fail_at, files.how = len(files.calls) + number + 1, "crash"
        with suppress(StorageError):
            disk.initialise(0)
            disk.append(other.entries if differs else service.entries)
        if not files.dead:
            break
        files.dead = False
        again = LedgerDisk(directory)
        assert len(again.read(1, again.last)) == again.last
        assert differs or again.last == len(service.entries)
        again.close()
    assert number > 2


def test_who_begins_anew_keeps_what_is_committed_in_a_chunk_that_ends(
    tmp_path: Path, service: Service
) -> None:
    directory = tmp_path / "l"
    first, later = signatures(service.entries)[0], signatures(service.entries)[-2]
    disk = LedgerDisk(directory)
    disk.append(service.entries[: first + 1])
    disk.commit(first)
    disk.truncate(first)
    disk.initialise(later)
    assert names(directory) == [f"ledger_1-{first}.committed"]
    disk.append(service.entries[later:])
    disk.commit(len(service.entries))
    assert disk.read(1, first) == [e.data for e in service.entries[:first]]
    assert disk.read(first + 1, later) == []
    disk.close()
    again = LedgerDisk(directory)
    assert again.read(1, first) == [e.data for e in service.entries[:first]]
    assert again.last == len(service.entries)
    again.close()
