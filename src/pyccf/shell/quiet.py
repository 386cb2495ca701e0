"""A log for what others do: they must not be able to fill the disk by doing it again and again."""

from __future__ import annotations

from collections.abc import Callable

LOG_EVERY_S = 10.0
"""One line for one reason in this time."""
REASONS_MAX = 256
"""Reasons remembered; when there are more, all are forgotten."""


class QuietLog:
    """Lines by reason; those left out are counted in the next line of the same reason."""

    def __init__(self, log: Callable[[str, str], None], clock: Callable[[], float]) -> None:
        self._log = log
        self._clock = clock
        self._said: dict[str, tuple[float, int]] = {}

    def say(self, level: str, reason: str, text: str) -> None:
        """Log a text, unless another one was logged lately for the same reason."""
        now = self._clock()
        last, untold = self._said.get(reason, (now - LOG_EVERY_S, 0))
        if now - last < LOG_EVERY_S:
            self._said[reason] = (last, untold + 1)
            return
        if len(self._said) >= REASONS_MAX:
            self._said.clear()
        self._said[reason] = (now, 0)
        self._log(level, f"{text} ({untold} more like this)" if untold else text)
