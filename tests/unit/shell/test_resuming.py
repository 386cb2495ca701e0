"""What a node finds in its ledger directories when it starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyccf.errors import LocalError
from pyccf.shell.disk import LedgerDisk
from support.ledger_files import names, written
from support.ledgers import Service, small_service


@pytest.fixture(scope="module")
def service() -> Service:
    return small_service(40, every=5, chunk_size=2500)


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


def test_what_nobody_committed_is_not_said_to_be_elsewhere(
    tmp_path: Path, service: Service
) -> None:
    """Committed files go on after a gap: nothing says whether the entries before it counted."""
    written(tmp_path / "old", service).close()
    first, *_ = names(tmp_path / "old")
    (tmp_path / "old" / first).unlink()
    fresh = LedgerDisk(tmp_path / "l")
    fresh.append(service.entries[:3])
    fresh.close()
    disk = LedgerDisk(tmp_path / "l", [tmp_path / "old"])
    assert disk.set_aside == ["ledger_1"]
    reason = (tmp_path / "l" / "why_ledger_1.ignored").read_text()
    assert "nothing says which of its entries, up to 3, were committed" in reason
    disk.close()


def test_read_only_directories_must_exist(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="is not a directory"):
        LedgerDisk(tmp_path / "l", [tmp_path / "nowhere"])
