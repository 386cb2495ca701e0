"""Where two ledgers part, and who signed both."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyccf.audit import fork
from pyccf.audit.files import find_chunks
from pyccf.audit.fork import compare
from pyccf.audit.verify import VerifyReport
from pyccf.errors import LocalError
from pyccf.shell.disk import LedgerDisk
from support.ledgers import Service, small_service


def store(service: Service, folder: Path, *, committed: int | None = None) -> Path:
    disk = LedgerDisk(folder)
    disk.append(service.entries)
    disk.commit(service.signed if committed is None else committed)
    disk.close()
    return folder


def service(value: bytes, *, view: int = 2, signed: bool = True) -> Service:
    """Equal services but for their last record."""
    made = small_service(6)
    made.view = view
    made.record(value)
    if signed:
        made.sign()
        made.commit()
    return made


def test_equal_ledgers(tmp_path: Path) -> None:
    a = store(service(b"x"), tmp_path / "a")
    b = store(service(b"x"), tmp_path / "b")
    report = compare(a, b)
    assert report.same
    assert not report.forked
    assert report.common == service(b"x").last


def test_one_is_the_beginning_of_the_other(tmp_path: Path) -> None:
    whole = service(b"x")
    a = store(whole, tmp_path / "a")
    whole.record(b"more")
    b = store(whole, tmp_path / "b")
    assert (compare(a, b).prefix, compare(b, a).prefix) == ("A", "B")
    assert not compare(a, b).forked


def test_a_node_that_signed_two_histories_is_named(tmp_path: Path) -> None:
    one, other = service(b"x"), service(b"y")
    report = compare(store(one, tmp_path / "a"), store(other, tmp_path / "b"))
    assert report.forked
    assert report.seqno == one.last - 1
    assert report.common == one.last - 2
    assert report.a is not None
    assert report.b is not None
    assert report.a.covered
    assert report.b.covered
    assert report.a.public == {"public:records": {"key": {"value": "x"}}}
    (double,) = report.double_signed
    assert double.node == one.identity.node_id
    assert double.seqno == one.last
    assert {double.first.root, double.second.root} == {
        one.signed_root.hex(),
        other.signed_root.hex(),
    }


def test_another_view_is_no_lie(tmp_path: Path) -> None:
    """A primary that was rolled back and elected again may sign another history."""
    a = store(service(b"x"), tmp_path / "a")
    b = store(service(b"y", view=4), tmp_path / "b")
    report = compare(a, b)
    assert report.forked
    assert report.double_signed == []


def test_a_forged_side_does_not_incriminate(tmp_path: Path) -> None:
    """Whoever changes a root or a value in files cannot make a node look like a liar."""
    honest = service(b"honest")
    a = store(honest, tmp_path / "a")
    b = store(service(b"hones7"), tmp_path / "b")
    (last,) = [file for file in b.iterdir() if b"hones7" in file.read_bytes()]
    last.write_bytes(last.read_bytes().replace(b"hones7", b"forged"))
    report = compare(a, b)
    assert report.forked
    assert report.b is not None
    assert report.b.public == {"public:records": {"key": {"value": "forged"}}}
    assert not report.b.covered
    assert f"entry {honest.last - 1}" in report.b.fault
    assert report.double_signed == []


def test_each_side_is_verified_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many signatures that do not hold somebody puts behind a fork."""
    sides = []
    for value in (b"honest", b"hones7"):
        made = service(value)
        for _ in range(5):
            made.record(b"more")
            made.sign()
        sides.append(store(made, tmp_path / value.decode()))
    for file in sides[1].iterdir():
        file.write_bytes(file.read_bytes().replace(b"hones7", b"forged"))
    calls: list[object] = []
    original = fork.verify

    def counted(directories: Path) -> VerifyReport:
        calls.append(directories)
        return original(directories)

    monkeypatch.setattr(fork, "verify", counted)
    report = compare(*sides)
    assert (report.forked, report.double_signed) == (True, [])
    assert calls == sides


def test_entries_without_a_signature(tmp_path: Path) -> None:
    a = store(service(b"x", signed=False), tmp_path / "a")
    b = store(service(b"y"), tmp_path / "b")
    report = compare(a, b)
    assert report.forked
    assert report.a is not None
    assert report.a.covered_by is None
    assert not report.a.covered
    assert not report.both_committed


def remove_chunks(folder: Path, *seqnos: int) -> None:
    """Remove the files that begin with these entries."""
    for seqno in seqnos:
        (file,) = folder.glob(f"ledger_{seqno}-*")
        file.unlink()


def begins(folder: Path) -> list[int]:
    return sorted(one.name.first for one in find_chunks(folder).chunks)


def test_a_host_that_began_with_a_snapshot(tmp_path: Path) -> None:
    """It lacks what came before, which is no other history."""
    made = small_service(20)
    a, b = store(made, tmp_path / "a"), store(made, tmp_path / "b")
    first, second, third, *_ = begins(b)
    remove_chunks(b, first, second)
    for report in (compare(a, b), compare(b, a)):
        assert (report.same, report.first, report.common) == (True, third, made.last)
    for file in a.glob("ledger_*"):
        if file.name != f"ledger_{first}-{second - 1}.committed":
            file.unlink()
    with pytest.raises(LocalError, match="no entry of the same number"):
        compare(a, b)


def test_a_gap_is_no_fork(tmp_path: Path) -> None:
    made = small_service(20)
    a, b = store(made, tmp_path / "a"), store(made, tmp_path / "b")
    _, second, third, *_ = begins(b)
    remove_chunks(b, second)
    with pytest.raises(
        LocalError, match=f"In ledger B entry {third} follows entry {second - 1}, in"
    ):
        compare(a, b)


def test_nothing_to_compare(tmp_path: Path) -> None:
    a = store(service(b"x"), tmp_path / "a")
    (tmp_path / "b").mkdir()
    with pytest.raises(LocalError, match="Ledger B has no ledger files"):
        compare(a, tmp_path / "b")
