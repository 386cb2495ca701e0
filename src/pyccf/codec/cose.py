"""COSE_Sign1 envelopes (RFC 9052 §4.2): parse, build, and the bytes that are signed.

The parser works in the order of the reference and answers with its texts (auth.md §4 step 3):
outer array, tag, protected header, required header parameters, and last the rest of the
envelope. Numbers in `Failed to decode protected header: <n>` name what went wrong:

    31  the header bytes end in the middle of an item
    47  a map label is neither integer nor string
    61  an item has an unexpected type (the header is no map, a known label has the wrong type)
    62  a label occurs twice
    67  an item is missing (empty header, short outer array)

Which labels are known, and which must be there, is a `Rules` value: `GENERIC` (any COSE_Sign1),
`MEMBER` (governance requests), `USER` or `user_rules` (application requests).

Refuses, beyond the reference: any duplicate label (not only known ones), bytes after the header
map, more than four elements, a payload that is neither bytes nor null. Whether a signature is
right, and whether the algorithm may be used, is `crypto.cosesign`'s business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pyccf.codec import cbor
from pyccf.codec.cbor import CborEnd, CborError, Reader, Value

COSE_SIGN1_TAG: Final = 18

ALG: Final = 1
CRIT: Final = 2
KID: Final = 4
CWT_CLAIMS: Final = 15
X5CHAIN: Final = 33
VDS: Final = 395
VDP: Final = 396

GOV_MSG_TYPE: Final = "ccf.gov.msg.type"
GOV_MSG_PROPOSAL_ID: Final = "ccf.gov.msg.proposal_id"
GOV_MSG_CREATED_AT: Final = "ccf.gov.msg.created_at"
MSG_TYPE: Final = "ccf.msg.type"
MSG_CREATED_AT: Final = "ccf.msg.created_at"

_HIT_END = 31
_MAP_LABEL_TYPE = 47
_UNEXPECTED_TYPE = 61
_DUPLICATE_LABEL = 62
_NO_MORE_ITEMS = 67
_NOT_WELL_FORMED = 22

_I64_END = 1 << 63


class CoseError(ValueError):
    """The bytes are not the COSE_Sign1 envelope that was expected; the text is the reference's."""


@dataclass(frozen=True)
class Rules:
    """Which protected header parameters are known by type, and which must be present.

    `types` maps a label to int (64 bits, signed), bytes or str. The other flags add the checks of
    the governance policies; `created_at` names the time parameter.
    """

    types: Mapping[int | str, type]
    alg_and_kid_required: bool = False
    created_at: str = ""
    created_at_required: bool = False


GENERIC: Final = Rules({ALG: int, KID: bytes})
MEMBER: Final = Rules(
    {
        ALG: int,
        KID: bytes,
        GOV_MSG_TYPE: str,
        GOV_MSG_PROPOSAL_ID: str,
        GOV_MSG_CREATED_AT: int,
    },
    alg_and_kid_required=True,
    created_at=GOV_MSG_CREATED_AT,
    created_at_required=True,
)


def user_rules(msg_type: str = MSG_TYPE, created_at: str = MSG_CREATED_AT) -> Rules:
    """Rules of an application's COSE policy, with the header names it chose."""
    return Rules(
        {ALG: int, KID: bytes, msg_type: str, created_at: int},
        alg_and_kid_required=True,
        created_at=created_at,
    )


USER: Final = user_rules()


@dataclass(frozen=True, slots=True)
class Sign1:
    """A parsed envelope.

    `protected` are the header bytes exactly as signed, `headers` their content; `unprotected` is
    the content of the unsigned header; `payload` is None when detached.
    """

    protected: bytes
    headers: dict[int | str, object]
    unprotected: dict[int | str, object]
    payload: bytes | None
    signature: bytes = field(repr=False)

    @property
    def alg(self) -> int | None:
        """Algorithm of the protected header (RFC 9053), if any."""
        value = self.headers.get(ALG)
        return value if isinstance(value, int) else None

    @property
    def kid(self) -> bytes | None:
        """Key identifier of the protected header, if any."""
        value = self.headers.get(KID)
        return value if isinstance(value, bytes) else None


def parse_sign1(data: bytes, *, tagged_required: bool = True, rules: Rules = GENERIC) -> Sign1:
    """Read an envelope; CoseError with the reference's text (auth.md §4) otherwise.

    `tagged_required=False` also accepts the bare array, still refusing a wrong tag.
    """
    reader = Reader(bytes(data))
    length = _enter(reader, tagged_required)
    try:
        protected = _protected_bytes(reader, length)
        headers = _header_map(protected, rules)
    except _HeaderError as error:
        raise CoseError(f"Failed to decode protected header: {error.number}") from None
    _require(headers, rules)
    try:
        return _finish(reader, length, protected, headers)
    except CborError:
        raise CoseError("Failed to decode COSE_Sign1") from None


class _HeaderError(Exception):
    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _enter(reader: Reader, tagged_required: bool) -> int:
    """Pass tags and the head of the outer array; its length, or -1 when indefinite."""
    tags: list[int] = []
    try:
        major, _, argument = reader.head()
        while major == 6 and len(tags) < cbor.NESTING_MAX:
            tags.append(argument)
            major, _, argument = reader.head()
    except CborError:
        raise CoseError("Failed to parse COSE_Sign1 outer array") from None
    if major != 4:
        raise CoseError("Failed to parse COSE_Sign1 outer array")
    if (not tags and tagged_required) or (tags and tags != [COSE_SIGN1_TAG]):
        raise CoseError("COSE_Sign1 is not tagged")
    return argument


def _protected_bytes(reader: Reader, length: int) -> bytes:
    if length == 0 or reader.data[reader.pos : reader.pos + 1] == b"\xff":
        raise _HeaderError(_NO_MORE_ITEMS)
    try:
        value = reader.item()
    except CborEnd:
        raise _HeaderError(_HIT_END if not reader.done else _NO_MORE_ITEMS) from None
    except CborError:
        raise _HeaderError(_NOT_WELL_FORMED) from None
    if not isinstance(value, bytes):
        raise _HeaderError(_UNEXPECTED_TYPE)
    return value


def _header_map(protected: bytes, rules: Rules) -> dict[int | str, object]:
    """The entries of a protected header, checked in the order they stand there."""
    if not protected:
        raise _HeaderError(_NO_MORE_ITEMS)
    reader = Reader(protected)
    try:
        major, _, length = reader.head()
        if major != 5:
            raise _HeaderError(_UNEXPECTED_TYPE)
        headers: dict[int | str, object] = {}
        left = length
        while left:
            if length < 0 and protected[reader.pos : reader.pos + 1] == b"\xff":
                reader.pos += 1
                break
            label = reader.item()
            if isinstance(label, bool) or not isinstance(label, (int, str)):
                raise _HeaderError(_MAP_LABEL_TYPE)
            value = reader.item()
            if label in headers:
                raise _HeaderError(_DUPLICATE_LABEL)
            wanted = rules.types.get(label)
            if wanted is not None and not _fits(value, wanted):
                raise _HeaderError(_UNEXPECTED_TYPE)
            headers[label] = value
            left -= 1
    except CborEnd:
        raise _HeaderError(_HIT_END) from None
    except CborError:
        raise _HeaderError(_NOT_WELL_FORMED) from None
    if not reader.done:
        raise CoseError("Failed to decode COSE_Sign1")
    return headers


def _fits(value: Value, wanted: type) -> bool:
    if wanted is int:
        return type(value) is int and -_I64_END <= value < _I64_END
    return type(value) is wanted


def _require(headers: dict[int | str, object], rules: Rules) -> None:
    if rules.alg_and_kid_required:
        if ALG not in headers:
            raise CoseError("Missing algorithm in protected header")
        if KID not in headers:
            raise CoseError("Missing kid in protected header")
    if rules.created_at_required:
        created_at = headers.get(rules.created_at)
        if not isinstance(created_at, int):
            raise CoseError("Missing created_at in protected header")
        if created_at < 0:
            raise CoseError("Header parameter created_at must be positive")


def _finish(
    reader: Reader, length: int, protected: bytes, headers: dict[int | str, object]
) -> Sign1:
    """Read unprotected header, payload and signature; CborError when they are not that."""
    if length not in (4, -1):
        raise CborError("not four elements")
    unprotected = reader.item()
    payload = reader.item()
    signature = reader.item()
    if length == -1 and reader.take(1) != b"\xff":
        raise CborError("not four elements")
    if not reader.done:
        raise CborError("bytes follow the envelope")
    if not isinstance(unprotected, dict) or not isinstance(signature, bytes):
        raise CborError("unexpected type")
    if payload is not None and not isinstance(payload, bytes):
        raise CborError("unexpected type of the payload")
    labels: dict[int | str, object] = {}
    for label, value in unprotected.items():
        if isinstance(label, bytes):
            raise CborError("unexpected type of a label")
        labels[label] = value
    return Sign1(protected, headers, labels, payload, signature)


def encode_sign1(
    protected: bytes, payload: bytes | None, signature: bytes, unprotected_raw: bytes = b"\xa0"
) -> bytes:
    """A tagged envelope; `payload=None` is detached, `unprotected_raw` is an encoded map."""
    return b"".join(
        (
            b"\xd2\x84",
            cbor.bstr(protected),
            unprotected_raw,
            cbor.NULL if payload is None else cbor.bstr(payload),
            cbor.bstr(signature),
        )
    )


_SIGNATURE1 = b"\x84" + cbor.tstr("Signature1")


def sig_structure(protected: bytes, payload: bytes, external_aad: bytes = b"") -> bytes:
    """The bytes that are signed (RFC 9052 §4.4): context, protected, external data, payload."""
    return b"".join(
        (_SIGNATURE1, cbor.bstr(protected), cbor.bstr(external_aad), cbor.bstr(payload))
    )
