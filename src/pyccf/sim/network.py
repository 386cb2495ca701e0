"""The network between simulated nodes: delays, loses, repeats, reorders and cuts.

A way leads from one node to another; the two directions are two ways. Each has its own weather and
its own chance, drawn from the seed and the names of its ends, so that what happens on one way does
not change what happens on another. What is sent on a way arrives in order unless the weather
reorders. A way may be cut: what is sent, or still travelling, when it is cut is lost.

Consensus messages may be repeated and reordered; forwarded requests are carried at most once and in
order, as node-to-node connections promise (spec: node-to-node.md §6). Requests over HTTPS (joining)
use the same ways, there and back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random

import msgspec

from pyccf.sim.clock import Clock
from pyccf.types import Millis


class Weather(msgspec.Struct, frozen=True):
    """How a way treats what is sent on it. Chances are from 0 to 1."""

    delay_min: Millis = 1
    delay_max: Millis = 5
    loss: float = 0.0
    repeat: float = 0.0
    reorder: float = 0.0
    """Chance of arriving up to `straggle_max` later, overtaken by others."""
    straggle_max: Millis = 60


FAIR = Weather()
REMEMBERED_MAX = 400
"""How many messages of the past may arrive once more."""


class Way:
    """One direction between two nodes."""

    __slots__ = ("arrives", "chance", "cut", "generation", "weather")

    def __init__(self, chance: Random) -> None:
        self.chance = chance
        self.weather: Weather | None = None
        """Its own weather; None: that of the network."""
        self.cut = False
        self.generation = 0
        """Grows when the way is cut: what was travelling then does not arrive."""
        self.arrives: Millis = 0
        """When the last message sent in order arrives."""


class Network:
    """All ways, by (from, to)."""

    def __init__(self, clock: Clock, seed: str) -> None:
        self._clock = clock
        self._seed = seed
        self._ways: dict[tuple[str, str], Way] = {}
        self.weather = FAIR
        """Of every way that has none of its own."""
        self._past: deque[Callable[[], None]] = deque(maxlen=REMEMBERED_MAX)
        self._chance = Random(f"{seed} replay")
        self.sent = 0
        self.lost = 0
        self.repeated = 0
        self.reordered = 0

    def way(self, source: str, target: str) -> Way:
        """The way from one node to another."""
        way = self._ways.get((source, target))
        if way is None:
            way = Way(Random(f"{self._seed} {source} {target}"))
            self._ways[source, target] = way
        return way

    def cut(self, source: str, target: str) -> None:
        """Nothing gets from `source` to `target` any more."""
        way = self.way(source, target)
        way.cut = True
        way.generation += 1

    def mend(self, source: str, target: str) -> None:
        """The way is open again, in the weather of all."""
        way = self.way(source, target)
        way.cut = False
        way.weather = None

    def mend_cuts(self) -> None:
        """Every way is open, in the weather it has."""
        for way in self._ways.values():
            way.cut = False

    def mend_all(self) -> None:
        """Every way is open, the weather fair."""
        self.weather = FAIR
        for way in self._ways.values():
            way.cut = False
            way.weather = None

    def carry(
        self, source: str, target: str, deliver: Callable[[], None], *, ordered: bool = False
    ) -> bool:
        """Have `deliver` called when what is sent now arrives; False when it never will.

        `ordered`: neither repeated nor reordered.
        """
        way = self.way(source, target)
        self.sent += 1
        if not ordered:
            self._past.append(deliver)
        if way.cut:
            self.lost += 1
            return False
        weather = way.weather or self.weather
        chance = way.chance
        if weather.loss and chance.random() < weather.loss:
            self.lost += 1
            return False
        now = self._clock.now
        when = now + chance.randint(weather.delay_min, weather.delay_max)
        if not ordered and weather.reorder and chance.random() < weather.reorder:
            self.reordered += 1
            when += chance.randint(0, weather.straggle_max)
        else:
            way.arrives = when = max(when, way.arrives)
        self._deliver(way, when, deliver)
        if not ordered and weather.repeat and chance.random() < weather.repeat:
            self.repeated += 1
            self._deliver(way, when + chance.randint(0, weather.straggle_max), deliver)
        return True

    def replay(self, count: int, within: Millis) -> None:
        """Messages of the past, however old, arrive once more where they were sent to."""
        for _ in range(min(count, len(self._past))):
            deliver = self._past[self._chance.randrange(len(self._past))]
            self.repeated += 1
            self._clock.after(self._chance.randint(0, within), deliver)

    def _deliver(self, way: Way, when: Millis, deliver: Callable[[], None]) -> None:
        generation = way.generation

        def arrive() -> None:
            if way.generation == generation:
                deliver()
            else:
                self.lost += 1

        self._clock.at(when, arrive)
