"""Text forms: JSON as the ledger holds it, base64, size strings and time strings.

Promises: `dump_json` gives the bytes that the reference JSON library gives for the same value
(kv-and-tables.md §4), so tables and receipts are byte-compatible. `load_json` accepts exactly
RFC 8259 texts in UTF-8. Base64 is strict: no blanks, no missing padding, no second reading.

Refuses: lone surrogates, invalid UTF-8, NaN and Infinity in input, duplicate meanings of a
base64 text. NaN and infinities that reach `dump_json` become `null`, as in the reference.
"""

from __future__ import annotations

import binascii
import re
from math import isfinite
from typing import cast

import msgspec

from pyccf.codec import json_error
from pyccf.types import Json

_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder().decode
_b2a = binascii.b2a_base64
_a2b = binascii.a2b_base64

# A number whose text may differ between the fast encoder and the reference: 16 digits or more,
# an exponent, or four zeros after the point. Integers that match are merely written slowly.
_UNUSUAL_NUMBER = re.compile(rb"[:,\[]-?(?:[0-9]{16}|[0-9][0-9.]*e|0\.0000)").search
# An integer that may not fit 64 bits.
_WIDE_INTEGER = re.compile(rb"[:,\[\s]-?[0-9]{19}").search

_BOM = b"\xef\xbb\xbf"
_U64_END = 1 << 64
_I64_MIN = -(1 << 63)

NESTING_MAX = 256
"""How deep JSON may be that nodes live by. What the interpreter can follow depends on where it is:
what one place still reads, another one, where more is under way, could not."""

SIGNIFICANT_DIGITS = 15
"""Decimal digits a double always keeps; floats of more integral digits get an exponent."""


def dump_json(value: Json) -> bytes:
    """JSON text: keys sorted by bytes, no blanks, UTF-8 unescaped (kv-and-tables.md §4).

    Control characters are escaped as backslash b f n r t or lower-case `\\u00xx`. Floats are the
    shortest that read back equal; integral ones keep `.0`; the exponent form (`1e+15`, `1e-05`)
    starts at 1e15 and below 1e-4. Raises ValueError for a lone surrogate, and for nesting deeper
    than the interpreter can follow, which is not as deep as it can read.
    """
    try:
        text = _encode(value)
        if _UNUSUAL_NUMBER(text) is None and type(value) is not float:
            return text
        parts: list[bytes] = []
        _write(value, parts)
    except RecursionError:
        raise ValueError("nested too deeply for JSON") from None
    return b"".join(parts)


def _write(value: Json, out: list[bytes]) -> None:
    """Append the text of a value, floats in the reference's form."""
    if isinstance(value, float):
        out.append(_float_text(value).encode())
    elif isinstance(value, dict):
        mark = b"{"
        for key in sorted(value):
            out.append(mark)
            out.append(_encode(key))
            out.append(b":")
            _write(value[key], out)
            mark = b","
        out.append(b"}" if value else b"{}")
    elif isinstance(value, (list, tuple)):
        mark = b"["
        for item in value:
            out.append(mark)
            _write(item, out)
            mark = b","
        out.append(b"]" if value else b"[]")
    else:
        out.append(_encode(value))


def _float_text(value: float) -> str:
    """A float as the reference prints it: 0.0001, 1e-05, 100000000000000.0, 1e+15, null."""
    if not isfinite(value):
        return "null"
    text = repr(value)
    sign = "-" if text[0] == "-" else ""
    mantissa, _, exponent = text.lstrip("-").partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    if not digits:
        return sign + "0.0"
    # The value is 0.<digits> times ten to the power of `point`.
    point = len(whole.lstrip("0")) + int(exponent or "0")
    if not whole.lstrip("0"):
        point -= len(fraction) - len(fraction.lstrip("0"))
    digits = digits.rstrip("0")
    if len(digits) <= point <= SIGNIFICANT_DIGITS:
        return f"{sign}{digits}{'0' * (point - len(digits))}.0"
    if 0 < point <= SIGNIFICANT_DIGITS:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -4 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    tail = f".{digits[1:]}" if len(digits) > 1 else ""
    power = point - 1
    return f"{sign}{digits[0]}{tail}e{'-' if power < 0 else '+'}{abs(power):02d}"


def load_json(data: bytes | str) -> Json:
    """Read one JSON text (RFC 8259, UTF-8; a byte order mark is skipped).

    Of a repeated member the last one counts. Integers beyond 64 bits become floats. Raises
    ValueError for malformed text, invalid UTF-8, lone surrogate escapes, numbers out of the
    range of a double (all in the reference's words, see `json_error`), and nesting deeper than
    the interpreter can follow.
    """
    try:
        raw = data.encode() if isinstance(data, str) else bytes(data)
    except UnicodeError:
        raise ValueError("not JSON: a lone surrogate") from None
    try:
        value = cast(Json, _decode(raw[3:] if raw.startswith(_BOM) else raw))
    except (UnicodeError, msgspec.MsgspecError) as error:
        raise ValueError(json_error.explain(raw) or f"not JSON: {error}") from None
    except RecursionError:
        raise ValueError("not JSON: nested too deeply") from None
    if type(value) is int or _WIDE_INTEGER(raw) is not None:
        try:
            return _narrow(value)
        except RecursionError:
            raise ValueError("not JSON: nested too deeply") from None
    return value


def is_deep(value: Json) -> bool:
    """Whether arrays and objects stand in each other more than NESTING_MAX times."""
    level = [value]
    for _ in range(NESTING_MAX):
        inner: list[Json] = []
        for one in level:
            if isinstance(one, dict):
                inner += one.values()
            elif isinstance(one, list):
                inner += one
        level = [one for one in inner if isinstance(one, (dict, list))]
        if not level:
            return False
    return True


def _narrow(value: Json) -> Json:
    """The same value with integers beyond 64 bits as floats."""
    if isinstance(value, dict):
        return {key: _narrow(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_narrow(item) for item in value]
    if type(value) is int and not _I64_MIN <= value < _U64_END:
        try:
            return float(value)
        except OverflowError:
            raise ValueError(
                f"[json.exception.out_of_range.406] number overflow parsing '{value}'"
            ) from None
    return value


# -- base64 -----------------------------------------------------------------------------------


def b64(data: bytes) -> str:
    """Standard base64 with padding, one line (RFC 4648 §4)."""
    return _b2a(data, newline=False).decode("ascii")


def unb64(text: str | bytes) -> bytes:
    """Bytes of a standard base64 text; ValueError for anything else than exactly one."""
    try:
        return _strict(text.encode("ascii") if isinstance(text, str) else text)
    except ValueError as error:
        raise ValueError(f"not base64: {error}") from None


def _strict(raw: bytes) -> bytes:
    # The library's strict mode still takes superfluous padding.
    if len(raw) % 4 or raw.endswith(b"==="):
        raise ValueError("wrong length or padding")
    return _a2b(raw, strict_mode=True)


_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_", b"+/")


def b64url(data: bytes) -> str:
    """URL-safe base64 without padding (RFC 4648 §5, as RFC 7515 uses it)."""
    return _b2a(data, newline=False).translate(_TO_URL).rstrip(b"=").decode("ascii")


def unb64url(text: str | bytes) -> bytes:
    """Bytes of a URL-safe base64 text, padded or not; ValueError for anything else."""
    try:
        raw = text.encode("ascii") if isinstance(text, str) else bytes(text)
    except UnicodeError:
        raise ValueError("not base64url: non-ASCII character") from None
    if b"+" in raw or b"/" in raw:
        raise ValueError("not base64url: character of the other alphabet")
    if len(raw) % 4 and not raw.endswith(b"="):
        raw += b"=" * (-len(raw) % 4)
    try:
        return _strict(raw.translate(_FROM_URL))
    except ValueError as error:
        raise ValueError(f"not base64url: {error}") from None


# -- sizes and times (config-and-cli.md §2) ---------------------------------------------------

_SIZE_UNITS = {
    "": 1,
    "B": 1,
    "KB": 1 << 10,
    "MB": 1 << 20,
    "GB": 1 << 30,
    "TB": 1 << 40,
    "PB": 1 << 50,
}
_TIME_UNITS_US = {
    "": 1,
    "US": 1,
    "MS": 1_000,
    "S": 1_000_000,
    "MIN": 60_000_000,
    "H": 3_600_000_000,
}
_AMOUNT = re.compile(r"([0-9]{1,20})([A-Za-z]*)").fullmatch


def _parse_amount(text: str, units: dict[str, int], kind: str, allowed: str) -> int:
    match = _AMOUNT(text)
    if match is None:
        raise ValueError(f"{text!r} is not a {kind}: expected <number>[{allowed}]")
    number, unit = match.groups()
    factor = units.get(unit.upper())
    if factor is None:
        raise ValueError(f"{text!r} is not a {kind}: unit must be one of {allowed}")
    amount = int(number) * factor
    if amount >= _U64_END:
        raise ValueError(f"{text!r} is not a {kind}: does not fit 64 bits")
    return amount


def parse_size(text: str) -> int:
    """Bytes of a size string `<int>[B|KB|MB|GB|TB|PB]`, any case, powers of 1024.

    A plain number is bytes. Raises ValueError naming the allowed units.
    """
    return _parse_amount(text, _SIZE_UNITS, "size", "B|KB|MB|GB|TB|PB")


def parse_time_us(text: str) -> int:
    """Microseconds of a time string `<int>[us|ms|s|min|h]`, any case.

    A plain number is microseconds. Raises ValueError naming the allowed units.
    """
    return _parse_amount(text, _TIME_UNITS_US, "time", "us|ms|s|min|h")
