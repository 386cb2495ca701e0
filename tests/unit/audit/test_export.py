"""Ledgers as tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyccf.audit import export as exporting
from pyccf.audit.export import Format, export
from pyccf.errors import InvalidLedger, LocalError
from pyccf.shell.disk import LedgerDisk
from support.ledgers import Service, small_service

duckdb = pytest.importorskip("duckdb", reason="the extra `export` is not installed")


@pytest.fixture(scope="module")
def service() -> Service:
    made = small_service(10)
    made.write({"public:mixed": {b"a": b'{"n": 1}', b"gone": None, b"\x00\xff": b"\x01\xfe"}})
    made.write(
        {
            "public:ccf.gov.members.info": {b"m0": b'{"status":"Active","member_data":{"x":1}}'},
            "public:ccf.gov.members.certs": {b"m0": b"PEM"},
            "public:ccf.gov.users.certs": {b"u0": b"PEM"},
            "public:ccf.gov.proposals": {b"p0": b'{"actions":[]}'},
            "public:ccf.gov.proposals_info": {b"p0": b'{"state":"Open","proposer_id":"m0"}'},
        }
    )
    made.write({"public:ccf.gov.proposals_info": {b"p0": b'{"state":"Accepted"}'}})
    made.sign()
    return made


@pytest.fixture
def ledger(tmp_path: Path, service: Service) -> Path:
    disk = LedgerDisk(tmp_path / "ledger")
    disk.append(service.entries)
    disk.commit(service.signed)
    disk.close()
    return tmp_path / "ledger"


def ask(file: Path, query: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(file), read_only=True) as db:
        return list(db.execute(query).fetchall())


def test_duckdb(ledger: Path, service: Service, tmp_path: Path) -> None:
    report = export(ledger, tmp_path / "out.duckdb", Format.DUCKDB)
    assert report.last == service.last
    assert report.rows["entries"] == service.last
    file = tmp_path / "out.duckdb"
    entries = ask(file, "SELECT seqno, size, leaf, is_signature FROM entries ORDER BY seqno")
    expected = [(e.seqno, len(e.data), e.leaf.hex(), e.committable) for e in service.entries]
    assert entries == expected
    mixed = ask(file, "SELECT * FROM writes WHERE map = 'public:mixed' ORDER BY key_bytes")
    seqno, view = service.last - 3, service.view
    assert mixed == [
        (seqno, view, "public:mixed", False, "0x00ff", None, False, b"\x00\xff", b"\x01\xfe"),
        (seqno, view, "public:mixed", False, "a", '{"n": 1}', False, b"a", b'{"n": 1}'),
        (seqno, view, "public:mixed", False, "gone", None, True, b"gone", None),
    ]
    assert ask(file, "SELECT value ->> 'n' FROM writes WHERE key = 'a'") == [("1",)]
    signed = ask(file, "SELECT seqno, node, root FROM signatures ORDER BY seqno DESC LIMIT 1")
    assert signed == [(service.last, service.identity.node_id, service.signed_root.hex())]


def test_views(ledger: Path, service: Service, tmp_path: Path) -> None:
    file = tmp_path / "out.duckdb"
    export(ledger, file, Format.DUCKDB)
    assert ask(file, "SELECT member, status, data, certificate FROM members") == [
        ("m0", "Active", '{"x":1}', "PEM")
    ]
    assert ask(file, 'SELECT "user", certificate FROM users') == [("u0", "PEM")]
    assert ask(file, "SELECT proposal, state, proposal_body FROM proposals") == [
        ("p0", "Accepted", '{"actions":[]}')
    ]
    assert ask(file, "SELECT node, status FROM nodes") == [(service.identity.node_id, "Trusted")]
    gone = ask(file, "SELECT count(*) FROM state WHERE key = 'gone'")
    assert gone == [(0,)]


def test_parquet(ledger: Path, service: Service, tmp_path: Path) -> None:
    export(ledger, tmp_path / "out", Format.PARQUET, first=3, last=5)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "entries.parquet",
        "governance.parquet",
        "signatures.parquet",
        "writes.parquet",
    ]
    found = duckdb.sql(f"SELECT seqno FROM '{tmp_path}/out/entries.parquet' ORDER BY seqno")
    assert found.fetchall() == [(3,), (4,), (5,)]


def test_private_maps_need_the_secrets(ledger: Path, service: Service, tmp_path: Path) -> None:
    export(ledger, tmp_path / "without.duckdb", Format.DUCKDB)
    query = "SELECT count(*) FROM writes WHERE private"
    assert ask(tmp_path / "without.duckdb", query) == [(0,)]
    report = export(ledger, tmp_path / "with.duckdb", Format.DUCKDB, secrets=service.secrets)
    assert report.private
    found = ask(tmp_path / "with.duckdb", "SELECT map, value FROM writes WHERE private LIMIT 1")
    assert found == [("records", "value 0")]


def test_many_batches(
    ledger: Path, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "ROWS_PER_BATCH", 3)
    seen: list[int] = []
    for to in Format:
        report = export(ledger, tmp_path / f"out.{to}", to, progress=seen.append)
        assert report.rows["entries"] == service.last
    assert seen
    count = f"SELECT count(*) FROM '{tmp_path}/out.parquet/writes.parquet'"
    assert duckdb.sql(count).fetchall() == [(report.rows["writes"],)]
    assert ask(tmp_path / "out.duckdb", "SELECT count(*) FROM writes") == [(report.rows["writes"],)]


def test_nothing_half_done(ledger: Path, tmp_path: Path) -> None:
    """A broken entry leaves no target behind; a target that is there stays as it is."""
    spoiled = next(p for p in sorted(ledger.iterdir()) if p.name.startswith("ledger_1-"))
    data = bytearray(spoiled.read_bytes())
    data[8 + 8 + 16 + 1] ^= 0xFF
    spoiled.write_bytes(data)
    for to in Format:
        with pytest.raises(InvalidLedger):
            export(ledger, tmp_path / "out", to)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["ledger"]
    (tmp_path / "out").write_text("mine")
    with pytest.raises(LocalError, match="exists already"):
        export(ledger, tmp_path / "out", Format.DUCKDB)
    assert (tmp_path / "out").read_text() == "mine"


def test_where_nothing_can_be_written(ledger: Path) -> None:
    for to in Format:
        with pytest.raises(LocalError, match="cannot be written"):
            export(ledger, "/proc/out", to)


def test_no_ledger(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="no ledger files"):
        export(tmp_path, tmp_path / "out", Format.PARQUET)
