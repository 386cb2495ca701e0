"""CBOR (RFC 8949): encoders whose order is the caller's, and a strict decoder.

Encoders return bytes and are composed by nesting calls, because headers and proofs of the ledger
have a fixed entry order that no canonical sorting gives (merkle-and-receipts.md §4.2, §6.1).
They always emit definite lengths in the shortest form.

The decoder accepts every well-formed data item (indefinite lengths and longer-than-needed heads
included) and refuses: trailing or missing bytes, reserved heads, nesting beyond `NESTING_MAX`, more
items than `HEADS_MAX`, duplicate map keys, keys other than integers, texts and byte strings, and
text that is not UTF-8.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

NESTING_MAX = 32
"""Deepest nesting of arrays, maps and tags that is read."""
HEADS_MAX = 10_000
"""Items, and pieces of texts, that are read at once: signed messages and proofs have some dozens,
and anybody may send a million that are taken apart before the signature is looked at."""


class Tag(NamedTuple):
    """A tagged item (major type 6)."""

    number: int
    value: Value


class Simple(NamedTuple):
    """A simple value without a meaning of its own (23 is `undefined`)."""

    number: int


Key: TypeAlias = int | str | bytes
Value: TypeAlias = (
    "int | bytes | str | list[Value] | dict[Key, Value] | Tag | bool | float | Simple | None"
)


class CborError(ValueError):
    """The bytes are not the CBOR that was expected."""


class CborEnd(CborError):
    """The bytes end in the middle of an item."""


# -- encoding ---------------------------------------------------------------------------------

NULL = b"\xf6"
TRUE = b"\xf5"
FALSE = b"\xf4"


def _head(major: int, n: int) -> bytes:
    if n < 24:
        return bytes((major | n,))
    if n < 0x100:
        return bytes((major | 24, n))
    if n < 0x1_0000:
        return bytes((major | 25, n >> 8, n & 255))
    if n < 0x1_0000_0000:
        return struct.pack(">BI", major | 26, n)
    assert n < 1 << 64, "CBOR lengths and integers are below 2^64"
    return struct.pack(">BQ", major | 27, n)


def uint(n: int) -> bytes:
    """An unsigned integer below 2^64."""
    assert n >= 0, "uint is not negative"
    return _head(0x00, n)


def nint(n: int) -> bytes:
    """A negative integer, at least -2^64."""
    assert n < 0, "nint is negative"
    return _head(0x20, -1 - n)


def integer(n: int) -> bytes:
    """An integer of any sign."""
    return _head(0x00, n) if n >= 0 else _head(0x20, -1 - n)


def bstr(data: bytes) -> bytes:
    """A byte string."""
    return _head(0x40, len(data)) + data


def tstr(text: str) -> bytes:
    """A text string, in UTF-8."""
    data = text.encode()
    return _head(0x60, len(data)) + data


def array(items: Iterable[bytes]) -> bytes:
    """An array of encoded items."""
    parts = list(items)
    return _head(0x80, len(parts)) + b"".join(parts)


def mapping(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A map of encoded keys and values, in the order given."""
    entries = list(pairs)
    return _head(0xA0, len(entries)) + b"".join([key + value for key, value in entries])


def tag(number: int, item: bytes) -> bytes:
    """An encoded item under a tag."""
    return _head(0xC0, number) + item


def boolean(value: bool) -> bytes:
    """True or false."""
    return TRUE if value else FALSE


# -- decoding ---------------------------------------------------------------------------------

_INDEFINITE = -1


class Reader:
    """A cursor over CBOR bytes, for callers that must know where an item starts and ends."""

    __slots__ = ("_heads", "data", "pos")

    def __init__(self, data: bytes, pos: int = 0) -> None:
        self.data = data
        self.pos = pos
        self._heads = 0

    @property
    def done(self) -> bool:
        """Whether all bytes are consumed."""
        return self.pos >= len(self.data)

    def take(self, n: int) -> bytes:
        """The next n bytes; CborEnd when there are fewer."""
        end = self.pos + n
        if end > len(self.data):
            raise CborEnd("CBOR ends in the middle of an item")
        piece = self.data[self.pos : end]
        self.pos = end
        return piece

    def head(self) -> tuple[int, int, int]:
        """Major type (0-7), additional information (0-31), argument.

        The argument is -1 for an indefinite length and, for major type 7, the raw bits.
        """
        self._heads += 1
        if self._heads > HEADS_MAX:
            raise CborError(f"CBOR of more than {HEADS_MAX} items")
        first = self.take(1)[0]
        major, info = first >> 5, first & 31
        if info < 24:
            return major, info, info
        if info < 28:
            return major, info, int.from_bytes(self.take(1 << (info - 24)), "big")
        if info == 31 and major in (2, 3, 4, 5, 7):
            return major, info, _INDEFINITE
        raise CborError(f"reserved CBOR head 0x{first:02x}")

    def _at_break(self) -> bool:
        if self.pos >= len(self.data):
            raise CborEnd("CBOR ends in the middle of an item")
        if self.data[self.pos] != 0xFF:
            return False
        self.pos += 1
        return True

    def _string(self, major: int, length: int) -> bytes:
        if length != _INDEFINITE:
            return self.take(length)
        chunks: list[bytes] = []
        while not self._at_break():
            chunk_major, _, chunk_length = self.head()
            if chunk_major != major or chunk_length == _INDEFINITE:
                raise CborError("a chunk of an indefinite string has the wrong type")
            chunk = self.take(chunk_length)
            if major == 3:
                _utf8(chunk)
            chunks.append(chunk)
        return b"".join(chunks)

    def item(self, depth: int = 0) -> Value:
        """The next data item."""
        if depth > NESTING_MAX:
            raise CborError(f"CBOR nested deeper than {NESTING_MAX}")
        major, info, argument = self.head()
        if major == 0:
            return argument
        if major == 1:
            return -1 - argument
        if major == 2:
            return self._string(2, argument)
        if major == 3:
            return _utf8(self._string(3, argument))
        if major == 4:
            return self._array(argument, depth)
        if major == 5:
            return self._map(argument, depth)
        if major == 6:
            return Tag(argument, self.item(depth + 1))
        return _simple(info, argument)

    def _array(self, length: int, depth: int) -> list[Value]:
        items: list[Value] = []
        if length == _INDEFINITE:
            while not self._at_break():
                items.append(self.item(depth + 1))
            return items
        for _ in range(length):
            items.append(self.item(depth + 1))
        return items

    def _map(self, length: int, depth: int) -> dict[Key, Value]:
        entries: dict[Key, Value] = {}
        left = length
        while left:
            if length == _INDEFINITE and self._at_break():
                break
            key = self.key(depth + 1)
            if key in entries:
                raise CborError("duplicate key in a CBOR map")
            entries[key] = self.item(depth + 1)
            left -= 1
        return entries

    def key(self, depth: int = 0) -> Key:
        """The next item, which must be able to name a map entry: integer, text or bytes."""
        key = self.item(depth)
        if isinstance(key, bool) or not isinstance(key, (int, str, bytes)):
            raise CborError("a CBOR map key is neither integer nor string")
        return key


def _utf8(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise CborError("CBOR text is not UTF-8") from None


_FLOATS = {25: struct.Struct(">e"), 26: struct.Struct(">f"), 27: struct.Struct(">d")}


def _simple(info: int, argument: int) -> bool | float | Simple | None:
    if info == 20:
        return False
    if info == 21:
        return True
    if info == 22:
        return None
    if info in _FLOATS:
        size = 1 << (info - 24)
        number: float = _FLOATS[info].unpack(argument.to_bytes(size, "big"))[0]
        return number
    if info == 31:
        raise CborError("CBOR break outside an indefinite item")
    if info == 24 and argument < 32:
        raise CborError("CBOR simple value below 32 in two bytes")
    return Simple(argument)


def decode(data: bytes) -> Value:
    """The single data item that the bytes hold; CborError (a ValueError) otherwise."""
    reader = Reader(bytes(data))
    value = reader.item()
    if not reader.done:
        raise CborError("bytes follow the CBOR item")
    return value
