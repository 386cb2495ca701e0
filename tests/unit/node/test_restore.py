from __future__ import annotations

import pytest

from pyccf.errors import InvalidLedger, LocalError
from pyccf.ledger import snapshot
from pyccf.ledger.secrets import LedgerSecret, LedgerSecrets
from pyccf.node.node import Node
from pyccf.node.outputs import Begin
from pyccf.node.restore import Restorable, restore_from_snapshot, restore_private
from pyccf.service import tables
from pyccf.types import TxID
from support.joining import Joining
from support.node import Service
from support.snapshots import SECRET, content_of, make_service, record, take


@pytest.fixture(scope="module")
def service() -> Service:
    return make_service()


@pytest.fixture(scope="module")
def data(service: Service) -> bytes:
    return take(service)[1]


@pytest.fixture
def restorable(data: bytes) -> Restorable:
    return Restorable(snapshot.parse(data))


@pytest.fixture
def node(service: Service) -> Node:
    """A node that knows the secrets and has nothing else."""
    made = Joining(service.parts.service.cert_pem).node
    for secret in service.parts.secrets.all():
        made.history.secrets.add(secret)
    return made


def follow(node: Node, service: Service) -> None:
    """Give a node what comes after its snapshot."""
    for seqno in range(node.store.version + 1, len(service.ledger) + 1):
        node.replica.apply(TxID(2, seqno), service.ledger[seqno - 1])


def test_a_restored_node_goes_on_as_if_it_had_been_there(
    service: Service, node: Node, restorable: Restorable
) -> None:
    restore_from_snapshot(node, restorable, service.parts.secrets)
    at = restorable.seqno
    assert (node.store.version, node.store.committed, node.startup_seqno) == (at, at, at)
    assert node.store.view == 2
    record(service, 7)
    record(service, 8)
    follow(node, service)
    assert content_of(node.store) == content_of(service.node.store)
    assert node.history.root() == service.node.history.root()
    assert [o.seqno for o in node.take_outputs() if isinstance(o, Begin)] == [at]
    node.store.rollback(at, 3)
    node.store.apply(at + 1, {SECRET: {b"key 1": b"other"}}, view=3)
    assert node.store.read_committed(SECRET, b"key 1") == b"v" * 8 + b"1"


def test_the_private_part_may_come_later(
    service: Service, node: Node, restorable: Restorable
) -> None:
    restore_from_snapshot(node, restorable, None)
    assert SECRET not in node.store.maps
    restore_private(node, restorable.snapshot, service.parts.secrets)
    with pytest.raises(LocalError, match="it is there already"):
        restore_private(node, restorable.snapshot, service.parts.secrets)
    follow(node, service)
    assert content_of(node.store) == content_of(service.node.store)


def test_hooks_are_told_the_whole_content(
    service: Service, node: Node, restorable: Restorable
) -> None:
    local: list[tuple[int, int]] = []
    committed: list[tuple[int, int]] = []
    node.store.on_write(SECRET, lambda seqno, c: local.append((seqno, len(c))))
    node.store.on_commit(SECRET, lambda seqno, c: committed.append((seqno, len(c))))
    restore_from_snapshot(node, restorable, service.parts.secrets)
    version = node.store.map_version(SECRET)
    assert local == [(version, 6)]
    assert committed == []
    node.store.apply(node.store.version + 1, {"x": {b"k": b"v"}})
    node.store.compact(node.store.version)
    assert committed == [(version, 6)]


def test_the_configuration_comes_from_the_tables(
    service: Service, node: Node, restorable: Restorable
) -> None:
    at = restorable.snapshot
    node.consensus.join(at.view, at.seqno, at.starts)
    restore_from_snapshot(node, restorable, service.parts.secrets)
    assert list(node.consensus.nodes()) == [service.node.node_id]
    assert node.consensus.view_of(at.seqno) == 2
    assert node.consensus.committed == at.seqno
    assert node.store.map_version(tables.NODES_INFO) > 0


def test_a_wrong_secret_changes_nothing(node: Node, restorable: Restorable) -> None:
    wrong = LedgerSecrets([LedgerSecret(1, bytes(32))])
    with pytest.raises(InvalidLedger, match="does not authenticate"):
        restore_from_snapshot(node, restorable, wrong)
    assert node.store.maps == {}
    assert node.startup_seqno == 0
    assert node.history.last == 0


def test_only_an_empty_store_is_restored(
    service: Service, node: Node, restorable: Restorable
) -> None:
    restore_from_snapshot(node, restorable, service.parts.secrets)
    with pytest.raises(LocalError, match="Only an empty store"):
        node.store.restore(5, 2, [])
