"""Stack traces in terms of what a person wrote, by the source maps that modules carry.

A module may end in `//# sourceMappingURL=data:application/json;base64,...`, as esbuild, tsc and
rollup write it; the original takes it for the comment it is. A frame in such a module is told by
the source's name and line, every other frame as the engine told it. A map that cannot be read
changes nothing. Maps are decoded when a trace first needs them and kept, a few, by the module's
text; nothing is spent on requests that go well.
"""

from __future__ import annotations

import binascii
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from pyccf.codec.sourcemap import SourceMap, parse_map, tidy_name

if TYPE_CHECKING:
    from pyccf.apps.js.engine import JsError

MAPS_MAX: Final = 16
"""Decoded maps that are kept."""
MAP_BYTES_MAX: Final = 16 << 20
"""Size of a map in base64; larger ones are passed over."""

TRACE_MAX: Final = 1 << 16
"""Characters of a trace that is looked through. The engine tells 64 frames; a script may have set
any text, and more of it than could be looked through in the time that it has itself."""

MARK: Final = b"//# sourceMappingURL="
_DATA: Final = re.compile(
    rb"data:application/json(?:;charset=[\w-]+)?;base64,([A-Za-z0-9+/=]+)\s*", re.IGNORECASE
)
_FRAME: Final = re.compile(r"(\s+at (?:.*\()?)([^\s()]+?):(\d+)(?::(\d+))?(\)?)")
_COLUMN: Final = re.compile(r":(\d+):\d+(\)?)$", re.MULTILINE)
ONE_LINE: Final = "\x02"
"""The engine's mark behind a frame of a function on one line; the original tells no line of it."""
_ONE_LINE: Final = re.compile(rf":\d+:\d+(\)?){ONE_LINE}$", re.MULTILINE)

Load = Callable[[str], bytes | None]
"""The text of a module by its name in a trace."""


def inline_map(source: bytes) -> bytes | None:
    """The JSON of the map a module carries; None if it has none that can be read."""
    at = source.rfind(MARK)
    if at < 0 or len(source) - at > MAP_BYTES_MAX:
        return None
    match = _DATA.fullmatch(source, at + len(MARK))
    if match is None:
        return None
    try:
        return binascii.a2b_base64(match[1])
    except binascii.Error:
        return None


class Traces:
    """Rewrites traces; keeps the maps that it needed lately."""

    def __init__(self) -> None:
        self._maps: OrderedDict[bytes, SourceMap | None] = OrderedDict()

    def of(self, error: JsError, load: Load, *, every_line: bool = False) -> str | None:
        """The error's trace, mapped. With `every_line` also the lines that scripts and clients are
        not told (of functions on one line)."""
        trace, exact = error.trace, error.exact_trace
        if trace is None or len(trace) > TRACE_MAX:
            return trace
        # With columns if the stack is the engine's, not one that a script set.
        if exact is None or len(exact) > 2 * TRACE_MAX:
            return self.mapped(trace, trace, load)
        if _COLUMN.sub(r":\1\2", _ONE_LINE.sub(r"\1", exact)) != trace:
            return self.mapped(trace, trace, load)
        exact = exact.replace(ONE_LINE, "")
        return self.mapped(_COLUMN.sub(r":\1\2", exact) if every_line else trace, exact, load)

    def mapped(self, trace: str, exact: str, load: Load) -> str:
        """`trace`, with each frame told by its source where `exact`, its twin with columns, has a
        position in a module with a map."""
        told = []
        for plain, frame in zip(trace.split("\n"), exact.split("\n"), strict=True):
            match = _FRAME.fullmatch(frame)
            found = None if match is None else self._original(match, load)
            if found is None or match is None:
                told.append(plain)
            else:
                told.append(f"{match[1]}{found[0]}:{found[1]}{match[5]}")
        return "\n".join(told)

    def _original(self, frame: re.Match[str], load: Load) -> tuple[str, int] | None:
        name = frame[2]
        source = load(name)
        known = None if source is None else self._map(source)
        if known is None:
            return None
        column = None if frame[4] is None else int(frame[4])
        found = known.original(int(frame[3]), column) or known.original(int(frame[3]))
        return None if found is None else (tidy_name(found[0], name), found[1])

    def _map(self, source: bytes) -> SourceMap | None:
        if source in self._maps:
            self._maps.move_to_end(source)
            return self._maps[source]
        raw = inline_map(source)
        found = None
        if raw is not None:
            try:
                found = parse_map(raw)
            except ValueError:
                found = None  # the frames stay as the engine told them
        self._maps[source] = found
        if len(self._maps) > MAPS_MAX:
            self._maps.popitem(last=False)
        return found
