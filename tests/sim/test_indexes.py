"""Indexes under faults: no crash, election or roll-back shows them what was not committed."""

from __future__ import annotations

from array import array

import pytest

from pyccf.apps.index import SeqnosByKey, SeqnosByKeyBucketed
from pyccf.ledger.entry import parse
from pyccf.node import node as nodes
from pyccf.node.index import Indexer
from pyccf.sim import explore
from pyccf.sim.app import CHAIN, LAST, ROWS
from pyccf.sim.schedule import generate
from pyccf.sim.shell import Shell

SEEDS = range(6)
ACTS = 60


class Indexed(Indexer):
    """The indexes of a simulated node: there from the beginning."""

    def __init__(self, *given: object) -> None:
        super().__init__(*given)  # type: ignore[arg-type]
        for strategy in (SeqnosByKey(ROWS), SeqnosByKeyBucketed(CHAIN, per_bucket=8)):
            self.install(strategy)


def written(shell: Shell, upto: int) -> dict[bytes, list[int]]:
    """Where the private rows were written, by the ledger of a node."""
    found: dict[bytes, list[int]] = {}
    for entry in shell.disk.entries[:upto]:
        maps = shell.node.history.private_maps(parse(entry.data))
        for key, value in maps.get(ROWS, {}).items():
            if value is not None:
                found.setdefault(key, []).append(entry.seqno)
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_indexes_are_what_the_ledger_says(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "Indexer", Indexed)
    outcome, simulation = explore.run(generate(seed, ACTS))
    assert outcome.violation is None
    judged = 0
    for shell in simulation.cluster.running:
        rows = shell.node.indexes.find(f"SeqnosByKey {ROWS}")
        chain = shell.node.indexes.find(f"SeqnosByKey {CHAIN}")
        assert isinstance(rows, SeqnosByKey)
        assert isinstance(chain, SeqnosByKeyBucketed)
        upto = rows.watermark.seqno
        assert upto <= shell.disk.committed
        assert rows._seqnos == {k: array("Q", v) for k, v in written(shell, upto).items()}
        if upto and shell.node.state == "PartOfNetwork":
            judged += upto > shell.disk.committed // 2
            assert chain.watermark == rows.watermark
            assert not upto or LAST in chain._recent
    assert judged
