from __future__ import annotations

import pytest

from pyccf.codec import cbor, cose
from pyccf.codec.cose import CoseError

ALG_KID = [
    (cbor.uint(1), cbor.integer(-35)),
    (cbor.uint(4), cbor.bstr(b"ab")),
]


def header(*pairs: tuple[bytes, bytes]) -> bytes:
    return cbor.mapping(pairs)


def envelope(protected: bytes, *, tail: bytes = b"", unprotected: bytes = b"\xa0") -> bytes:
    return cose.encode_sign1(protected, b"payload", b"sig", unprotected) + tail


def gov(*pairs: tuple[bytes, bytes]) -> bytes:
    return header(*ALG_KID, *pairs)


CREATED = (cbor.tstr("ccf.gov.msg.created_at"), cbor.uint(5))


def test_parse_gives_back_what_was_encoded() -> None:
    protected = gov(CREATED, (cbor.tstr("x"), cbor.array([cbor.NULL])))
    data = cose.encode_sign1(
        protected, b"p", b"s", cbor.mapping([(cbor.uint(33), cbor.bstr(b"c"))])
    )
    sign1 = cose.parse_sign1(data, rules=cose.MEMBER)
    assert sign1.protected == protected
    assert sign1.headers == {1: -35, 4: b"ab", "ccf.gov.msg.created_at": 5, "x": [None]}
    assert sign1.unprotected == {33: b"c"}
    assert (sign1.payload, sign1.signature, sign1.alg, sign1.kid) == (b"p", b"s", -35, b"ab")


def test_detached_payload_is_none() -> None:
    sign1 = cose.parse_sign1(cose.encode_sign1(b"\xa0", None, b"s"))
    assert sign1.payload is None
    assert sign1.alg is None
    assert sign1.kid is None


def test_tag_may_be_optional_but_never_another() -> None:
    data = envelope(gov())
    assert cose.parse_sign1(data[1:], tagged_required=False).alg == -35
    assert cose.parse_sign1(data, tagged_required=False).alg == -35
    for wrong in (data[1:], b"\xd8\x62" + data[1:], b"\xd2" + data):
        with pytest.raises(CoseError, match=r"^COSE_Sign1 is not tagged$"):
            cose.parse_sign1(wrong)
    with pytest.raises(CoseError, match="not tagged"):
        cose.parse_sign1(b"\xd8\x62" + data[1:], tagged_required=False)


@pytest.mark.parametrize("data", [b"", b"garbage", b"\xd2", b"\xd2\x9c", b"\xd2\xa0", b"\x00"])
def test_outer_array(data: bytes) -> None:
    with pytest.raises(CoseError, match=r"^Failed to parse COSE_Sign1 outer array$"):
        cose.parse_sign1(data)


@pytest.mark.parametrize(
    ("data", "number"),
    [
        (bytes.fromhex("d280"), 67),
        (bytes.fromhex("d29fff"), 67),
        (bytes.fromhex("d28340a040"), 67),
        (envelope(b""), 67),
        (bytes.fromhex("d284a0a04040"), 61),
        (envelope(b"\x80"), 61),
        (envelope(header((cbor.uint(1), cbor.tstr("ES384")))), 61),
        (envelope(header((cbor.uint(1), cbor.uint(1 << 63)))), 61),
        (envelope(header((cbor.uint(1), cbor.TRUE))), 61),
        (envelope(header((cbor.uint(4), cbor.tstr("ab")))), 61),
        (envelope(gov((cbor.tstr("ccf.gov.msg.type"), cbor.bstr(b"proposal")))), 61),
        (envelope(gov((cbor.tstr("ccf.gov.msg.created_at"), cbor.tstr("5")))), 61),
        (envelope(gov((cbor.tstr("ccf.gov.msg.created_at"), cbor.uint(1 << 63)))), 61),
        (envelope(gov(ALG_KID[1])), 62),
        (envelope(gov((cbor.tstr("x"), cbor.NULL), (cbor.tstr("x"), cbor.NULL))), 62),
        (envelope(b"\xa2\x01"), 31),
        (envelope(header((cbor.NULL, cbor.NULL))), 47),
        (envelope(header((cbor.TRUE, cbor.NULL))), 47),
        (envelope(b"\xa1\x05\x1c"), 22),
    ],
)
def test_protected_header_numbers(data: bytes, number: int) -> None:
    with pytest.raises(CoseError, match=rf"^Failed to decode protected header: {number}$"):
        cose.parse_sign1(data, rules=cose.MEMBER)


def test_required_parameters_in_order() -> None:
    def message(*pairs: tuple[bytes, bytes], rules: cose.Rules = cose.MEMBER) -> str:
        with pytest.raises(CoseError) as caught:
            cose.parse_sign1(envelope(header(*pairs), tail=b"\x00"), rules=rules)
        return str(caught.value)

    assert message() == "Missing algorithm in protected header"
    assert message(ALG_KID[0]) == "Missing kid in protected header"
    assert message(*ALG_KID) == "Missing created_at in protected header"
    negative = (cbor.tstr("ccf.gov.msg.created_at"), cbor.integer(-1))
    assert message(*ALG_KID, negative) == "Header parameter created_at must be positive"
    assert message(*ALG_KID, CREATED) == "Failed to decode COSE_Sign1"
    # Users owe no time, and other envelopes owe nothing.
    assert message(ALG_KID[0], rules=cose.USER) == "Missing kid in protected header"
    assert message(*ALG_KID, rules=cose.USER) == "Failed to decode COSE_Sign1"
    assert message(rules=cose.GENERIC) == "Failed to decode COSE_Sign1"


def test_headers_with_a_million_items_are_not_taken_apart() -> None:
    """Anybody may send one, and it is read before the signature is looked at."""
    many = (cbor.tstr("x"), cbor.array([b"\x00"] * 1_000_000))
    with pytest.raises(CoseError, match="protected header"):
        cose.parse_sign1(envelope(gov(CREATED, many)), rules=cose.MEMBER)
    with pytest.raises(CoseError, match="Failed to decode COSE_Sign1"):
        cose.parse_sign1(envelope(gov(CREATED), unprotected=header(many)), rules=cose.MEMBER)


def test_users_choose_their_header_names() -> None:
    rules = cose.user_rules("app.type", "app.time")
    bad = envelope(gov((cbor.tstr("app.time"), cbor.tstr("now"))))
    with pytest.raises(CoseError, match="61"):
        cose.parse_sign1(bad, rules=rules)
    assert cose.parse_sign1(bad, rules=cose.USER).headers["app.time"] == "now"


@pytest.mark.parametrize(
    "data",
    [
        envelope(gov(), tail=b"\x00"),
        envelope(gov())[:-1],
        envelope(gov() + b"\x00"),
        envelope(gov(), unprotected=b"\x80"),
        envelope(gov(), unprotected=b"\xa1\x41\x01\x00"),
        b"\xd2\x83" + cbor.bstr(gov()) + b"\xa0\x40",
        b"\xd2\x85" + cbor.bstr(gov()) + b"\xa0\x40\x40\x40",
        b"\xd2\x9f" + cbor.bstr(gov()) + b"\xa0\x40\x40\x40\xff",
        b"\xd2\x84" + cbor.bstr(gov()) + b"\xa0\x40\x60",
        b"\xd2\x84" + cbor.bstr(gov()) + b"\xa0\x05\x40",
    ],
)
def test_rest_of_the_envelope(data: bytes) -> None:
    with pytest.raises(CoseError, match=r"^Failed to decode COSE_Sign1$"):
        cose.parse_sign1(data)


def test_indefinite_lengths_are_read() -> None:
    data = b"\xd2\x9f" + cbor.bstr(b"\xbf\x01\x26\xff") + b"\xa0\xf6\x41s\xff"
    sign1 = cose.parse_sign1(data)
    assert sign1.headers == {1: -7}
    assert sign1.protected == b"\xbf\x01\x26\xff"


def test_signed_bytes() -> None:
    # RFC 9052 4.4; the shape is in merkle-and-receipts.md 4.5.
    assert cose.sig_structure(b"\xa0", bytes(32)).hex() == (
        "846a5369676e61747572653141a0405820" + "00" * 32
    )
    assert cose.sig_structure(b"\xa0", b"", b"x").hex() == "846a5369676e61747572653141a0417840"


def test_signature_is_not_shown() -> None:
    assert "5d41" not in repr(cose.parse_sign1(envelope(gov())))
    assert "signature" not in repr(cose.parse_sign1(envelope(gov())))
