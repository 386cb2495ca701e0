"""Moments that chance seldom meets, each made on purpose."""

from __future__ import annotations

from pyccf.sim.cluster import Setup
from pyccf.sim.explore import Simulation
from pyccf.sim.schedule import Act, Schedule


def live(setup: Setup, *acts: Act) -> Simulation:
    """A network to which this happened."""
    simulation = Simulation(Schedule(setup, "moments", acts))
    assert simulation.live() is None
    return simulation


def test_a_primary_that_is_removed_hands_over() -> None:
    """Nobody waits for an election timeout, and what is written meanwhile is answered."""
    simulation = live(
        Setup(seed=1, nodes=3, election_timeout=20_000, fetch=False),
        Act(0, "remove", "p", "p"),
        *(Act(at, "write", "a1", value=1) for at in range(0, 500, 20)),
        Act(1500, "write", "a1", value=1),
        Act(1800, "read", "a1"),
    )
    left, *others = simulation.cluster.shells
    assert left.node.retired
    assert [other.node.consensus.view for other in others] == [3, 3]
    assert any(other.node.can_replicate for other in others)
    clients = simulation.clients
    assert clients.writes == clients.answered + clients.refused
    assert clients.refused < 5
