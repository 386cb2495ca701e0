"""Listing and showing entries."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyccf.audit import read
from pyccf.errors import InvalidLedger, LocalError
from pyccf.kv.changes import UNIT
from pyccf.ledger.secrets import LedgerSecret, LedgerSecrets
from pyccf.shell.disk import LedgerDisk
from pyccf.types import TxID
from support.ledgers import Service, small_service


@pytest.fixture(scope="module")
def service() -> Service:
    made = small_service(10)
    made.write({"public:mixed": {b"a": b"1", b"b": None, b"\x00\xff": b"\x01\x02"}})
    return made


@pytest.fixture
def ledger(tmp_path: Path, service: Service) -> Path:
    disk = LedgerDisk(tmp_path / "ledger")
    disk.append(service.entries)
    disk.commit(service.signed)
    disk.close()
    return tmp_path / "ledger"


def test_a_list_of_entries(ledger: Path, service: Service) -> None:
    found = list(read.entries(ledger))
    assert [e.seqno for e in found] == list(range(1, service.last + 1))
    assert [e.size for e in found] == [len(e.data) for e in service.entries]
    assert [e.is_signature for e in found] == [e.committable for e in service.entries]
    ends = [e for e in found if e.flags]
    assert ends
    assert all(e.flags == ["FORCE_LEDGER_CHUNK_AFTER"] and e.is_signature for e in ends)
    assert found[0].committed_file
    assert not found[-1].committed_file
    assert found[-1].maps == {"public:mixed": read.Touched(writes=2, removes=1)}
    assert {e.type for e in found} == {"WRITE_SET_WITH_COMMIT_EVIDENCE_AND_CLAIMS"}


@pytest.mark.parametrize(("first", "last"), [(1, 1), (3, 9), (9, 100), (7, 6)])
def test_a_part_of_the_list(ledger: Path, service: Service, first: int, last: int) -> None:
    found = [e.seqno for e in read.entries(ledger, first, last)]
    assert found == list(range(first, min(last, service.last) + 1))


def test_showing_public_tables(ledger: Path, service: Service) -> None:
    view = read.show(ledger, service.last)
    assert view.public == {"public:mixed": {b"a": b"1", b"b": None, b"\x00\xff": b"\x01\x02"}}
    assert view.data == service.entries[-1].data
    assert view.leaf == service.entries[-1].leaf
    assert (view.private, view.commit_evidence) == (None, None)
    shown = view.readable()
    assert shown["public"] == {
        "public:mixed": {"a": {"value": 1}, "b": None, "0x00ff": {"value": {"hex": "0102"}}}
    }
    assert shown["txid"] == f"2.{service.last}"
    assert shown["private_size"] == 0


def test_showing_private_tables(ledger: Path, service: Service) -> None:
    seqno = next(e.seqno for e in read.entries(ledger) if e.private_size)
    without = read.show(ledger, seqno)
    assert without.private is None
    assert "private" not in without.readable()
    view = read.show(ledger, seqno, secrets=service.secrets)
    assert view.private == {"records": {b"key": b"value 0"}}
    assert view.commit_evidence == service.history.evidence(TxID(2, seqno))
    assert view.readable()["private"] == {"records": {"key": {"value": "value 0"}}}
    with pytest.raises(InvalidLedger, match="does not authenticate"):
        read.show(ledger, seqno, secrets=LedgerSecrets([LedgerSecret(1, bytes(32))]))
    with pytest.raises(LocalError, match="No ledger secret is known"):
        read.show(ledger, seqno, secrets=LedgerSecrets([LedgerSecret(999, bytes(32))]))


def test_what_is_not_there(ledger: Path, service: Service) -> None:
    for seqno in (0, service.last + 1):
        with pytest.raises(LocalError, match=f"Entry {seqno} is not in the ledger"):
            read.show(ledger, seqno)


def test_a_broken_entry_is_named(ledger: Path) -> None:
    path = min(ledger.iterdir(), key=lambda p: int(p.name.split("_")[1].split("-")[0]))
    raw = bytearray(path.read_bytes())
    raw[8 + 44] = 9
    path.write_bytes(raw)
    with pytest.raises(InvalidLedger, match="Entry type 9") as caught:
        list(read.entries(ledger))
    assert (caught.value.seqno, caught.value.file) == (1, path.name)


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b'{"a":[1,null]}', {"a": [1, None]}),
        (b"text\nmore", "text\nmore"),
        (b"\xff\x00", {"hex": "ff00"}),
        (b"\x07", {"hex": "07"}),
        (b"", ""),
    ],
)
def test_readable_values(data: bytes, shown: object) -> None:
    assert read.readable(data) == shown


def test_readable_keys() -> None:
    assert read.readable_key(UNIT) == "*"
    assert read.readable_key(b"key") == "key"
    assert read.readable_key(b"\xff") == "0xff"
