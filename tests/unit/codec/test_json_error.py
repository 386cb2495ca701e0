from __future__ import annotations

import pytest

from pyccf.codec.json_error import EMPTY, TEXT_MAX, explain

VALUE = "syntax error while parsing value - "
STRING_KEY = "; expected string literal"


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        # Recorded on a running service.
        (b"", 1, 1, EMPTY),
        (b"x", 1, 1, VALUE + "invalid literal; last read: 'x'"),
        (
            b"{x",
            1,
            2,
            "syntax error while parsing object key - invalid literal; last read: '{x'" + STRING_KEY,
        ),
        (
            b"{not json",
            1,
            3,
            "syntax error while parsing object key - invalid literal; last read: '{no'"
            + STRING_KEY,
        ),
        (
            b"{",
            1,
            2,
            "syntax error while parsing object key - unexpected end of input" + STRING_KEY,
        ),
        # The rest of the grammar.
        (b"  ", 1, 3, VALUE + "unexpected end of input"),
        (b"[1,]", 1, 4, VALUE + "unexpected ']'; expected '[', '{', or a literal"),
        (b"]", 1, 1, VALUE + "unexpected ']'; expected '[', '{', or a literal"),
        (
            b"[1 2]",
            1,
            4,
            "syntax error while parsing array - unexpected number literal; expected ']'",
        ),
        (b"[1", 1, 3, "syntax error while parsing array - unexpected end of input; expected ']'"),
        (
            b'{"a":1',
            1,
            7,
            "syntax error while parsing object - unexpected end of input; expected '}'",
        ),
        (
            b'{"a":true "b":1}',
            1,
            13,
            "syntax error while parsing object - unexpected string literal; expected '}'",
        ),
        (
            b'{"a" 1}',
            1,
            6,
            "syntax error while parsing object separator - unexpected number literal; expected ':'",
        ),
        (
            b'{"a":1,}',
            1,
            8,
            "syntax error while parsing object key - unexpected '}'" + STRING_KEY,
        ),
        (b"01", 1, 2, VALUE + "unexpected number literal; expected end of input"),
        (b"[]]", 1, 3, VALUE + "unexpected ']'; expected end of input"),
        (b"[] x", 1, 4, VALUE + "invalid literal; last read: '[] x'; expected end of input"),
        (
            b'{"a":\n  [true,\n }',
            3,
            2,
            VALUE + "unexpected '}'; expected '[', '{', or a literal",
        ),
        (
            b"[\n1\n2]",
            3,
            1,
            "syntax error while parsing array - unexpected number literal; expected ']'",
        ),
        (b"nul", 1, 4, VALUE + "invalid literal; last read: 'nul'"),
        (b"[null,truf", 1, 10, VALUE + "invalid literal; last read: '[null,truf'"),
        # Numbers.
        (b"-", 1, 2, VALUE + "invalid number; expected digit after '-'; last read: '-'"),
        (b"[1, -a", 1, 6, VALUE + "invalid number; expected digit after '-'; last read: '-a'"),
        (b"1.e", 1, 3, VALUE + "invalid number; expected digit after '.'; last read: '1.e'"),
        (
            b"1.5ex",
            1,
            5,
            VALUE + "invalid number; expected '+', '-', or digit after exponent; "
            "last read: '1.5ex'",
        ),
        (
            b"0e+x",
            1,
            4,
            VALUE + "invalid number; expected digit after exponent sign; last read: '0e+x'",
        ),
        # Strings.
        (b'"ab', 1, 4, VALUE + "invalid string: missing closing quote; last read: '\"ab'"),
        (
            b'"\\x"',
            1,
            3,
            VALUE + "invalid string: forbidden character after backslash; last read: '\"\\x'",
        ),
        (
            b'"\\u12g4"',
            1,
            6,
            VALUE + "invalid string: '\\u' must be followed by 4 hex digits; last read: '\"\\u12g'",
        ),
        (
            b'"\\ud800x"',
            1,
            8,
            VALUE + "invalid string: surrogate U+D800..U+DBFF must be followed by "
            "U+DC00..U+DFFF; last read: '\"\\ud800x'",
        ),
        (
            b'"\\ud800\\u0041"',
            1,
            13,
            VALUE + "invalid string: surrogate U+D800..U+DBFF must be followed by "
            "U+DC00..U+DFFF; last read: '\"\\ud800\\u0041'",
        ),
        (
            b'"\\udc00"',
            1,
            7,
            VALUE + "invalid string: surrogate U+DC00..U+DFFF must follow U+D800..U+DBFF; "
            "last read: '\"\\udc00'",
        ),
        (
            b'"a\tb"',
            1,
            3,
            VALUE + "invalid string: control character U+0009 (HT) must be escaped to "
            "\\u0009 or \\t; last read: '\"a<U+0009>'",
        ),
        (
            b'"\x1f',
            1,
            2,
            VALUE + "invalid string: control character U+001F (US) must be escaped to "
            "\\u001F; last read: '\"<U+001F>'",
        ),
        (b'"\xff', 1, 2, VALUE + "invalid string: ill-formed UTF-8 byte; last read: '\"\ufffd'"),
        (
            b'"\xe2\x82x"',
            1,
            4,
            VALUE + "invalid string: ill-formed UTF-8 byte; last read: '\"\ufffdx'",
        ),
        (
            b"\xef\xbb{}",
            1,
            3,
            VALUE + "invalid BOM; must be 0xEF 0xBB 0xBF if given; last read: '\ufffd{'",
        ),
    ],
)
def test_messages(text: bytes, line: int, column: int, message: str) -> None:
    place = f"[json.exception.parse_error.101] parse error at line {line}, column {column}: "
    assert explain(text) == place + message


def test_overflow() -> None:
    assert explain(b"[-1e999]") == (
        "[json.exception.out_of_range.406] number overflow parsing '-1e999'"
    )


@pytest.mark.parametrize(
    "text",
    [
        b"{}",
        b"[]",
        b' {"a": [1, -2.5e-3, true, false, null, {"b": "\\u00e9\\ud83d\\ude00\\n"}], "": []} ',
        '"é€😀"'.encode(),
        b"\xef\xbb\xbf0",
        b"[]\x00rest",
    ],
)
def test_nothing_is_wrong(text: bytes) -> None:
    assert explain(text) == ""


def test_long_texts_are_not_looked_at() -> None:
    assert explain(b" " * TEXT_MAX) != ""
    assert explain(b" " * (TEXT_MAX + 1)) == ""
