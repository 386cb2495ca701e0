"""Source maps (ECMA-426): from a position in generated JavaScript to the one a person wrote.

`parse_map` reads a map's JSON, `original` looks a position up, `encode_mappings` writes mappings
(for tools that shift a map). Promises: any input gives a map or ValueError; time and memory are
linear in the size of the mappings, which has a limit.

Refused: maps with `sections`, other versions than 3, numbers beyond 31 bits, positions that go
below zero, columns of a line that do not ascend, sources that are not there.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Final

from pyccf.codec.text import load_json

MAPPINGS_MAX: Final = 2 << 20
"""Characters of mappings; a bundle of about 4 MB has that many, decoded in about a second."""
VALUE_MAX: Final = (1 << 31) - 1

_DIGITS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_VALUES: Final = {ord(c): i for i, c in enumerate(_DIGITS)}
_SHIFT_MAX: Final = 30
_NO_SOURCE: Final = -1

Segment = tuple[int, ...]
"""(column), (column, source, line, source column) or the same with a name; all counted from 0."""


class SourceMap:
    """Where each piece of a generated module comes from."""

    __slots__ = ("_columns", "_lines", "_names", "_root", "_sources", "_starts")

    def __init__(
        self, names: tuple[str, ...], lines: Iterable[Iterable[Segment]], root: str = ""
    ) -> None:
        """`root` stands before each of the sources' names."""
        self._names = names
        self._root = root
        self._columns = array("i")
        self._sources = array("i")
        self._lines = array("i")
        self._starts = array("i", [0])
        for segments in lines:
            last = 0
            for segment in segments:
                if segment[0] < last:
                    raise ValueError("the columns of a line do not ascend")
                last = segment[0]
                self._columns.append(last)
                if len(segment) == 1:
                    self._sources.append(_NO_SOURCE)
                    self._lines.append(0)
                elif segment[1] < len(names):
                    self._sources.append(segment[1])
                    self._lines.append(segment[2])
                else:
                    raise ValueError(f"there is no source {segment[1]}")
            self._starts.append(len(self._columns))

    def original(self, line: int, column: int | None = None) -> tuple[str, int] | None:
        """Source and line of a position in the generated text; None where nothing is known.

        Lines and columns count from 1. Without a column, the first piece of the line that has a
        source decides.
        """
        if not 1 <= line < len(self._starts):
            return None
        first, end = self._starts[line - 1], self._starts[line]
        if column is None:
            for at in range(first, end):
                if self._sources[at] != _NO_SOURCE:
                    return self._told(at)
            return None
        at = bisect_right(self._columns, column - 1, first, end) - 1
        return self._told(at) if at >= first else None

    def _told(self, at: int) -> tuple[str, int] | None:
        source = self._sources[at]
        if source == _NO_SOURCE:
            return None
        name = self._names[source]
        return self._root + name if name else "", self._lines[at] + 1


def parse_map(raw: bytes) -> SourceMap:
    """A map from its JSON. Raises ValueError saying what is wrong with it."""
    value = load_json(raw)
    if not isinstance(value, dict):
        raise ValueError("a source map is a JSON object")
    if value.get("version") != 3:
        raise ValueError("only source maps of version 3 are understood")
    mappings, sources = value.get("mappings"), value.get("sources")
    root = value.get("sourceRoot")
    if not isinstance(mappings, str) or not isinstance(sources, list):
        raise ValueError("a source map needs mappings and sources")
    if len(mappings) > MAPPINGS_MAX:
        raise ValueError(f"the mappings have more than {MAPPINGS_MAX} characters")
    prefix = root.rstrip("/") + "/" if isinstance(root, str) and root else ""
    names = tuple(name if isinstance(name, str) else "" for name in sources)
    return SourceMap(names, decode_mappings(mappings), prefix)


def decode_mappings(text: str) -> Iterator[list[Segment]]:
    """The segments of each generated line. Raises ValueError."""
    state = [0, 0, 0, 0, 0]
    for line in text.split(";"):
        state[0] = 0
        segments: list[Segment] = []
        if line:
            for piece in line.split(","):
                segments.append(_segment(piece, state))
        yield segments


def _segment(piece: str, state: list[int]) -> Segment:
    """One segment; `state` holds the values that the next one is relative to."""
    deltas = decode_vlq(piece)
    count = len(deltas)
    if count not in (1, 4, 5):
        raise ValueError(f"a segment of {count} numbers")
    for i, delta in enumerate(deltas):
        state[i] += delta
        if not 0 <= state[i] <= VALUE_MAX:
            raise ValueError("a position out of range")
    return tuple(state[:count])


def decode_vlq(text: str) -> list[int]:
    """Numbers in base64 VLQ: five bits per digit, lowest first, the lowest bit is the sign."""
    numbers = []
    value = shift = 0
    for code in text.encode("utf-8", "replace"):
        digit = _VALUES.get(code)
        if digit is None:
            raise ValueError(f"{chr(code)!r} is no base64 digit")
        if shift > _SHIFT_MAX:
            raise ValueError("a number beyond 31 bits")
        value |= (digit & 31) << shift
        if digit & 32:
            shift += 5
            continue
        if value >> 1 > VALUE_MAX:
            raise ValueError("a number beyond 31 bits")
        numbers.append(-(value >> 1) if value & 1 else value >> 1)
        value = shift = 0
    if shift:
        raise ValueError("a number without an end")
    return numbers


def encode_vlq(numbers: Iterable[int]) -> str:
    """The inverse of `decode_vlq`."""
    out = []
    for number in numbers:
        rest = (-number << 1) | 1 if number < 0 else number << 1
        while True:
            digit = rest & 31
            rest >>= 5
            out.append(_DIGITS[digit | 32 if rest else digit])
            if not rest:
                break
    return "".join(out)


def encode_mappings(lines: Iterable[Iterable[Segment]]) -> str:
    """The inverse of `decode_mappings`."""
    state = [0, 0, 0, 0, 0]
    told = []
    for segments in lines:
        state[0] = 0
        pieces = []
        for segment in segments:
            pieces.append(encode_vlq(value - state[i] for i, value in enumerate(segment)))
            state[: len(segment)] = segment
        told.append(",".join(pieces))
    return ";".join(told)


# Tried once for each word, never for the rest of one: names are as long as their writer likes.
_SCHEME = re.compile(r"(?<![a-z0-9+.-])[a-z][a-z0-9+.-]*+://[^/]*+/")


def tidy_name(name: str, beside: str) -> str:
    """A source's name as a person knows it: relative to the module `beside`, without going up
    beyond the root, without the scheme that bundlers invent, and without control characters."""
    bare = _SCHEME.sub("", name, count=1)
    parts = [] if bare != name or name.startswith("/") else beside.split("/")[:-1]
    for part in bare.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    text = "/".join(parts)
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
