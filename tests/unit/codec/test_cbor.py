from __future__ import annotations

import math

import pytest

from pyccf.codec import cbor
from pyccf.codec.cbor import CborError, Simple, Tag


@pytest.mark.parametrize(
    ("item", "hexed"),
    [
        # RFC 8949 appendix A
        (cbor.uint(0), "00"),
        (cbor.uint(23), "17"),
        (cbor.uint(24), "1818"),
        (cbor.uint(100), "1864"),
        (cbor.uint(1000), "1903e8"),
        (cbor.uint(1_000_000), "1a000f4240"),
        (cbor.uint(18446744073709551615), "1bffffffffffffffff"),
        (cbor.nint(-1), "20"),
        (cbor.integer(-100), "3863"),
        (cbor.integer(-18446744073709551616), "3bffffffffffffffff"),
        (cbor.integer(10), "0a"),
        (cbor.bstr(b"\1\2\3\4"), "4401020304"),
        (cbor.tstr("ü"), "62c3bc"),
        (cbor.tstr("a" * 24), "7818" + "61" * 24),
        (cbor.array([cbor.uint(1), cbor.array([cbor.uint(2), cbor.uint(3)])]), "8201820203"),
        (cbor.mapping([(cbor.uint(3), cbor.uint(4)), (cbor.uint(1), cbor.uint(2))]), "a203040102"),
        (cbor.tag(32, cbor.tstr("a")), "d8206161"),
        (cbor.NULL, "f6"),
        (cbor.boolean(True), "f5"),
        (cbor.boolean(False), "f4"),
    ],
)
def test_encoding(item: bytes, hexed: str) -> None:
    assert item.hex() == hexed


@pytest.mark.parametrize(
    ("hexed", "value"),
    [
        ("1bffffffffffffffff", 18446744073709551615),
        ("3bffffffffffffffff", -18446744073709551616),
        ("f97bff", 65504.0),
        ("fa47c35000", 100000.0),
        ("fb3ff199999999999a", 1.1),
        ("f97c00", math.inf),
        ("f4", False),
        ("f5", True),
        ("f6", None),
        ("f7", Simple(23)),
        ("f0", Simple(16)),
        ("f8ff", Simple(255)),
        ("c074323031332d30332d32315432303a30343a30305a", Tag(0, "2013-03-21T20:04:00Z")),
        ("d74401020304", Tag(23, b"\1\2\3\4")),
        ("a26161016162820203", {"a": 1, "b": [2, 3]}),
        ("a2014120f64101", None),
        ("5f42010243030405ff", b"\1\2\3\4\5"),
        ("7f657374726561646d696e67ff", "streaming"),
        ("9f018202039f0405ffff", [1, [2, 3], [4, 5]]),
        ("bf61610161629f0203ffff", {"a": 1, "b": [2, 3]}),
        ("1800", 0),
        ("5b000000000000000101", b"\1"),
    ],
)
def test_decoding(hexed: str, value: object) -> None:
    if value is None and hexed != "f6":
        with pytest.raises(CborError):
            cbor.decode(bytes.fromhex(hexed))
        return
    decoded = cbor.decode(bytes.fromhex(hexed))
    assert decoded == value
    assert type(decoded) is type(value)


def test_map_order_is_kept() -> None:
    value = cbor.decode(bytes.fromhex("a303000200 0100"))
    assert isinstance(value, dict)
    assert list(value) == [3, 2, 1]


@pytest.mark.parametrize(
    "hexed",
    [
        "",  # nothing
        "0000",  # two items
        "18",  # cut head
        "42ff",  # cut string
        "82 01",  # cut array
        "a101",  # cut map
        "9f01",  # no break
        "bf01ff",  # break instead of a value
        "ff",  # break alone
        "1c",  # reserved
        "1f",  # indefinite integer
        "df00ff",  # indefinite tag
        "62c328",  # not UTF-8
        "7f61c361bcff",  # character split over chunks
        "5f6161ff",  # text chunk in a byte string
        "5f5f4101ffff",  # indefinite chunk
        "a201000100",  # duplicate key
        "a1f500",  # boolean key
        "a18000",  # array key
        "a1f6f6",  # null key
        "f817",  # simple below 32 in two bytes
        "9bffffffffffffffff",  # longer than any input
    ],
)
def test_decoding_refuses(hexed: str) -> None:
    with pytest.raises(CborError):
        cbor.decode(bytes.fromhex(hexed))


def test_nesting_has_a_limit() -> None:
    deepest = b"\x81" * cbor.NESTING_MAX + b"\x00"
    assert cbor.decode(deepest) is not None
    for opener in (b"\x81", b"\xc1", b"\xa1\x00"):
        with pytest.raises(CborError, match="nested"):
            cbor.decode(opener * (cbor.NESTING_MAX + 1) + b"\x00")


def test_the_number_of_items_has_a_limit() -> None:
    most = cbor.HEADS_MAX
    assert cbor.decode(cbor.array([b"\x00"] * (most - 1))) == [0] * (most - 1)
    for item in (
        cbor.array([b"\x00"] * most),
        b"\x9f" + b"\x00" * most,
        b"\x7f" + b"\x60" * most + b"\xff",
        cbor.mapping([(cbor.integer(i), b"\x00") for i in range(most // 2)]),
        cbor.array([b"\xc1" * 20 + b"\x00"] * (most // 20)),
    ):
        with pytest.raises(CborError, match="more than"):
            cbor.decode(item)


def test_sign_is_our_promise() -> None:
    with pytest.raises(AssertionError):
        cbor.uint(-1)
    with pytest.raises(AssertionError):
        cbor.nint(0)
    with pytest.raises(AssertionError):
        cbor.uint(1 << 64)


def test_reader_tells_positions() -> None:
    reader = cbor.Reader(bytes.fromhex("8201420202f6"))
    assert reader.head() == (4, 2, 2)
    assert reader.item() == 1
    assert reader.pos == 2
    assert reader.item() == b"\2\2"
    assert not reader.done
    assert reader.item() is None
    assert reader.done
