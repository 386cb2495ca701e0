"""Finding entries, maps and rows in a ledger."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyccf.errors import InvalidLedger, LocalError
from pyccf.service import tables
from pyccf.shell.disk import LedgerDisk
from pyccf.web.book import PRIVATE, Book
from support.ledgers import Service, small_service


@pytest.fixture(scope="module")
def service() -> Service:
    return small_service(12)


@pytest.fixture
def ledger(tmp_path: Path, service: Service) -> Path:
    disk = LedgerDisk(tmp_path / "ledger")
    disk.append(service.entries)
    disk.commit(service.signed)
    disk.close()
    return tmp_path / "ledger"


def test_every_entry_is_found(ledger: Path, service: Service) -> None:
    book = Book(ledger)
    assert book.last == 0
    book.read()
    assert (book.complete, book.problem, book.last) == (True, "", service.last)
    assert len(book.chunks) > 1
    for made in service.entries:
        assert book.data(made.seqno) == made.data
    signatures = [e.seqno for e in service.entries if e.committable]
    assert list(book.signatures) == signatures
    assert book.covering(1) == signatures[0]
    assert book.covering(signatures[-1] + 1) is None
    for seqno in (0, service.last + 1):
        with pytest.raises(LocalError, match=f"Entry {seqno} is not in the ledger"):
            book.data(seqno)


def test_maps(ledger: Path, service: Service) -> None:
    book = Book(ledger)
    book.read()
    public = list(book.maps["public:records"])
    assert book.seqnos("public:records", None, 3) == list(reversed(public))[:3]
    assert book.seqnos("public:records", public[2], 9) == [public[1], public[0]]
    assert book.seqnos("nobody's", None, 3) == []
    assert book.seqnos(None, None, 2) == [service.last, service.last - 1]
    assert book.seqnos(None, 3, 5) == [2, 1]
    assert not any(name.startswith(PRIVATE) for name in book.maps)
    opened = Book(ledger, service.secrets)
    opened.read()
    assert len(opened.maps[PRIVATE + "records"]) == 4
    assert (
        b"key" in opened.private_maps(opened.entry(opened.maps[PRIVATE + "records"][0]))["records"]
    )


def test_rosters_hold_the_last_row(ledger: Path, service: Service) -> None:
    book = Book(ledger)
    book.read()
    (row,) = book.roster[tables.SERVICE_INFO].values()
    assert b'"Open"' in row.value
    assert row.seqno == 3
    assert set(book.roster[tables.NODES_INFO]) == {service.identity.node_id.encode()}


def test_what_cannot_be_read_ends_the_walk(ledger: Path) -> None:
    chunks = Book(ledger).chunks
    chunks[1].path.rename(ledger / "elsewhere")
    book = Book(ledger)
    book.read()
    assert book.complete
    last = chunks[0].name.last
    assert book.last == last
    if len(chunks) > 2:
        assert (
            book.problem
            == f"The file begins with entry {chunks[2].name.first}, not {book.last + 1}."
        )
    book.data(1)


def test_a_file_that_changes_meanwhile(ledger: Path) -> None:
    book = Book(ledger)
    book.read()
    for file in ledger.iterdir():
        file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(InvalidLedger):
        book.entry(2)
    for file in ledger.iterdir():
        file.unlink()
    with pytest.raises(LocalError, match="cannot be read"):
        book.entry(2)


def test_no_ledger(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="no ledger files"):
        Book(tmp_path)
