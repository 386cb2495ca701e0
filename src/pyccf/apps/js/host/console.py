"""`console` and `Math.random` (spec: js-runtime.md §4, §4.1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pyccf.apps.context import about_request
from pyccf.apps.js.host.row import Row, Style

if TYPE_CHECKING:
    from pyccf.apps.js.host.host import Host


def _logger(level: str) -> Callable[..., None]:
    def log(host: Host, *texts: object) -> None:
        if host.machine is not None:
            text = " ".join(map(_shown, texts))
            host.machine.log(level, host.tag, text, about_request(host.ctx, host.tx))

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
