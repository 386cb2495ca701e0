"""Why a text is not JSON, in the words of the reference's JSON library.

Clients see these sentences (`[json.exception.parse_error.101] parse error at line 1, column 2:
...`, auth.md §5.1, gov-api.md), so they are part of the interface. This reader runs only after the
fast one has refused: it walks the text once, with a stack of its own, builds no value, and stops
at the first error. It knows the positions the library reports: the column counts bytes read in
the line, and "last read" is everything since the last string or number began.

A NUL byte ends the text for the library; a text that is right up to there has no explanation.
"""

from __future__ import annotations

import re
from math import isinf
from typing import Final

TEXT_MAX: Final = 1 << 16
"""Longer texts get no explanation: finding it costs more than refusing them is worth."""

EMPTY: Final = (
    "attempting to parse an empty input; check that your input string or stream contains the "
    "expected JSON"
)

_END: Final = -1
_PLAIN: Final = re.compile(rb"[ !#-\[\]-~]*").match
_BLANK: Final = frozenset(b" \t\n\r")
_DIGITS: Final = frozenset(b"0123456789")
_HEX: Final = frozenset(b"0123456789abcdefABCDEF")
_LITERALS: Final = {
    ord("t"): (b"rue", "true literal"),
    ord("f"): (b"alse", "false literal"),
    ord("n"): (b"ull", "null literal"),
}
_STRUCTURE: Final = {ord(c): f"'{c}'" for c in "[]{}:,"}
_SHORT_ESCAPES: Final = frozenset(b'"\\/bfnrt')
_CONTROL_NAMES: Final = (
    *("NUL", "SOH", "STX", "ETX", "EOT", "ENQ", "ACK", "BEL"),
    *("BS", "HT", "LF", "VT", "FF", "CR", "SO", "SI"),
    *("DLE", "DC1", "DC2", "DC3", "DC4", "NAK", "SYN", "ETB"),
    *("CAN", "EM", "SUB", "ESC", "FS", "GS", "RS", "US"),
)
_CONTROL_SHORT: Final = {8: "b", 9: "t", 10: "n", 12: "f", 13: "r"}
# Ranges of the bytes that follow a first byte of UTF-8 (RFC 3629 §4).
_TAIL: Final = (0x80, 0xBF)
_UTF8: Final[dict[int, tuple[tuple[int, int], ...]]] = {
    **dict.fromkeys(range(0xC2, 0xE0), (_TAIL,)),
    0xE0: ((0xA0, 0xBF), _TAIL),
    **dict.fromkeys((*range(0xE1, 0xED), 0xEE, 0xEF), (_TAIL, _TAIL)),
    0xED: ((0x80, 0x9F), _TAIL),
    0xF0: ((0x90, 0xBF), _TAIL, _TAIL),
    **dict.fromkeys(range(0xF1, 0xF4), (_TAIL, _TAIL, _TAIL)),
    0xF4: ((0x80, 0x8F), _TAIL, _TAIL),
}

STRING: Final = "string literal"
NUMBER: Final = "number literal"
END: Final = "end of input"
ANY_VALUE: Final = "'[', '{', or a literal"
_VALUES: Final = frozenset({STRING, NUMBER, *(name for _, name in _LITERALS.values())})


class _Wrong(Exception):
    """The scanner met something that is no token."""


class _Overflow(Exception):
    """A number that no double holds."""


class _Scanner:
    """Cuts the text into tokens and counts like the library."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.pos = 0
        self.total = 0
        self.lines = 0
        self.column = 0
        self.token_start = 0

    def get(self) -> int:
        self.total += 1
        self.column += 1
        if self.pos >= len(self.data):
            self.pos += 1
            return _END
        byte = self.data[self.pos]
        self.pos += 1
        if byte == 0x0A:
            self.lines += 1
            self.column = 0
        return byte

    def unget(self, byte: int) -> None:
        self.pos -= 1
        self.total -= 1
        if byte == 0x0A:
            self.lines -= 1
        # The library does not remember the column before a line break either.
        self.column = max(self.column - 1, 0)

    @property
    def last_read(self) -> str:
        raw = self.data[self.token_start : self.pos]
        text = "".join(f"<U+{byte:04X}>" if byte < 0x20 else chr(byte) for byte in raw)
        return text.encode("latin-1").decode("utf-8", "replace")

    def scan(self) -> str:
        """Name of the next token; raises _Wrong with a reason."""
        if self.total == 0 and self.data[:1] == b"\xef":
            self.pos = self.total = self.column = 3
            if self.data[:3] != b"\xef\xbb\xbf":
                raise _Wrong("invalid BOM; must be 0xEF 0xBB 0xBF if given")
        byte = self.get()
        while byte in _BLANK:
            byte = self.get()
        if byte in _STRUCTURE:
            return _STRUCTURE[byte]
        if byte in _LITERALS:
            rest, name = _LITERALS[byte]
            for wanted in rest:
                if self.get() != wanted:
                    raise _Wrong("invalid literal")
            return name
        if byte == 0x22:
            self.token_start = self.pos - 1
            self._string()
            return STRING
        if byte == 0x2D or byte in _DIGITS:
            self.token_start = self.pos - 1
            self._number(byte)
            return NUMBER
        if byte in (_END, 0):
            return END
        raise _Wrong("invalid literal")

    def _string(self) -> None:
        while True:
            plain = _PLAIN(self.data, self.pos)
            assert plain is not None, "the pattern matches nothing too"
            skipped = plain.end() - self.pos
            self.pos += skipped
            self.total += skipped
            self.column += skipped
            byte = self.get()
            if byte == 0x22:
                return
            if byte == _END:
                raise _Wrong("invalid string: missing closing quote")
            if byte == 0x5C:
                self._escape()
            elif byte < 0x20:
                short = _CONTROL_SHORT.get(byte)
                escape = f"\\u{byte:04X}" + (f" or \\{short}" if short else "")
                raise _Wrong(
                    f"invalid string: control character U+{byte:04X} ({_CONTROL_NAMES[byte]}) "
                    f"must be escaped to {escape}"
                )
            elif byte >= 0x80:
                if byte not in _UTF8:
                    raise _Wrong("invalid string: ill-formed UTF-8 byte")
                for low, high in _UTF8[byte]:
                    if not low <= self.get() <= high:
                        raise _Wrong("invalid string: ill-formed UTF-8 byte")

    def _escape(self) -> None:
        byte = self.get()
        if byte in _SHORT_ESCAPES:
            return
        if byte != 0x75:
            raise _Wrong("invalid string: forbidden character after backslash")
        unit = self._code_unit()
        if 0xDC00 <= unit <= 0xDFFF:
            raise _Wrong("invalid string: surrogate U+DC00..U+DFFF must follow U+D800..U+DBFF")
        if 0xD800 <= unit <= 0xDBFF:
            unpaired = "invalid string: surrogate U+D800..U+DBFF must be followed by U+DC00..U+DFFF"
            if self.get() != 0x5C or self.get() != 0x75:
                raise _Wrong(unpaired)
            if not 0xDC00 <= self._code_unit() <= 0xDFFF:
                raise _Wrong(unpaired)

    def _code_unit(self) -> int:
        unit = 0
        for _ in range(4):
            byte = self.get()
            if byte not in _HEX:
                raise _Wrong("invalid string: '\\u' must be followed by 4 hex digits")
            unit = unit * 16 + int(chr(byte), 16)
        return unit

    def _number(self, byte: int) -> None:
        if byte == 0x2D:
            byte = self.get()
            if byte not in _DIGITS:
                raise _Wrong("invalid number; expected digit after '-'")
        leading_zero = byte == 0x30
        byte = self.get()
        while byte in _DIGITS and not leading_zero:
            byte = self.get()
        if byte == 0x2E:
            byte = self.get()
            if byte not in _DIGITS:
                raise _Wrong("invalid number; expected digit after '.'")
            while byte in _DIGITS:
                byte = self.get()
        if byte in (0x45, 0x65):
            byte = self.get()
            if byte in (0x2B, 0x2D):
                byte = self.get()
                if byte not in _DIGITS:
                    raise _Wrong("invalid number; expected digit after exponent sign")
            elif byte not in _DIGITS:
                raise _Wrong("invalid number; expected '+', '-', or digit after exponent")
            while byte in _DIGITS:
                byte = self.get()
        self.unget(byte)
        if isinf(float(self.data[self.token_start : self.pos])):
            raise _Overflow


class _Unexpected(Exception):
    """The parser met a token where it cannot stand."""

    def __init__(self, token: str, context: str, expected: str = "") -> None:
        super().__init__(token)
        self.token = token
        self.context = context
        self.expected = expected


class _Parser:
    """Follows the grammar of RFC 8259 over the tokens, with a stack of open brackets."""

    def __init__(self, data: bytes) -> None:
        self.scanner = _Scanner(data)
        self.context = "value"
        self.expected = ""
        """What to name as expected when the scanner fails."""

    def next(self, context: str, expected: str = "") -> str:
        self.context, self.expected = context, expected
        return self.scanner.scan()

    def run(self) -> None:
        """Read the whole text; raises _Wrong, _Overflow or _Unexpected where it is wrong."""
        stack: list[str] = []
        token = self.next("value")
        while True:
            if token == "'{'":
                token = self.next("object key", STRING)
                if token != "'}'":
                    self.member(token)
                    stack.append("object")
                    token = self.next("value")
                    continue
            elif token == "'['":
                token = self.next("value")
                if token != "']'":
                    stack.append("array")
                    continue
            elif token not in _VALUES:
                raise _Unexpected(token, "value", "" if token == END else ANY_VALUE)
            # A value is complete: what follows belongs to what is around it.
            while stack:
                kind = stack[-1]
                closing = "']'" if kind == "array" else "'}'"
                token = self.next(kind, closing)
                if token == "','":
                    if kind == "object":
                        self.member(self.next("object key", STRING))
                    token = self.next("value")
                    break
                if token != closing:
                    raise _Unexpected(token, kind, closing)
                stack.pop()
            else:
                token = self.next("value", END)
                if token != END:
                    raise _Unexpected(token, "value", END)
                return

    def member(self, token: str) -> None:
        """A member's name was read; its colon must follow."""
        if token != STRING:
            raise _Unexpected(token, "object key", STRING)
        token = self.next("object separator", "':'")
        if token != "':'":
            raise _Unexpected(token, "object separator", "':'")


def explain(data: bytes) -> str:
    """The library's message about a text that is not JSON.

    Empty when it finds nothing wrong, and for texts longer than `TEXT_MAX`.
    """
    if len(data) > TEXT_MAX:
        return ""
    parser = _Parser(data)
    scanner = parser.scanner
    try:
        parser.run()
    except _Overflow:
        return f"[json.exception.out_of_range.406] number overflow parsing '{scanner.last_read}'"
    except _Wrong as wrong:
        reason = f"{wrong}; last read: '{scanner.last_read}'"
        return _message(scanner, parser.context, reason, parser.expected)
    except _Unexpected as odd:
        if odd.token == END and scanner.total == 1:
            return f"{_place(scanner)}: {EMPTY}"
        return _message(scanner, odd.context, f"unexpected {odd.token}", odd.expected)
    return ""


def _place(scanner: _Scanner) -> str:
    return (
        "[json.exception.parse_error.101] parse error at line "
        f"{scanner.lines + 1}, column {scanner.column}"
    )


def _message(scanner: _Scanner, context: str, reason: str, expected: str) -> str:
    tail = f"; expected {expected}" if expected else ""
    return f"{_place(scanner)}: syntax error while parsing {context} - {reason}{tail}"
