"""Faults while a service is being recovered: whatever happens, all nodes come to the same state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import msgspec
import pytest

from pyccf.kv.changes import UNIT
from pyccf.node.outputs import Output, Replay
from pyccf.service import tables
from pyccf.sim import explore, fast, identities
from pyccf.sim.cluster import Cluster
from pyccf.sim.drill import Drill
from pyccf.sim.schedule import generate
from pyccf.sim.shell import Shell, Standing
from pyccf.types import Millis

JUMP: Millis = 400
"""As long as an election timeout."""


class Troubled(Drill):
    """A network that comes together, is cut, stands for election, rekeys and recovers, all at once.

    Each node takes its own time to read the private ledger.
    """

    def play(self) -> None:
        self._luck = Random(f"troubled {self.seed}")
        before = explore.Simulation(generate(self.seed, 6, 3))
        assert before.live() is None
        best = max(before.cluster.shells, key=lambda s: s.node.consensus.committed)
        setup = msgspec.structs.replace(
            generate(self.seed, 1).setup,
            wander=0.0,
            decay=0.0,
            election_timeout=JUMP,
            pre_vote=True,
            signature_tx_count=self._luck.choice((2, 8, 20)),
        )
        self.cluster = Cluster(setup, first=len(before.cluster.shells))
        first = self.cluster.recover(
            best.disk.entries[: best.node.consensus.committed],
            before.cluster.service_cert,
            identities.new_service(f"{self.seed} troubled"),
        )
        self._slow(first)
        self._until(self.cluster, lambda: "Service" in first.certificates, "the recovery")
        for _ in range(self._luck.choice((1, 2, 2, 3))):
            self._slow(self.cluster.join(first))
        self._until(self.cluster, lambda: self._together(self.cluster), "the joining of nodes")
        end = self.cluster.clock.now + self._luck.randrange(1500, 4000)
        while self.cluster.clock.now < end:
            self._trouble()
            self._wait(self.cluster, self._luck.randrange(120))
        self.cluster.heal()
        self._calm()

    # --- trouble --------------------------------------------------------------------------------

    def _slow(self, shell: Shell) -> None:
        """What this node reads of its ledger comes late."""
        read, lag = shell._do[Replay], self._luck.choice((0, 5, 50, 300))

        def replay(output: Output) -> None:
            self.cluster.clock.after(self._luck.randint(0, lag), lambda: read(output))

        shell._do[Replay] = replay

    def _trouble(self) -> None:
        cluster = self.cluster
        who = cluster.primary() if self._luck.random() < 0.5 else None
        who = who or self._luck.choice(cluster.running)
        acts: list[tuple[Callable[[], None], int]] = [
            (lambda: self._anywhere("/gov/sim/accept"), 18),
            (self._hand_in, 18),
            (self._write_anywhere, 14),
            (lambda: self._anywhere("/gov/sim/rekey"), 8),
            (lambda: cluster.isolate(who), 12),
            (cluster.network.mend_all, 15),
            (lambda: who.jump(JUMP), 8),
            (lambda: who.pause() if len(cluster.running) > 1 else None, 3),
            (self._resume, 2),
            (self._join_somewhere, 2),
        ]
        self._luck.choices([act for act, _ in acts], [weight for _, weight in acts])[0]()

    def _anywhere(self, path: str, body: bytes = b"") -> None:
        self._send(self._luck.choice(self.cluster.running), path, body, [])

    def _hand_in(self) -> None:
        """As the real endpoint has it, only while the service waits for shares."""
        primary = self.cluster.primary()
        if primary is not None:
            table = primary.node.store.maps[tables.SERVICE_INFO]
            if b"WaitingForRecoveryShares" in table.data[UNIT].value:
                self._anywhere("/gov/sim/share")

    def _write_anywhere(self) -> None:
        self._number += 1
        self._anywhere("/app/write", b"%d" % (10_000 + self._number))

    def _resume(self) -> None:
        for shell in self.cluster.alive:
            if shell.standing is Standing.STOPPED:
                shell.resume()

    def _join_somewhere(self) -> None:
        serving = [s for s in self.cluster.alive if "Service" in s.certificates]
        if len(self.cluster.shells) < 7:
            shell = self.cluster.join(self._luck.choice(serving))
            self._slow(shell)
            self._anywhere("/gov/sim/trust", shell.node.node_id.encode())

    # --- and peace ------------------------------------------------------------------------------

    def _calm(self) -> None:
        cluster = self.cluster
        retry = [cluster.clock.now + 2000]

        def opened() -> bool:
            if all(shell.node.app.open for shell in cluster.alive):
                return True
            primary = cluster.primary()
            if primary is not None and cluster.clock.now >= retry[0]:
                retry[0] = cluster.clock.now + 3000
                self._send(primary, "/gov/sim/accept", b"", [])
                self._hand_in()
                for shell in cluster.alive:
                    self._send(primary, "/gov/sim/trust", shell.node.node_id.encode(), [])
            return False

        self._until(cluster, opened, "the opening of the service on all nodes")
        self._write(cluster)
        self._until(cluster, self._converged, "agreement")
        whole = next(shell for shell in cluster.alive if not shell.disk.base)
        self._check_state(cluster, whole.disk.entries[: whole.node.consensus.committed], [])

    def _converged(self) -> bool:
        engines = [shell.node.consensus for shell in self.cluster.alive]
        ends = {(engine.view, engine.last, engine.committed) for engine in engines}
        return len(ends) == 1 and engines[0].last == engines[0].committed


SEEDS = (0, 1, 2, 3, 155, 187)
"""In 155 a node is added again after a rekey; in 187 it begins with a snapshot of the service that
recovers while who lets it in has public state only."""


@pytest.mark.parametrize("seed", SEEDS)
def test_recoveries_in_trouble(tmp_path: Path, seed: int) -> None:
    with fast.signatures_remembered():
        Troubled(seed, tmp_path).play()
