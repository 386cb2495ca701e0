"""What can be recovered from a heap where snapshots stand for entries that are missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from pyccf.audit.collecting import collect
from pyccf.audit.heap import HeapReport, inspect
from pyccf.audit.pieces import Gap, Verdict
from pyccf.ledger.chunk import parse_name
from pyccf.ledger.entry import Entry, parse
from pyccf.ledger.signature import is_signature
from pyccf.shell.disk import LedgerDisk
from support.joining import make_primary
from support.recovering import Recovered
from support.snapshots import claim, make_service, record, take
from unit.node.test_recover import former, revive
from unit.node.test_recover import put as put_value


class Made(NamedTuple):
    """A ledger, its signatures, and the snapshots taken of it, the last one made up by a user."""

    entries: list[Entry]
    identity: str
    snapshots: list[tuple[str, bytes]]


def seqno_of(name: str) -> int:
    return int(name.split("_")[1])


@pytest.fixture(scope="module")
def made() -> Made:
    service = make_service()
    taken = [take(service)]
    for number in (7, 8):
        record(service, number)
    taken.append(take(service))
    taken.append(claim(service, taken[-1][1], b"vvvvvvvv3", b"wwwwwwww3"))
    record(service, 9)
    parsed = [parse(data) for data in service.ledger]
    entries = [Entry(e.view, e.seqno, e.data, is_signature(e), e.leaf) for e in parsed]
    return Made(entries, service.parts.service.cert_pem, taken)


def write(folder: Path, made: Made, keep: Callable[[int, int], bool] = lambda a, b: True) -> Path:
    """The chunks of the ledger that are to be kept, by their first and last entry."""
    disk = LedgerDisk(folder)
    disk.append(made.entries)
    disk.commit(len(made.entries))
    disk.close()
    for file in folder.iterdir():
        name = parse_name(file.name)
        assert name is not None
        if not keep(name.first, name.last or len(made.entries)):
            file.unlink()
    return folder


def put(folder: Path, *snapshots: tuple[str, bytes]) -> None:
    folder.mkdir(exist_ok=True)
    for name, data in snapshots:
        (folder / name).write_bytes(data)


def verdict(report: HeapReport, name: str) -> tuple[Verdict, str]:
    (found,) = (f for f in report.files if f.path.endswith(name))
    return found.verdict, found.reason


def recovered(report: HeapReport) -> int:
    return report.last.seqno if report.last else 0


def test_the_ledger_goes_on_after_a_snapshot(made: Made, tmp_path: Path) -> None:
    first, second, _ = made.snapshots
    at = seqno_of(first[0])
    write(tmp_path / "ledger", made, lambda begin, _: begin > at)
    put(tmp_path / "snapshots", first, second)
    report = inspect([tmp_path])
    assert recovered(report) == len(made.entries)
    assert report.identity == made.identity
    assert report.missing == (Gap(1, at),)
    assert report.chain[0].first == at + 1
    assert report.snapshot == str(tmp_path / "snapshots" / second[0])
    assert verdict(report, first[0]) == (Verdict.USABLE, "")
    names = collect(report, tmp_path / "new")
    disk = LedgerDisk(tmp_path / "new")
    entries = [entry.data for entry in made.entries[at:]]
    assert disk.read(at + 1, len(made.entries)) == entries
    assert len(names) == len(report.chain)


def test_a_snapshot_bridges_a_gap(made: Made, tmp_path: Path) -> None:
    (_, (name, data), _) = made.snapshots
    at = seqno_of(name)
    one, two = seqno_of(made.snapshots[0][0]), at
    write(tmp_path / "ledger", made, lambda begin, end: end <= one or begin > two)
    put(tmp_path, (name, data))
    report = inspect([tmp_path])
    assert recovered(report) == len(made.entries)
    assert report.missing == (Gap(one + 1, two),)
    assert [link.first for link in report.chain if link.first <= one] == [1]
    assert report.snapshot == str(tmp_path / name)


def test_a_snapshot_may_be_all_there_is(made: Made, tmp_path: Path) -> None:
    put(tmp_path, *made.snapshots[:2])
    report = inspect([tmp_path])
    name = made.snapshots[1][0]
    at = seqno_of(name)
    assert recovered(report) == at
    assert report.snapshot == str(tmp_path / name)
    assert (report.chain, report.missing) == ((), (Gap(1, at),))
    assert "which records it, is missing" in verdict(report, name)[1]


def test_a_damaged_entry_after_a_snapshot_ends_the_chain(made: Made, tmp_path: Path) -> None:
    at = seqno_of(made.snapshots[0][0])
    folder = write(tmp_path / "ledger", made, lambda begin, _: begin > at)
    put(tmp_path, made.snapshots[0])
    *_, last = sorted(folder.iterdir(), key=lambda file: int(file.name.split("_")[1].split("-")[0]))
    bad = bytearray(last.read_bytes())
    begin = parse_name(last.name)
    assert begin is not None
    bad[8 + 60] ^= 1
    last.write_bytes(bad)
    report = inspect([tmp_path])
    assert recovered(report) == begin.first - 1
    assert verdict(report, last.name)[0] in (Verdict.DAMAGED, Verdict.UNPROVEN)


def test_what_a_user_claimed_is_no_snapshot(made: Made, tmp_path: Path) -> None:
    """Its receipt is good, but no entry records it."""
    *_, (name, data) = made.snapshots
    folder = write(tmp_path / "ledger", made)
    put(tmp_path, (name, data))
    report = inspect([tmp_path])
    assert report.snapshot is None
    assert verdict(report, name)[0] is Verdict.FORKED
    assert "does not record it" in verdict(report, name)[1]
    for file in folder.iterdir():
        found = parse_name(file.name)
        if found is not None and (found.last or len(made.entries)) >= int(name.split("_")[2][:-10]):
            file.unlink()
    report = inspect([tmp_path])
    assert recovered(report) > 0
    assert report.snapshot is None, "the ledger is whole: it is not needed"


def test_a_snapshot_of_another_service_is_foreign(made: Made, tmp_path: Path) -> None:
    other = make_primary(seed=9)
    for number in range(20):
        record(other, number)
    name, data = take(other)
    write(tmp_path / "ledger", made, lambda begin, _: begin == 1)
    before = recovered(inspect([tmp_path]))
    put(tmp_path, (name, data))
    report = inspect([tmp_path])
    assert (recovered(report), report.identity) == (before, made.identity)
    assert verdict(report, name)[0] is Verdict.FOREIGN


def test_a_damaged_snapshot_leads_nowhere(made: Made, tmp_path: Path) -> None:
    name, data = made.snapshots[0]
    for at in range(50, len(data), len(data) // 50):
        bad = bytearray(data)
        bad[at] ^= 1
        put(tmp_path, (name, bytes(bad)))
        report = inspect([tmp_path])
        assert report.recoverable is None, at
        assert report.snapshot is None
        assert verdict(report, name)[0] in (Verdict.DAMAGED, Verdict.FOREIGN)
        assert verdict(report, name)[1]


def test_services_that_recovered_each_other_belong_together(tmp_path: Path) -> None:
    """Of the second one only a snapshot is left, which says who came before it."""
    old = former()
    second = Recovered(old.ledger, old.identity, seed=100)
    revive(second)
    third = Recovered(second.ledger, second.identity, seed=200)
    third.tick()
    consortium = old.consortium(third)
    consortium.accept(second.identity, third.identity)
    consortium.restore()
    for service in (second, third):
        put_value(service, "x", "y")
        for _ in range(4):
            service.tick()
    parsed = [parse(data) for data in old.ledger]
    entries = [Entry(e.view, e.seqno, e.data, is_signature(e), e.leaf) for e in parsed]
    disk = LedgerDisk(tmp_path / "ledger")
    disk.append(entries)
    disk.close()
    before = recovered(inspect([tmp_path]))
    ((name, data),) = third.snapshots.items()
    put(tmp_path, (name, data))
    report = inspect([tmp_path])
    assert (recovered(report), verdict(report, name)[0]) == (before, Verdict.FOREIGN)
    put(tmp_path, *second.snapshots.items())
    report = inspect([tmp_path])
    assert recovered(report) == seqno_of(name) > before
    assert report.identity == third.identity
    assert report.recovery_count == 2
    assert report.snapshot == str(tmp_path / name)
