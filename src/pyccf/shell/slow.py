"""Says when the disk takes longer than an operator cares for (`slow_io_logging_threshold`)."""

from __future__ import annotations

from collections.abc import Callable

from pyccf.shell.quiet import QuietLog


class SlowDisk:
    """Times operations; of a disk that is always slow, a line now and then."""

    def __init__(
        self,
        threshold_us: int,
        log: Callable[[str, str], None],
        clock: Callable[[], float],
    ) -> None:
        """`log` takes level and text, `clock` gives seconds."""
        self._threshold_s = threshold_us / 1e6
        self._log = QuietLog(log, clock)
        self._clock = clock

    def begin(self) -> float:
        """An operation begins; what is to be given to `end`."""
        return self._clock()

    def end(self, began: float, what: str) -> None:
        """It ended. Operations with the same words are told of together."""
        took = self._clock() - began
        if took > self._threshold_s:
            self._log.say("info", what, f"{what} took {took * 1000:.0f}ms")
