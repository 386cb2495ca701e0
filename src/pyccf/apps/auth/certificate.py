"""Callers known by the certificate of their connection.

Certificates are judged here, never in the handshake. What was made of a connection's certificate is
kept with the connection, so that a busy session pays for it once.
"""

from __future__ import annotations

from typing import ClassVar

from pyccf.apps.auth.policy import AuthFailure, member_of
from pyccf.apps.context import Caller, Context
from pyccf.crypto import certs
from pyccf.crypto.keys import PublicKey
from pyccf.service import tables


def _certificate_key(ctx: Context, who: str) -> bytes:
    cert = ctx.session.peer_cert
    if cert is None:
        raise AuthFailure(f"No caller {who}certificate")
    return cert


class _Seen:
    """What was made of a connection's certificate so far."""

    __slots__ = ("callers", "key", "period")

    def __init__(self, der: bytes) -> None:
        self.key = certs.fingerprint(der).encode()
        self.period = certs.validity(der)
        self.callers: dict[str, tuple[bytes, bytes | None, Caller]] = {}


def _seen(ctx: Context, der: bytes) -> _Seen:
    found = ctx.session.scratch.get("certificate")
    if isinstance(found, _Seen):
        return found
    try:
        seen = _Seen(der)
    except ValueError:
        # TLS libraries take what ours does not.
        raise AuthFailure("The certificate of the connection cannot be read") from None
    ctx.session.scratch["certificate"] = seen
    return seen


def _check_validity(ctx: Context, der: bytes) -> None:
    not_before, not_after = _seen(ctx, der).period
    now = ctx.services.unix_time()
    if now < not_before:
        raise AuthFailure(
            f"Current time {now} is before certificate's Not Before validity period {not_before}"
        )
    if now > not_after:
        raise AuthFailure(
            f"Current time {now} is after certificate's Not After validity period {not_after}"
        )


def _registered(
    ctx: Context, der: bytes, policy: str, certs_table: str, info_table: str, field: str, who: str
) -> Caller:
    """The registered identity of a certificate.

    Both rows are read each time, so that the transaction depends on them; what was made of them is
    kept with the session as long as they are the same.
    """
    seen = _seen(ctx, der)
    key = seen.key
    stored = ctx.tx.map(certs_table).get(key)
    if stored is None:
        raise AuthFailure(f"Could not find matching {who} certificate")
    info = ctx.tx.map(info_table).get(key)
    kept = seen.callers.get(policy)
    if kept is not None and kept[0] == stored and kept[1] == info:
        return kept[2]
    caller = Caller(policy, key.decode(), member_of(info, field), stored.decode())
    seen.callers[policy] = (stored, info, caller)
    return caller


class UserCert:
    """A user known by the certificate of the connection, within its validity."""

    name: ClassVar = "user_cert"
    challenge: ClassVar = None
    scheme: ClassVar = None

    def authenticate(self, ctx: Context) -> Caller:
        der = _certificate_key(ctx, "user ")
        _check_validity(ctx, der)
        return _registered(
            ctx, der, self.name, tables.USERS_CERTS, tables.USERS_INFO, "user_data", "user"
        )


class MemberCert:
    """A member known by the certificate of the connection, whatever its validity and status."""

    name: ClassVar = "member_cert"
    challenge: ClassVar = None
    scheme: ClassVar = None

    def authenticate(self, ctx: Context) -> Caller:
        der = _certificate_key(ctx, "member ")
        return _registered(
            ctx, der, self.name, tables.MEMBERS_CERTS, tables.MEMBERS_INFO, "member_data", "member"
        )


class AnyCert:
    """Any certificate within its validity; nobody vouches for it."""

    name: ClassVar = "any_cert"
    challenge: ClassVar = None
    scheme: ClassVar = None

    def authenticate(self, ctx: Context) -> Caller:
        der = _certificate_key(ctx, "")
        _check_validity(ctx, der)
        return Caller(self.name, cert_pem=certs.der_to_pem(der))


class NodeCert:
    """A node of this network, by the key of the connection's certificate."""

    name: ClassVar = "node_cert"
    challenge: ClassVar = None
    scheme: ClassVar = None

    def authenticate(self, ctx: Context) -> Caller:
        der = _certificate_key(ctx, "node ")
        try:
            ident = PublicKey.from_certificate(der).id
        except ValueError:
            # With a key that no node has.
            raise AuthFailure("Could not find matching node certificate") from None
        if not ctx.tx.map(tables.NODES_INFO).has(ident.encode()):
            raise AuthFailure("Could not find matching node certificate")
        return Caller(self.name, ident)
