from __future__ import annotations

import random
import struct

import pytest

from pyccf.errors import InvalidLedger
from pyccf.kv import content, siphash
from pyccf.kv.store import Store

WORKED = bytes.fromhex(
    "08000000000000007075626c69633a6d07000000000000007000000000000000"
    "04000000000000006b657932000000001000000000000000070000000000000031323334353637380100000000000000"
    "610000000000000008000000000000000600000000000000"
    "01000000000000006b000000000000000b00000000000000050000000000000061626300000000 00".replace(
        " ", ""
    )
)


def u64(n: int) -> bytes:
    return struct.pack("<Q", n)


def encode(store: Store, seqno: int, public: bool = True) -> bytes:
    maps = [m for m in store.freeze(seqno).maps() if content.is_public(m.name) is public]
    return b"".join(piece for _, piece in content.sections(maps))


def decode(data: bytes, seqno: int = 100) -> list[content.MapContent]:
    return list(content.decode(data, seqno=seqno, public=True))


def test_the_worked_section() -> None:
    store = Store(view=1)
    for seqno in range(1, 5):
        store.apply(seqno, {"x": {b"": b"%d" % seqno}})
    store.apply(5, {"public:m": {b"k": b"abc"}})
    store.apply(6, {"public:m": {b"a": b""}})
    store.apply(7, {"public:m": {b"key2": b"12345678"}})
    assert encode(store, 7) == WORKED
    (found,) = decode(WORKED)
    assert (found.name, found.version) == ("public:m", 7)
    assert {k: (p.value, p.version) for k, p in found.pairs.items()} == {
        b"k": (b"abc", 5),
        b"a": (b"", 6),
        b"key2": (b"12345678", 7),
    }


def test_empty_maps_are_written() -> None:
    store = Store(view=1)
    store.apply(1, {"public:e": {b"k": b"1"}, "public:n": {b"k": None}})
    store.apply(2, {"public:e": {b"k": None}})
    found = decode(encode(store, 2))
    assert [(m.name, m.version, m.pairs) for m in found] == [
        ("public:e", 2, {}),
        ("public:n", 0, {}),
    ]


def test_a_map_may_have_no_name() -> None:
    store = Store(view=1)
    store.apply(1, {"": {b"k": b"1"}, "m": {b"k": b"2"}})
    found = content.decode(encode(store, 1, public=False), seqno=1, public=False)
    assert [(m.name, m.pairs[b"k"].value) for m in found] == [("", b"1"), ("m", b"2")]
    with pytest.raises(InvalidLedger, match="repeated or out of order"):
        list(content.decode(section(b"", b"") * 2, seqno=100, public=False))


def test_large_maps_are_ordered_throughout() -> None:

    chance = random.Random(3)
    rows: dict[bytes, bytes | None] = {
        chance.randbytes(chance.randrange(1, 20)): chance.randbytes(chance.randrange(30))
        for _ in range(content.BUCKETED_MIN + 1000)
    }
    store = Store(view=1)
    store.apply(1, {"public:m": rows})
    (found,) = decode(encode(store, 1))
    assert {k: p.value for k, p in found.pairs.items()} == rows
    order = siphash.low32(list(found.pairs))
    assert order == sorted(order)


def test_slices_are_small() -> None:
    store = Store(view=1)
    store.apply(1, {"public:m": {b"%d" % i: bytes(100_000) for i in range(40)}})
    pieces = [piece for _, piece in content.sections(store.freeze(1).maps())]
    assert max(map(len, pieces)) < 2 * content.SLICE_BYTES
    assert len(pieces) > 8


def test_private_values_do_not_show() -> None:
    assert "secret" not in repr(content.MapContent("m", 1, {b"secret": None}))  # type: ignore[dict-item]


def section(name: bytes, blob: bytes, version: int = 7) -> bytes:
    return u64(len(name)) + name + u64(version) + u64(len(blob)) + blob


def row(key: bytes, value: bytes, version: int = 5) -> bytes:
    return b"".join(
        (
            u64(len(key)),
            key,
            bytes(-len(key) % 8),
            u64(8 + len(value)),
            u64(version),
            value,
            bytes(-len(value) % 8),
        )
    )


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (WORKED[:-1], "ends too early"),
        (WORKED[:20], "ends too early"),
        (u64(1 << 62), "ends too early"),
        (WORKED + WORKED, "repeated or out of order"),
        (section(b"public:b", b"") + section(b"public:a", b""), "out of order"),
        (section(b"public:\xff", b""), "not UTF-8"),
        (section(b"secret", b""), "wrong domain"),
        (section(b"public:m", b"", version=101), "changed at 101, after 100"),
        (section(b"public:m", row(b"k", b"v", 8)), "changed at 8, the map at 7"),
        (section(b"public:m", row(b"k", b"v") * 2), "repeated"),
        (section(b"public:m", row(b"k", b"v")[:-8]), "does not fit|too early"),
        (section(b"public:m", u64(1) + b"k" + bytes(7) + u64(7) + u64(5)), "does not fit"),
        (section(b"public:m", u64(1 << 63)), "too early"),
        (section(b"public:m", row(b"k", b"vv").replace(b"k\0", b"k\1", 1)), "not zero"),
        (section(b"public:m", row(b"k", b"v")[:-1] + b"\1"), "not zero"),
    ],
)
def test_what_does_not_add_up_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(InvalidLedger, match=why):
        decode(data)


def test_keys_marked_removed_are_passed_over() -> None:
    rows = row(b"a", b"1") + row(b"b", b"2", (1 << 64) - 3)
    (found,) = decode(section(b"public:m", rows))
    assert list(found.pairs) == [b"a"]
