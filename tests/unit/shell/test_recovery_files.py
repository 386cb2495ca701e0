"""Where a recovered ledger ends: what is after it is set aside, and nothing of it is lost."""

from __future__ import annotations

import errno
import re
import shutil
from pathlib import Path

import pytest

from pyccf.errors import StorageError
from pyccf.ledger import chunk
from pyccf.shell.disk import LedgerDisk
from support.failing import FailingFiles
from support.ledger_files import Failing, signatures
from support.ledgers import Service

CHUNK = 2000


@pytest.fixture
def service() -> Service:
    made = Service(chunk_size=CHUNK)
    made.genesis()
    made.sign()
    for i in range(8):
        made.record(b"v" * 400 + bytes([i]))
        if i % 2:
            made.sign()
    return made


@pytest.fixture
def directory(tmp_path: Path, service: Service) -> Path:
    """The files of a node that died with everything committed but its last chunk."""
    disk = LedgerDisk(tmp_path / "ledger")
    disk.append(service.entries)
    disk.commit(signatures(service.entries)[-1])
    disk.close()
    return tmp_path / "ledger"


def contents(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir()}


def names(directory: Path) -> list[str]:
    """Ledger files that count."""
    found = (file.name for file in directory.glob("ledger_*"))
    return sorted(name for name in found if not name.endswith(".ignored"))


def why(directory: Path, name: str) -> str:
    return (directory / f"why_{name}").read_text()


def go_on(disk: LedgerDisk, service: Service, at: int, records: int = 0) -> None:
    """A new service begins after `at`."""
    other = Service(chunk_size=CHUNK)
    other.genesis()
    other.sign()
    while other.last < at:
        other.record(b"x")
    begins = len(other.entries)
    other.recover("second")
    other.sign()
    for i in range(records):
        other.record(b"w" * 900 + bytes([i]))
        other.sign()
    disk.append(other.entries[begins:])


@pytest.mark.parametrize("back", range(4))
def test_the_ledger_ends_anywhere(directory: Path, service: Service, back: int) -> None:
    end = signatures(service.entries)[-1 - back]
    before = contents(directory)
    disk = LedgerDisk(directory, keep=True)
    committed = disk.committed
    disk.begin_recovery(end, "for a reason")
    assert disk.last == end
    # Complete files are not given up without saying what an operator can do.
    assert any("pyccf recover inspect" in n for n in disk.notes) == (end < committed)
    assert disk.read(1, service.last) == [e.data for e in service.entries[:end]]
    # What does not count is there still, and says why.
    kept = {n.removesuffix(".ignored"): d for n, d in contents(directory).items() if "ignored" in n}
    for name, data in before.items():
        parsed = chunk.parse_name(name)
        assert parsed is not None
        if (parsed.last or service.last) > end:
            assert kept[name] == data
            assert "for a reason" in why(directory, f"{name}.ignored")
    go_on(disk, service, end)
    assert disk.last == end + 2
    assert any(name.endswith(".recovery") for name in names(directory))
    disk.commit(end + 2)
    disk.complete_recovery()
    assert not any("recovery" in name for name in names(directory))
    disk.close()
    again = LedgerDisk(directory)
    assert again.read(1, end) == [e.data for e in service.entries[:end]]
    assert again.last == end + 2
    again.close()


def test_what_a_read_only_directory_holds_beyond_is_refused(
    directory: Path, tmp_path: Path, service: Service
) -> None:
    archive = tmp_path / "archive"
    shutil.copytree(directory, archive)
    end = signatures(service.entries)[-3]
    before = contents(directory)
    disk = LedgerDisk(directory, [archive], keep=True)
    with pytest.raises(StorageError, match=r"read-only directory .*archive holds") as refused:
        disk.begin_recovery(end, "entry 9 is damaged")
    assert "leave the directory out of ledger.read_only_directories" in refused.value.explain()
    disk.close()
    assert contents(directory) == before


def test_a_torn_end_is_kept_and_named(directory: Path, service: Service) -> None:
    (tail,) = (f for f in directory.iterdir() if not f.name.endswith("committed"))
    with tail.open("ab") as file:
        file.write(service.entries[0].data[:77])
    torn = tail.read_bytes()
    disk = LedgerDisk(directory, keep=True)
    assert disk.last == service.last
    assert (directory / f"{tail.name}.ignored").read_bytes() == torn
    assert "its last 77 bytes" in why(directory, f"{tail.name}.ignored")
    assert any("was cut after entry" in note for note in disk.notes)
    disk.close()


def test_a_snapshot_may_go_further_than_the_files(directory: Path, service: Service) -> None:
    disk = LedgerDisk(directory, keep=True)
    end = service.last + 10
    disk.begin_recovery(end, "nothing signed")
    assert disk.last == end
    go_on(disk, service, end)
    assert disk.read(end + 1, end + 2)
    assert disk.read(1, 1) == [service.entries[0].data]
    disk.close()


def test_what_a_snapshot_leaves_behind_stays_until_the_recovery_is_complete(
    directory: Path, service: Service
) -> None:
    """Only then it is certain that the entries of the unfinished chunk are not gone on with."""
    before = contents(directory)
    (tail,) = (name for name in before if not name.endswith("committed"))
    end = service.last + 10
    disk = LedgerDisk(directory, keep=True)
    disk.begin_recovery(end, "nothing signed")
    go_on(disk, service, end)
    disk.close()  # interrupted: from the start, perhaps without the snapshot
    disk = LedgerDisk(directory, keep=True)
    assert disk.last == service.last
    assert disk.read(1, service.last) == [e.data for e in service.entries]
    disk.begin_recovery(end, "nothing signed")
    go_on(disk, service, end)
    disk.commit(end + 2)
    assert tail in names(directory)
    disk.complete_recovery()
    assert tail not in names(directory)
    assert contents(directory)[f"{tail}.ignored"] == before[tail]
    reason = why(directory, f"{tail}.ignored")
    assert f"the ledger goes on after {end}" in reason
    assert "are in committed files" not in reason
    disk.close()
    again = LedgerDisk(directory)
    assert (again.last, again.set_aside) == (end + 2, [])
    again.close()


@pytest.mark.parametrize("operation", ["create", "write", "rename"])
def test_a_disk_that_fails_meanwhile_loses_nothing(
    directory: Path, service: Service, operation: str
) -> None:
    files = Failing(operation, errno.ENOSPC)
    disk = LedgerDisk(directory, keep=True, files=files)
    before = {bytes(data) for data in contents(directory).values()}
    files.armed = True
    with pytest.raises(StorageError) as refused:
        disk.begin_recovery(signatures(service.entries)[-2], "for a reason")
    assert "No space left on device" in refused.value.message
    disk.close()
    left = contents(directory).values()
    assert all(any(data == there for there in left) for data in before)
    # With room again, the same succeeds.
    again = LedgerDisk(directory, keep=True)
    again.begin_recovery(signatures(service.entries)[-2], "for a reason")
    assert again.last == signatures(service.entries)[-2]
    again.close()


def test_a_crash_meanwhile_loses_nothing_that_counts(
    directory: Path, service: Service, tmp_path: Path
) -> None:
    end = signatures(service.entries)[-2] - 1
    good = [e.data for e in service.entries[:end]]
    for at in range(1, 100):
        there = tmp_path / f"crash {at}"
        shutil.copytree(directory, there)
        files = FailingFiles()
        disk = LedgerDisk(there, keep=True, files=files)
        files.calls.clear()
        files.fail_at, files.how = at, "crash"
        crashed = True
        try:
            disk.begin_recovery(end, "for a reason")
            crashed = False
        except StorageError:
            pass
        again = LedgerDisk(there, keep=True)
        assert again.last >= end
        assert again.read(1, end) == good, files.calls
        again.begin_recovery(end, "for a reason")
        assert again.last == end
        assert again.read(1, end) == good, files.calls
        again.close()
        if not crashed:
            return
    raise AssertionError("it never came to an end")


def test_a_reason_whose_file_was_removed_is_in_nobodys_way(
    directory: Path, service: Service
) -> None:
    (tail,) = (f for f in directory.iterdir() if not f.name.endswith("committed"))
    with tail.open("ab") as file:
        file.write(b"torn")
    left = directory / f"why_{tail.name}.ignored"
    left.write_text("of a file that somebody took away")
    disk = LedgerDisk(directory, keep=True)
    assert disk.last == service.last
    disk.close()
    assert left.read_text() == "of a file that somebody took away"
    assert "its last 4 bytes" in why(directory, f"{tail.name}.1.ignored")


@pytest.mark.parametrize("renamed", range(4))
def test_a_recovery_that_was_complete_but_for_names_is_completed(
    directory: Path, service: Service, renamed: int
) -> None:
    """None renamed: that it was complete is not known. Otherwise the last names are lost."""
    end = signatures(service.entries)[-2]
    disk = LedgerDisk(directory, keep=True)
    disk.begin_recovery(end, "for a reason")
    go_on(disk, service, end, records=9)
    last = disk.last
    disk.commit(last)
    left = sorted(name for name in names(directory) if name.endswith(".recovery"))
    assert len(left) > 3
    disk.close()
    for name in sorted(left, key=lambda name: int(re.findall("[0-9]+", name)[0]))[:renamed]:
        (directory / name).rename(directory / name.removesuffix(".recovery"))
    again = LedgerDisk(directory)
    assert again.last == (last if renamed else end)
    assert not any("recovery" in name for name in names(directory))
    assert len(again.set_aside) == (0 if renamed else len(left))
    again.close()


def test_half_a_copy_does_not_stay_on_a_full_disk(directory: Path, service: Service) -> None:
    (tail,) = (f for f in directory.iterdir() if not f.name.endswith("committed"))
    with tail.open("ab") as file:
        file.write(b"torn")
    before = contents(directory)
    files = Failing("write", errno.ENOSPC)
    files.armed = True
    with pytest.raises(StorageError, match=r"ignored: copy failed: No space left on device"):
        LedgerDisk(directory, keep=True, files=files)
    assert contents(directory) == before
