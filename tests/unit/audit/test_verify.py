"""A ledger directory as a whole: what is valid, and which entry is the first bad one."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pyccf.audit.verify import Progress, VerifyReport, verify
from pyccf.codec.text import dump_json
from pyccf.errors import LocalError
from pyccf.kv.changes import UNIT
from pyccf.ledger import chunk
from pyccf.ledger.secrets import LedgerSecret, LedgerSecrets
from pyccf.shell.disk import LedgerDisk
from pyccf.types import TxID
from support.ledgers import NODES_INFO, SERVICE_INFO, Service, small_service


@pytest.fixture(scope="module")
def service() -> Service:
    made = small_service(20)
    made.record(b"tail 1")
    made.record(b"tail 2")
    return made


def written(service: Service, directory: Path) -> Path:
    disk = LedgerDisk(directory)
    disk.append(service.entries)
    disk.commit(service.signed)
    disk.close()
    return directory


@pytest.fixture
def ledger(tmp_path: Path, service: Service) -> Path:
    return written(service, tmp_path / "ledger")


def chunks(directory: Path) -> list[Path]:
    def first(path: Path) -> int:
        name = chunk.parse_name(path.name)
        assert name is not None
        return name.first

    return sorted(directory.iterdir(), key=first)


def place(directory: Path, service: Service, seqno: int) -> tuple[Path, int]:
    """File and offset of an entry."""
    for path in reversed(chunks(directory)):
        name = chunk.parse_name(path.name)
        assert name is not None
        if name.first <= seqno:
            between = service.entries[name.first - 1 : seqno - 1]
            return path, 8 + sum(len(e.data) for e in between)
    raise AssertionError(seqno)


def flip(directory: Path, service: Service, seqno: int, offset: int, bit: int = 0) -> None:
    path, at = place(directory, service, seqno)
    raw = bytearray(path.read_bytes())
    raw[at + offset] ^= 1 << bit
    path.write_bytes(raw)


def first_bad(directory: Path) -> tuple[int, str]:
    report = verify(directory)
    assert not report.ok
    assert report.error is not None
    return report.error.seqno, report.error.reason


def test_a_good_ledger(ledger: Path, service: Service) -> None:
    report = verify(ledger, service_cert_pem=service.identity.service_cert)
    assert report.ok
    assert report.error is None
    assert report.entries == len(service.entries)
    assert report.last == TxID(2, len(service.entries))
    assert report.last_valid == TxID(2, service.signed)
    assert report.unsigned == 2
    assert report.signatures == report.cose_signatures
    assert report.signatures == sum(e.committable for e in service.entries)
    assert report.files == len(chunks(ledger))
    assert report.bytes == sum(p.stat().st_size for p in ledger.iterdir())
    last = chunk.parse_name(chunks(ledger)[-1].name)
    assert last is not None
    assert report.uncommitted_from == last.first
    assert [i.key_id for i in report.identities] == [service.identity.service_key.public.id]
    assert report.notes == []


def test_with_secrets_every_entry_is_opened(ledger: Path, service: Service) -> None:
    assert verify(ledger, secrets=service.secrets).ok
    wrong = LedgerSecrets([LedgerSecret(1, bytes(32))])
    report = verify(ledger, secrets=wrong)
    assert report.error is not None
    assert report.error.seqno == 1
    assert "does not authenticate" in report.error.reason


def test_secrets_cover_even_the_last_entries(ledger: Path, service: Service) -> None:
    # The tag of the last entry: nothing signed covers it.
    flip(ledger, service, service.last, 10)
    assert verify(ledger).ok
    report = verify(ledger, secrets=service.secrets)
    assert report.error is not None
    assert report.error.seqno == service.last


# --- bytes ----------------------------------------------------------------------------------

OFFSETS = [0, 1, 2, 3, 7, 8, 23, 24, 31, 32, 35, 36, 43, 44, 45, 52, 53, 84, 85, 117, 125, 130, -1]


@pytest.mark.parametrize("offset", OFFSETS)
def test_a_flipped_byte_names_its_entry(
    tmp_path: Path, service: Service, ledger: Path, offset: int
) -> None:
    for seqno in range(1, service.signed):
        copy = tmp_path / "copy"
        shutil.copytree(ledger, copy)
        at = offset % len(service.entries[seqno - 1].data)
        flip(copy, service, seqno, at, bit=seqno % 8)
        assert first_bad(copy)[0] == seqno, (seqno, at)
        shutil.rmtree(copy)


def test_every_byte_of_one_signature(tmp_path: Path, service: Service, ledger: Path) -> None:
    seqno = next(e.seqno for e in service.entries if e.committable and e.seqno > 2)
    path, at = place(ledger, service, seqno)
    raw = path.read_bytes()
    for offset in range(0, len(service.entries[seqno - 1].data), 7):
        changed = bytearray(raw)
        changed[at + offset] ^= 1 << offset % 8
        path.write_bytes(changed)
        assert first_bad(ledger)[0] == seqno, offset


def test_what_the_last_signature_cannot_hide(service: Service, ledger: Path) -> None:
    """Of the last signature only tag and evidence digest are beyond an auditor without keys."""
    seqno = service.signed
    path, at = place(ledger, service, seqno)
    raw = path.read_bytes()
    blind = {*range(8, 24), *range(85, 117)}
    for offset in range(0, len(service.entries[seqno - 1].data), 5):
        changed = bytearray(raw)
        changed[at + offset] ^= 1 << offset % 8
        path.write_bytes(changed)
        report = verify(ledger)
        if offset in blind:
            assert report.ok, offset
        else:
            assert report.error is not None, offset
            assert report.error.seqno == seqno, offset


def test_of_several_bad_entries_the_first(ledger: Path, service: Service) -> None:
    flip(ledger, service, 11, 60)
    flip(ledger, service, 9, 60)
    assert first_bad(ledger)[0] == 9


def test_a_bad_entry_before_a_broken_one(ledger: Path, service: Service) -> None:
    """The walk ends at the broken one; the signature beyond it tells about the other."""
    flip(ledger, service, 5, 60)
    flip(ledger, service, 7, 0)
    seqno, reason = first_bad(ledger)
    assert seqno == 5
    assert "is not what the signature at" in reason


# --- files ----------------------------------------------------------------------------------


def test_a_missing_chunk_is_a_gap(ledger: Path) -> None:
    gone = chunks(ledger)[1]
    name = chunk.parse_name(gone.name)
    assert name is not None
    gone.unlink()
    seqno, reason = first_bad(ledger)
    assert seqno == name.first
    assert reason.startswith(f"Missing from the ledger: {name.first} to {name.last}.")


def test_a_ledger_must_begin_with_its_first_entry(ledger: Path) -> None:
    chunks(ledger)[0].unlink()
    assert first_bad(ledger)[0] == 1


def test_swapped_chunks(ledger: Path) -> None:
    one, two = chunks(ledger)[:2]
    first = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(first)
    assert first_bad(ledger)[0] == 1


def test_a_chunk_of_another_service(ledger: Path, tmp_path: Path, service: Service) -> None:
    stranger = small_service(20)
    other = Service("another service", chunk_size=3000)
    other.genesis()
    other.sign()
    other.commit()
    other.open()
    for i in range(20):
        other.record(b"value %d" % i, private=i % 3 == 0)
        if i % 4 == 3:
            other.sign()
            other.commit()
    assert [e.seqno for e in other.entries if e.committable] == [
        e.seqno for e in stranger.entries if e.committable
    ]
    theirs = written(other, tmp_path / "theirs")
    middle = chunks(ledger)[1]
    name = chunk.parse_name(middle.name)
    assert name is not None
    assert name.last is not None
    source = theirs / middle.name
    assert source.exists()
    middle.write_bytes(source.read_bytes())
    seqno, reason = first_bad(ledger)
    assert seqno == name.first
    assert "belong to another ledger" in reason


@pytest.mark.parametrize("seqno", [1, 2, 5, 6, 12])
def test_a_dropped_entry(ledger: Path, service: Service, seqno: int) -> None:
    path, at = place(ledger, service, seqno)
    raw = path.read_bytes()
    path.write_bytes(raw[:at] + raw[at + len(service.entries[seqno - 1].data) :])
    assert first_bad(ledger)[0] == seqno


def test_a_dropped_entry_with_the_file_made_to_fit(ledger: Path, service: Service) -> None:
    """Name, header and table agree, but the sequence does not."""
    path, _ = place(ledger, service, 6)
    name = chunk.parse_name(path.name)
    assert name is not None
    assert name.last is not None
    kept = [e.data for e in service.entries[name.first - 1 : name.last] if e.seqno != 6]
    positions = [8]
    for data in kept[:-1]:
        positions.append(positions[-1] + len(data))
    body = b"".join(kept)
    path.write_bytes(chunk.encode_header(8 + len(body)) + body + chunk.encode_table(positions))
    path.rename(path.with_name(chunk.committed_name(name.first, name.last - 1)))
    assert first_bad(ledger)[0] == 6


def test_an_overlap(ledger: Path) -> None:
    second = chunks(ledger)[1]
    name = chunk.parse_name(second.name)
    assert name is not None
    assert name.last is not None
    second.rename(second.with_name(chunk.committed_name(name.first - 1, name.last)))
    seqno, reason = first_bad(ledger)
    assert seqno == name.first
    assert "an earlier file holds already" in reason


def test_a_torn_tail_is_reported_but_no_error(ledger: Path, service: Service) -> None:
    path = chunks(ledger)[-1]
    path.write_bytes(path.read_bytes()[:-9])
    report = verify(ledger)
    assert report.ok
    assert report.torn_bytes == len(service.entries[-1].data) - 9
    assert report.entries == service.last - 1


def test_a_torn_chunk_in_the_middle(ledger: Path, service: Service) -> None:
    path = chunks(ledger)[0]
    name = chunk.parse_name(path.name)
    assert name is not None
    assert name.last is not None
    at = sum(len(e.data) for e in service.entries[: name.last - 1])
    path.write_bytes(bytes(8) + path.read_bytes()[8 : 8 + at + 70])
    path.rename(path.with_name(chunk.open_name(1)))
    seqno, reason = first_bad(ledger)
    assert seqno == name.last
    assert "cut off" in reason


def test_a_committed_file_must_be_signed(tmp_path: Path) -> None:
    service = small_service(4, chunk_size=1_000_000)
    service.record(b"one")
    service.record(b"two")
    rest = service.entries[service.signed :]
    directory = tmp_path / "l"
    directory.mkdir()
    data = b"".join(e.data for e in service.entries)
    positions = [8]
    for entry in service.entries[:-1]:
        positions.append(positions[-1] + len(entry.data))
    (directory / chunk.committed_name(1, service.last)).write_bytes(
        chunk.encode_header(8 + len(data)) + data + chunk.encode_table(positions)
    )
    seqno, reason = first_bad(directory)
    assert seqno == rest[0].seqno
    assert "no signature covers them" in reason


@pytest.mark.parametrize(
    ("flags", "why"),
    [(1, "the last of its chunk, but more entries follow"), (2, "the first of a chunk, but")],
)
def test_flags_that_contradict_the_files(
    ledger: Path, service: Service, flags: int, why: str
) -> None:
    path, at = place(ledger, service, 4)
    raw = bytearray(path.read_bytes())
    raw[at + 1] = flags
    path.write_bytes(raw)
    seqno, reason = first_bad(ledger)
    assert seqno == 4
    assert why in reason


# --- the call -------------------------------------------------------------------------------


def test_the_service_the_caller_knows(ledger: Path) -> None:
    report = verify(ledger, service_cert_pem=Service("other").identity.service_cert)
    assert report.error is not None
    assert report.error.seqno == 1
    assert "The service identity is" in report.error.reason
    with pytest.raises(LocalError, match="service certificate cannot be read"):
        verify(ledger, service_cert_pem="nonsense")


def imitated(known: str) -> list[Service]:
    """Ledgers of somebody who has no key of the service that the certificate `known` is of."""
    cert = dump_json({"cert": known, "status": "Open"})
    first = Service("imitator")
    first.cose = False
    me = first.identity
    info = dump_json({"status": "Trusted", "cert": me.node_cert})
    first.write({NODES_INFO: {me.node_id.encode(): info}, SERVICE_INFO: {UNIT: cert}})
    second, third = small_service(4), small_service(4)
    for one in (second, third):
        one.cose = False
        one.write({SERVICE_INFO: {UNIT: cert}})
    for one in (first, second):
        one.sign()
    return [first, second, third]


@pytest.mark.parametrize(
    ("which", "why"),
    [
        (0, "which the service did not endorse"),
        (1, "which the service did not endorse"),
        (2, "nothing is signed under it"),
    ],
    ids=["certificates as in 1.x", "takes over", "says so in the end"],
)
def test_a_certificate_in_a_ledger_is_no_proof(tmp_path: Path, which: int, why: str) -> None:
    """Everybody has the certificate of a service."""
    known = Service("known").identity.service_cert
    made = imitated(known)[which]
    report = verify(written(made, tmp_path / "ledger"), service_cert_pem=known)
    assert report.error is not None
    assert (why in report.error.reason, report.ok) == (True, False)


def test_until_stops_at_a_signature(ledger: Path, service: Service) -> None:
    signed = [e.seqno for e in service.entries if e.committable]
    report = verify(ledger, until=signed[2] - 1)
    assert report.ok
    assert report.last_valid == TxID(2, signed[2])
    assert report.entries == signed[2]
    flip(ledger, service, signed[2] + 1, 60)
    assert verify(ledger, until=signed[2]).ok
    assert not verify(ledger, until=signed[2] + 1).ok


def test_progress_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = small_service(30)
    directory = written(service, tmp_path / "l")
    monkeypatch.setattr("pyccf.audit.verify.PROGRESS_EVERY", 10)
    told: list[Progress] = []
    report = verify(directory, progress=told.append)
    assert [p.seqno for p in told[:-1]] == list(range(10, service.last + 1, 10))
    assert told[-1] == Progress(service.last, report.bytes, report.bytes)
    assert all(a.bytes_done <= b.bytes_done for a, b in itertools.pairwise(told))


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="no ledger files"):
        verify(tmp_path)
    with pytest.raises(LocalError, match="cannot be listed"):
        verify(tmp_path / "nowhere")


def test_recovery_files_are_read_when_asked_for(tmp_path: Path) -> None:
    service = small_service(4, chunk_size=1_000_000)
    service.sign()
    disk = LedgerDisk(tmp_path / "l")
    disk.append(service.entries)
    disk.commit(service.signed)
    disk.begin_recovery(service.last)
    before = service.last
    service.recover("second")
    service.sign()
    disk.append(service.entries[before:])
    disk.close()
    without = verify(tmp_path / "l")
    assert (without.ok, without.entries) == (True, before)
    assert without.left_out == [f"ledger_{before + 1}.recovery"]
    whole = verify(tmp_path / "l", include_recovery=True)
    assert (whole.ok, whole.entries) == (True, service.last)


def test_the_report_is_a_value(ledger: Path) -> None:
    first: VerifyReport = verify(ledger)
    assert first == verify(ledger)
    changed: Callable[[], object] = lambda: setattr(first, "ok", False)  # noqa: E731
    with pytest.raises(AttributeError):
        changed()
