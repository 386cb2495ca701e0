"""What is said of a slow disk."""

from __future__ import annotations

from pyccf.shell.quiet import LOG_EVERY_S
from pyccf.shell.slow import SlowDisk


def test_only_what_takes_longer_is_told_and_not_each_time() -> None:
    now = 100.0
    said: list[str] = []
    slow = SlowDisk(10_000, lambda level, text: said.append(f"{level}: {text}"), lambda: now)

    def takes(seconds: float) -> None:
        nonlocal now
        began = slow.begin()
        now += seconds
        slow.end(began, "Writing")

    takes(0.009)
    assert said == []
    takes(0.25)
    takes(0.011)
    assert said == ["info: Writing took 250ms"]
    now += LOG_EVERY_S
    takes(0.02)
    assert said[1:] == ["info: Writing took 20ms (1 more like this)"]
