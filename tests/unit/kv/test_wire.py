from __future__ import annotations

from collections.abc import Iterator

import pytest

from pyccf.errors import InvalidLedger
from pyccf.kv.changes import UNIT, Changes
from pyccf.kv.wire import HEADS_MAX, SMALL_MAX, decode, encode
from support.vectors import vectors_dir


def u64(n: int) -> bytes:
    return n.to_bytes(8, "little")


def lp(data: bytes) -> bytes:
    return u64(len(data)) + data


# ledger.md §13.2
PUBLIC_SECTION = bytes.fromhex(
    "08000000000000007075626c69633a6100000000000000000000000000000000"
    "010000000000000002000000000000006b31040000000000000022763122"
    "010000000000000002000000000000006b30"
)
PRIVATE_SECTION = bytes.fromhex(
    "0100000000000000620000000000000000000000000000000001000000000000"
    "00010000000000000078050000000000000068656c6c6f0000000000000000"
)


def test_example_of_the_specification() -> None:
    maps: Changes = {"public:a": {b"k1": b'"v1"', b"k0": None}, "b": {b"x": b"hello"}}
    assert encode(maps) == (PUBLIC_SECTION, PRIVATE_SECTION)
    assert decode(PUBLIC_SECTION) == {"public:a": maps["public:a"]}
    assert decode(PRIVATE_SECTION) == {"b": maps["b"]}


def test_example_from_a_real_entry() -> None:
    value = b'{"hash":"' + b"0" * 64 + b'","version":13}'
    maps: Changes = {"public:ccf.internal.snapshot_evidence": {UNIT: value}}
    public, private = encode(maps)
    assert public.startswith(lp(b"public:ccf.internal.snapshot_evidence") + u64(0) + u64(0))
    assert public.endswith(u64(1) + lp(UNIT) + lp(value) + u64(0))
    assert private == b""


@pytest.mark.parametrize("name", ["m", "public:m", "ä", "public:ä"])
@pytest.mark.parametrize("key", [b"", b"k", b"k" * SMALL_MAX])
@pytest.mark.parametrize("value", [None, b"", b"v", b"v" * (SMALL_MAX - 1), b"v" * SMALL_MAX])
def test_one_change_is_encoded_like_any_other(name: str, key: bytes, value: bytes | None) -> None:
    """The short way for a single change gives what the layout says."""
    writes = u64(0) if value is None else u64(1) + lp(key) + lp(value)
    removes = u64(1) + lp(key) if value is None else u64(0)
    section = lp(name.encode()) + u64(0) + u64(0) + writes + removes
    public, private = encode({name: {key: value}})
    assert public + private == section
    assert (public == b"") is (not name.startswith("public:"))


def test_order_is_bytewise_shorter_prefix_first() -> None:
    maps: Changes = {
        "public:b": {
            b"b": b"1",
            b"": b"2",
            b"a\xff": b"3",
            b"a": b"4",
            b"\x80": None,
            b"\x7f": None,
        },
        "public:a": {b"k": b""},
        "public:B": {b"k": b""},
    }
    public, _ = encode(maps)
    decoded = decode(public)
    assert list(decoded) == ["public:B", "public:a", "public:b"]
    assert list(decoded["public:b"]) == [b"", b"a", b"a\xff", b"b", b"\x7f", b"\x80"]


def test_nothing_is_no_bytes() -> None:
    assert encode({}) == (b"", b"")
    assert decode(b"") == {}


def test_many_map_names_do_not_pile_up() -> None:
    from pyccf.kv import wire

    for n in range(HEADS_MAX + 10):
        name = f"public:{n}"
        assert decode(encode({name: {b"": None}})[0]) == {name: {b"": None}}
    assert len(wire._heads) <= HEADS_MAX


def section(name: bytes = b"m", tail: bytes = u64(0) + u64(0)) -> bytes:
    return lp(name) + u64(0) + u64(0) + tail


def test_read_section_of_old_versions_is_skipped() -> None:
    reads = u64(5) + u64(2) + lp(b"a") + u64(3) + lp(b"bb") + u64(4)
    data = lp(b"m") + reads + u64(1) + lp(b"k") + lp(b"v") + u64(0)
    assert decode(data) == {"m": {b"k": b"v"}}


def test_section_without_changes_is_read() -> None:
    assert decode(section()) == {"m": {}}


HUGE = (1 << 64) - 1
MALFORMED = {
    "lonely byte": b"\0",
    "trailing byte": PRIVATE_SECTION + b"\0",
    "trailing zeros": PRIVATE_SECTION + bytes(8),
    "map twice": section() + section(),
    "maps out of order": section(b"n") + section(b"m"),
    "name not UTF-8": section(b"\xff"),
    "surrogate in name": section("\ud800".encode("utf-8", "surrogatepass")),
    "name longer than the data": u64(100) + b"m",
    "huge name": u64(HUGE) + b"m" + bytes(32),
    "name reaching just beyond 2^63": u64((1 << 63) - 1) + bytes(64),
    "key written twice": section(tail=u64(2) + (lp(b"k") + lp(b"v")) * 2 + u64(0)),
    "written keys out of order": section(
        tail=u64(2) + lp(b"b") + lp(b"") + lp(b"a") + lp(b"") + u64(0)
    ),
    "key removed twice": section(tail=u64(0) + u64(2) + lp(b"k") * 2),
    "removed keys out of order": section(tail=u64(0) + u64(2) + lp(b"b") + lp(b"a")),
    "key written and removed": section(tail=u64(1) + lp(b"k") + lp(b"v") + u64(1) + lp(b"k")),
    "write missing": section(tail=u64(2) + lp(b"k") + lp(b"v") + u64(0)),
    "endless writes": section(tail=u64(HUGE) + lp(b"k") + lp(b"v") + u64(0)),
    "endless removes": section(tail=u64(0) + u64(HUGE) + lp(b"k")),
    "endless reads": lp(b"m") + u64(0) + u64(HUGE) + bytes(64),
    "huge key": section(tail=u64(1) + u64(HUGE) + b"k"),
    "huge value": section(tail=u64(1) + lp(b"k") + u64(HUGE) + b"v" + u64(0)),
    "huge removed key": section(tail=u64(0) + u64(1) + u64(HUGE) + b"k"),
    "removed key cut off": section(tail=u64(0) + u64(1) + u64(2) + b"k"),
    "huge key read": lp(b"m") + u64(0) + u64(1) + u64(HUGE) + bytes(64),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_malformed(data: bytes) -> None:
    with pytest.raises(InvalidLedger, match="malformed write set"):
        decode(data)


@pytest.mark.parametrize("whole", [PUBLIC_SECTION, PRIVATE_SECTION], ids=["public", "private"])
def test_cut_off_anywhere(whole: bytes) -> None:
    for end in range(1, len(whole)):
        with pytest.raises(InvalidLedger):
            decode(whole[:end])


def _public_sections() -> Iterator[bytes]:
    """Map sections of the public domain of every entry of the recorded ledgers (ledger.md §4-5)."""
    for chunk in sorted((vectors_dir() / "ccf" / "ledgers").glob("*/ledger/ledger_*")):
        data = chunk.read_bytes()
        end = int.from_bytes(data[:8], "little") or len(data)
        at = 8
        while at < end:
            size = int.from_bytes(data[at + 2 : at + 8], "little")
            length = int.from_bytes(data[at + 36 : at + 44], "little")
            public = data[at + 44 : at + 44 + length]
            digests = {0: 0, 2: 32, 3: 32, 4: 64}[public[0]]
            yield public[9 + digests + 8 :]
            at += 8 + size


def test_real_ledgers_come_out_byte_for_byte() -> None:
    count = 0
    for sections in _public_sections():
        assert encode(decode(sections)) == (sections, b"")
        count += 1
    assert count == 1304
