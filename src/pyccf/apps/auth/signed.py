"""Callers known by their signature over the request body (COSE Sign1; spec: auth.md §4).

A body that cannot be decoded refuses the request at once, whatever other policies would say.
"""

from __future__ import annotations

from typing import ClassVar

from pyccf.apps.auth.policy import AuthFailure, member_of
from pyccf.apps.context import Caller, Context, Cose
from pyccf.codec import cose
from pyccf.codec.cose import Sign1, parse_sign1
from pyccf.crypto import cosesign
from pyccf.crypto.keys import PublicKey
from pyccf.errors import RpcError
from pyccf.service import tables

COSE_CHALLENGE = 'COSE-SIGN1 realm="Signed request access"'
COSE_TYPE = "application/cose"
COSE_ALGORITHMS = (-7, -35, -36)

GOV_TYPE = "ccf.gov.msg.type"


def _read_envelope(ctx: Context, rules: cose.Rules) -> Sign1:
    """Decode a signed body; what cannot be decoded ends the request (spec: auth.md §4)."""
    content_type = ctx.request.headers.get("content-type")
    if content_type is None:
        raise AuthFailure("Missing content-type header", COSE_CHALLENGE)
    if content_type != COSE_TYPE:
        raise AuthFailure("Content type is not set to application/cose", COSE_CHALLENGE)
    try:
        envelope = parse_sign1(ctx.request.body, rules=rules)
    except cose.CoseError as e:
        raise RpcError(500, "InternalError", str(e)) from None
    if envelope.alg not in COSE_ALGORITHMS:
        raise AuthFailure(f"Unsupported algorithm: {envelope.alg}", COSE_CHALLENGE)
    return envelope


def _signer(ctx: Context, envelope: Sign1, certs_table: str, who: str) -> tuple[str, str]:
    """Id and certificate of the signer after the signature was verified."""
    kid = envelope.kid
    assert kid is not None, "the rules demand it"
    stored = ctx.tx.map(certs_table).get(kid)
    if stored is None:
        raise AuthFailure(f"Signer is not a known {who}", COSE_CHALLENGE)
    pem = stored.decode()
    if not cosesign.verify1(envelope, _key_of(ctx, pem)):
        raise AuthFailure("Failed to validate COSE Sign1", COSE_CHALLENGE)
    return kid.decode(), pem


def _key_of(ctx: Context, pem: str) -> PublicKey:
    """The key of a certificate; that of a connection's last signer is kept with it."""
    known = ctx.session.scratch.get("signer")
    if isinstance(known, _Signer) and known.pem == pem:
        return known.key
    signer = _Signer(pem)
    ctx.session.scratch["signer"] = signer
    return signer.key


class _Signer:
    """A certificate, and its key taken out of it."""

    __slots__ = ("key", "pem")

    def __init__(self, pem: str) -> None:
        self.pem = pem
        self.key = PublicKey.from_certificate(pem)


def _check_type(envelope: Sign1, name: str, expected: str) -> None:
    found = envelope.headers.get(name)
    if found is None:
        raise AuthFailure(f"Missing {name}, expected {name} to be {expected}", COSE_CHALLENGE)
    if found != expected:
        raise AuthFailure(
            f"Found {name} set to {found}, expected {name} to be {expected}", COSE_CHALLENGE
        )


def _cose(ctx: Context, envelope: Sign1) -> Cose:
    assert envelope.payload is not None
    return Cose(envelope.payload, ctx.request.body, envelope.signature, envelope.headers)


class UserCose:
    """A user known by the signature over the request body.

    `message_type` is what the header `<names>.type` must say; `<names>.created_at` is when the
    message was made, and must be there as well then.
    """

    challenge: ClassVar = COSE_CHALLENGE
    scheme: ClassVar = "user_cose_sign1"

    def __init__(self, message_type: str | None = None, names: str = "ccf.msg") -> None:
        self.message_type = message_type
        self.type_name = f"{names}.type"
        self.created_at_name = f"{names}.created_at"
        self._rules = cose.user_rules(self.type_name, self.created_at_name)

    @property
    def name(self) -> str:
        return "user_cose_sign1" if self.message_type is None else "typed_user_cose_sign1"

    def authenticate(self, ctx: Context) -> Caller:
        envelope = _read_envelope(ctx, self._rules)
        ident, pem = _signer(ctx, envelope, tables.USERS_CERTS, "user")
        if self.message_type is not None:
            _check_type(envelope, self.type_name, self.message_type)
            if not isinstance(envelope.headers.get(self.created_at_name), int):
                raise AuthFailure(f"Missing {self.created_at_name}", COSE_CHALLENGE)
        data = member_of(ctx.tx.map(tables.USERS_INFO).get(ident.encode()), "user_data")
        return Caller(self.name, ident, data, pem, _cose(ctx, envelope))


class MemberCose:
    """A member known by the signature over the request body.

    `message_type` is what `ccf.gov.msg.type` must say; `active` demands an Active member.
    """

    challenge: ClassVar = COSE_CHALLENGE
    scheme: ClassVar = "member_cose_sign1"

    def __init__(self, message_type: str | None = None, active: bool = False) -> None:
        self.message_type = message_type
        self.active = active

    @property
    def name(self) -> str:
        return "active_member_cose_sign1" if self.active else "member_cose_sign1"

    def authenticate(self, ctx: Context) -> Caller:
        envelope = _read_envelope(ctx, cose.MEMBER)
        ident, pem = _signer(ctx, envelope, tables.MEMBERS_CERTS, "member")
        if self.message_type is not None:
            _check_type(envelope, GOV_TYPE, self.message_type)
        raw = ctx.tx.map(tables.MEMBERS_INFO).get(ident.encode())
        if self.active and member_of(raw, "status") != "Active":
            raise AuthFailure("Signer is not an ACTIVE member", COSE_CHALLENGE)
        return Caller(self.name, ident, member_of(raw, "member_data"), pem, _cose(ctx, envelope))
