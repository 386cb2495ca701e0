"""Who is calling: authentication policies and their evaluation.

A policy looks at one request and either names the caller or says why it cannot. Policies are tried
in order, the first success wins; when all fail the request is refused with every reason. A policy
that cannot even read its input (a malformed signed message) refuses the request at once, with the
error the input deserves (spec: auth.md §2).

Certificates are judged here, never in the handshake. What was made of a connection's certificate is
kept with the connection, so that a busy session pays for it once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol

from pyccf.apps.context import Caller, Context, Cose
from pyccf.codec import cose
from pyccf.codec.cose import Sign1, parse_sign1
from pyccf.codec.text import load_json
from pyccf.crypto import certs, cosesign
from pyccf.crypto.keys import PublicKey
from pyccf.errors import RpcError
from pyccf.service import tables

if TYPE_CHECKING:
    from pyccf.types import Json

INVALID = "InvalidAuthenticationInfo"
COSE_CHALLENGE = 'COSE-SIGN1 realm="Signed request access"'
COSE_TYPE = "application/cose"
COSE_ALGORITHMS = (-7, -35, -36)

GOV_TYPE = "ccf.gov.msg.type"


class AuthFailure(Exception):
    """A policy found no caller; the text is told to the client."""

    def __init__(self, reason: str, challenge: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.challenge = challenge


class Policy(Protocol):
    """One way of finding out who calls."""

    @property
    def name(self) -> str:
        """Name in error details, in `request.caller.policy` and in app metadata."""
        ...

    @property
    def challenge(self) -> str | None:
        """Value of `www-authenticate` when this is the last policy to fail."""
        ...

    @property
    def scheme(self) -> str | None:
        """Name of the OpenAPI security scheme, None for policies that have none."""
        ...

    def authenticate(self, ctx: Context) -> Caller:
        """The caller; raises AuthFailure."""
        ...


class NoAuth:
    """Everybody is welcome."""

    name: ClassVar = "no_auth"
    challenge: ClassVar = None
    scheme: ClassVar = "no_auth"
    _caller = Caller("no_auth")

    def authenticate(self, ctx: Context) -> Caller:
        return self._caller


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
    seen = _Seen(der)
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
    caller = Caller(policy, key.decode(), _data(info, field), stored.decode())
    seen.callers[policy] = (stored, info, caller)
    return caller


def _data(raw: bytes | None, field: str) -> Json:
    record = load_json(raw) if raw is not None else None
    return record.get(field) if isinstance(record, dict) else None


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
        ident = PublicKey.from_certificate(der).id
        if not ctx.tx.map(tables.NODES_INFO).has(ident.encode()):
            raise AuthFailure("Could not find matching node certificate")
        return Caller(self.name, ident)


def _read_envelope(ctx: Context, *, governance: bool) -> Sign1:
    """Decode a signed body; what cannot be decoded ends the request (spec: auth.md §4)."""
    content_type = ctx.request.headers.get("content-type")
    if content_type is None:
        raise AuthFailure("Missing content-type header", COSE_CHALLENGE)
    if content_type != COSE_TYPE:
        raise AuthFailure("Content type is not set to application/cose", COSE_CHALLENGE)
    try:
        envelope = parse_sign1(ctx.request.body, rules=cose.MEMBER if governance else cose.USER)
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
    if not cosesign.verify1(envelope, PublicKey.from_certificate(pem)):
        raise AuthFailure("Failed to validate COSE Sign1", COSE_CHALLENGE)
    return kid.decode(), pem


def _cose(ctx: Context, envelope: Sign1) -> Cose:
    assert envelope.payload is not None
    return Cose(envelope.payload, ctx.request.body, envelope.signature, envelope.headers)


class UserCose:
    """A user known by the signature over the request body."""

    name: ClassVar = "user_cose_sign1"
    challenge: ClassVar = COSE_CHALLENGE
    scheme: ClassVar = "user_cose_sign1"

    def authenticate(self, ctx: Context) -> Caller:
        envelope = _read_envelope(ctx, governance=False)
        ident, pem = _signer(ctx, envelope, tables.USERS_CERTS, "user")
        data = _data(ctx.tx.map(tables.USERS_INFO).get(ident.encode()), "user_data")
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
        envelope = _read_envelope(ctx, governance=True)
        ident, pem = _signer(ctx, envelope, tables.MEMBERS_CERTS, "member")
        expected = self.message_type
        if expected is not None:
            found = envelope.headers.get(GOV_TYPE)
            if found is None:
                raise AuthFailure(
                    f"Missing {GOV_TYPE}, expected {GOV_TYPE} to be {expected}", COSE_CHALLENGE
                )
            if found != expected:
                raise AuthFailure(
                    f"Found {GOV_TYPE} set to {found}, expected {GOV_TYPE} to be {expected}",
                    COSE_CHALLENGE,
                )
        raw = ctx.tx.map(tables.MEMBERS_INFO).get(ident.encode())
        if self.active and _data(raw, "status") != "Active":
            raise AuthFailure("Signer is not an ACTIVE member", COSE_CHALLENGE)
        return Caller(self.name, ident, _data(raw, "member_data"), pem, _cose(ctx, envelope))


class AllOf:
    """Every one of several policies must succeed; they are tried in name order."""

    scheme: ClassVar = None

    def __init__(self, policies: Sequence[Policy]) -> None:
        self.policies = tuple(sorted(policies, key=lambda p: p.name))
        self.name = "+".join(p.name for p in self.policies)
        self.challenge: str | None = None

    def authenticate(self, ctx: Context) -> Caller:
        found: list[Caller] = []
        for policy in self.policies:
            try:
                found.append(policy.authenticate(ctx))
            except AuthFailure as e:
                raise AuthFailure(f"{policy.name}:{e.reason}", policy.challenge) from None
        return Caller(self.name, all_of=tuple(found))


class _Refused:
    """A policy that is known but not offered by this build; says so when it is asked."""

    challenge: ClassVar = None
    scheme: ClassVar = None

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self._reason = reason

    def authenticate(self, ctx: Context) -> Caller:
        raise AuthFailure(self._reason)


NO_AUTH = NoAuth()
USER_CERT = UserCert()
MEMBER_CERT = MemberCert()
ANY_CERT = AnyCert()
NODE_CERT = NodeCert()
USER_COSE = UserCose()
MEMBER_COSE = MemberCose()

_FOR_APPS: dict[str, Policy] = {
    "no_auth": NO_AUTH,
    "user_cert": USER_CERT,
    "member_cert": MEMBER_CERT,
    "any_cert": ANY_CERT,
    "user_cose_sign1": USER_COSE,
    "jwt": _Refused("jwt", "JWT authentication is not available in this version of pyccf"),
}
_PYTHON_ONLY: dict[str, Policy] = {"member_cose_sign1": MEMBER_COSE}


def js_policy(spec: Json) -> Policy:
    """The policy a JavaScript app names in its metadata.

    Raises ValueError with the text the client is shown (spec: auth.md §1).
    """
    if isinstance(spec, str):
        return _named(spec, _FOR_APPS)
    names = spec.get("all_of") if isinstance(spec, dict) else None
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        shown = json.dumps(spec, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
        raise ValueError(
            "Unsupported auth policy. Policies must be either a string, or an object containing an"
            f' "all_of" key with list-of-strings value. Unsupported value: {shown}'
        )
    policies: list[Policy] = []
    for name in names:
        policy = _named(str(name), _FOR_APPS)
        if policy in policies:
            raise ValueError(
                "AND authentication policy contains duplicate policies identified by"
                f" {name} (policy = )"
            )
        policies.append(policy)
    return AllOf(policies)


def python_policy(spec: str | Policy) -> Policy:
    """The policy a Python app names: those of JavaScript apps and member_cose_sign1."""
    if not isinstance(spec, str):
        return spec
    return _named(spec, {**_FOR_APPS, **_PYTHON_ONLY})


def _named(name: str, known: dict[str, Policy]) -> Policy:
    policy = known.get(name)
    if policy is None:
        raise ValueError(f"Unknown auth policy: {name}")
    return policy


def authenticate(ctx: Context, policies: Sequence[Policy]) -> Caller | None:
    """The caller by the first policy that succeeds; None when none is asked for.

    Raises RpcError 401 naming why each policy failed (spec: auth.md §2).
    """
    if not policies:
        return None
    failures: list[tuple[Policy, AuthFailure]] = []
    for policy in policies:
        try:
            return policy.authenticate(ctx)
        except AuthFailure as e:
            failures.append((policy, e))
    last, failure = failures[-1]
    challenge = failure.challenge or last.challenge
    raise RpcError(
        401,
        INVALID,
        "Invalid authentication credentials.",
        details=[
            {"auth_policy": policy.name, "code": INVALID, "message": e.reason}
            for policy, e in failures
        ],
        headers={"www-authenticate": challenge} if challenge else None,
    )
