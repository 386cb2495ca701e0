"""A bearer token taken apart: JSON Web Token in compact form (RFC 7519, spec: auth.md §5.1).

Nothing is verified here: a `Token` says what it claims, and what bytes its signature is over.
Refused are tokens that are not three parts, not JSON objects, or lack what every token must have;
the sentences are part of the interface. What is not base64url, or has a member of a wrong JSON
type, ends the request (RpcError), whatever other policies would say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import msgspec

from pyccf.apps.auth.policy import AuthFailure
from pyccf.codec.text import dump_json, load_json, unb64url
from pyccf.errors import RpcError

if TYPE_CHECKING:
    from pyccf.types import Json

SCHEME = "Bearer"
PARTS = 3
ALGORITHMS = ("RS256", "ES256")
_U64 = 1 << 64


class Token(msgspec.Struct, frozen=True):
    """What a token claims, and what it takes to verify it."""

    header: dict[str, Json]
    payload: dict[str, Json]
    kid: str
    issuer: str
    expires: int
    not_before: int | None
    tenant: str | None
    signed: bytes
    """What the signature is over: header and payload as sent."""
    signature: bytes


def parse_authorization(header: str | None) -> Token:
    """The token of an `authorization` header; raises AuthFailure, RpcError."""
    if header is None:
        raise AuthFailure("Missing authorization header")
    scheme, blank, text = header.partition(" ")
    if not blank:
        raise AuthFailure("Authorization header only contains one field")
    if scheme != SCHEME:
        raise AuthFailure(f"Authorization header does not have {SCHEME} scheme")
    return parse_token(text)


def parse_token(text: str) -> Token:
    """A token in compact form; raises AuthFailure, RpcError."""
    parts = text.split(".")
    if len(parts) != PARTS:
        raise AuthFailure(f"Malformed JWT: must contain exactly {PARTS} parts")
    raw_header, raw_payload, signature = (_decoded(part) for part in parts)
    try:
        header, payload = load_json(raw_header), load_json(raw_payload)
    except ValueError as e:
        raise AuthFailure(f"JWT header or payload is not valid JSON: {e}") from None
    if not isinstance(header, dict) or not isinstance(payload, dict):
        raise AuthFailure("JWT header or payload is not an object")
    kid = _kid(header)
    for name in ("exp", "iss"):
        if name not in payload:
            raise AuthFailure(f"JWT payload is missing required field: {_missing(name, payload)}")
    expires, issuer = _seconds(payload["exp"]), _text(payload["iss"])
    not_before, tenant = payload.get("nbf"), payload.get("tid")
    return Token(
        header=_sorted(header),
        payload=_sorted(payload),
        kid=kid,
        issuer=issuer,
        expires=expires,
        not_before=None if not_before is None else _seconds(not_before),
        tenant=None if tenant is None else _text(tenant),
        signed=f"{parts[0]}.{parts[1]}".encode(),
        signature=signature,
    )


def _decoded(part: str) -> bytes:
    try:
        # A blank before the token is not part of its base64, though of what must be signed.
        return unb64url(part.lstrip(" "))
    except ValueError as e:
        raise RpcError(500, "InternalError", f"A part of the JWT cannot be decoded: {e}") from None


def _kid(header: dict[str, Json]) -> str:
    """The key id, of a header that says what a header must say."""
    prefix = "JWT header does not follow schema: "
    if "alg" not in header:
        raise AuthFailure(prefix + _missing("alg", header))
    alg = header["alg"]
    if alg not in ALGORITHMS:
        shown = dump_json(alg).decode()
        raise AuthFailure(f"{prefix}At #/alg: {shown} is not convertible to JwtCryptoAlgorithm")
    if "kid" not in header:
        raise AuthFailure(prefix + _missing("kid", header))
    return _text(header["kid"])


def _missing(name: str, value: dict[str, Json]) -> str:
    return f"At #/: Missing required field '{name}' in object: {dump_json(value).decode()}"


def _text(value: Json) -> str:
    if not isinstance(value, str):
        _wrong_type("string", value)
    return value


def _seconds(value: Json) -> int:
    """A time as the original reads it: an unsigned number of 64 bits, fractions cut off.

    Negative numbers wrap, so they are far in the future (spec: auth.md §5.1).
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        _wrong_type("number", value)
    whole = int(value)
    return whole % _U64 if whole < 0 else min(whole, _U64 - 1)


def _wrong_type(wanted: str, value: Json) -> NoReturn:
    raise RpcError(
        400,
        "InvalidInput",
        f"[json.exception.type_error.302] type must be {wanted}, but is {_type_name(value)}",
    )


def _type_name(value: Json) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "string"
    if isinstance(value, dict):
        return "object"
    return "array" if isinstance(value, list) else "number"


def _sorted(value: dict[str, Json]) -> dict[str, Json]:
    """The same object, members in ascending order all the way down, as apps are shown it."""
    try:
        again = load_json(dump_json(value))
    except ValueError:
        raise AuthFailure("JWT header or payload is not valid JSON: nested too deeply") from None
    assert isinstance(again, dict)
    return again
