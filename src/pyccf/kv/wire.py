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
from struct import error as StructError
from typing import NoReturn

from pyccf.errors import InvalidLedger
from pyccf.kv.changes import Changes, MapChanges

_U64 = Struct("<Q")
_U64_3 = Struct("<QQQ")
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
    one, three = _U64.unpack_from, _U64_3.unpack_from
    maps: Changes = {}
    at = 0
    last_name = b""
    # A slice may come out short; then the number that must follow it is beyond the end.
    try:
        while at < size:
            (length,) = one(data, at)
            end = at + 8 + length
            raw = data[at + 8 : end]
            _, reads, count = three(data, end)
            at = end + 24
            if reads:
                count, at = _skip_reads(data, end + 16, reads)
            if maps and raw <= last_name:
                _bad("maps repeated or out of order")
            last_name = raw
            changes: MapChanges = {}
            maps[raw.decode()] = changes
            last = None
            for _ in range(count):
                (length,) = one(data, at)
                end = at + 8 + length
                key = data[at + 8 : end]
                (length,) = one(data, end)
                at = end + 8 + length
                if last is not None and key <= last:
                    _bad("written keys repeated or out of order")
                last = key
                changes[key] = data[end + 8 : at]
            (count,) = one(data, at)
            at += 8
            if count:
                at = _removed(data, at, count, changes)
    except (StructError, OverflowError):
        _bad("it ends too early")
    except UnicodeDecodeError:
        _bad("a map name is not UTF-8")
    if at != size:
        _bad("it ends too early")
    return maps


def _skip_reads(data: bytes, at: int, count: int) -> tuple[int, int]:
    """Over `count` keys read, each with a version: the write count, and where it ends."""
    for _ in range(count):
        at += 16 + _U64.unpack_from(data, at)[0]
    return _U64.unpack_from(data, at)[0], at + 8


def _removed(data: bytes, at: int, count: int, changes: MapChanges) -> int:
    """Add `count` removed keys to `changes`: where they end."""
    last = None
    for _ in range(count):
        (length,) = _U64.unpack_from(data, at)
        start, at = at + 8, at + 8 + length
        key = data[start:at]
        if last is not None and key <= last:
            _bad("removed keys repeated or out of order")
        if key in changes:
            _bad("a key is both written and removed")
        last = key
        changes[key] = None
    return at


def _bad(why: str) -> NoReturn:
    raise InvalidLedger(f"malformed write set: {why}")
