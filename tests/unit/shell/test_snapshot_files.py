from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyccf.errors import LocalError, StorageError
from pyccf.shell import snapshot_files
from pyccf.shell.files import Files
from pyccf.shell.snapshot_files import SnapshotFiles
from support.failing import FailingFiles

PIECES = [b"a" * 1000, b"", b"b" * 10]


def names(directory: Path) -> list[str]:
    return sorted(p.name for p in directory.iterdir())


@pytest.fixture
def main(tmp_path: Path) -> Path:
    return tmp_path / "snapshots"


def test_written_and_found_again(main: Path) -> None:
    files = SnapshotFiles(main)
    assert files.newest() is None
    assert files.save("snapshot_10_12", PIECES) == "snapshot_10_12.committed"
    assert names(main) == ["snapshot_10_12.committed"]
    assert (main / "snapshot_10_12.committed").read_bytes() == b"".join(PIECES)
    files.save("snapshot_9_13", PIECES)
    assert files.newest() == "snapshot_10_12.committed"
    assert files.newest(9) == "snapshot_10_12.committed"
    assert files.newest(10) is None
    assert files.size("snapshot_10_12.committed") == 1010
    assert files.read("snapshot_10_12.committed", 999, 1002) == b"abb"


def test_large_ones_are_written_in_parts(main: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_files, "WRITE_SIZE", 300)
    counting = FailingFiles()
    files = SnapshotFiles(main, files=counting)
    pieces = [bytes([i]) * 100 for i in range(10)]
    files.save("snapshot_1_2", pieces)
    assert counting.calls.count("write") == 4
    assert files.load(files.candidates()[0]) == b"".join(pieces)


@pytest.mark.parametrize(
    "name", ["snapshot_1_2", "ledger_1", "..", "../snapshot_1_2.committed", "", "x\0y", "."]
)
def test_only_committed_snapshots_are_served(main: Path, name: str) -> None:
    files = SnapshotFiles(main)
    files.save("snapshot_3_4", PIECES)
    (main / "snapshot_1_2").write_bytes(b"half")
    (main / "ledger_1").write_bytes(b"other")
    assert files.size(name) is None


def test_an_existing_file_is_kept(main: Path) -> None:
    files = SnapshotFiles(main)
    files.save("snapshot_1_2", PIECES)
    with pytest.raises(StorageError, match=r"snapshot_1_2\.committed exists already: it is kept"):
        files.save("snapshot_1_2", [b"other"])
    assert files.size("snapshot_1_2.committed") == 1010


def test_what_a_crash_left_is_removed(main: Path) -> None:
    main.mkdir()
    (main / "snapshot_1_2").write_bytes(b"half")
    (main / "notes.txt").write_bytes(b"mine")
    assert SnapshotFiles(main).removed == ["snapshot_1_2"]
    assert names(main) == ["notes.txt"]


def test_old_ones_are_pruned(main: Path) -> None:
    files = SnapshotFiles(main, kept=2)
    for i in (5, 30, 200, 1000):
        files.save(f"snapshot_{i}_{i + 1}", PIECES)
        (main / "snapshot_1_2.committed.ignored").touch()
    assert files.prune() == ["snapshot_5_6.committed", "snapshot_30_31.committed"]
    assert files.prune() == []
    assert names(main) == [
        "snapshot_1000_1001.committed",
        "snapshot_1_2.committed.ignored",
        "snapshot_200_201.committed",
    ]
    assert SnapshotFiles(main).prune() == []


def test_the_newest_of_both_directories_first(main: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    read_only = SnapshotFiles(other)
    read_only.save("snapshot_10_11", PIECES)
    read_only.save("snapshot_30_31", PIECES)
    files = SnapshotFiles(main, other)
    files.save("snapshot_20_21", PIECES)
    files.save("snapshot_30_31", PIECES)
    (main / "snapshot_40_41.committed").touch()
    (main / "snapshot_8_9.committed_10").write_bytes(b"old")
    found = [(f.seqno, f.main) for f in files.candidates()]
    assert found == [(30, False), (30, True), (20, True), (10, False), (8, True)]
    assert files.empty() == ["snapshot_40_41.committed"]


def test_set_aside(main: Path) -> None:
    files = SnapshotFiles(main)
    for _ in range(2):
        files.save("snapshot_1_2", PIECES)
        files.set_aside(files.candidates()[0])
    assert names(main) == ["snapshot_1_2.committed.1.ignored", "snapshot_1_2.committed.ignored"]
    assert files.candidates() == []


def test_a_read_only_directory_must_be_there(main: Path, tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="is not a directory"):
        SnapshotFiles(main, tmp_path / "none")


def test_a_file_that_became_too_short(main: Path) -> None:
    files = SnapshotFiles(main)
    files.save("snapshot_1_2", PIECES)
    os.truncate(main / "snapshot_1_2.committed", 5)
    with pytest.raises(StorageError, match="it is too short"):
        files.read("snapshot_1_2.committed", 0, 10)


@pytest.mark.parametrize("how", ["error", "short", "crash"])
def test_every_call_that_may_fail(main: Path, how: str) -> None:
    """A snapshot is there as a whole or not at all, and the failure names file and cause."""
    counting = FailingFiles()
    SnapshotFiles(main, files=counting).save("snapshot_1_2", PIECES)
    for at in range(1, len(counting.calls) + 1):
        directory = main.parent / f"{how} {at}"
        failing = FailingFiles(at, how)
        with pytest.raises(StorageError, match="failed") as refused:
            SnapshotFiles(directory, files=failing).save("snapshot_1_2", PIECES)
        assert str(directory) in refused.value.message
        again = SnapshotFiles(directory)
        found = again.candidates()
        if found:
            assert again.load(found[0]) == b"".join(PIECES)
            assert failing.calls[at - 1] == "sync_directory"
        else:
            again.save("snapshot_1_2", PIECES)
        if how != "crash":
            assert not [n for n in names(directory) if not n.endswith(".committed")]


def test_one_that_is_pruned_while_somebody_looks(main: Path) -> None:
    class Vanishing(Files):
        def size_of(self, path: str) -> int:
            if path.endswith("_2.committed"):
                self.remove(path)
            return super().size_of(path)

    files = SnapshotFiles(main, files=Vanishing())
    files.save("snapshot_5_6", PIECES)
    files.save("snapshot_1_2", PIECES)
    assert files.size("snapshot_1_2.committed") is None
    for look in (files.newest, files.candidates):
        files.save("snapshot_1_2", PIECES)
        assert look()
        assert names(main) == ["snapshot_5_6.committed"]
