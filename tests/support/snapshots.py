"""Snapshots for tests: one taken by a service in memory, and what is in one."""

from __future__ import annotations

from hashlib import sha256

from pyccf.codec.text import dump_json
from pyccf.kv.frozen import Frozen
from pyccf.kv.store import Store
from pyccf.kv.tx import Tx
from pyccf.ledger import receipt as receipts
from pyccf.ledger import snapshot
from pyccf.ledger.cut import Cut
from pyccf.ledger.entry import parse
from pyccf.types import TxID
from support.joining import make_primary, write
from support.node import Service

SECRET = "records"
OPEN = "public:records"

Content = dict[str, tuple[int, dict[bytes, tuple[bytes, int]]]]
"""Version and rows of each map, with the version of each."""


def content_of(store: Store) -> Content:
    """Everything in a store."""
    return {
        name: (m.version, {k: (p.value, p.version) for k, p in m.data.items()})
        for name, m in sorted(store.maps.items())
    }


def cut_all(frozen: Frozen, leaf: bytes, starts: list[int], key: bytes) -> Cut:
    """Cut without doing anything else meanwhile."""
    cut = Cut(frozen, leaf, starts, key)
    while not cut.step():
        pass
    return cut


def record(service: Service, number: int, size: int = 8) -> None:
    """Write a public and a private row."""

    def change(tx: Tx) -> None:
        for name in (OPEN, SECRET):
            tx.map(name).set(b"key %d" % number, b"v" * size + b"%d" % number)

    write(service, change)


def make_service(records: int = 5) -> Service:
    """A service with some rows."""
    service = make_primary()
    for i in range(records):
        record(service, i)
    return service


def take(service: Service) -> tuple[str, bytes]:
    """Have a snapshot taken as governance would; its name and content."""
    before = set(service.snapshots)
    service.node.snapshots.request()
    record(service, 1000)
    for _ in range(20):
        service.tick()
        for name in service.snapshots:
            if name not in before:
                return name, service.snapshots[name]
    raise AssertionError("no snapshot was written")


def claim(service: Service, data: bytes, old: bytes, new: bytes) -> tuple[str, bytes]:
    """A snapshot with other content that a user made up, and had the service claim for him."""
    forged = bytearray(data[: snapshot.parse(data).size])
    at = forged.index(old)
    forged[at : at + len(old)] = new
    tx = service.node.store.tx()
    tx.map(SECRET).set(b"claim", b"mine")
    entry = service.node.order(tx, sha256(forged).digest())
    service.tick()
    receipt = receipts.json_receipt(
        parse(entry.data),
        parse(service.ledger[entry.seqno]),
        service.node.history.evidence(TxID(entry.view, entry.seqno)),
    )
    made = bytes(forged) + dump_json(receipt)
    name = snapshot.file_name(snapshot.parse(data).seqno, entry.seqno) + snapshot.COMMITTED
    return name, made
