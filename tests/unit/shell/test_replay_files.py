"""Files of before, compared with what comes when a node starts over."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyccf.shell.disk import LedgerDisk
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
