"""How much of the past is asked for at a time by who goes through all of it."""

from __future__ import annotations


class Batch:
    """Adapts to the room there is: what did not fit is asked for again in smaller parts.

    Without that, who asks for more than the cache holds would lose it each time it is there.
    """

    __slots__ = ("_asked", "_max", "size")

    def __init__(self, size_max: int) -> None:
        self._max = size_max
        self._asked = False
        self.size = size_max
        """So many transactions are to be asked for."""

    def asks(self, held: bool) -> int:
        """Before asking: whether what was asked for before is still held; how much to ask for."""
        if self._asked and not held:
            self.size = max(1, self.size // 2)
        self._asked = True
        return self.size

    def ends(self, *, taken: bool) -> None:
        """What was asked for was taken, or is given up."""
        self._asked = False
        if taken:
            self.size = min(self._max, self.size + self.size // 8 + 1)
