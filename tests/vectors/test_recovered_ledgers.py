"""The original's services come back to life: their ledgers, recovered with their members' keys."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest

from pyccf.audit import secrets
from pyccf.audit.files import ChunkReader, find_chunks
from pyccf.audit.verify import verify
from pyccf.crypto.keys import PrivateKey, RsaPrivateKey
from pyccf.kv import wire
from pyccf.ledger.entry import Entry, parse
from pyccf.ledger.signature import is_signature
from pyccf.shell.disk import LedgerDisk
from support.recovering import Consortium, Recovered
from support.transcripts import Client
from support.vectors import vectors_dir

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

SERVICES = {
    "acme_containing_service": 1,
    "cose_flipflop_service": 1,
    "double_sealed_service": 2,
    "eol_service": 5,
    "expired_service": 2,
    "sgx_service": 4,
}
"""With how often they were recovered once we did it, too."""


def folder(name: str) -> Path:
    return vectors_dir() / "ccf" / "ledgers" / name


@cache
def entries(name: str) -> tuple[bytes, ...]:
    found: list[bytes] = []
    for one in find_chunks(folder(name) / "ledger").chunks:
        with ChunkReader(one) as reader:
            found += reader.entries()
    return tuple(found)


def members(name: str) -> list[tuple[Client, RsaPrivateKey | None]]:
    common = folder(name) / "common"
    found: list[tuple[Client, RsaPrivateKey | None]] = []
    for cert in sorted(common.glob("member*_cert.pem")):
        who = cert.name.removesuffix("_cert.pem")
        key = PrivateKey.from_pem((common / f"{who}_privk.pem").read_text())
        encryption = common / f"{who}_enc_privk.pem"
        rsa = RsaPrivateKey.from_pem(encryption.read_bytes()) if encryption.exists() else None
        found.append((Client(key, cert.read_text()), rsa))
    return found


State = dict[str, dict[bytes, bytes]]


def state_of(name: str) -> State:
    """All maps as the ledger, opened by the auditor, leaves them at its last signature."""
    found = secrets.recover(folder(name) / "ledger", [pem(k) for _, k in members(name) if k])
    maps: State = {}
    pending: list[tuple[str, bytes, bytes | None]] = []
    for data in entries(name):
        entry = parse(data)
        private = found.open(entry.seqno, entry.iv, entry.tag, entry.ciphertext, entry.public)
        for table, rows in {**entry.public_maps(), **wire.decode(private)}.items():
            pending += [(table, key, value) for key, value in rows.items()]
        if is_signature(entry):
            for table, key, value in pending:
                if value is None:
                    maps.get(table, {}).pop(key, None)
                else:
                    maps.setdefault(table, {})[key] = value
            pending.clear()
    return {table: rows for table, rows in maps.items() if rows}


def pem(key: RsaPrivateKey) -> bytes:
    return key.pem().encode()


def contents(service: Recovered, wanted: Iterable[str]) -> State:
    maps = service.node.store.maps
    return {
        name: {key: pair.value for key, pair in maps[name].data.items()}
        for name in wanted
        if name in maps
    }


def revive(name: str) -> Recovered:
    """The service, recovered and opened by its own members."""
    previous = (folder(name) / "common" / "service_cert.pem").read_text()
    service = Recovered(entries(name), previous)
    assert service.state == "PartOfPublicNetwork", service.lines
    service.tick()
    consortium = Consortium(service, members(name))
    recorded = service.call("GET", "/node/service/previous_identity").json
    consortium.accept(recorded["previous_service_identity"], service.identity)
    consortium.restore()
    return service


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_of_the_original_comes_back_to_life(name: str) -> None:
    service = revive(name)
    assert service.state == "PartOfNetwork", service.lines
    network = service.call("GET", "/node/network").json
    assert network["service_status"] == "Open"
    assert network["recovery_count"] == SERVICES[name]
    before = state_of(name)
    private = [table for table in before if not table.startswith("public:")]
    assert contents(service, private) == {table: before[table] for table in private}
    records = [t for t in before if t.startswith("public:") and not t.startswith("public:ccf.")]
    assert contents(service, records) == {table: before[table] for table in records}


@pytest.mark.parametrize("name", SERVICES)
def test_the_ledger_goes_on_and_is_proven_as_a_whole(name: str, tmp_path: Path) -> None:
    service = revive(name)
    tx = service.node.store.tx()
    tx.map("public:new").set(b"key", b"value")
    tx.map("new").set(b"key", b"secret")
    service.node.commit(tx)
    service.tick()
    assert service.node.store.read_committed("new", b"key") == b"secret"
    with_chunks(service, tmp_path)
    report = verify(tmp_path, secrets=service.parts.secrets, service_cert_pem=service.identity)
    assert report.ok, report.error
    assert report.unsigned == 0
    assert len(report.identities) == SERVICES[name] + 1
    validated(tmp_path, report.last_valid.seqno if report.last_valid else 0)
    # Who has the members' keys has all of it, from the first service to this one.
    keys = [pem(key) for _, key in members(name) if key]
    assert secrets.recover(tmp_path, keys).all()[0].version == 1
    old = b"".join(entries(name)[: report.identities[-1].since - 1])
    assert b"".join(service.ledger).startswith(old)


def validated(ledger: Path, last: int) -> None:
    """The original's own tools accept the ledger, from the first service to this one."""
    tools = pytest.importorskip("ccf.ledger")
    validator = tools.LedgerValidator(accept_deprecated_entry_types=True)
    # Class attributes of the original are shared between validators.
    validator.node_certificates = {}
    validator.node_activity_status = {}
    for chunk in tools.Ledger([str(ledger)], committed_only=False):
        for transaction in chunk:
            validator.add_transaction(transaction)
    assert validator.last_verified_txid().seqno == last


def with_chunks(service: Recovered, folder: Path) -> None:
    """Write the ledger as a node does."""
    disk = LedgerDisk(folder)
    found = [parse(data) for data in service.ledger]
    disk.append([Entry(e.view, e.seqno, e.data, is_signature(e), e.leaf) for e in found])
    disk.commit(service.committed)
    disk.close()
