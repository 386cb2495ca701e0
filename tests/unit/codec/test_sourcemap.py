"""pyccf.codec.sourcemap: what is refused, and names."""

from __future__ import annotations

import json

import pytest

from pyccf.codec.sourcemap import (
    MAPPINGS_MAX,
    decode_vlq,
    encode_mappings,
    encode_vlq,
    parse_map,
    tidy_name,
)


def test_numbers_as_other_tools_write_them() -> None:
    assert decode_vlq("AAAA") == [0, 0, 0, 0]
    assert decode_vlq("gBDE/9C") == [16, -1, 2, -1503]
    assert encode_vlq([16, -1, 2, -1503]) == "gBDE/9C"


@pytest.mark.parametrize(
    ("text", "told"),
    [("A!", "no base64 digit"), ("g", "without an end"), ("gggggggggA", "beyond 31 bits")],
)
def test_numbers_that_are_none(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        decode_vlq(text)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ([], "is a JSON object"),
        ({"version": 2}, "version 3"),
        ({"version": 3, "sections": []}, "needs mappings"),
        ({"version": 3, "sources": [], "mappings": "AAAA"}, "no source 0"),
        ({"version": 3, "sources": ["a"], "mappings": "AADA"}, "out of range"),
        ({"version": 3, "sources": ["a"], "mappings": "AA"}, "segment of 2"),
        ({"version": 3, "sources": ["a"], "mappings": "A" * (MAPPINGS_MAX + 1)}, "more than"),
    ],
)
def test_maps_that_are_none(value: object, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse_map(json.dumps(value).encode())


def test_the_root_of_sources_is_put_before_them() -> None:
    found = parse_map(
        b'{"version": 3, "sourceRoot": "lib/", "sources": ["a.ts"], "mappings": ";AACA"}'
    )
    assert found.original(2, 1) == ("lib/a.ts", 2)
    assert found.original(1, 1) is None


def test_a_long_root_of_many_sources_takes_no_room() -> None:
    sources = '"a.ts",' * 100_000 + "null"
    mappings = encode_mappings([[], [(0, 0, 1, 0), (1, 100_000, 1, 0)]])
    text = f'{{"version":3,"sourceRoot":"{"r" * 1_000_000}","sources":[{sources}]'
    found = parse_map(f'{text},"mappings":"{mappings}"}}'.encode())
    assert found.original(2, 1) == ("r" * 1_000_000 + "/a.ts", 2)
    assert found.original(2, 2) == ("", 2)


def test_a_long_name_is_tidied_at_once() -> None:
    assert tidy_name("a" * 200_000, "a.js") == "a" * 200_000
    assert tidy_name("x/" + "a" * 200_000 + "://b/c", "a.js") == "x/c"


@pytest.mark.parametrize(
    ("name", "beside", "told"),
    [
        ("../../src/a.ts", "a.js", "src/a.ts"),
        ("a.ts", "lib/deep/a.js", "lib/deep/a.ts"),
        ("../a.ts", "lib/deep/a.js", "lib/a.ts"),
        ("webpack://app/./src/a.ts", "lib/a.js", "src/a.ts"),
        ("/home/me/a.ts", "lib/a.js", "home/me/a.ts"),
        ("a\n.ts", "a.js", "a\N{REPLACEMENT CHARACTER}.ts"),
    ],
)
def test_names(name: str, beside: str, told: str) -> None:
    assert tidy_name(name, beside) == told
