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


class _Registered:
    """Somebody the service knows by the certificate of the connection."""

    name: ClassVar[str]
    challenge: ClassVar = None
    scheme: ClassVar = None

    who: ClassVar[str]
    certs_table: ClassVar[str]
    info_table: ClassVar[str]
    dated: ClassVar[bool]
    """Whether the certificate must be within its validity."""

    def authenticate(self, ctx: Context) -> Caller:
        """The registered identity of the certificate.

        Both rows are read each time, so that the transaction depends on them; what was made of them
        is kept with the session as long as they are the same.
        """
        der = _certificate_key(ctx, f"{self.who} ")
        if self.dated:
            _check_validity(ctx, der)
        seen = _seen(ctx, der)
        key = seen.key
        stored = ctx.tx.map(self.certs_table).get(key)
        if stored is None:
            raise AuthFailure(f"Could not find matching {self.who} certificate")
        info = ctx.tx.map(self.info_table).get(key)
        kept = seen.callers.get(self.name)
        if kept is not None and kept[0] == stored and kept[1] == info:
            return kept[2]
        data = member_of(info, f"{self.who}_data")
        caller = Caller(self.name, key.decode(), data, stored.decode())
        seen.callers[self.name] = (stored, info, caller)
        return caller


class UserCert(_Registered):
    """A user known by the certificate of the connection, within its validity."""

    name: ClassVar = "user_cert"
    who: ClassVar = "user"
    certs_table: ClassVar = tables.USERS_CERTS
    info_table: ClassVar = tables.USERS_INFO
    dated: ClassVar = True


class MemberCert(_Registered):
    """A member known by the certificate of the connection, whatever its validity and status."""

    name: ClassVar = "member_cert"
    who: ClassVar = "member"
    certs_table: ClassVar = tables.MEMBERS_CERTS
    info_table: ClassVar = tables.MEMBERS_INFO
    dated: ClassVar = False


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
