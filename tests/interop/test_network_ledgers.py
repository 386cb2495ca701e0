"""The ledgers of a network that was hurt and rebuilt, judged by PyPI's `ccf` package and by ours.

Three nodes under load: the primary is killed, a new node takes its place, the ledger secrets are
renewed, the next primary hands over and is replaced as well. Every node that ever was leaves a
ledger, the dead one too.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from pyccf.audit.verify import verify
from pyccf.client.types import Action
from pyccf.types import TxID
from support.linear import check
from support.linear_load import Load, Plan
from support.network import Network, Settings

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

SETTINGS = Settings(chunk_size="20KB", election_ms=2000)
WRITES = 20
"""Committed writes between any two changes."""


class Left(msgspec.Struct, frozen=True):
    """What the network left behind."""

    ledgers: dict[str, Path]
    """By node; the first node was killed, the others stopped."""
    killed: str
    committed: TxID
    views: int


def _more(network: Network, load: Load) -> None:
    goal = load.committed_writes() + WRITES
    network.wait(lambda: load.committed_writes() >= goal, "writes to be committed")


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Left]:
    with Network(tmp_path_factory.mktemp("network"), 3, settings=SETTINGS) as network:
        with network.load(Plan(clients=4, pause_s=0.005, waits=0.5, seed=23)) as load:
            _more(network, load)
            killed = network.primary()
            killed.kill()
            _more(network, load)
            network.replace(killed)
            _more(network, load)
            network.govern(Action("trigger_ledger_rekey", None))
            _more(network, load)
            network.replace(network.primary())
            _more(network, load)
        history = load.history()
        assert check(history) == []
        network.stop()
        yield Left(
            {str(node): node.folder / "ledger" for node in network.nodes},
            str(killed),
            history.committed,
            len(history.views),
        )


def test_the_validator_accepts_the_ledger_of_every_node(left: Left) -> None:
    tools = importlib.import_module("ccf.ledger")
    assert left.views >= 3
    for name, ledger in left.ledgers.items():
        validator = tools.LedgerValidator(accept_deprecated_entry_types=False)
        # Class attributes of the original are shared between validators.
        validator.node_certificates = {}
        validator.node_activity_status = {}
        for chunk in tools.Ledger([str(ledger)], committed_only=False):
            for transaction in chunk:
                validator.add_transaction(transaction)
        assert validator.signature_count > 5, name
        if name != left.killed:
            assert validator.last_verified_txid().seqno > 100, name


def test_our_auditor_accepts_the_ledger_of_every_node(left: Left) -> None:
    reached = {}
    for name, ledger in left.ledgers.items():
        report = verify([ledger])
        assert report.ok or name == left.killed, (name, report)
        assert report.last_valid is not None
        reached[name] = report.last_valid.seqno
    # The last two primaries and their backups had all that was ever committed.
    assert sum(seqno >= left.committed.seqno for seqno in reached.values()) >= 2


def test_committed_chunks_are_the_same_on_all_nodes(left: Left) -> None:
    contents: dict[str, dict[bytes, list[str]]] = {}
    for name, ledger in left.ledgers.items():
        for path in ledger.glob("*.committed"):
            contents.setdefault(path.name, {}).setdefault(path.read_bytes(), []).append(name)
    assert len(contents) > 5
    for file, versions in contents.items():
        assert len(versions) == 1, (file, list(versions.values()))
    shared = [file for file, versions in contents.items() if sum(map(len, versions.values())) > 1]
    assert len(shared) > 5
    # The same cuts everywhere: no two committed files overlap without being the same.
    ranges = sorted(
        tuple(map(int, file.removeprefix("ledger_").removesuffix(".committed").split("-")))
        for file in contents
    )
    for (_, last), (first, _) in pairwise(ranges):
        assert first == last + 1
