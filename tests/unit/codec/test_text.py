from __future__ import annotations

import math
from contextlib import suppress

import pytest

from pyccf.codec import json_error
from pyccf.codec.text import (
    b64,
    b64url,
    dump_json,
    load_json,
    parse_size,
    parse_time_us,
    unb64,
    unb64url,
)


def test_json_is_sorted_compact_and_unescaped() -> None:
    value = {"b": [1, None, True], "a": {"é": "/€", "Z": ""}, "": {}, "c": []}
    assert dump_json(value).decode() == '{"":{},"a":{"Z":"","é":"/€"},"b":[1,null,true],"c":[]}'


def test_json_keys_sort_by_bytes_of_utf8() -> None:
    keys = ["\U0001f600", "￿", "é", "z", "Z", "a", "~"]
    text = dump_json(dict.fromkeys(keys, 0))
    assert list(load_json(text) or {}) == sorted(keys, key=str.encode)


def test_what_can_just_be_read_may_be_too_deep_to_be_written() -> None:
    written = 0
    for levels in range(850, 1001):
        text = b"[" * levels + b"1e300" + b"]" * levels
        with suppress(ValueError):
            assert dump_json(load_json(text)) == text.replace(b"e300", b"e+300")
            written += 1
    assert 0 < written < 151


def test_json_control_characters() -> None:
    assert dump_json('\b\f\n\r\t"\\\x00\x1f\x7f') == b'"\\b\\f\\n\\r\\t\\"\\\\\\u0000\\u001f\x7f"'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (1.0, "1.0"),
        (-2.5, "-2.5"),
        (100.25, "100.25"),
        (0.1, "0.1"),
        (0.0001, "0.0001"),
        (0.00012, "0.00012"),
        (0.00001, "1e-05"),
        (-0.000015, "-1.5e-05"),
        (1e-7, "1e-07"),
        (1e14, "100000000000000.0"),
        (123456789012345.6, "123456789012345.6"),
        (1e15, "1e+15"),
        (1234567890123456.0, "1.234567890123456e+15"),
        (1234567890123456.5, "1.2345678901234565e+15"),
        (1e16, "1e+16"),
        (1e22, "1e+22"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (5e-324, "5e-324"),
        (math.nan, "null"),
        (math.inf, "null"),
        (-math.inf, "null"),
    ],
)
def test_json_floats_are_written_like_the_reference(value: float, text: str) -> None:
    assert dump_json(value).decode() == text
    assert dump_json([value]).decode() == f"[{text}]"
    assert dump_json({"a": {"b": value}, "c": 1}).decode() == f'{{"a":{{"b":{text}}},"c":1}}'


def test_json_wide_integers_do_not_become_floats() -> None:
    value = [1 << 63, -(1 << 63), 12345678901234567]
    assert dump_json(value) == b"[9223372036854775808,-9223372036854775808,12345678901234567]"
    assert load_json(dump_json(value)) == value


def test_json_slow_path_writes_the_rest_as_the_fast_one() -> None:
    rest = {"b": ["é\n", {}, [], None, False, {"x": [-1, {"y": '"'}]}], "a": "é"}
    slow = dump_json({"~": 1e15, **rest})
    assert slow == dump_json(rest)[:-1] + b',"~":1e+15}'


def test_json_refuses_lone_surrogates() -> None:
    with pytest.raises(ValueError):
        dump_json({"a": "\ud800"})
    with pytest.raises(ValueError):
        dump_json({"a": [1e15, "\udfff"]})


def test_json_reading() -> None:
    assert load_json(b' {"a": 1, "b": [1.5, "\\u00e9\\ud83d\\ude00"], "a": 2} ') == {
        "a": 2,
        "b": [1.5, "é😀"],
    }
    assert load_json("-0") == 0
    assert load_json(b"\xef\xbb\xbf[]") == []


def test_json_integers_beyond_64_bits_read_as_floats() -> None:
    value = load_json(b"[18446744073709551615, 18446744073709551616, -9223372036854775809]")
    assert isinstance(value, list)
    assert [type(item) for item in value] == [int, float, float]
    assert value[1] == 2.0**64
    assert isinstance(load_json("18446744073709551616"), float)
    assert isinstance(load_json('{"a":\n18446744073709551616}')["a"], float)  # type: ignore[index,call-overload]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[1,]",
        b"01",
        b"1.",
        b"NaN",
        b"Infinity",
        b"'a'",
        b"{a:1}",
        b'"a\x00b"',
        b'"a\nb"',
        b'"\xff"',
        b'"\\ud800"',
        b'"\\ud800x"',
        b'"\\udc00"',
        b"1e999",
        b"[] []",
        b"9" * 400,
        b"[" + b"9" * 400 + b"]",
    ],
)
def test_json_reading_refuses_in_the_words_of_the_reference(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"^\[json\.exception\.(parse_error|out_of_range)"):
        load_json(text)


@pytest.mark.parametrize("text", ["\ud800", b"[]\x00", b"[" + b" " * json_error.TEXT_MAX])
def test_json_reading_refuses_what_is_not_explained(text: bytes | str) -> None:
    with pytest.raises(ValueError, match=r"^not JSON"):
        load_json(text)


def test_json_reading_refuses_bottomless_nesting() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        load_json(b"[" * 100_000)


def test_base64() -> None:
    assert b64(b"") == "" == b64url(b"")
    assert b64(b"\xfb\xff\xfe\x00") == "+//+AA=="
    assert b64url(b"\xfb\xff\xfe\x00") == "-__-AA"
    assert unb64("+//+AA==") == unb64(b"+//+AA==") == unb64url("-__-AA") == b"\xfb\xff\xfe\x00"
    assert unb64url("-__-AA==") == b"\xfb\xff\xfe\x00"


@pytest.mark.parametrize(
    "text", ["A", "AA", "AA=", "AA==A", "AAAA\n", " AAA", "AAA=A===", "AAAA====", "-_-_", "é"]
)
def test_base64_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="not base64"):
        unb64(text)


@pytest.mark.parametrize(
    "text", ["A", "AA=", "AAAA=", "+//+", "AA AA", "é", "=", "AAA=A", "AAAA===="]
)
def test_base64url_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="not base64url"):
        unb64url(text)


def test_sizes() -> None:
    assert parse_size("0") == 0
    assert parse_size("17") == parse_size("17B") == parse_size("17b") == 17
    assert parse_size("5MB") == parse_size("5mb") == 5 << 20
    assert [parse_size("1" + unit) for unit in ("KB", "GB", "TB", "PB")] == [
        1 << 10,
        1 << 30,
        1 << 40,
        1 << 50,
    ]


def test_times() -> None:
    assert parse_time_us("7") == parse_time_us("7us") == 7
    assert parse_time_us("1000ms") == parse_time_us("1S") == 1_000_000
    assert parse_time_us("2min") == 120_000_000
    assert parse_time_us("1h") == 3_600_000_000


@pytest.mark.parametrize("text", ["", "MB", "-1", "1.5s", "1 s", "1x", "1KBs", "１", "99999999PB"])
def test_sizes_and_times_refuse(text: str) -> None:
    with pytest.raises(ValueError):
        parse_size(text)
    with pytest.raises(ValueError):
        parse_time_us(text)


def test_units_are_named_in_the_error() -> None:
    with pytest.raises(ValueError, match=r"B\|KB\|MB\|GB\|TB\|PB"):
        parse_size("1kib")
    with pytest.raises(ValueError, match=r"us\|ms\|s\|min\|h"):
        parse_time_us("1 day")
