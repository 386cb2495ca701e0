"""When snapshots are taken, and what becomes of them."""

from __future__ import annotations

import json
from itertools import pairwise

from pyccf.kv.changes import UNIT
from pyccf.kv.tx import Tx
from pyccf.ledger import snapshot
from pyccf.ledger.entry import FORCE_CHUNK_AFTER, parse
from pyccf.node.node import Limits
from pyccf.node.snapshots import PENDING_MAX
from pyccf.service import recovery
from pyccf.service.operations import Flag
from support.joining import make_primary, write
from support.node import Service
from support.snapshots import content_of, record, take


def fast(tx_count: int = 10_000, interval_ms: int | None = None) -> Service:
    return make_primary(limits=Limits(snapshot_tx_count=tx_count, snapshot_interval_ms=interval_ms))


def settle(service: Service, ticks: int = 10) -> None:
    for _ in range(ticks):
        service.tick()


def seqnos(service: Service) -> list[tuple[int, int]]:
    found = [snapshot.parse_name(name) for name in service.snapshots]
    return [(n.seqno, n.evidence) for n in found if n is not None]


def signatures(service: Service) -> list[int]:
    entries = [parse(raw) for raw in service.ledger]
    return [e.seqno for e in entries if snapshot.signature.SIGNATURES in e.public_maps()]


def test_by_count() -> None:
    service = fast(tx_count=20)
    for i in range(50):
        record(service, i)
    settle(service)
    found = seqnos(service)
    assert len(found) >= 4
    assert all(b[0] - a[0] >= 20 for a, b in pairwise(found))
    for seqno, evidence in found:
        assert seqno in signatures(service)
        assert parse(service.ledger[seqno - 1]).flags & FORCE_CHUNK_AFTER
        entry = parse(service.ledger[evidence - 1])
        raw = entry.public_maps()[snapshot.SNAPSHOT_EVIDENCE][UNIT]
        assert raw is not None
        data = service.snapshots[snapshot.file_name(seqno, evidence) + snapshot.COMMITTED]
        read = snapshot.parse(data)
        assert json.loads(raw) == {"hash": read.digest.hex(), "version": seqno}
        assert entry.claims == read.digest
        snapshot.verify(read, service.parts.service.cert_pem)


def test_a_snapshot_alone_causes_no_other() -> None:
    service = fast(tx_count=1)
    record(service, 1)
    settle(service, 30)
    taken = len(service.snapshots)
    length = len(service.ledger)
    settle(service, 30)
    assert len(service.snapshots) == taken
    assert len(service.ledger) == length


def test_by_time() -> None:
    service = fast(interval_ms=30_000)
    record(service, 1)
    settle(service, 20)
    assert service.snapshots == {}
    settle(service, 20)
    record(service, 2)
    record(service, 3)
    settle(service)
    assert len(service.snapshots) == 1
    settle(service, 60)
    assert len(service.snapshots) == 1, "nothing happened since"


def test_at_governances_demand() -> None:
    service = fast()
    assert service.snapshots == {}
    node = service.node

    def change(tx: Tx) -> None:
        tx.map("x").set(b"k", b"v")
        node.flags.raise_(tx, Flag.SNAPSHOT)

    write(service, change)
    settle(service)
    ((seqno, _),) = seqnos(service)
    assert parse(service.ledger[seqno - 1]).flags & FORCE_CHUNK_AFTER


def test_it_holds_the_state_at_its_seqno_not_a_later_one() -> None:
    service = fast()
    record(service, 1)
    service.node.snapshots.request()
    record(service, 2)
    at = service.node.store.committed
    expected = content_of(service.node.store)
    for i in range(3, 8):
        record(service, i)
    settle(service)
    ((seqno, _),) = seqnos(service)
    assert seqno == at
    read = snapshot.parse(next(iter(service.snapshots.values())))
    maps = read.public_maps() + read.private_maps(service.parts.secrets)
    found = {
        m.name: (m.version, {k: (p.value, p.version) for k, p in m.pairs.items()}) for m in maps
    }
    assert found == expected


def test_nothing_is_taken_of_what_is_not_committed() -> None:
    service = fast()
    service.disk = False
    service.node.snapshots.request()
    record(service, 1)
    settle(service)
    assert service.snapshots == {}
    service.persist()
    settle(service)
    assert len(service.snapshots) == 1


def test_evidence_that_was_undone_is_forgotten() -> None:
    service = fast()
    service.node.snapshots.request()
    record(service, 1)
    before = len(service.ledger)
    service.disk = False
    settle(service, 3)
    assert len(service.ledger) > before, "evidence was ordered"
    service.node.consensus._executor.rollback(before, 2)  # type: ignore[attr-defined]
    service.pump()
    assert service.node.snapshots._evidence == []
    assert service.snapshots == {}


def test_one_that_no_longer_leads_drops_what_it_cut() -> None:
    service = fast()
    service.node.snapshots.request()
    record(service, 1)
    service.node._ordering_from = 1 << 40
    assert not service.node.can_order
    settle(service, 5)
    assert service.snapshots == {}
    assert any("is dropped: this node does not lead" in log.text for log in service.logs)
    assert service.node.store._frozen == []


def test_one_that_a_rekey_overtakes_is_taken_again() -> None:
    """Shares in a snapshot open its secret: they must open that of its evidence."""
    service = fast()
    service.node.snapshots.request()
    tx = service.node.store.tx()
    tx.map("x").set(b"k", b"v")
    service.node.commit(tx)
    service.node.sign()
    service.pump()
    secret = recovery.new_secret(service.node.store.version + 1, service.parts.entropy)
    service.parts.secrets.add(secret)
    record(service, 1)
    settle(service)
    record(service, 2)
    settle(service)
    assert any("is dropped: a rekey came meanwhile" in log.text for log in service.logs)
    ((seqno, evidence),) = seqnos(service)
    assert secret.version <= seqno < evidence


def test_too_many_at_once_are_not_taken() -> None:
    service = fast()
    for i in range(PENDING_MAX + 2):
        service.node.snapshots.request()
        write(service, lambda tx, i=i: tx.map("x").set(b"k", b"%d" % i), sign=False)  # type: ignore[misc]
        service.node.sign()
        service.pump()
    assert any("No snapshot is taken at" in log.text for log in service.logs)
    settle(service)
    assert len(service.snapshots) == PENDING_MAX


def test_a_failure_to_write_is_told_and_no_more() -> None:
    service = fast()
    service.node.snapshot_saved("snapshot_1_2", "no space left")
    service.pump()
    assert service.logs[-1].level == "fail"
    assert service.logs[-1].text == "Snapshot snapshot_1_2 could not be written: no space left"


def test_disabled_while_recovering() -> None:
    service = fast()
    service.node.snapshots.enabled = False
    service.node.snapshots.request()
    record(service, 1)
    settle(service)
    assert service.snapshots == {}
    service.node.snapshots.enabled = True
    take(service)


def test_a_snapshot_by_time_alone_causes_no_other() -> None:
    service = fast(interval_ms=1000)
    record(service, 1)
    settle(service, 30)
    taken = len(service.snapshots)
    length = len(service.ledger)
    assert taken
    settle(service, 30)
    assert len(service.snapshots) == taken
    assert len(service.ledger) == length
