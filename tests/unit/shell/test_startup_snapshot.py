from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pyccf.crypto.entropy import SeededEntropy
from pyccf.ledger import chunk, snapshot
from pyccf.ledger.entry import Entry, parse
from pyccf.ledger.signature import is_signature
from pyccf.service.identity import make_service as make_identity
from pyccf.shell.disk import LedgerDisk
from pyccf.shell.snapshot_files import SnapshotFiles
from pyccf.shell.startup_snapshot import choose, choose_to_recover
from support.node import STARTED, Service
from support.snapshots import make_service, take

OTHER = make_identity(entropy=SeededEntropy("other"), not_before=STARTED, days=9)


@pytest.fixture(scope="module")
def service() -> Service:
    made = make_service()
    take(made)
    take(made)
    return made


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, level: str, text: str) -> None:
        self.lines.append(f"{level}: {text}")

    def has(self, *parts: str) -> bool:
        return any(all(p in line for p in parts) for line in self.lines)


def laid_out(service: Service, directory: Path) -> tuple[Path, Path]:
    """The older and the newer snapshot as files."""
    directory.mkdir()
    for name, data in service.snapshots.items():
        (directory / name).write_bytes(data)
    found = sorted(directory.iterdir(), key=lambda p: snapshot.parse_name(p.name).seqno)  # type: ignore[union-attr]
    return found[0], found[1]


def seqno(path: Path) -> int:
    name = snapshot.parse_name(path.name)
    assert name is not None
    return name.seqno


def test_the_newest(service: Service, tmp_path: Path) -> None:
    log = Log()
    _, newer = laid_out(service, tmp_path / "s")
    (tmp_path / "s" / "snapshot_9000_9001.committed").touch()
    (tmp_path / "s" / "snapshot_9000_9001").write_bytes(b"half")
    found = choose(SnapshotFiles(tmp_path / "s"), service.parts.service.cert_pem, log)
    assert found is not None
    assert found.seqno == seqno(newer)
    assert log.lines == [
        "info: Removed snapshot file snapshot_9000_9001, whose writing was interrupted",
        "info: Ignoring empty snapshot file snapshot_9000_9001.committed",
        f"info: Found snapshot {newer}",
    ]


def test_a_damaged_one_is_set_aside_and_the_next_is_used(service: Service, tmp_path: Path) -> None:
    log = Log()
    older, newer = laid_out(service, tmp_path / "s")
    newer.write_bytes(newer.read_bytes()[:-3])
    found = choose(SnapshotFiles(tmp_path / "s"), service.parts.service.cert_pem, log)
    assert found is not None
    assert found.seqno == seqno(older)
    assert log.has("fail", newer.name, "is not used", "receipt is no JSON object")
    assert log.has("fail", "is set aside as", f"{newer.name}.ignored")
    assert not newer.exists()
    assert newer.with_name(newer.name + ".ignored").exists()


def test_one_of_another_service_stays_where_it_is(service: Service, tmp_path: Path) -> None:
    log = Log()
    older, newer = laid_out(service, tmp_path / "s")
    assert choose(SnapshotFiles(tmp_path / "s"), OTHER.cert_pem, log) is None
    assert log.has("fail", newer.name, "not endorsed by the service")
    assert log.has("fail", older.name, "not endorsed by the service")
    assert newer.exists()


def test_what_a_node_would_not_start_from_it_offers_to_nobody(
    service: Service, tmp_path: Path
) -> None:
    laid_out(service, tmp_path / "s")
    files = SnapshotFiles(tmp_path / "s")
    assert files.newest() is not None
    assert choose(files, OTHER.cert_pem, Log()) is None
    assert files.newest() is None


def ledger_of(service: Service, folder: Path, keep: Callable[[int], bool]) -> LedgerDisk:
    """Chunks of a ledger that are to be kept, by their first entry."""
    disk = LedgerDisk(folder)
    parsed = [parse(data) for data in service.ledger]
    disk.append([Entry(e.view, e.seqno, e.data, is_signature(e), e.leaf) for e in parsed])
    disk.commit(len(parsed))
    disk.close()
    for file in folder.iterdir():
        name = chunk.parse_name(file.name)
        assert name is not None
        if not keep(name.first):
            file.unlink()
    return LedgerDisk(folder)


def test_with_the_whole_ledger_only_the_service_is_asked(service: Service, tmp_path: Path) -> None:
    _, newer = laid_out(service, tmp_path / "s")
    disk = ledger_of(service, tmp_path / "ledger", lambda first: True)
    files = SnapshotFiles(tmp_path / "s")
    found, whole = choose_to_recover(disk, files, service.parts.service.cert_pem, Log())
    assert found is not None
    assert (found.seqno, found.by_itself, whole) == (seqno(newer), False, True)
    assert choose_to_recover(disk, files, OTHER.cert_pem, Log()) == (None, True)


def test_what_a_recovery_begins_with_is_offered_from_wherever_it_is(
    service: Service, tmp_path: Path
) -> None:
    older, newer = laid_out(service, tmp_path / "ro")
    at = seqno(newer)
    disk = ledger_of(service, tmp_path / "ledger", lambda first: first > at)
    files = SnapshotFiles(tmp_path / "s", tmp_path / "ro")
    assert files.newest() is None
    found, whole = choose_to_recover(disk, files, service.parts.service.cert_pem, Log())
    assert found is not None
    assert not whole
    assert files.newest() == newer.name
    assert files.newest(at) is None
    assert files.size(newer.name) == newer.stat().st_size
    assert files.read(newer.name, 0, 100) == newer.read_bytes()[:100]
    assert files.size(older.name) is None


def test_where_entries_are_missing_one_of_an_earlier_service_is_tried(
    service: Service, tmp_path: Path
) -> None:
    """If the ledger goes far enough to record it."""
    log = Log()
    older, newer = laid_out(service, tmp_path / "s")
    newer.write_bytes(newer.read_bytes()[:-3])
    disk = ledger_of(service, tmp_path / "ledger", lambda first: first > seqno(older))
    files = SnapshotFiles(tmp_path / "s")
    found, whole = choose_to_recover(disk, files, OTHER.cert_pem, log)
    assert found is not None
    assert (found.seqno, found.by_itself, whole) == (seqno(older), True, False)
    assert log.has("info", older.name, "the ledger must record it")
    assert files.newest() == older.name, "others may begin with it, too"
    nothing = LedgerDisk(tmp_path / "nothing")
    assert choose_to_recover(nothing, SnapshotFiles(tmp_path / "s"), OTHER.cert_pem, log)[0] is None


def test_the_read_only_directory_is_not_touched(service: Service, tmp_path: Path) -> None:
    log = Log()
    _, newer = laid_out(service, tmp_path / "ro")
    newer.write_bytes(b"\0" * 10)
    files = SnapshotFiles(tmp_path / "s", tmp_path / "ro")
    assert choose(files, service.parts.service.cert_pem, log) is not None
    assert newer.exists()
    assert log.has("fail", newer.name, "is damaged")
    assert not log.has("set aside")


def test_names_of_old_versions(service: Service, tmp_path: Path) -> None:
    log = Log()
    older, newer = laid_out(service, tmp_path / "s")
    newer.rename(newer.with_name(newer.name + "_77"))
    found = choose(SnapshotFiles(tmp_path / "s"), service.parts.service.cert_pem, log)
    assert found is not None
    assert found.seqno == seqno(older)
    assert log.has("fail", newer.name, "too old")
