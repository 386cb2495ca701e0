"""Who may connect to one interface, and the count of who did.

A session counts from the moment its connection is accepted, before any handshake. Above the soft
cap it is to be told so and closed, at the hard cap it is closed at once (spec: http-api.md §4.4).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from pyccf.shell.wire import Wire

SESSIONS_SOFT = 1000
SESSIONS_HARD = 1010


class SessionErrors(TypedDict):
    """How many sessions ended with which error."""

    parsing: int
    request_header_too_large: int
    request_payload_too_large: int


class SessionMetrics(TypedDict):
    """Sessions of one interface, as in `/node/metrics`."""

    active: int
    errors: SessionErrors
    hard_cap: int
    peak: int
    soft_cap: int


class Admission:
    """The open connections of one interface, within their caps."""

    def __init__(self, soft: int = SESSIONS_SOFT, hard: int = SESSIONS_HARD) -> None:
        self.soft = soft
        self.hard = hard
        self.connections: dict[Wire, None] = {}
        self.errors: SessionErrors = {
            "parsing": 0,
            "request_header_too_large": 0,
            "request_payload_too_large": 0,
        }
        self._peak = 0
        self._closing = False
        self._all_gone = asyncio.Event()

    def admit(self, wire: Wire, *, ready: bool) -> bool:
        """Count a new connection; False when it must be closed at once.

        `ready` is false when the interface could not serve it, for want of a certificate or of
        descriptors.
        """
        open_now = len(self.connections)
        if self._closing or open_now >= self.hard or not ready:
            return False
        wire.busy = open_now >= self.soft
        self.connections[wire] = None
        self._peak = max(self._peak, open_now + 1)
        return True

    def forget(self, wire: Wire) -> None:
        """A connection is gone."""
        self.connections.pop(wire, None)
        if self._closing and not self.connections:
            self._all_gone.set()

    def count(self, metric: str) -> None:
        """Count an error of a session."""
        self.errors[metric] += 1  # type: ignore[literal-required]

    def metrics(self) -> SessionMetrics:
        """The counts so far."""
        return {
            "active": len(self.connections),
            "errors": self.errors.copy(),
            "hard_cap": self.hard,
            "peak": self._peak,
            "soft_cap": self.soft,
        }

    def stop(self) -> None:
        """Admit nobody any more."""
        self._closing = True
        if not self.connections:
            self._all_gone.set()

    async def all_gone(self) -> None:
        """Wait, after `stop`, until the last connection is gone."""
        await self._all_gone.wait()
