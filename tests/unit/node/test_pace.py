"""How often peers are sent what is new, and how often a node wants to be told the time."""

from __future__ import annotations

import pytest

from pyccf.apps.index import SeqnosByKey
from pyccf.errors import Unavailable
from pyccf.node.node import FLUSH_MS, Node
from pyccf.node.states import PENDING
from support.told import Network, ToldEngine


class Counting(ToldEngine):
    """Counts how often peers would have been sent what is new."""

    flushes = 0

    def flush(self) -> None:
        self.flushes += 1


@pytest.fixture
def network() -> Network:
    return Network(backups=1)


def primary_and_engine(network: Network) -> tuple[Node, Counting]:
    node = network.primary.node
    engine = Counting(node.node_id, node.node_id)
    engine.__dict__.update(network.leader.__dict__)
    node.consensus = engine  # type: ignore[assignment]
    return node, engine


def ticks(node: Node, count: int, step: int) -> None:
    for _ in range(count):
        node.tick(node.now + step, node.unix)
        while node.has_outputs:
            node.take_outputs()


def test_peers_are_sent_what_is_new_every_now_and_then(network: Network) -> None:
    node, engine = primary_and_engine(network)
    ticks(node, 1, FLUSH_MS)
    engine.flushes = 0
    ticks(node, 10 * FLUSH_MS, 1)
    assert engine.flushes == 10
    ticks(node, 3, 4 * FLUSH_MS)
    assert engine.flushes == 13


def test_a_signature_is_sent_at_once_and_the_wait_begins_anew(network: Network) -> None:
    node, engine = primary_and_engine(network)
    ticks(node, 1, FLUSH_MS)
    ticks(node, 1, FLUSH_MS - 1)
    engine.flushes = 0
    node.sign()
    node.take_outputs()
    assert engine.flushes == 1
    ticks(node, 1, FLUSH_MS - 1)
    assert engine.flushes == 1
    ticks(node, 1, 1)
    assert engine.flushes == 2


def test_a_backup_that_nobody_asks_anything_is_at_ease(network: Network) -> None:
    assert network.backups[0].node.at_ease
    assert not network.primary.node.at_ease


def test_without_a_primary_or_before_it_takes_part_no_node_is_at_ease(network: Network) -> None:
    backup = network.backups[0]
    backup.engine.primary = None
    assert not backup.node.at_ease
    backup.engine.primary = network.primary.node.node_id
    backup.node.state = PENDING
    assert not backup.node.at_ease


def test_a_node_that_reads_its_history_is_not_at_ease(network: Network) -> None:
    backup = network.backups[0]
    told: list[object] = []
    backup.node.historical.when([1], told.append)
    assert not backup.node.at_ease
    backup.pump()
    ticks(backup.node, 1, 60_000)
    assert len(told) == 1
    assert told[0] is None or isinstance(told[0], Unavailable)
    assert backup.node.at_ease


def test_a_node_with_an_index_is_not_at_ease(network: Network) -> None:
    node = network.backups[0].node
    node.indexes.install(SeqnosByKey("public:records"))
    assert not node.at_ease
