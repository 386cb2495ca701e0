"""`console` and `Math.random` (spec: js-runtime.md §4, §4.1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pyccf.apps.context import about_request
from pyccf.apps.js.host.row import Row, Style

if TYPE_CHECKING:
    from pyccf.apps.js.host.host import Host


SAID_MAX = 1024 * 1024
"""Characters that one call may write to the log: a loop that writes until its time is over would
fill disks, and take longer to be written than to run."""
LINE_COST = 200
"""What a line counts beside its text."""


def _logger(level: str) -> Callable[..., None]:
    def log(host: Host, *texts: object) -> None:
        if host.machine is None or host.said >= SAID_MAX:
            return
        text = " ".join(map(_shown, texts))[: SAID_MAX - host.said]
        about = about_request(host.ctx, host.tx)
        host.machine.log(level, host.tag, text, about)
        host.said += len(text) + LINE_COST
        if host.said >= SAID_MAX:
            told = f"This call wrote {SAID_MAX} characters to the log; it can write no more."
            host.machine.log("fail", host.tag, told, about)

    return log


def _shown(text: object) -> str:
    assert isinstance(text, str)
    return text


def _random(host: Host) -> float:
    """Uniform in [0, 1) with 52 random bits."""
    return (int.from_bytes(host.the_machine().random(8), "little") >> 12) / (1 << 52)


def _line(name: str, level: str) -> Row:
    return Row("console", name, "d*", _logger(level), style=Style.ANY, length=1)


ROWS: tuple[Row, ...] = (
    _line("log", "info"),
    _line("info", "info"),
    _line("warn", "fail"),
    _line("error", "fatal"),
    Row("Math", "random", "", _random, style=Style.ANY, length=0),
)
