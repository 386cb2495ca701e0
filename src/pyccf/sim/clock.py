"""Virtual time: what is to happen, ordered by when, ties in the order in which it was asked for.

Time is integer milliseconds since the run began and moves only when the next event is taken. Two
runs that ask for the same events in the same order see them in the same order: nothing here
depends on hashing or on the machine.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

from pyccf.types import Millis

Action = Callable[[], None]


class Clock:
    """The calendar of one run."""

    __slots__ = ("_asked", "_events", "now")

    def __init__(self) -> None:
        self.now: Millis = 0
        self._events: list[tuple[Millis, int, Action]] = []
        self._asked = 0

    def at(self, when: Millis, action: Action) -> None:
        """Have `action` happen at `when`, or now if that is past."""
        self._asked += 1
        heappush(self._events, (max(when, self.now), self._asked, action))

    def after(self, delay: Millis, action: Action) -> None:
        """Have `action` happen `delay` milliseconds from now."""
        self.at(self.now + delay, action)

    def step(self) -> bool:
        """Let the next event happen; False when there is none."""
        if not self._events:
            return False
        self.now, _, action = heappop(self._events)
        action()
        return True
