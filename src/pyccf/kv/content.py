"""Whole maps as bytes: the map sections of a snapshot.

One section per map, maps ascending by name; every map that exists has one, empty ones included:

    lp(name) | u64 version of the map | lp(blob)
    blob: for each key   u64 len(key) | key | pad8
                         u64 8 + len(value) | u64 version of the key | value | pad8

where pad8 are zero bytes up to the next multiple of 8. The keys of a map are ordered by the low 32
bits of their SipHash (`siphash`).

`sections` writes a domain in pieces that each take little time; `decode` reads one and refuses
(`InvalidLedger`) whatever does not add up: lengths beyond the end, names that are not UTF-8, maps
repeated or out of order, keys repeated, padding that is not zero, versions after the snapshot's.
Keys whose version has the top bit set are passed over: very old versions of the format marked
removed keys so. The order of keys is not looked at. (spec: kv-and-tables.md §7.2)
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from struct import Struct
from struct import error as StructError
from typing import NoReturn

import msgspec

from pyccf.errors import InvalidLedger
from pyccf.kv import siphash
from pyccf.kv.frozen import FrozenMap
from pyccf.kv.pairs import Pair
from pyccf.types import SeqNo

PUBLIC = "public:"
SLICE_KEYS = 1024
"""Keys looked at in one go."""
SLICE_BYTES = 1 << 20
"""Bytes put together in one go, beyond those of a single value."""
BYTES_PER_KEY = 1024
"""So many bytes cost about as much time as one key does."""
BUCKETED_MIN = 4096
"""A map with more keys is sorted in parts."""

_BUCKET_BITS = 12
_U64 = Struct("<Q")
_U64_2 = Struct("<QQ")
_ORDER_AND_LENGTH = Struct(">I").pack
_PADDING = tuple(bytes(-n & 7) for n in range(8))
_REMOVED = 1 << 63
"""From this version on a key is one that was removed."""


class MapContent(msgspec.Struct, frozen=True):
    """A map out of a snapshot."""

    name: str
    version: SeqNo
    pairs: dict[bytes, Pair]

    def __repr__(self) -> str:
        """Without keys and values, which may be private."""
        return f"MapContent({self.name}, {len(self.pairs)} keys, version={self.version})"


def is_public(name: str) -> bool:
    """Whether a map's content may be read by everybody."""
    return name.startswith(PUBLIC)


# --- writing --------------------------------------------------------------------------------------


def sections(maps: Sequence[FrozenMap]) -> Iterator[tuple[int, bytes]]:
    """The sections of these maps, which ascend by name, piece by piece.

    With each piece, which may be empty, comes what it cost, counted in keys. No piece costs more
    than a few milliseconds: between two of them is when to do something else.
    """
    for one in maps:
        yield from _section(one)


def _section(one: FrozenMap) -> Iterator[tuple[int, bytes]]:
    keys = one.keys()
    yield len(keys) // 64, b""
    shift = 32 - _BUCKET_BITS if len(keys) > BUCKETED_MIN else 32
    buckets: list[list[bytes]] = [[] for _ in range(1 << (32 - shift))]
    size = 0
    for at in range(0, len(keys), SLICE_KEYS):
        some = keys[at : at + SLICE_KEYS]
        slice_size = 0
        orders = yield from _orders(some)
        for key, order, pair in zip(some, orders, one.pairs(some), strict=True):
            if pair is None:
                continue
            record = _record(order, key, pair)
            buckets[order >> shift].append(record)
            size += len(record) - 4
            slice_size += len(record)
            if slice_size > SLICE_BYTES:
                yield slice_size // BYTES_PER_KEY, b""
                slice_size = 0
        yield len(some) + slice_size // BYTES_PER_KEY, b""
    name = one.name.encode()
    yield 1, b"".join((_U64.pack(len(name)), name, _U64.pack(one.version), _U64.pack(size)))
    yield from _ordered(buckets)


def _orders(keys: Sequence[bytes]) -> Generator[tuple[int, bytes], None, list[int]]:
    """What the keys are sorted by."""
    steps = siphash.low32_steps(keys)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            found: list[int] = done.value
            return found
        yield SLICE_KEYS, b""


def _ordered(buckets: list[list[bytes]]) -> Iterator[tuple[int, bytes]]:
    """The records without the order before each, in pieces of a size worth handling."""
    pending: list[bytes] = []
    size = 0
    for i, bucket in enumerate(buckets):
        buckets[i] = []
        bucket.sort()
        for record in bucket:
            pending.append(record[4:])
            size += len(record)
            if size > SLICE_BYTES or len(pending) == SLICE_KEYS:
                yield _cost(pending, size), b"".join(pending)
                pending, size = [], 0
    if pending:
        yield _cost(pending, size), b"".join(pending)


def _cost(records: list[bytes], size: int) -> int:
    return len(records) // 4 + size // BYTES_PER_KEY


def _record(order: int, key: bytes, pair: Pair) -> bytes:
    """One key as it is written, after four bytes by which records are sorted."""
    value = pair.value
    return b"".join(
        (
            _ORDER_AND_LENGTH(order),
            _U64.pack(len(key)),
            key,
            _PADDING[len(key) & 7],
            _U64_2.pack(8 + len(value), pair.version),
            value,
            _PADDING[len(value) & 7],
        )
    )


# --- reading --------------------------------------------------------------------------------------


def decode(data: bytes | memoryview, *, seqno: SeqNo, public: bool) -> Iterator[MapContent]:
    """The maps of one domain of a snapshot taken at `seqno`, one after the other.

    Raises InvalidLedger.
    """
    view = memoryview(data)
    at = 0
    last: bytes | None = None
    while at < len(view):
        try:
            (length,) = _U64.unpack_from(view, at)
            raw = bytes(view[at + 8 : at + 8 + length])
            version, size = _U64_2.unpack_from(view, at + 8 + length)
        except (StructError, OverflowError):
            _bad("it ends too early")
        start = at + 24 + length
        at = start + size
        if at > len(view):
            _bad("it ends too early")
        if last is not None and raw <= last:
            _bad("maps repeated or out of order")
        last = raw
        try:
            name = raw.decode()
        except UnicodeDecodeError:
            _bad("a map name is not UTF-8")
        if is_public(name) is not public:
            _bad(f"map {name} is in the wrong domain")
        if version > seqno:
            _bad(f"map {name} changed at {version}, after {seqno}")
        yield MapContent(name, version, _pairs(bytes(view[start:at]), name, version))


def _pairs(blob: bytes, name: str, newest: SeqNo) -> dict[bytes, Pair]:
    one, two = _U64.unpack_from, _U64_2.unpack_from
    pairs: dict[bytes, Pair] = {}
    size = len(blob)
    at = count = 0
    try:
        while at < size:
            (length,) = one(blob, at)
            end = at + 8 + length
            key = blob[at + 8 : end]
            if length & 7:
                at = end + (-length & 7)
                if any(blob[end:at]):
                    _bad(f"padding in map {name} is not zero")
            else:
                at = end
            length, version = two(blob, at)
            start, end = at + 16, at + 8 + length
            if length < 8 or end > size:
                _bad(f"a value in map {name} does not fit")
            at = end + (-length & 7)
            if length & 7 and any(blob[end:at]):
                _bad(f"padding in map {name} is not zero")
            if version > newest and version < _REMOVED:
                _bad(f"a key of map {name} changed at {version}, the map at {newest}")
            count += 1
            pairs[key] = Pair(blob[start:end], version)
    except (StructError, OverflowError):
        _bad(f"map {name} ends too early")
    if at != size:
        _bad(f"map {name} ends too early")
    if len(pairs) != count:
        _bad(f"keys of map {name} are repeated")
    removed = [key for key, pair in pairs.items() if pair.version >= _REMOVED]
    for key in removed:
        del pairs[key]
    return pairs


def _bad(why: str) -> NoReturn:
    raise InvalidLedger(f"malformed snapshot: {why}")
