"""Networks that come together while their service is being recovered."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyccf.node.outputs import Replay
from pyccf.service import tables
from pyccf.sim import explore, fast, identities
from pyccf.sim.cluster import Cluster
from pyccf.sim.drill import Drill
from pyccf.sim.schedule import generate
from pyccf.sim.shell import Shell


class Recovering(Drill):
    """A drill that stops where a test goes on by itself."""

    def begin(self) -> tuple[Cluster, Shell]:
        simulation = explore.Simulation(generate(self.seed, 6, 3))
        assert simulation.live() is None
        best = max(simulation.cluster.shells, key=lambda s: s.node.consensus.committed)
        entries = best.disk.entries[: best.node.consensus.committed]
        number = len(simulation.cluster.shells)
        cluster = Cluster(generate(self.seed, 1).setup, first=number)
        service = identities.new_service(f"{self.seed} again")
        first = cluster.recover(entries, simulation.cluster.service_cert, service)
        self._until(cluster, lambda: "Service" in first.certificates, "the recovery")
        self.entries = entries
        return cluster, first

    def accept(self, cluster: Cluster) -> None:
        self._govern(cluster, "accept")

    def share(self, cluster: Cluster) -> None:
        self._govern(cluster, "share")

    def trust(self, cluster: Cluster, shell: Shell) -> None:
        self._ask(cluster, "/gov/sim/trust", shell.node.node_id.encode())

    def opened(self, cluster: Cluster) -> None:
        self._insist(cluster)
        self._check_state(cluster, self.entries, [])

    def opens(self, cluster: Cluster, shell: Shell) -> None:
        """Wait until a node knows that it is committed that the service is open."""

        def known() -> bool:
            row = shell.node.store.read_committed(tables.SERVICE_INFO, tables.UNIT)
            return row is not None and b'"status":"Open"' in row

        self._until(cluster, known, "the opening")

    def until(self, cluster: Cluster, state: str, shell: Shell) -> None:
        self._until(cluster, lambda: shell.node.state == state, state)


@pytest.mark.parametrize("seed", range(3))
def test_a_node_that_is_trusted_between_acceptance_and_shares(tmp_path: Path, seed: int) -> None:
    with fast.signatures_remembered():
        drill = Recovering(seed, tmp_path)
        cluster, first = drill.begin()
        drill.accept(cluster)
        late = cluster.join(first)
        drill.trust(cluster, late)
        drill.until(cluster, "PartOfPublicNetwork", late)
        drill.share(cluster)
        drill.opened(cluster)
        assert late.node.state == "PartOfNetwork"


@pytest.mark.parametrize("seed", range(3))
def test_a_node_that_is_trusted_after_the_shares(tmp_path: Path, seed: int) -> None:
    """The secrets were handed out before it was there: it asks for them."""
    with fast.signatures_remembered():
        drill = Recovering(seed, tmp_path)
        cluster, first = drill.begin()
        drill.accept(cluster)
        late = cluster.join(first)
        drill.share(cluster)
        drill.trust(cluster, late)
        drill.opened(cluster)
        assert late.node.state == "PartOfNetwork"


def test_a_slow_node_serves_users_only_with_its_private_state(tmp_path: Path) -> None:
    """The service may be open before a node has read the private ledger."""
    with fast.signatures_remembered():
        drill = Recovering(1, tmp_path)
        cluster, first = drill.begin()
        drill.accept(cluster)
        slow = cluster.join(first)
        drill.trust(cluster, slow)
        drill.until(cluster, "PartOfPublicNetwork", slow)
        asked: list[Replay] = []
        read, slow._do[Replay] = slow._do[Replay], asked.append
        drill.share(cluster)
        drill.opens(cluster, first)
        drill.opens(cluster, slow)
        assert slow.node.state == "ReadingPrivateLedger"
        assert not slow.node.app.open
        slow._do[Replay] = read
        read(asked[0])
        drill.opened(cluster)
        assert slow.node.app.open


def test_a_node_that_joins_the_recovered_service_from_its_first_entry(tmp_path: Path) -> None:
    with fast.signatures_remembered():
        drill = Recovering(5, tmp_path)
        cluster, first = drill.begin()
        drill.accept(cluster)
        drill.share(cluster)
        drill.opened(cluster)
        late = cluster.join(first)
        drill.trust(cluster, late)
        drill.opened(cluster)
        assert len(late.parts.secrets.all()) == len(first.parts.secrets.all())
