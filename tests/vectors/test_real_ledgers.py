"""Six ledgers that the original wrote: verified, tampered with, decrypted, written again.

What must come out is in the data's own SOURCES.md, measured there with the original's validator.
"""

from __future__ import annotations

import hashlib
import random
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from pyccf.audit import read, secrets
from pyccf.audit.files import ChunkReader, find_chunks
from pyccf.audit.verify import verify
from pyccf.codec import cose
from pyccf.errors import LocalError
from pyccf.kv import wire
from pyccf.ledger import chunk, receipt, signature
from pyccf.ledger.certchain import key_of
from pyccf.ledger.entry import (
    FORCE_CHUNK_AFTER,
    Entry,
    EntryType,
    ParsedEntry,
    encode_public_header,
    parse,
)
from pyccf.ledger.history import History
from pyccf.ledger.secrets import LedgerSecrets
from pyccf.shell.disk import LedgerDisk
from pyccf.types import TxID
from support.vectors import vectors_dir


class Known(NamedTuple):
    """What is known about a service's ledger."""

    entries: int
    last: TxID
    signatures: int
    cose: int
    identities: int
    private: int


SERVICES = {
    "acme_containing_service": Known(22, TxID(2, 22), 8, 8, 1, 0),
    "cose_flipflop_service": Known(46, TxID(2, 46), 23, 5, 1, 13),
    "double_sealed_service": Known(509, TxID(5, 509), 156, 156, 2, 0),
    "eol_service": Known(500, TxID(10, 500), 85, 0, 5, 110),
    "expired_service": Known(74, TxID(4, 74), 26, 18, 2, 3),
    "sgx_service": Known(153, TxID(8, 153), 54, 0, 4, 0),
}

each_service = pytest.mark.parametrize("name", SERVICES)


def service_dir(name: str) -> Path:
    return vectors_dir() / "ccf" / "ledgers" / name


def ledger_dir(name: str) -> Path:
    return service_dir(name) / "ledger"


def service_cert(name: str) -> str:
    return (service_dir(name) / "common" / "service_cert.pem").read_text()


def member_keys(name: str) -> list[str]:
    return [p.read_text() for p in sorted(service_dir(name).glob("common/member*_enc_privk.pem"))]


@cache
def recovered(name: str) -> LedgerSecrets:
    return secrets.recover(ledger_dir(name), member_keys(name))


def raw_entries(name: str) -> Iterator[bytes]:
    for one in find_chunks(ledger_dir(name)).chunks:
        with ChunkReader(one) as reader:
            yield from reader.entries()


def entries(name: str) -> Iterator[ParsedEntry]:
    return map(parse, raw_entries(name))


@pytest.fixture
def copy(tmp_path: Path, name: str) -> Path:
    """A writable copy of a ledger."""
    target = tmp_path / "ledger"
    target.mkdir()
    for path in ledger_dir(name).iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def chunks(directory: Path) -> list[tuple[Path, int]]:
    return [(one.path, one.name.first) for one in find_chunks(directory).chunks]


# --- verified -------------------------------------------------------------------------------


@each_service
def test_valid_to_the_last_transaction(name: str) -> None:
    known = SERVICES[name]
    report = verify(ledger_dir(name), service_cert_pem=service_cert(name))
    assert report.ok, report.error
    assert report.entries == known.entries
    assert report.last == report.last_valid == known.last
    assert report.unsigned == report.torn_bytes == 0
    assert (report.signatures, report.cose_signatures) == (known.signatures, known.cose)
    assert len(report.identities) == known.identities


@each_service
def test_every_entry_authenticates_with_the_recovered_secrets(name: str) -> None:
    report = verify(ledger_dir(name), secrets=recovered(name))
    assert report.ok, report.error
    assert report.entries == SERVICES[name].entries


def test_the_odd_endorsement_is_noted_but_no_error() -> None:
    report = verify(ledger_dir("double_sealed_service"))
    assert report.notes == ["Entry 503 endorses an empty range of transactions (4.484 to 2.483)."]


# --- tampered with --------------------------------------------------------------------------


def owner_of(raw: bytes, first: int, offset: int) -> tuple[int, int]:
    """Seqno of the entry (or its table row) that a byte belongs to, and its offset in there."""
    table = int.from_bytes(raw[:8], "little")
    if offset < 8:
        return first, offset
    if table and offset >= table:
        return first + (offset - table) // 4, offset
    at, seqno = 8, first
    while True:
        size = 8 + int.from_bytes(raw[at + 2 : at + 8], "little")
        if offset < at + size:
            return seqno, offset - at
        at, seqno = at + size, seqno + 1


@each_service
def test_a_flipped_byte_names_its_entry(name: str, copy: Path) -> None:
    chance = random.Random(f"flip {name}")
    last = SERVICES[name].last.seqno
    files = chunks(copy)
    for _ in range(12 if name == "double_sealed_service" else 40):
        path, first = chance.choice(files)
        raw = path.read_bytes()
        offset = chance.randrange(len(raw))
        changed = bytearray(raw)
        changed[offset] ^= 1 << chance.randrange(8)
        path.write_bytes(changed)
        seqno, within = owner_of(raw, first, offset)
        report = verify(copy)
        path.write_bytes(raw)
        # Of the last signature, tag and evidence digest are covered by nothing that is signed.
        if seqno == last and (8 <= within < 24 or 53 <= within < 117):
            continue
        assert report.error is not None, (path.name, offset)
        assert (report.error.seqno, report.error.file) == (seqno, path.name), offset


@each_service
def test_a_dropped_entry_is_named(name: str, copy: Path) -> None:
    chance = random.Random(f"drop {name}")
    for _ in range(5):
        path, first = chance.choice(chunks(copy)[:-1])
        raw = path.read_bytes()
        table = int.from_bytes(raw[:8], "little")
        positions = [*chunk.parse_table(raw[table:]), table]
        victim = chance.randrange(len(positions) - 1)
        path.write_bytes(raw[: positions[victim]] + raw[positions[victim + 1] :])
        report = verify(copy)
        path.write_bytes(raw)
        assert report.error is not None
        assert (report.error.seqno, report.error.file) == (first + victim, path.name)


@each_service
def test_a_missing_chunk_is_named(name: str, copy: Path) -> None:
    chance = random.Random(f"gap {name}")
    files = chunks(copy)[:-1]
    for path, first in chance.sample(files, min(len(files), 4)):
        raw = path.read_bytes()
        path.unlink()
        report = verify(copy)
        path.write_bytes(raw)
        assert report.error is not None
        assert report.error.seqno == first
        assert "Missing from the ledger" in report.error.reason


@each_service
def test_swapped_chunks_are_named(name: str, copy: Path) -> None:
    files = chunks(copy)
    if len(files) == 2:
        first, second = files
    else:
        first, second = files[1], files[2]
    one, two = first[0].read_bytes(), second[0].read_bytes()
    first[0].write_bytes(two)
    second[0].write_bytes(one)
    report = verify(copy)
    assert report.error is not None
    assert (report.error.seqno, report.error.file) == (first[1], first[0].name)


@pytest.mark.parametrize("name", ["acme_containing_service", "eol_service"])
def test_the_first_chunk_of_another_service(name: str, copy: Path) -> None:
    """Both are good by themselves; what follows is signed by nodes that the first does not know."""
    other = ledger_dir("double_sealed_service") / "ledger_1-2.committed"
    shutil.copyfile(other, copy / "ledger_1-2.committed")
    report = verify(copy)
    assert report.error is not None
    assert report.error.seqno == 3
    reasons = ("belong to another ledger", "a certificate that the service did not endorse")
    assert any(reason in report.error.reason for reason in reasons)
    assert report.last_valid == TxID(2, 2)


# --- decrypted ------------------------------------------------------------------------------


@each_service
def test_secrets_are_rebuilt_from_members_shares(name: str) -> None:
    found = recovered(name)
    assert len(found) == SERVICES[name].identities
    assert found.all()[0].version == 1
    with pytest.raises(LocalError, match="0 of the given keys"):
        secrets.recover(ledger_dir(name), [])


def test_the_secret_is_the_documented_one() -> None:
    # spec: crypto.md §5.6
    (acme,) = recovered("acme_containing_service").all()
    assert acme.key.hex() == "6a2e4bec332a6457dccd64af0d4ace7de36de1af02f95f3ecde5a47176f9014a"
    old, new = recovered("double_sealed_service").all()
    assert (old.version, new.version) == (1, 484)
    assert new.key.hex() == "9ec711a75aa018438cd3e6a29adc9afd0c028d9c88fbf9dfb0d793a4bf3e10eb"
    assert old.key.hex() == "0247b5e43538db6bfa1c76ea8561c09d47533c40a71c8cd38f0bdf28dbeea840"


@each_service
def test_private_maps_are_read(name: str) -> None:
    found = recovered(name)
    history = History(found)
    count = 0
    for entry in entries(name):
        maps = history.private_maps(entry)
        if entry.ciphertext:
            count += 1
            assert maps
            assert not any(table.startswith("public:") for table in maps)
    assert count == SERVICES[name].private


@pytest.mark.parametrize("name", [n for n, known in SERVICES.items() if known.private])
def test_private_records_are_what_the_application_wrote(name: str) -> None:
    texts: list[object] = []
    for summary in read.entries(ledger_dir(name)):
        if summary.private_size:
            view = read.show(ledger_dir(name), summary.seqno, secrets=recovered(name))
            assert view.private is not None
            texts += [read.readable(v) for v in view.private["records"].values() if v is not None]
    assert len(texts) == SERVICES[name].private
    assert all(isinstance(text, str) and text for text in texts)


# --- written again --------------------------------------------------------------------------


@each_service
def test_every_entry_is_written_again_byte_for_byte(name: str) -> None:
    """Decode to maps, encode them, seal with the recovered secret: the same bytes."""
    found = recovered(name)
    history = History(found)
    ours = 0
    for entry in entries(name):
        maps = {**entry.public_maps(), **history.private_maps(entry)}
        public, private = wire.encode(maps)
        assert public == entry.public_sections
        if entry.type is EntryType.WRITE_SET_WITH_COMMIT_EVIDENCE_AND_CLAIMS and not (
            entry.max_conflict_version
        ):
            assert entry.claims is not None
            again = history.append(
                TxID(entry.view, entry.seqno),
                public,
                private,
                claims=entry.claims,
                flags=entry.flags,
                committable=signature.is_signature(entry),
            )
            assert again.data == entry.data
            assert again.leaf == entry.leaf
            ours += 1
        else:
            # Written by versions whose types we read but never write.
            cipher = found.cipher_at(entry.seqno)
            sealed = cipher.seal_parts(entry.iv, private, entry.public)
            assert sealed[:-16] == entry.ciphertext
            assert sealed[-16:] == entry.tag
            history.tree.append(entry.leaf)
    assert history.last == SERVICES[name].entries
    assert ours > 0


@each_service
def test_signature_tables_are_written_again(name: str) -> None:
    """What we read from a signature is what the original's form says it is."""
    for entry in entries(name):
        if not signature.is_signature(entry):
            continue
        found = signature.parse(entry)
        if found.cose is None:
            continue
        envelope = cose.parse_sign1(found.cose)
        claims = envelope.headers[cose.CWT_CLAIMS]
        assert isinstance(claims, dict)
        assert envelope.kid is not None
        assert envelope.alg is not None
        assert envelope.protected == signature.protected_header(
            envelope.alg,
            envelope.kid.decode(),
            TxID(entry.view, entry.seqno),
            claims[6],
            claims[1],
            claims[2],
        )
        assert cose.encode_sign1(envelope.protected, None, envelope.signature) == found.cose


@pytest.mark.parametrize("name", ["acme_containing_service", "cose_flipflop_service"])
def test_our_disk_writes_the_same_files(name: str, tmp_path: Path) -> None:
    """In these two every end of a chunk is flagged, so that the entries alone say what to do."""
    disk = LedgerDisk(tmp_path / "ledger")
    signed = [0]
    batch: list[Entry] = []
    for entry in entries(name):
        committable = signature.is_signature(entry)
        if committable:
            signed.append(entry.seqno)
        batch.append(Entry(entry.view, entry.seqno, entry.data, committable, entry.leaf))
    disk.append(batch)
    disk.commit(signed[-1])
    disk.close()
    theirs = {p.name: p.read_bytes() for p in ledger_dir(name).iterdir()}
    assert {p.name: p.read_bytes() for p in (tmp_path / "ledger").iterdir()} == theirs


@each_service
def test_their_chunks_have_our_layout(name: str) -> None:
    for one in find_chunks(ledger_dir(name)).chunks:
        with ChunkReader(one) as reader:
            data = list(reader.entries())
        positions = [chunk.FIRST_OFFSET]
        for entry in data:
            positions.append(positions[-1] + len(entry))
        end = positions.pop()
        raw = one.path.read_bytes()
        if one.name.committed:
            made = chunk.encode_header(end) + b"".join(data) + chunk.encode_table(positions)
        else:
            made = chunk.encode_header(0) + b"".join(data)
        assert made == raw


@each_service
def test_our_disk_reads_their_files(name: str, copy: Path) -> None:
    data = list(raw_entries(name))
    disk = LedgerDisk(copy)
    assert disk.last == len(data)
    assert disk.set_aside == []
    assert disk.read(1, disk.last) == data
    disk.close()


def test_the_worked_entry() -> None:
    # spec: ledger.md §13.1
    entry = next(e for e in entries("acme_containing_service") if e.seqno == 17)
    assert len(entry.data) == 314
    assert (
        entry.write_set_digest.hex()
        == "3d3d875d81781d949672905c17ccf1021eef7c52ba7fd5e5b641c7fbc96f18a9"
    )
    assert entry.leaf.hex() == "274ecbad6f7476e75d3897aebe830174b71449254ecb05bbc8626a58fdc7299c"
    header = encode_public_header(17, entry.claims or b"", entry.evidence_digest or b"")
    assert entry.public.startswith(header)
    assert not entry.flags & FORCE_CHUNK_AFTER


# --- receipts -------------------------------------------------------------------------------


def test_the_worked_receipts() -> None:
    # spec: merkle-and-receipts.md §6.5
    name = "acme_containing_service"
    by_seqno = {e.seqno: e for e in entries(name)}
    entry, covering = by_seqno[17], by_seqno[20]
    evidence = History(recovered(name)).evidence(TxID(2, 17))
    assert evidence == ("ce:2.17:6ac3addb6dc3623098ba07e4b740a42ec6ee378a2c81ce585eb99eaf5ff4fa14")
    proof = receipt.merkle_proof_cbor(entry, covering, evidence)
    assert len(proof) == 255
    made = receipt.cose_receipt(entry, covering, evidence)
    assert len(made) == 507
    assert (
        hashlib.sha256(made).hexdigest()
        == "b77b45323b4b534f2d8d9a28cb0163e87e0348febb2042c229d73a16bd122a1c"
    )
    proven = receipt.verify_cose_receipt(made, key_of(service_cert(name)), claims=entry.claims)
    assert proven.txid == TxID(2, 17)
    assert proven.root.hex() == "43733c6410af32cfbff4df665a5e911cc1bce42acfaddb64b8e05d4009b6ee9d"
    assert [
        ("left" if left else "right", node.hex()[:8])
        for left, node in receipt.path_in(covering, entry)
    ] == [("left", "c1301b4d"), ("right", "49b8c888"), ("left", "a5f8b60f")]
    json_receipt = receipt.json_receipt(entry, covering, evidence)
    assert json_receipt["signature"] == (
        "MGUCMQDfnGKrWVfTcgdtfc/9xRSLVBXnLjh/WBb8Wvj2m3+aQYD5ifn6/fpMZoIkpX8tUF4CMGieyV+ivqO5"
        "NY6SbZ75XpjwAKEDP/cD5VfautQ4AIfuaWWrk08uHG4XUwE8VF3jxA=="
    )


@each_service
def test_receipts_of_every_entry_of_the_present_service(name: str) -> None:
    """Each is covered by the next signature and proves itself to the service's certificate."""
    report = verify(ledger_dir(name))
    since = report.identities[-1].since
    history = History(recovered(name))
    pending: list[ParsedEntry] = []
    checked = 0
    cert = service_cert(name)
    for entry in entries(name):
        if not signature.is_signature(entry):
            pending.append(entry)
            continue
        for one in pending:
            if one.seqno < since or one.evidence_digest is None:
                continue
            signature.verify_covered(one, entry)
            evidence = history.evidence(TxID(one.view, one.seqno))
            made = receipt.json_receipt(one, entry, evidence)
            proven = receipt.verify_json_receipt(made, cert, claims=one.claims)
            assert proven.txid == TxID(one.view, one.seqno)
            if signature.parse(entry).cose is not None and one.claims is not None:
                sealed = receipt.cose_receipt(one, entry, evidence)
                assert receipt.verify_cose_receipt(sealed, key_of(cert)).leaf == one.leaf
            checked += 1
        pending.clear()
    assert checked > 5
