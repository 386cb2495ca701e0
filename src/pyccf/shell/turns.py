"""What the connections of one interface do once per turn of the event loop.

Requests that arrive alone are handled once every readable connection was read, one after the other,
and what connections have to say leaves together at the end of the turn. This is the hot path: a
request costs a list append here, not a task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyccf.http.message import Request
    from pyccf.shell.http1 import Dialogue1
    from pyccf.shell.wire import Wire


class Turns:
    """Work gathered until the end of this turn of the loop."""

    __slots__ = ("_before", "_leaving", "_steps")

    def __init__(self, before: Callable[[], None]) -> None:
        """`before` is called before anything is written."""
        self._before = before
        self._leaving: list[Wire] = []
        self._steps: list[tuple[Dialogue1, Request]] = []

    def step_soon(self, dialogue: Dialogue1, request: Request) -> None:
        """Handle a request once every readable connection was read: one after the other.

        Requests handled in a row find code and data of the handlers in the processor's caches;
        between two socket reads they would not.
        """
        if not self._steps:
            asyncio.get_running_loop().call_soon(self._step_all)
        self._steps.append((dialogue, request))

    def _step_all(self) -> None:
        steps, self._steps = self._steps, []
        for dialogue, request in steps:
            try:
                dialogue.step(request)
            except Exception as error:
                dialogue.wire.blunder(error)

    def leaving(self, wire: Wire) -> None:
        """A connection has something to write at the end of this turn of the loop."""
        if not self._leaving:
            asyncio.get_running_loop().call_soon(self._drain)
        self._leaving.append(wire)

    def _drain(self) -> None:
        self._before()
        leaving, self._leaving = self._leaving, []
        for wire in leaving:
            wire.drain()
