"""Codecs: what is written reads back, what is random never surprises."""

from __future__ import annotations

import contextlib
import json
import math

from hypothesis import given
from hypothesis import strategies as st

from pyccf.codec import cbor, cose, json_error
from pyccf.codec.text import b64, b64url, dump_json, load_json, unb64, unb64url
from pyccf.crypto import shares
from pyccf.crypto.entropy import SeededEntropy
from pyccf.crypto.shares import ShareError

texts = st.text()
numbers = st.integers(-(1 << 63), (1 << 64) - 1) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=20,
)


def same(a: object, b: object) -> bool:
    """Equality that tells 1 from 1.0 and 0.0 from -0.0."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return a == b and math.copysign(1, a) == math.copysign(1, b)
    return a == b


@given(values)
def test_json_reads_back(value: object) -> None:
    assert same(load_json(dump_json(value)), value)  # type: ignore[arg-type]


@given(values)
def test_json_equals_the_standard_library_but_for_floats(value: object) -> None:
    text = dump_json(value)  # type: ignore[arg-type]
    assert same(json.loads(text), value)
    standard = json.dumps(
        json.loads(text, parse_float=lambda _: 0),
        sort_keys=True,
        ensure_ascii=False,
        separators=(",", ":"),
    )
    ours = dump_json(json.loads(text, parse_float=lambda _: 0))
    assert ours.decode() == standard


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_keep_the_rules(value: float) -> None:
    text = dump_json(value).decode()
    assert float(text) == value
    digits = text.lstrip("-")
    exponent = "e" in digits
    size = abs(value)
    assert exponent is (size >= 1e15 or 0 < size < 1e-4)
    if exponent:
        power = digits.partition("e")[2]
        assert power[0] in "+-"
        assert len(power) >= 3
    else:
        assert "." in digits
    # No text of fewer digits reads back as the same number.
    assert len(digits.partition("e")[0].replace(".", "").strip("0")) == len(
        repr(size).partition("e")[0].replace(".", "").strip("0")
    )


@given(st.text() | st.text(alphabet='[]{}",:0123456789.eE+-truefalsn \\ud8'))
def test_json_reading_answers_with_a_value_or_a_value_error(text: str) -> None:
    try:
        value = load_json(text)
    except ValueError:
        return
    assert same(load_json(dump_json(value)), value)


@given(st.binary())
def test_base64_reads_back(data: bytes) -> None:
    assert unb64(b64(data)) == data
    assert unb64url(b64url(data)) == data
    assert "=" not in b64url(data)


@given(st.text(alphabet="ABab01+/-_= \n", max_size=12))
def test_base64_has_one_reading(text: str) -> None:
    with contextlib.suppress(ValueError):
        data = unb64(text)
        assert len(b64(data)) == len(text)
        assert b64(data).rstrip("=")[:-1] == text.rstrip("=")[:-1]
    with contextlib.suppress(ValueError):
        data = unb64url(text)
        assert b64url(data)[:-1] == text.rstrip("=")[:-1]


keys = st.integers(-(1 << 64), (1 << 64) - 1) | texts | st.binary()
items = st.recursive(
    st.none() | st.booleans() | keys,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(keys, inner, max_size=5),
    max_leaves=20,
)


def encode(value: object) -> bytes:
    if value is None:
        return cbor.NULL
    if isinstance(value, bool):
        return cbor.boolean(value)
    if isinstance(value, int):
        return cbor.integer(value)
    if isinstance(value, str):
        return cbor.tstr(value)
    if isinstance(value, bytes):
        return cbor.bstr(value)
    if isinstance(value, list):
        return cbor.array([encode(item) for item in value])
    assert isinstance(value, dict)
    return cbor.mapping([(encode(key), encode(item)) for key, item in value.items()])


@given(items)
def test_cbor_reads_back_and_has_no_strict_prefix(value: object) -> None:
    data = encode(value)
    decoded = cbor.decode(data)
    assert same(decoded, value)
    for bad in (data[:-1], data + b"\x00"):
        with contextlib.suppress(cbor.CborError):
            cbor.decode(bad)
            raise AssertionError("a cut or longer text was read")


@given(st.binary())
def test_cbor_answers_with_a_value_or_a_cbor_error(data: bytes) -> None:
    with contextlib.suppress(cbor.CborError):
        cbor.decode(data)


headers = st.dictionaries(st.integers(0, 500) | texts, st.integers(0, 99) | texts, max_size=4)


@given(headers, st.none() | st.binary(), st.binary(), headers)
def test_cose_reads_back(
    protected: dict[int | str, object],
    payload: bytes | None,
    signature: bytes,
    unprotected: dict[int | str, object],
) -> None:
    rules = cose.Rules({})
    raw = encode(protected)
    data = cose.encode_sign1(raw, payload, signature, encode(unprotected))
    sign1 = cose.parse_sign1(data, rules=rules)
    assert sign1 == cose.Sign1(raw, protected, unprotected, payload, signature)


@given(st.binary() | st.binary().map(lambda tail: b"\xd2\x84" + tail))
def test_cose_answers_with_an_envelope_or_a_cose_error(data: bytes) -> None:
    for rules in (cose.GENERIC, cose.MEMBER, cose.USER):
        with contextlib.suppress(cose.CoseError):
            cose.parse_sign1(data, rules=rules)


@given(st.integers(1, 8), st.data())
def test_shares_restore_the_secret(n: int, data: st.DataObject) -> None:
    threshold = data.draw(st.integers(1, n))
    secret, made = shares.split(n, threshold, SeededEntropy(data.draw(st.integers(0, 1 << 32))))
    some = data.draw(st.permutations(made))[:threshold]
    assert shares.combine(some) == secret
    assert shares.combine([secret.full_share()]) == secret


@given(st.lists(st.binary(max_size=50) | st.binary(min_size=44, max_size=44), max_size=4))
def test_random_shares_combine_or_are_refused(given_shares: list[bytes]) -> None:
    with contextlib.suppress(ShareError):
        shares.combine(given_shares)


@given(
    st.text(alphabet='[]{}",: \n0123456789.eE+-truefalsn\\u8dD', max_size=30).map(str.encode)
    | st.binary(max_size=20)
    | values.map(lambda value: dump_json(value)[:-1])  # type: ignore[arg-type]
)
def test_what_is_refused_is_explained(data: bytes) -> None:
    try:
        load_json(data)
        message = ""
    except ValueError as error:
        message = str(error)
    if message.startswith("not JSON"):
        # A NUL ends the text for the reference.
        assert b"\0" in data
    else:
        assert json_error.explain(data) == message
