from __future__ import annotations

import time

import pytest

from pyccf.apps import auth
from pyccf.apps.python import App, AppContext
from pyccf.codec import cbor
from pyccf.crypto import cosesign
from pyccf.http.session import Session
from pyccf.service import tables
from support.node import INTERFACE, Person, Service

COSE = {"content-type": "application/cose"}


def make() -> Service:
    app = App()

    @app.post("/user", auth=["user_cose_sign1"])
    def user(ctx: AppContext) -> list[str]:
        assert ctx.caller is not None
        assert ctx.caller.cose is not None
        return [str(ctx.caller.id), ctx.caller.cose.content.decode()]

    @app.post("/member", auth=["member_cose_sign1"])
    def member(ctx: AppContext) -> str:
        assert ctx.caller is not None
        return str(ctx.caller.id)

    @app.get("/any", auth=["any_cert"])
    def any_cert(ctx: AppContext) -> str:
        assert ctx.caller is not None
        return str(ctx.caller.cert_pem)

    @app.get("/memberc", auth=["member_cert", "no_auth"])
    def member_cert(ctx: AppContext) -> str:
        assert ctx.caller is not None
        return ctx.caller.policy

    both = auth.js_policy({"all_of": ["user_cose_sign1", "any_cert"]})

    @app.post("/both", auth=[both])
    def all_of(ctx: AppContext) -> list[str]:
        assert ctx.caller is not None
        return [c.policy for c in ctx.caller.all_of]

    service = Service(app=app)
    service.open_app()
    return service


def register(service: Service, person: Person) -> None:
    tx = service.node.store.tx()
    tx.map(tables.USERS_CERTS).set(person.id.encode(), person.cert.encode())
    service.node.commit(tx)


def signed(person: Person, payload: bytes = b"hello", **extra: object) -> bytes:
    pairs = [
        (cbor.integer(1), cbor.integer(-35)),
        (cbor.integer(4), cbor.bstr(person.id.encode())),
    ]
    if "created_at" in extra:
        pairs.append((cbor.tstr("ccf.gov.msg.created_at"), cbor.integer(int(time.time()))))
    return cosesign.sign1(person.key, cbor.mapping(pairs), payload, detached=False)


def reasons(reply: object) -> list[str]:
    return [d["message"] for d in reply.json["error"]["details"]]  # type: ignore[attr-defined]


def test_a_users_signature_names_the_user() -> None:
    service = make()
    alice = Person("alice", service.entropy)
    body = signed(alice)
    refused = service.call("POST", "/app/user", body, headers=COSE)
    assert reasons(refused) == ["Signer is not a known user"]
    assert refused.headers["www-authenticate"] == auth.COSE_CHALLENGE
    register(service, alice)
    assert service.call("POST", "/app/user", body, headers=COSE).json == [alice.id, "hello"]


def test_a_changed_payload_is_not_signed() -> None:
    service = make()
    alice = Person("alice", service.entropy)
    register(service, alice)
    body = signed(alice).replace(b"hello", b"jello")
    assert reasons(service.call("POST", "/app/user", body, headers=COSE)) == [
        "Failed to validate COSE Sign1"
    ]


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "Missing content-type header"),
        (
            {"content-type": "application/cose; x=1"},
            "Content type is not set to application/cose",
        ),
    ],
)
def test_the_content_type_must_be_right(headers: dict[str, str], reason: str) -> None:
    assert reasons(make().call("POST", "/app/user", b"", headers=headers)) == [reason]


def test_what_cannot_be_decoded_ends_the_request() -> None:
    reply = make().call("POST", "/app/user", b"", headers=COSE)
    assert (reply.status, reply.json["error"]["message"]) == (
        500,
        "Failed to parse COSE_Sign1 outer array",
    )


def test_members_sign_with_a_time() -> None:
    service = make()
    member = service.members[0]
    reply = service.call("POST", "/app/member", signed(member), headers=COSE)
    assert (reply.status, reply.json["error"]["message"]) == (
        500,
        "Missing created_at in protected header",
    )
    body = signed(member, created_at=True)
    assert service.call("POST", "/app/member", body, headers=COSE).json == member.id


def test_policies_are_tried_in_order() -> None:
    service = make()
    stranger = Person("stranger", service.entropy)
    assert service.call("GET", "/app/memberc", caller=stranger).json == "no_auth"
    assert service.call("GET", "/app/memberc", caller=service.members[0]).json == "member_cert"
    assert service.call("GET", "/app/any", caller=stranger).json == stranger.cert
    assert reasons(service.call("GET", "/app/any")) == ["No caller certificate"]


def test_all_of_needs_all() -> None:
    service = make()
    alice = Person("alice", service.entropy)
    register(service, alice)
    body = signed(alice)
    reply = service.call("POST", "/app/both", body, headers=COSE)
    assert reply.json["error"]["details"] == [
        {
            "auth_policy": "any_cert+user_cose_sign1",
            "code": "InvalidAuthenticationInfo",
            "message": "any_cert:No caller certificate",
        }
    ]
    reply = service.call("POST", "/app/both", body, headers=COSE, caller=alice)
    assert reply.json == ["any_cert", "user_cose_sign1"]


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("zz", "Unknown auth policy: zz"),
        ("member_cose_sign1", "Unknown auth policy: member_cose_sign1"),
        ({"all_of": []}, 'Unsupported value: {"all_of":[]}'),
        (7, "Unsupported value: 7"),
        ({"all_of": ["jwt", "jwt"]}, "duplicate policies identified by jwt (policy = )"),
    ],
)
def test_apps_that_name_no_policy_are_told(spec: object, text: str) -> None:
    with pytest.raises(ValueError) as e:
        auth.js_policy(spec)  # type: ignore[arg-type]
    assert text in str(e.value)


def test_a_signer_is_judged_by_the_certificate_of_now() -> None:
    """The key taken out of a certificate is kept with the connection, and goes with it."""
    service = make()
    alice, mallory = Person("alice", service.entropy), Person("mallory", service.entropy)
    register(service, alice)
    session = service.session()

    def ask(body: bytes) -> int:
        return service.call("POST", "/app/user", body, headers=COSE, session=session).status

    good = signed(alice)
    assert [ask(good), ask(good)] == [200, 200]
    tx = service.node.store.tx()
    tx.map(tables.USERS_CERTS).set(alice.id.encode(), mallory.cert.encode())
    service.node.commit(tx)
    assert ask(good) == 401
    register(service, alice)
    assert ask(good) == 200


def test_a_certificate_that_cannot_be_read_is_nobodys() -> None:
    service = make()
    session = Session(9, INTERFACE, b"\x30\x03\x02\x01\x01")
    for path in ("/app/any", "/app/memberc"):
        reply = service.call("GET", path, session=session)
        if path == "/app/any":
            assert reply.status == 401
            assert reasons(reply) == ["The certificate of the connection cannot be read"]
        else:
            assert reply.json == "no_auth"
