"""`pyccf ledger` on a recorded ledger, whole and spoiled."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pyccf.ledger.entry import Entry, parse
from pyccf.ledger.signature import is_signature
from pyccf.shell.disk import LedgerDisk
from support.cli import Run
from support.ledgers import small_service
from support.snapshots import make_service, record, take
from support.vectors import vectors_dir


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """A copy of a small real ledger of 22 entries in four files."""
    source = vectors_dir() / "ccf" / "ledgers" / "acme_containing_service"
    shutil.copytree(source / "ledger", tmp_path / "ledger")
    return tmp_path / "ledger"


def test_list_of_files(run: Run, ledger: Path) -> None:
    out = run("ledger", "list", ledger, "--files").out
    assert "ledger_14-20.committed" in out
    files = run("ledger", "list", ledger, "--files", "--json").json["files"]
    assert [(f["first"], f["last"], f["committed"]) for f in files] == [
        (1, 2, True),
        (3, 13, True),
        (14, 20, True),
        (21, None, False),
    ]


def test_list_of_entries(run: Run, ledger: Path) -> None:
    out = run("ledger", "list", ledger).out
    assert "2.1  " in out
    assert "    public:ccf.gov.members.certs (" in out
    assert out.count("  signature\n") == 8
    found = run("ledger", "list", ledger, "--first", 3, "--last", 5, "--json").json["entries"]
    assert [entry["seqno"] for entry in found] == [3, 4, 5]


def test_show(run: Run, ledger: Path) -> None:
    shown = run("ledger", "show", ledger, 1, "--json").json
    assert shown["txid"] == "2.1"
    assert "public:ccf.gov.service.info" in shown["public"]
    assert '"txid": "2.1"' in run("ledger", "show", ledger, 1).out
    assert run("ledger", "show", ledger, 23).code == 1
    assert run("ledger", "show", ledger, 0).code == 2
    assert run("ledger", "show", 1).code == 2


def test_private_tables_open_with_members_keys(run: Run, tmp_path: Path) -> None:
    service = vectors_dir() / "ccf" / "ledgers" / "cose_flipflop_service"
    keys = sorted((service / "common").glob("member*_enc_privk.pem"))
    assert keys
    options = [word for key in keys for word in ("--enc-key", str(key))]
    ran = run("ledger", "verify", service / "ledger", *options)
    assert ran.code == 0, ran.err
    listed = run("ledger", "list", service / "ledger", "--json").json["entries"]
    private = next(entry["seqno"] for entry in listed if entry["private_size"])
    ran = run("ledger", "show", service / "ledger", private, *options, "--json")
    assert ran.json["private"]
    assert "private" not in run("ledger", "show", service / "ledger", private, "--json").json
    ran = run("ledger", "verify", service / "ledger", "--enc-key", tmp_path / "none")
    assert "Could not read the PEM file" in ran.err


def test_verify(run: Run, ledger: Path) -> None:
    ran = run("ledger", "verify", ledger)
    assert (ran.code, ran.err) == (0, "")
    assert "The ledger is valid." in ran.out
    assert "2.22" in ran.out
    report = run("ledger", "verify", ledger, "--json").json
    assert (report["ok"], report["last_valid"], report["entries"]) == (True, "2.22", 22)


def test_the_first_bad_entry_is_named(run: Run, ledger: Path) -> None:
    path = ledger / "ledger_14-20.committed"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    ran = run("ledger", "verify", ledger)
    assert (ran.code, ran.out) == (1, "")
    assert len(ran.err.splitlines()) == 2
    assert ran.err.startswith("Error: Entry 14 in ledger_14-20.committed is bad: ")
    ran = run("ledger", "verify", ledger, "--json")
    assert ran.code == 1
    assert ran.json["ok"] is False
    assert ran.json["error"]["seqno"] == 14


def test_the_service_can_be_demanded(run: Run, ledger: Path, tmp_path: Path) -> None:
    common = vectors_dir() / "ccf" / "ledgers" / "acme_containing_service" / "common"
    right = common / "service_cert.pem"
    assert right.exists()
    assert run("ledger", "verify", ledger, "--service-cert", right).code == 0
    other = vectors_dir() / "ccf" / "ledgers" / "eol_service" / "common" / "service_cert.pem"
    assert run("ledger", "verify", ledger, "--service-cert", other).code == 1
    ran = run("ledger", "verify", ledger, "--service-cert", tmp_path / "none")
    assert ran.code == 1
    assert "Could not read the PEM file" in ran.err


def test_no_ledger(run: Run, tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        ran = run("ledger", "verify", folder)
        assert ran.code == 1
        assert len(ran.err.splitlines()) == 2
    assert "no ledger files" in run("ledger", "list", tmp_path, "--files").out
    assert run("ledger", "list").code == 2


def test_diff(run: Run, ledger: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(ledger, copy)
    ran = run("ledger", "diff", ledger, copy)
    assert (ran.code, ran.out) == (0, "Both hold the same 22 entries.\n")
    (copy / "ledger_21").unlink()
    ran = run("ledger", "diff", ledger, copy)
    assert (ran.code, ran.out) == (0, "B is the beginning of A: equal up to entry 20.\n")
    path = copy / "ledger_14-20.committed"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    ran = run("ledger", "diff", ledger, copy, "--json")
    assert ran.code == 1
    assert (ran.json["seqno"], ran.json["a"]["covered"], ran.json["b"]["covered"]) == (
        14,
        True,
        False,
    )
    ran = run("ledger", "diff", ledger, copy)
    assert ran.code == 1
    assert "they part at entry 14" in ran.out
    assert "which does not hold: entry 14: " in ran.out
    assert "One of the hosts is wrong" in ran.out or "one of the hosts is wrong" in ran.out
    ran = run("ledger", "diff", ledger, tmp_path)
    assert ran.code == 1
    assert "Ledger B has no ledger files" in ran.err


def test_names_in_a_ledger_forge_no_lines(run: Run, tmp_path: Path) -> None:
    for folder, value in (("a", b"1"), ("b", b"2")):
        made = small_service(3)
        made.write({"public:a\n2.99  1 bytes\x1b[2J": {b"key\n": value}})
        disk = LedgerDisk(tmp_path / folder)
        disk.append(made.entries)
        disk.close()
    ran = run("ledger", "list", tmp_path / "a")
    assert "    public:a\\n2.99  1 bytes\\x1b[2J (1 written)\n" in ran.out
    ran = run("ledger", "diff", tmp_path / "a", tmp_path / "b")
    assert "    public:a\\n2.99  1 bytes\\x1b[2J: key\\n\n" in ran.out


def test_export(run: Run, ledger: Path, tmp_path: Path) -> None:
    pytest.importorskip("duckdb", reason="the extra `export` is not installed")
    ran = run("ledger", "export", ledger, tmp_path / "out.duckdb", "--to", "duckdb")
    assert ran.code == 0, ran.err
    assert "entries:     22 rows" in ran.out
    assert "need --enc-key" in ran.out
    ran = run("ledger", "export", ledger, tmp_path / "tables", "--to", "parquet", "--json")
    assert ran.json["rows"]["signatures"] == 8
    assert (tmp_path / "tables" / "writes.parquet").is_file()
    assert run("ledger", "export", ledger, tmp_path / "tables", "--to", "parquet").code == 1
    assert run("ledger", "export", ledger, tmp_path / "x").code == 2


def test_governance_is_judged_again(run: Run, ledger: Path) -> None:
    ran = run("ledger", "verify", ledger)
    assert "Governance: 6 signed requests judged again, and the evidence of 3 node(s)." in ran.out
    assert run("ledger", "verify", ledger, "--json").json["governance"]["judged"] == 6
    ran = run("ledger", "verify", ledger, "--no-governance")
    assert "Governance" not in ran.out


def test_governance_that_does_not_follow(run: Run, tmp_path: Path) -> None:
    """The nodes signed it; no member decided it."""
    made = small_service(3)
    made.write({"public:ccf.gov.constitution": {bytes(8): b'"export {}"'}})
    made.sign()
    disk = LedgerDisk(tmp_path / "ledger")
    disk.append(made.entries)
    disk.commit(made.signed)
    disk.close()
    ran = run("ledger", "verify", tmp_path / "ledger")
    assert ran.code == 1
    assert "Entry 1 lets node" in ran.err
    assert "whose evidence members did not trust then: Quote information is not" in ran.err
    assert "  3  change : the service was changed without a proposal" in ran.out
    assert f"  {made.signed - 1}  change : public:ccf.gov.constitution was changed" in ran.out
    assert run("ledger", "verify", tmp_path / "ledger", "--no-governance").code == 0


def test_a_ledger_may_begin_after_a_snapshot(run: Run, tmp_path: Path) -> None:
    service = make_service()
    taken = [take(service)]
    for number in range(5):
        record(service, number)
    taken.append(take(service))
    at = int(taken[0][0].split("_")[1])
    disk = LedgerDisk(tmp_path / "ledger")
    disk.initialise(at)

    def plain(data: bytes) -> Entry:
        e = parse(data)
        return Entry(e.view, e.seqno, e.data, is_signature(e), e.leaf)

    disk.append([plain(data) for data in service.ledger[at:]])
    disk.close()
    folder = tmp_path / "snapshots"
    folder.mkdir()
    for name, data in taken:
        (folder / name).write_bytes(data)
    ran = run("ledger", "verify", tmp_path / "ledger", "--snapshots", folder)
    assert ran.code == 0, ran.err
    assert f"It begins after the snapshot at {at}: governance was not judged." in ran.out
    assert ran.out.count(": recorded by the service") == 2
    without = run("ledger", "verify", tmp_path / "ledger")
    assert without.code == 1
    assert f"Missing from the ledger: 1 to {at}" in without.err
    assert "give --snapshots" in without.err
    # Nor need the beginning be lost with what is missing.
    (tmp_path / "ledger" / "ledger_1-2.committed").write_bytes(b"anything")
    gap = run("ledger", "verify", tmp_path / "ledger", "--snapshots", folder)
    assert gap.code == 0, gap.err
    assert "What is there of the time before was not looked at. Copy its files, from" in gap.out
    assert run("ledger", "verify", tmp_path / "ledger").code == 1
    (tmp_path / "ledger" / "ledger_1-2.committed").unlink()
    # What an earlier node left open there, too.
    before = LedgerDisk(tmp_path / "before")
    before.append([plain(data) for data in service.ledger[:3]])
    before.close()
    (left,) = (f for f in (tmp_path / "before").iterdir() if f.name == "ledger_1")
    left.rename(tmp_path / "ledger" / "ledger_1")
    open_before = run("ledger", "verify", tmp_path / "ledger", "--snapshots", folder)
    assert open_before.code == 0, open_before.err
    (tmp_path / "ledger" / "ledger_1").unlink()
    (chunk,) = (f for f in (tmp_path / "ledger").iterdir() if f"_{at + 1}" in f.name)
    bad = bytearray(chunk.read_bytes())
    bad[100] ^= 1
    chunk.write_bytes(bad)
    damaged = run("ledger", "verify", tmp_path / "ledger", "--snapshots", folder)
    assert damaged.code == 1
    assert f"Entry {at + 1} in {chunk.name} is bad" in damaged.err


def test_nothing_is_passed_over_where_nothing_is_missing(run: Run, tmp_path: Path) -> None:
    """A file that says that it holds less than those before it, as a host might put there."""
    service = make_service()
    for number in range(5):
        record(service, number)
    name, data = take(service)
    at = int(name.split("_")[1])
    disk = LedgerDisk(tmp_path / "ledger")
    for raw in service.ledger:
        e = parse(raw)
        disk.append([Entry(e.view, e.seqno, e.data, is_signature(e), e.leaf)])
    disk.close()
    folder = tmp_path / "snapshots"
    folder.mkdir()
    (folder / name).write_bytes(data)
    whole = run("ledger", "verify", tmp_path / "ledger", "--snapshots", folder)
    assert whole.code == 0, whole.err
    assert "governance was not judged" not in whole.out
    (tmp_path / "ledger" / f"ledger_2-{at - 1}.committed").write_bytes(b"")
    ran = run("ledger", "verify", tmp_path / "ledger", "--snapshots", folder)
    assert "governance was not judged" not in ran.out
    assert ran.code == 1


def test_snapshots_are_judged(run: Run, ledger: Path, tmp_path: Path) -> None:
    folder = tmp_path / "snapshots"
    folder.mkdir()
    (folder / "snapshot_5_9").write_bytes(b"being written")
    ran = run("ledger", "verify", ledger, "--snapshots", folder)
    assert ran.code == 0, ran.err
    assert "Snapshot snapshot_5_9: it was not completed" in ran.out
    (folder / "snapshot_5_9.committed").write_bytes(b"nonsense")
    ran = run("ledger", "verify", ledger, "--snapshots", folder)
    assert ran.code == 1
    assert "snapshot_5_9.committed is not a snapshot of this service" in ran.err
    assert run("ledger", "verify", ledger, "--snapshots", tmp_path / "none").code == 1
