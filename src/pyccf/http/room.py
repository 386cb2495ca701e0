"""How much memory all client connections of a node hold together.

A connection holds requests that are not complete, or not handled yet, and answers that wait for the
client or for others before them. For itself it is bounded by the limits of its interface; here all
are bounded together: each has a reserve that nobody takes from it, and what it holds beyond comes
out of one pot. So clients that hold all they can leave the others what usual requests need.
Pieces of streamed answers over HTTP/1.1 do not count: they are bounded for each connection.
"""

from __future__ import annotations

from pyccf.http.limits import ANSWERS_WAITING_MAX, RESERVE_SIZE, SHARED_SIZE_MAX


class Room:
    """The pot that all connections of a node share."""

    __slots__ = ("left",)

    def __init__(self, size: int = SHARED_SIZE_MAX) -> None:
        self.left = size
        """Bytes that are still to be had; fewer than none when answers took more than there was."""

    @property
    def scarce(self) -> bool:
        """Whether nobody gets more than the reserve."""
        return self.left <= 0


class Holding:
    """What one connection holds."""

    __slots__ = ("_room", "size")

    def __init__(self, room: Room) -> None:
        self._room = room
        self.size = 0
        """Bytes held."""

    def fits(self, size: int) -> bool:
        """Whether so many bytes more can be held."""
        return self._beyond(size) <= max(0, self._room.left)

    def add(self, size: int) -> None:
        """Hold more (or less, below zero), whether it fits or not: it is there already."""
        self._room.left -= self._beyond(size)
        self.size += size
        assert self.size >= 0, "what is given back was held"

    def crowded(self, waiting: int) -> bool:
        """Whether so many bytes of answers that wait keep others from being made."""
        return waiting >= (RESERVE_SIZE if self._room.scarce else ANSWERS_WAITING_MAX)

    def clear(self) -> None:
        """Hold nothing."""
        self.add(-self.size)

    def _beyond(self, size: int) -> int:
        """How much of a change concerns the pot."""
        return max(0, self.size + size - RESERVE_SIZE) - max(0, self.size - RESERVE_SIZE)
