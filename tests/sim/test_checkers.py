"""The judges of ledger, store and clients find what is forged; the bugs are in test_bugs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial

import msgspec
import pytest

from pyccf.apps.context import TxStatus
from pyccf.kv.pairs import Pair
from pyccf.merkle.tree import Tree
from pyccf.sim import app, explore
from pyccf.sim.checkers import MerkleWalk, Violated
from pyccf.sim.client import Written
from pyccf.sim.schedule import generate
from pyccf.sim.shell import Shell
from pyccf.types import TxID


@pytest.fixture
def simulation() -> explore.Simulation:
    """Three nodes that agree on a few writes; what comes next is judged."""
    made = explore.Simulation(generate(1, 12, nodes=3, theme="elections"))
    assert made.run().violation is None
    return made


def refuses(rule: str, act: Callable[[], object]) -> None:
    with pytest.raises(Violated) as e:
        act()
    assert e.value.found.rule == rule


def node(simulation: explore.Simulation) -> Shell:
    return simulation.cluster.alive[0]


def test_the_independent_root_is_that_of_the_tree() -> None:
    tree, walk = Tree(), MerkleWalk()
    for n in range(1, 70):
        leaf = hashlib.sha256(b"%d" % n).digest()
        tree.append(leaf)
        walk.push(leaf)
        assert walk.root() == tree.root()


def test_a_forged_row_is_found(simulation: explore.Simulation) -> None:
    shell = node(simulation)
    data = shell.node.store.maps[app.CHAIN].data
    data[app.LAST] = Pair(b"forged" + bytes(10), data[app.LAST].version)
    refuses("KvMatchesLedger", simulation.judges.at_end)


def test_a_lost_row_is_found(simulation: explore.Simulation) -> None:
    del node(simulation).node.store.maps[app.CHAIN].data[app.LAST]
    refuses("KvMatchesLedger", simulation.judges.at_end)


def test_a_committed_entry_that_differs_is_found(simulation: explore.Simulation) -> None:
    disk = node(simulation).disk
    entry = disk.entries[2]
    disk.entries[2] = msgspec.structs.replace(entry, data=entry.data + b"x")
    refuses("AgreedLedger", simulation.judges.at_end)


def test_another_entry_of_the_same_id_is_found(simulation: explore.Simulation) -> None:
    shell = node(simulation)
    last = shell.disk.entries[-1]
    shell.disk.entries[-1:] = [msgspec.structs.replace(last, data=last.data + b"x")]
    shell.disk.unchanged = last.seqno - 1
    refuses("TxIdNamesOneEntry", lambda: simulation.judges.after_step([shell]))


def test_a_ledger_that_ends_elsewhere_is_found(simulation: explore.Simulation) -> None:
    shell = node(simulation)
    shell.disk.entries.append(shell.disk.entries[-1])
    refuses("OneLength", lambda: simulation.judges._check_lengths(shell, shell.disk.last - 1))


def test_a_signature_over_another_root_is_found(simulation: explore.Simulation) -> None:
    judges = simulation.judges
    known = next(k for k in judges.agreed.entries[3:] if k.item.committable)
    again = explore.Simulation(generate(1, 0, nodes=1))
    # A judge that knows nothing before this signature computes another root.
    refuses("MerkleRoot", lambda: again.judges._agree(node(simulation), known))


def test_false_verdicts_are_found(simulation: explore.Simulation) -> None:
    judges, shell = simulation.judges, node(simulation)
    last = judges.agreed.entries[-1].item.view
    true = TxID(last, judges.agreed.last)
    never = TxID(last + 5, 1)
    judges.told(shell, true, TxStatus.COMMITTED.value)
    judges.told(shell, TxID(last, judges.agreed.last + 50), TxStatus.UNKNOWN.value)
    refuses("TxStatusTruthful", lambda: judges.told(shell, true, TxStatus.INVALID.value))
    refuses("TxStatusTruthful", lambda: judges.told(shell, never, TxStatus.COMMITTED.value))


def test_false_answers_are_found(simulation: explore.Simulation) -> None:
    judges, shell = simulation.judges, node(simulation)
    future = TxID(99, judges.agreed.last + 10)

    def answer(txid: TxID, number: int, *, waited: bool = False) -> Callable[[], None]:
        step = judges.steps
        written = Written(number, txid, app.Link(0, 0), waited, step, step)
        return lambda: judges.wrote(shell, written)

    refuses("AcknowledgedNeverLost", answer(future, 1000, waited=True))
    refuses("UniqueTxIds", answer(future, 1001))
    at = next(i for i, maps in enumerate(judges.agreed.maps) if app.CHAIN in maps)
    txid = TxID(judges.agreed.entries[at].item.view, at + 1)
    judges._written.pop(txid, None)
    refuses("SameObservations", answer(txid, 1002))


def test_a_connection_that_goes_back_is_found(simulation: explore.Simulation) -> None:
    judges, shell = simulation.judges, node(simulation)
    session = shell.session()
    assert judges.asks(shell, session) is None
    judges.read(shell, session, None, TxID(3, 9))
    before = judges.asks(shell, session)
    judges.read(shell, session, before, TxID(3, 9))
    refuses("SessionNeverGoesBack", lambda: judges.read(shell, session, before, TxID(3, 8)))


def test_a_write_nobody_asked_for_or_twice_is_found(simulation: explore.Simulation) -> None:
    judges, shell = simulation.judges, node(simulation)
    count = len(judges.agreed.links)
    done = judges.agreed.links[0].number
    for rule, link in (
        ("CommittedChain", app.Link(done, count + 3)),
        ("OnlyObserveSentRequests", app.Link(4711, count)),
        ("AtMostOnceObserved", app.Link(done, count)),
    ):
        refuses(rule, partial(judges._check_link, shell, TxID(9, 999), link.encode()))
