"""Source maps: whatever comes in gives a map or ValueError, and what we write reads back."""

from __future__ import annotations

import base64
import contextlib
import json

from hypothesis import given
from hypothesis import strategies as st

from pyccf.apps.js.traces import MARK, Traces, inline_map
from pyccf.codec.sourcemap import (
    VALUE_MAX,
    Segment,
    SourceMap,
    decode_mappings,
    decode_vlq,
    encode_mappings,
    encode_vlq,
    parse_map,
    tidy_name,
)

numbers = st.lists(st.integers(-VALUE_MAX, VALUE_MAX))
small = st.integers(0, 500)
segments = st.one_of(
    st.tuples(small),
    st.tuples(small, st.integers(0, 3), small, small),
    st.tuples(small, st.integers(0, 3), small, small, small),
)
lines = st.lists(
    st.lists(segments, max_size=6).map(lambda found: sorted(found, key=lambda s: s[0])),
    min_size=1,
    max_size=12,
)


@given(numbers)
def test_vlq_reads_back(values: list[int]) -> None:
    assert decode_vlq(encode_vlq(values)) == values


@given(lines)
def test_mappings_read_back(told: list[list[Segment]]) -> None:
    assert list(decode_mappings(encode_mappings(told))) == told


@given(st.text(alphabet="ABCDghi+/09,;!\u00e9\ud800", max_size=60))
def test_any_mappings_decode_or_are_refused(text: str) -> None:
    try:
        told = list(decode_mappings(text))
    except ValueError:
        return
    assert list(decode_mappings(encode_mappings(told))) == told


@given(lines, st.integers(-2, 20), st.one_of(st.none(), st.integers(-2, 600)))
def test_a_position_leads_to_the_piece_it_lies_in(
    told: list[list[Segment]], line: int, column: int | None
) -> None:
    names = ("a.ts", "b.ts", "c.ts", "d.ts")
    found = SourceMap(names, told).original(line, column)
    pieces = told[line - 1] if 1 <= line <= len(told) else []
    if column is None:
        hits = [s for s in pieces if len(s) > 1][:1]
    else:
        hits = [s for s in pieces if s[0] <= column - 1][-1:]
    hits = [s for s in hits if len(s) > 1]
    assert found == ((names[hits[0][1]], hits[0][2] + 1) if hits else None)


short = st.text("aé/.;", max_size=4)
json_values = st.one_of(
    st.none(), st.booleans(), st.integers(-9, 9), short, st.lists(st.one_of(short, st.none()))
)


@given(
    st.fixed_dictionaries(
        {"version": st.sampled_from([3, 3, 2, None])},
        optional={
            "mappings": st.one_of(st.text(alphabet="ACgB,;", max_size=30), json_values),
            "sources": st.one_of(st.lists(st.one_of(st.none(), short), max_size=3), json_values),
            "sourceRoot": json_values,
        },
    )
)
def test_any_map_is_read_or_refused_and_never_spoils_a_trace(value: dict[str, object]) -> None:
    raw = json.dumps(value).encode()
    with contextlib.suppress(ValueError):
        parse_map(raw)
    source = b"f()\n" + MARK + b"data:application/json;base64," + base64.b64encode(raw)
    assert inline_map(source) == raw
    trace = "    at f (m.js:1)\n    at get (native)\n"
    mapped = Traces().mapped(trace, trace, lambda name: source if name == "m.js" else None)
    assert mapped.count("\n") == 2
    assert mapped.endswith("    at get (native)\n")


@given(st.binary(max_size=80), st.text(max_size=80))
def test_no_module_and_no_trace_is_too_strange(source: bytes, trace: str) -> None:
    traces = Traces()
    told = MARK + source
    assert traces.mapped(trace, trace, lambda name: told) == trace
    assert "/../" not in f"/{tidy_name(trace, 'a/b.js')}/"
