"""Bit rot: whatever single bit, cut or swap a disk makes of what a node wrote is noticed.

`make test` takes samples. `make bitrot` flips every byte of a small ledger and of a small snapshot,
damages larger ones 10,000 and 2,000 times and changes 100,000 bits of receipts; what came of it
stands in docs/results.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from pyccf.audit.verify import verify
from pyccf.codec.text import dump_json, load_json
from pyccf.crypto import certs
from pyccf.crypto.entropy import SeededEntropy
from pyccf.crypto.keys import PublicKey
from pyccf.errors import InvalidLedger, InvalidReceipt
from pyccf.ledger import chunk
from pyccf.ledger import receipt as receipts
from pyccf.ledger.entry import parse
from pyccf.ledger.snapshot import parse_name
from pyccf.node.restore import judge
from pyccf.shell.disk import LedgerDisk
from support.ledgers import Service, small_service
from support.snapshots import make_service, take

FULL = bool(os.environ.get("PYCCF_ROT"))
EVERY = 1 if FULL else 41
"""Of so many bytes of the small ledger, one is flipped."""
DAMAGES = 10_000 if FULL else 60
RECEIPT_BITS = 100_000 if FULL else 4_000

BLIND = (range(8, 24), range(85, 117))
"""Of the last signature, tag and evidence digest: nothing that is signed covers them, only the
ledger secret does."""


def stored(service: Service, folder: Path) -> Path:
    disk = LedgerDisk(folder)
    disk.append(service.entries)
    disk.commit(service.signed)
    disk.close()
    return folder


class Place:
    """What a byte of a ledger file belongs to."""

    def __init__(self, path: Path, service: Service, offset: int) -> None:
        name = chunk.parse_name(path.name)
        assert name is not None
        self.seqno, self.within, self.in_entry = name.first, offset, False
        at = 8
        for entry in service.entries[name.first - 1 : name.last]:
            if at <= offset < at + len(entry.data):
                self.seqno, self.within, self.in_entry = entry.seqno, offset - at, True
                return
            at += len(entry.data)
        if offset >= at:
            self.seqno = name.first + (offset - at) // 4

    def is_end_flag(self, service: Service) -> bool:
        """Whether it holds the flag that the last entry ends its chunk, which nobody can judge
        before the next entry is there: a crash may come between it and the chunk's table."""
        return self.in_entry and self.seqno == service.last and self.within == 1

    def is_blind(self, service: Service) -> bool:
        """Whether only the ledger secret can tell."""
        return (
            self.in_entry
            and self.seqno == service.signed
            and any(self.within in blind for blind in BLIND)
        )


def test_every_byte_of_a_small_ledger(tmp_path: Path) -> None:
    service = small_service(8)
    folder = stored(service, tmp_path / "ledger")
    chance = random.Random("small ledger")
    flips = 0
    for path in sorted(folder.iterdir()):
        raw = path.read_bytes()
        for offset in range(chance.randrange(EVERY), len(raw), EVERY):
            changed = bytearray(raw)
            place = Place(path, service, offset)
            changed[offset] ^= 1 << chance.randrange(place.is_end_flag(service), 8)
            path.write_bytes(changed)
            report = verify(folder)
            if place.is_blind(service):
                assert report.ok
                report = verify(folder, secrets=service.secrets)
            assert report.error is not None, (path.name, offset)
            named = (report.error.seqno, report.error.file)
            assert named == (place.seqno, path.name), offset
            flips += 1
        path.write_bytes(raw)
    print(f"\n{flips} bytes flipped one at a time, all named by file and seqno")
    assert verify(folder).ok


def judged(data: bytes, name: str, service_cert: str) -> None:
    """As a node that is to start from it does. Raises InvalidLedger, InvalidReceipt."""
    parsed = parse_name(name)
    assert parsed is not None
    judge(data, parsed, service_cert)


def test_every_byte_of_a_small_snapshot() -> None:
    service = make_service(3)
    name, raw = take(service)
    cert = service.parts.service.cert_pem
    chance = random.Random("small snapshot")
    flips = 0
    for offset in range(chance.randrange(EVERY), len(raw), EVERY):
        changed = bytearray(raw)
        changed[offset] ^= 1 << chance.randrange(8)
        with pytest.raises((InvalidLedger, InvalidReceipt)):
            judged(bytes(changed), name, cert)
        flips += 1
    print(f"\n{flips} bytes of a snapshot flipped one at a time, all noticed")
    judged(raw, name, cert)


def test_random_damage_to_a_snapshot() -> None:
    service = make_service(300)
    name, raw = take(service)
    cert = service.parts.service.cert_pem
    chance = random.Random("larger snapshot")
    for _ in range(DAMAGES // 5):
        changed = bytearray(raw)
        a, b, c = sorted(chance.randrange(len(raw)) for _ in range(3))
        match chance.randrange(4):
            case 0:
                changed[a] ^= 1 << chance.randrange(8)
            case 1:
                del changed[a:b]
            case 2:
                del changed[a:]
            case _:
                changed[a:c] = changed[b:c] + changed[a:b]
        if changed == raw:
            continue
        with pytest.raises((InvalidLedger, InvalidReceipt)):
            judged(bytes(changed), name, cert)
    print(f"\n{DAMAGES // 5} damages to a snapshot of {len(raw)} bytes, all noticed")


def larger() -> Service:
    made = small_service(300, every=25, chunk_size=20_000)
    made.sign()
    made.commit()
    return made


def test_random_damage(tmp_path: Path) -> None:
    """Flips are named; cuts and swaps are never taken for the ledger they were made of."""
    service = larger()
    folder = stored(service, tmp_path / "ledger")
    files = sorted(folder.iterdir())
    assert len(files) > 3
    last = max(files, key=first_of)
    chance = random.Random("larger ledger")
    counts = {"flip": 0, "cut": 0, "swap": 0}
    for _ in range(DAMAGES):
        kind = chance.choice(list(counts))
        before = {path: path.read_bytes() for path in files}
        path = chance.choice(files)
        raw = before[path]
        if kind == "flip":
            offset = chance.randrange(len(raw))
            changed = bytearray(raw)
            place = Place(path, service, offset)
            changed[offset] ^= 1 << chance.randrange(place.is_end_flag(service), 8)
            path.write_bytes(changed)
            secrets = service.secrets if place.is_blind(service) else None
            error = verify(folder, secrets=secrets).error
            assert error is not None, (path.name, offset)
            assert (error.seqno, error.file) == (place.seqno, path.name), (path.name, offset)
        elif kind == "cut":
            start = chance.randrange(len(raw))
            end = chance.choice([len(raw), min(len(raw), start + 1 + chance.randrange(400))])
            path.write_bytes(raw[:start] + raw[end:])
            check_noticed(folder, service, path, path == last)
        else:
            swap(before, path, chance)
            check_noticed(folder, service, path, path == last)
        counts[kind] += 1
        for path, data in before.items():
            path.write_bytes(data)
    print(f"\n{counts}: all detected")
    assert verify(folder).ok


def check_noticed(folder: Path, service: Service, path: Path, is_last: bool) -> None:
    """The damage is an error; or the last, open file ends early, as a crash leaves it; or it is
    where only the ledger secret sees it."""
    report = verify(folder)
    if report.error is not None:
        return
    assert is_last, path.name
    if report.entries == len(service.entries):
        assert verify(folder, secrets=service.secrets).error is not None, path.name


def first_of(path: Path) -> int:
    name = chunk.parse_name(path.name)
    assert name is not None
    return name.first


def swap(before: dict[Path, bytes], path: Path, chance: random.Random) -> None:
    """Exchange two blocks of a file, or two files."""
    raw = before[path]
    other = chance.choice([p for p in before if p != path])
    if chance.random() < 0.3:
        path.write_bytes(before[other])
        other.write_bytes(raw)
        return
    while True:
        size = 1 + chance.randrange(min(512, len(raw) // 3))
        a, b = sorted(chance.randrange(len(raw) - size) for _ in range(2))
        if b >= a + size and raw[a : a + size] != raw[b : b + size]:
            break
    path.write_bytes(
        raw[:a] + raw[b : b + size] + raw[a + size : b] + raw[a : a + size] + raw[b + size :]
    )


# --- receipts ---------------------------------------------------------------------------------


def check_json(data: bytes, service_cert: str) -> None:
    value = load_json(data)
    if not isinstance(value, dict):
        raise InvalidReceipt("A receipt is an object.")
    receipts.verify_json_receipt(value, service_cert)


def all_receipts() -> Iterator[tuple[str, bytes, Service]]:
    """JSON and COSE receipts of entries, and one of a signature, from several services."""
    for number in range(50):
        service = small_service(9 + number % 7, every=3 + number % 5)
        service.sign()
        parsed = [parse(entry.data) for entry in service.entries]
        signatures = [e for e in parsed if service.entries[e.seqno - 1].committable]
        for entry in parsed[number % 4 :: 4]:
            covering = next(s for s in signatures if s.seqno >= entry.seqno)
            evidence = service.secrets.cipher_at(entry.seqno).evidence(entry.view, entry.seqno)
            receipt = receipts.json_receipt(entry, covering, evidence)
            yield "json", dump_json(receipt), service
            if entry is not covering:
                yield "cose", receipts.cose_receipt(entry, covering, evidence), service


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
@pytest.mark.filterwarnings("ignore:The parsed certificate contains a NULL")
def test_single_bits_of_receipts() -> None:
    chance = random.Random("receipts")
    tried = 0
    made = list(all_receipts())
    per_receipt = RECEIPT_BITS // len(made) + 1
    for kind, data, service in made:
        certificate = service.identity.service_cert
        key = PublicKey.from_certificate(certificate)
        check = (
            partial(check_json, service_cert=certificate)
            if kind == "json"
            else partial(receipts.verify_cose_receipt, service_key=key)
        )
        check(data)
        bits = range(len(data) * 8)
        for bit in chance.sample(bits, min(per_receipt, len(bits))):
            changed = bytearray(data)
            changed[bit >> 3] ^= 1 << (bit & 7)
            with pytest.raises((InvalidReceipt, ValueError)):
                check(bytes(changed))
            tried += 1
    print(f"\n{tried} single bits of {len(made)} receipts changed, none was accepted")
    assert tried >= RECEIPT_BITS


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_every_bit_of_a_receipt_of_an_earlier_service() -> None:
    """With an endorsement of the old service identity by the new one."""
    service = small_service(6)
    service.sign()
    parsed = [parse(entry.data) for entry in service.entries]
    entry = parsed[4]
    covering = next(e for e in parsed[4:] if service.entries[e.seqno - 1].committable)
    old = service.identity
    service.recover("after the fire")
    new = service.identity
    endorsed = certs.endorse_service(
        old.service_cert, new.service_key, new.service_cert, SeededEntropy("endorsement")
    )
    evidence = service.secrets.cipher_at(entry.seqno).evidence(entry.view, entry.seqno)
    data = dump_json(receipts.json_receipt(entry, covering, evidence, [endorsed]))
    check_json(data, new.service_cert)
    for bit in range(0, len(data) * 8, 1 if FULL else 11):
        changed = bytearray(data)
        changed[bit >> 3] ^= 1 << (bit & 7)
        with pytest.raises((InvalidReceipt, ValueError)):
            check_json(bytes(changed), new.service_cert)
