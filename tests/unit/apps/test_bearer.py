"""The policy `jwt`: who a token names, when it is believed, and that it is verified once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyccf.apps.auth import AuthFailure, bearer, js_policy
from pyccf.apps.auth.token import parse_authorization, parse_token
from pyccf.apps.python import App, AppContext
from pyccf.codec.text import b64, b64url
from pyccf.crypto import certs
from pyccf.crypto.entropy import SeededEntropy
from pyccf.crypto.keys import Curve, PrivateKey
from pyccf.errors import RpcError
from pyccf.kv.tx import Tx
from pyccf.service import jwt, tables
from support.node import STARTED, Reply, Service
from support.tokens import Issuer
from support.tokens import bearer as carrying

A = "https://issuer.example.com"
LOGIN = "https://login.microsoftonline.com"
ENTRA = LOGIN + "/{tenantid}/v2.0"
TENANT = LOGIN + "/t/v2.0"


def make() -> Service:
    app = App()

    @app.get("/who", auth=["jwt"])
    def who(ctx: AppContext) -> list[str]:
        assert ctx.caller is not None
        assert ctx.caller.jwt is not None
        return [ctx.caller.jwt.key_issuer, str(ctx.caller.jwt.payload.get("sub"))]

    @app.get("/both", auth=[js_policy({"all_of": ["jwt", "any_cert"]})])
    def both(ctx: AppContext) -> list[str]:
        assert ctx.caller is not None
        return [part.policy for part in ctx.caller.all_of]

    service = Service(app=app)
    service.open_app()
    service.tick()
    return service


def change(service: Service, act: Callable[[Tx], None]) -> None:
    tx = service.node.store.tx()
    act(tx)
    service.node.commit(tx)


def register(service: Service, issuer: Issuer, constraint: str | None = None) -> None:
    keys = [issuer.jwk(constraint)]
    change(service, lambda tx: jwt.set_keys(tx, issuer.name, list(keys)))


def ask(service: Service, token: str, path: str = "/app/who", **more: Any) -> Reply:
    return service.call("GET", path, headers=carrying(token), **more)


def reason(reply: Reply) -> str:
    assert reply.status == 401
    (detail,) = reply.json["error"]["details"]
    return str(detail["message"])


@pytest.mark.parametrize("ec", [False, True])
def test_a_token_of_a_registered_issuer_names_its_subject(ec: bool) -> None:
    service = make()
    issuer = Issuer(A, ec=ec)
    token = issuer.token(sub="alice")
    refused = ask(service, token)
    assert reason(refused) == "JWT signing key not found for kid key1"
    assert refused.headers["www-authenticate"] == bearer.CHALLENGE
    register(service, issuer)
    assert ask(service, token).json == [A, "alice"]


def test_a_key_on_another_curve_verifies_too() -> None:
    service = make()
    issuer = Issuer(A, ec=True)
    issuer.key = PrivateKey.generate(Curve.P384, SeededEntropy("p384"))
    register(service, issuer)
    assert ask(service, issuer.token(sub="a")).status == 200


@pytest.mark.parametrize("ec", [False, True])
def test_a_forged_signature_is_refused(ec: bool) -> None:
    service = make()
    register(service, Issuer(A, ec=ec))
    other = Issuer(A, "key1")
    assert reason(ask(service, other.token())) == "Signature verification failed"
    head, payload, _ = other.token().split(".")
    assert reason(ask(service, f"{head}.{payload}.")) == "Signature verification failed"


def test_tokens_are_good_from_their_first_to_their_last_second() -> None:
    service = make()
    issuer = Issuer(A)
    register(service, issuer)
    now = service.node.unix_time()
    token = issuer.token(nbf=now + 2, exp=now + 3)
    session = service.session()
    assert "Not Before" in reason(ask(service, token, session=session))
    for _ in range(2):
        service.tick()
    assert ask(service, token, session=session).status == 200
    service.tick()
    assert ask(service, token, session=session).status == 200
    service.tick()
    told = reason(ask(service, token, session=session))
    assert told == (
        f"Current time {now + 4} is after token's Expiration Time (exp) claim {now + 3}"
    )


def test_the_same_token_is_verified_once_for_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    service = make()
    issuer = Issuer(A)
    register(service, issuer)
    verified: list[bytes] = []
    verify = jwt.TrustedKey.verify

    def counting(key: jwt.TrustedKey, signature: bytes, data: bytes) -> bool:
        verified.append(data)
        return verify(key, signature, data)

    monkeypatch.setattr(jwt.TrustedKey, "verify", counting)
    session = service.session()
    alice, bob = issuer.token(sub="alice"), issuer.token(sub="bob")
    for _ in range(3):
        assert ask(service, alice, session=session).json == [A, "alice"]
    assert len(verified) == 1
    assert ask(service, bob, session=session).json == [A, "bob"]
    assert len(verified) == 2
    assert ask(service, bob).json == [A, "bob"], "another connection"
    assert len(verified) == 3


def test_what_was_found_out_ends_with_the_key() -> None:
    service = make()
    issuer = Issuer(A)
    register(service, issuer)
    session, token = service.session(), issuer.token()
    assert ask(service, token, session=session).status == 200
    register(service, Issuer(A))
    assert reason(ask(service, token, session=session)) == "Signature verification failed"
    change(service, lambda tx: jwt.remove_keys(tx, A))
    assert "not found" in reason(ask(service, token, session=session))
    register(service, issuer)
    assert ask(service, token, session=session).status == 200


def test_a_refused_token_is_not_remembered_as_good() -> None:
    service = make()
    issuer = Issuer(A)
    register(service, issuer, A)
    session = service.session()
    assert ask(service, issuer.token(), session=session).status == 200
    wrong = issuer.token(iss="https://elsewhere.test")
    for _ in range(2):
        assert "constraint" in reason(ask(service, wrong, session=session))


def test_of_several_keys_any_may_vouch() -> None:
    service = make()
    here, there = Issuer(A, "shared"), Issuer("https://b.test", "shared")
    register(service, here, A)
    register(service, there)
    assert ask(service, there.token(sub="x")).json == ["https://b.test", "x"]
    assert ask(service, here.token(sub="y")).json == [A, "y"]
    # The last key's reason is told.
    assert reason(ask(service, Issuer(A, "shared").token())) == "Signature verification failed"


@pytest.mark.parametrize(
    ("constraint", "issuer", "tenant", "met"),
    [
        (A, A, None, True),
        (A, A, "t", False),
        (A, A + "/", None, False),
        (ENTRA, TENANT, "t", True),
        (ENTRA, TENANT, None, False),
        (ENTRA, TENANT, "u", False),
        (ENTRA, ENTRA, "t", False),
        (TENANT, TENANT, "t", True),
        (TENANT, TENANT, "u", False),
        (LOGIN + "//t/v2.0", LOGIN + "//t/v2.0", "t", True),
        (LOGIN.upper() + "/{tenantid}", LOGIN.upper() + "/t", "t", True),
    ],
)
def test_what_a_constraint_demands(
    constraint: str, issuer: str, tenant: str | None, met: bool
) -> None:
    assert jwt.meets(constraint, issuer, tenant) is met


@pytest.mark.parametrize("constraint", ["nonsense", "", "https://", "https://[x/"])
def test_a_constraint_that_is_no_url_ends_the_request(constraint: str) -> None:
    service = make()
    issuer = Issuer(A)
    row = [{"issuer": A, "public_key": b64(_der(issuer)), "constraint": constraint}]
    change(service, lambda tx: tables.put_json(tx, tables.JWT_KEYS, "key1", row))
    reply = ask(service, issuer.token())
    assert reply.status == 500
    assert "is not a URL" in reply.json["error"]["message"]


def _der(issuer: Issuer) -> bytes:
    tx = Service().node.store.tx()
    jwt.set_keys(tx, A, [issuer.jwk()])
    return jwt.keys_of(tx, issuer.kid)[0].public_key


def certificate(issuer: Issuer) -> bytes:
    assert isinstance(issuer.key, PrivateKey)
    pem = certs.self_signed(
        issuer.key, "CN=issuer", not_before=STARTED, days=1, entropy=SeededEntropy("c")
    )
    return certs.pem_to_der(pem)


def test_keys_in_the_tables_of_older_versions_are_found() -> None:
    service = make()
    old, older = Issuer(A, "old", ec=True), Issuer(A, "older", ec=True)
    row = [{"issuer": A, "cert": b64(certificate(old))}]
    change(service, lambda tx: tables.put_json(tx, tables.JWT_KEYS_V1, "old", row))
    assert ask(service, old.token(sub="a")).json == [A, "a"]
    change(
        service, lambda tx: tables.put_raw(tx, tables.JWT_KEY_LEGACY, "older", certificate(older))
    )
    told = reason(ask(service, older.token()))
    assert told == "JWT signing key fallback issuers not found for kid older"
    change(service, lambda tx: tables.put_raw(tx, tables.JWT_KEY_ISSUER_LEGACY, "older", A))
    assert ask(service, older.token(sub="b")).json == [A, "b"]
    # The table of this version comes first.
    register(service, Issuer(A, "old", ec=True))
    forged = Issuer("x", "old", ec=True)
    assert reason(ask(service, forged.token())) == "Signature verification failed"


@pytest.mark.parametrize(
    "row", [b"{", b'["x"]', b'[{"issuer": "i"}]', b'[{"issuer": "i", "public_key": "!"}]']
)
def test_a_row_that_cannot_be_read_is_an_error_and_never_a_caller(row: bytes) -> None:
    service = make()
    change(service, lambda tx: tx.map(tables.JWT_KEYS).set(b"key1", row))
    reply = ask(service, Issuer(A).token())
    assert reply.status == 500


def test_a_key_of_no_known_kind_verifies_nothing() -> None:
    assert not jwt.TrustedKey(A, b"\x30\x00").verify(b"s", b"data")


def test_all_of_names_every_policy() -> None:
    service = make()
    issuer = Issuer(A)
    register(service, issuer)
    caller = service.members[0]
    assert ask(service, issuer.token(), "/app/both", caller=caller).json == ["any_cert", "jwt"]
    assert reason(ask(service, "a.b", "/app/both", caller=caller)).startswith("jwt:Malformed JWT")
    assert reason(ask(service, issuer.token(), "/app/both")) == "any_cert:No caller certificate"


@pytest.mark.parametrize(
    ("header", "told"),
    [
        (None, "Missing authorization header"),
        ("Bearer", "Authorization header only contains one field"),
        ("bearer x", "Authorization header does not have Bearer scheme"),
        ("Bearer ", "Malformed JWT: must contain exactly 3 parts"),
    ],
)
def test_headers_without_a_token(header: str | None, told: str) -> None:
    with pytest.raises(AuthFailure, match=told):
        parse_authorization(header)


@pytest.mark.parametrize(
    ("value", "seconds"), [(5, 5), (5.9, 5), (-1, 2**64 - 1), (-0.5, 0), (1e30, 2**64 - 1)]
)
def test_times_are_read_as_unsigned_numbers(value: float, seconds: int) -> None:
    assert parse_token(Issuer(A, ec=True).token(exp=value)).expires == seconds


@given(st.text(alphabet="eyJhbGci.-_=+/ \t!\x00é0", max_size=60))
def test_no_text_is_worse_than_refused(text: str) -> None:
    with pytest.raises((AuthFailure, RpcError)):
        parse_token(text)


numbers = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries({}, optional={"alg": json_values, "kid": json_values}),
    st.fixed_dictionaries({}, optional=dict.fromkeys(("iss", "exp", "nbf", "tid"), json_values)),
)
def test_no_claim_is_worse_than_refused(header: dict[str, Any], payload: dict[str, Any]) -> None:
    signer = Issuer(A, ec=True)
    try:
        token = parse_token(
            signer.sign({"alg": "RS256", "kid": "k", **header}, {"iss": A, "exp": 1, **payload})
        )
    except (AuthFailure, RpcError):
        return
    assert token.issuer == payload.get("iss", A)
    assert 0 <= token.expires < 2**64


@pytest.mark.parametrize("depth", [500, 900, 990, 100_000])
def test_deep_json_is_read_or_refused(depth: int) -> None:
    head = b64url(b'{"alg": "RS256", "kid": "k"}')
    inner = b"[" * depth + b"12345678901234567" + b"]" * depth
    payload = b64url(b'{"iss": "i", "exp": 1, "deep": ' + inner + b"}")
    try:
        token = parse_token(f"{head}.{payload}.xxxx")
    except AuthFailure:
        assert depth > 500
    else:
        assert token.payload["deep"]
