"""Write sets as bytes: the map sections of a ledger entry.

One section per map, maps ascending by name, keys ascending within writes and within removes:

    lp(name) | u64 read version = 0 | u64 read count = 0
    u64 write count  | write count  x (lp(key) lp(value))
    u64 remove count | remove count x (lp(key))

where u64 is little-endian and lp(x) is u64(len(x)) followed by x. Public maps go to one byte
string, all others to another, which is to be encrypted.

`decode` reads one such byte string and refuses (`InvalidLedger`) everything that `encode` could not
have written, except that a read version and a read section, which very old versions of the format
allow, are skipped: truncated or trailing bytes, names that are not UTF-8, maps or keys that are
repeated or out of order, a key both written and removed.
(spec: ledger.md §6)
"""

from __future__ import annotations

from struct import Struct
from typing import NoReturn

from pyccf.errors import InvalidLedger
from pyccf.kv.changes import Changes, MapChanges

_U64 = Struct("<Q")
_ZERO = bytes(8)
_ONE = _U64.pack(1)
_READS = bytes(16)

SMALL_MAX = 4096
"""Lengths below this have their eight bytes ready."""
_LENGTH = tuple(n.to_bytes(8, "little") for n in range(SMALL_MAX))

HEADS_MAX = 4096
"""How many map names have the start of their section ready."""
_heads: dict[str, tuple[bytes, bool]] = {}


def _head(name: str) -> tuple[bytes, bool]:
    """Start of a section up to the write count, and whether the map is public."""
    raw = name.encode()
    made = _U64.pack(len(raw)) + raw + _READS, name.startswith("public:")
    if len(_heads) >= HEADS_MAX:
        _heads.clear()
    _heads[name] = made
    return made


def encode(maps: Changes) -> tuple[bytes, bytes]:
    """Sections of public maps and of private maps. Every map must have at least one change."""
    if len(maps) == 1:
        for name, changes in maps.items():
            head, public = _heads.get(name) or _head(name)
            if len(changes) == 1:
                for key, value in changes.items():
                    k, v = len(key), 0 if value is None else len(value)
                    if value is not None and k < SMALL_MAX and v < SMALL_MAX:
                        data = b"".join((head, _ONE, _LENGTH[k], key, _LENGTH[v], value, _ZERO))
                        return (data, b"") if public else (b"", data)
            data = b"".join(_section(head, changes))
            return (data, b"") if public else (b"", data)
    clear: list[bytes] = []
    secret: list[bytes] = []
    for name in sorted(maps):
        head, public = _heads.get(name) or _head(name)
        (clear if public else secret).extend(_section(head, maps[name]))
    return b"".join(clear), b"".join(secret)


def _section(head: bytes, changes: MapChanges) -> list[bytes]:
    assert changes, "a map without changes has no section"
    u64 = _U64.pack
    written: list[bytes] = []
    removed: list[bytes] = []
    for key in sorted(changes):
        value = changes[key]
        if value is None:
            removed += (u64(len(key)), key)
        else:
            written += (u64(len(key)), key, u64(len(value)), value)
    return [head, u64(len(written) // 4), *written, u64(len(removed) // 2), *removed]


def decode(data: bytes) -> Changes:
    """The changes in one domain of an entry. Raises InvalidLedger."""
    size = len(data)
    maps: Changes = {}
    at = 0
    last_name = b""
    while at < size:
        raw, at = _take(data, at)
        if maps and raw <= last_name:
            _bad("maps repeated or out of order")
        last_name = raw
        try:
            name = raw.decode()
        except UnicodeDecodeError:
            _bad("map name is not UTF-8")
        _, at = _number(data, at)
        reads, at = _number(data, at)
        for _ in range(_plausible(reads, size - at, 16)):
            _, at = _take(data, at)
            _, at = _number(data, at)
        count, at = _number(data, at)
        changes: MapChanges = {}
        last = None
        for _ in range(_plausible(count, size - at, 16)):
            key, at = _take(data, at)
            value, at = _take(data, at)
            if last is not None and key <= last:
                _bad("written keys repeated or out of order")
            last = key
            changes[key] = value
        count, at = _number(data, at)
        last = None
        for _ in range(_plausible(count, size - at, 8)):
            key, at = _take(data, at)
            if last is not None and key <= last:
                _bad("removed keys repeated or out of order")
            if key in changes:
                _bad("a key is both written and removed")
            last = key
            changes[key] = None
        maps[name] = changes
    return maps


def _number(data: bytes, at: int) -> tuple[int, int]:
    end = at + 8
    if end > len(data):
        _bad("a number is cut off")
    return int.from_bytes(data[at:end], "little"), end


def _take(data: bytes, at: int) -> tuple[bytes, int]:
    start = at + 8
    end = start + int.from_bytes(data[at:start], "little")
    if start > len(data) or end > len(data):
        _bad("a byte string is cut off")
    return data[start:end], end


def _plausible(count: int, left: int, each: int) -> int:
    """A count of items of at least `each` bytes that fit into what is left."""
    if count * each > left:
        _bad("a count exceeds what follows")
    return count


def _bad(why: str) -> NoReturn:
    raise InvalidLedger(f"malformed write set: {why}")
