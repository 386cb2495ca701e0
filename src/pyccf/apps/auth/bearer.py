"""Callers known by a bearer token that a registered issuer signed (spec: auth.md §5).

The token is judged against the keys that governance, or the refresh of keys, put into the tables.
The last token of a connection is kept with what was found out about it: the same token again costs
a look at the row of its key and at the clock.
"""

from __future__ import annotations

from typing import ClassVar

from pyccf.apps.auth.policy import AuthFailure
from pyccf.apps.auth.token import Token, parse_authorization
from pyccf.apps.context import Caller, Context, Jwt
from pyccf.errors import LocalError, RpcError
from pyccf.service import jwt, tables
from pyccf.types import UnixSeconds

CHALLENGE = 'Bearer realm="JWT bearer token access", error="invalid_token"'


class _Seen:
    """The last token of a connection: as it was sent, taken apart, and who it was good for."""

    __slots__ = ("caller", "header", "row", "token")

    def __init__(self, header: str, token: Token) -> None:
        self.header = header
        self.token = token
        self.row: bytes | None = None
        """The row of keys that `caller` was found with."""
        self.caller: Caller | None = None


class Bearer:
    """Whoever a registered issuer's token names, within the token's time."""

    name: ClassVar = "jwt"
    challenge: ClassVar = CHALLENGE
    scheme: ClassVar = "jwt"

    def authenticate(self, ctx: Context) -> Caller:
        seen = _seen(ctx)
        token = seen.token
        # Read each time, so that the transaction depends on it.
        row = ctx.tx.map(tables.JWT_KEYS).get(token.kid.encode())
        now = ctx.services.unix_time()
        if row is not None and row == seen.row and _untimely(token, now) is None:
            assert seen.caller is not None, "set together with its row"
            return seen.caller
        caller = _judge(ctx, token, now)
        seen.row, seen.caller = row, caller
        return caller


def _seen(ctx: Context) -> _Seen:
    header = ctx.request.headers.get("authorization")
    scratch = ctx.session.scratch
    known = scratch.get("bearer")
    if isinstance(known, _Seen) and known.header == header:
        return known
    token = parse_authorization(header)
    assert header is not None, "it was parsed"
    fresh = _Seen(header, token)
    scratch["bearer"] = fresh
    return fresh


def _judge(ctx: Context, token: Token, now: UnixSeconds) -> Caller:
    """The caller by the first key under the token's id that vouches for all of it."""
    try:
        keys = jwt.keys_of(ctx.tx, token.kid)
    except LocalError as e:
        raise AuthFailure(e.message) from None
    reason = ""
    for key in keys:
        refused = _refused(token, key, now)
        if refused is None:
            return Caller("jwt", jwt=Jwt(key.issuer, token.header, token.payload))
        reason = refused
    raise AuthFailure(reason)


def _refused(token: Token, key: jwt.TrustedKey, now: UnixSeconds) -> str | None:
    """Why this key does not vouch for a token; None if it does."""
    if not key.verify(token.signature, token.signed):
        return "Signature verification failed"
    late = _untimely(token, now)
    if late is not None:
        return late
    constraint = key.constraint
    if constraint is None:
        return None
    try:
        met = jwt.meets(constraint, token.issuer, token.tenant)
    except ValueError as e:
        raise RpcError(500, "InternalError", str(e)) from None
    return None if met else f"Kid {token.kid} failed issuer constraint validation {constraint}"


def _untimely(token: Token, now: UnixSeconds) -> str | None:
    """Why a token cannot be used now; None if it can."""
    begins = token.not_before
    if begins is not None and now < begins:
        return f"Current time {now} is before token's Not Before (nbf) claim optional({begins})"
    if now > token.expires:
        return f"Current time {now} is after token's Expiration Time (exp) claim {token.expires}"
    return None
