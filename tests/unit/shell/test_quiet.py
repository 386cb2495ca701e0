"""A log that others cannot fill."""

from __future__ import annotations

from pyccf.shell.quiet import LOG_EVERY_S, REASONS_MAX, QuietLog


class Bench:
    def __init__(self) -> None:
        self.now = 5.0
        self.lines: list[tuple[str, str]] = []
        self.log = QuietLog(lambda level, text: self.lines.append((level, text)), lambda: self.now)


def test_one_line_for_one_reason() -> None:
    bench = Bench()
    for number in range(4):
        bench.log.say("fail", "a", f"a{number}")
    bench.log.say("info", "b", "b0")
    assert bench.lines == [("fail", "a0"), ("info", "b0")]
    bench.now += LOG_EVERY_S
    bench.log.say("fail", "a", "a4")
    assert bench.lines[2:] == [("fail", "a4 (3 more like this)")]
    bench.now += LOG_EVERY_S
    bench.log.say("fail", "a", "a5")
    assert bench.lines[3:] == [("fail", "a5")]


def test_reasons_are_not_remembered_without_bound() -> None:
    bench = Bench()
    for number in range(10 * REASONS_MAX):
        bench.log.say("fail", f"reason {number}", "x")
    assert len(bench.log._said) <= REASONS_MAX
    assert len(bench.lines) == 10 * REASONS_MAX
