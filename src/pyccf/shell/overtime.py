"""Ends an application's Python code that does not come to an end by itself.

A timer of the process looks now and then at what is running. Where that is the same call of an
application's code for longer than it may take, `TookTooLong` is raised in it, and again a little
later as long as it goes on. It is raised in the application's own code and in what that calls, and
where values are made for it, by patterns and code of its types; never while another function of
this package runs: what that leaves behind is whole. Requests pay nothing.

Code that Python does not come out of (`sum` over a huge range, extensions in C) ends when it does;
what catches everything and begins anew may take some more blows.
"""

from __future__ import annotations

import signal
import time
from types import FrameType
from typing import Final

from pyccf.apps.handlers import TookTooLong, fill, run, typed_query

TICK_S: Final = 0.25
AGAIN_S: Final = 0.01
"""How soon a call that is over its time is looked at again."""

_DOOR: Final = run.__code__
"""The function that calls an application's code."""
_NOTHING_HALF_DONE: Final = (fill.__code__, typed_query.__code__)
"""Functions of this package that may be left anywhere: what they make is not used then."""
_TABLES: Final = "pyccf.apps.typed"
"""The module that reads values of an application's types; each change there is one call."""
_ALONG: Final = frozenset(
    {
        "pyccf.apps.handlers",
        "pyccf.apps.python",
        _TABLES,
        "pyccf.apps.auth.custom",
        "pyccf.apps.index.strategy",
    }
)
"""Modules of this package between a door and the application that keep nothing half done."""


class Overtime:
    """The timer. There can be one in a process, and it belongs to the main thread."""

    def __init__(self, limit_ms: int) -> None:
        self._limit_ms = limit_ms
        self._call: FrameType | None = None
        """The call that was seen last."""
        self._since_s = 0.0
        """When it was seen first."""
        self._over = False
        """It is over its time."""

    def start(self) -> None:
        """Begin to look."""
        signal.signal(signal.SIGALRM, self._look)
        self._every(TICK_S)

    def stop(self) -> None:
        """Look no more."""
        self._every(0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        self._call = None

    def _every(self, seconds: float) -> None:
        signal.setitimer(signal.ITIMER_REAL, seconds, seconds)

    def _look(self, number: int, frame: FrameType | None) -> None:
        call, ours = _running(frame)
        now_s = time.monotonic()
        if call is not self._call:
            if self._over:
                self._every(TICK_S)
            self._call, self._since_s, self._over = call, now_s, False
        if call is not None and now_s - self._since_s >= self._limit_ms / 1000:
            if not self._over:
                self._over = True
                self._every(AGAIN_S)
            if not ours:
                raise TookTooLong(f"It took longer than {self._limit_ms} ms")


def _running(frame: FrameType | None) -> tuple[FrameType | None, bool]:
    """Which call of an application's code runs, and whether it is within a function of ours."""
    innermost, nearest, call, child = frame, None, None, None
    while frame is not None:
        if nearest is None and _module(frame).startswith("pyccf."):
            nearest = frame
        if frame.f_code is _DOOR:
            call = child
        child, frame = frame, frame.f_back
    if nearest is None or nearest.f_code in _NOTHING_HALF_DONE or _module(nearest) == _TABLES:
        return call, False
    return call, nearest is innermost or _module(nearest) not in _ALONG


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__"))
