"""The Python sample endpoint by endpoint, in memory."""

from __future__ import annotations

from base64 import b64decode
from hashlib import sha256
from typing import Any

import pytest

from pyccf.codec.cose import parse_sign1
from pyccf.crypto import cosesign
from pyccf.errors import InvalidReceipt
from pyccf.ledger.receipt import verify_cose_receipt, verify_json_receipt
from pyccf.service import jwt
from support.node import Person, Reply
from support.py_sample import (
    COSE,
    TXID_HEADER,
    add_user,
    by_member,
    refused,
    serve,
    settle,
    signed,
)
from support.tokens import Issuer, bearer

SCOPES = ("private", "public")
INDEX = "CommittedRecords records"


class Story:
    """A service and one of its users."""

    def __init__(self) -> None:
        self.service = serve("logging-py")
        self.user = add_user(self.service, "user0", {"isAdmin": True})

    def call(self, verb: str, path: str, body: object = b"", **headers: str) -> Reply:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.service.call(verb, f"/app{path}", body, headers=named, caller=self.user)

    def get(self, path: str, **headers: str) -> Reply:
        return self.call("GET", path, **headers)

    def write(self, scope: str, record_id: int, msg: str, **more: object) -> str:
        reply = self.call("POST", f"/log/{scope}", {"id": record_id, "msg": msg, **more})
        assert reply.json is True
        return reply.txid

    def past(self, path: str, txid: str) -> Reply:
        settle(self.service)
        return self.get(path, **{TXID_HEADER: txid})


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.mark.parametrize("scope", SCOPES)
def test_records_live_and_die(story: Story, scope: str) -> None:
    path = f"/log/{scope}"
    refused(story.get(f"{path}?id=1"), 404, "ResourceNotFound")
    story.write(scope, 1, "one")
    for read in (f"{path}?id=1", f"{path}/backup?id=1"):
        assert story.get(read).json == {"msg": "one"}
    assert story.get(f"{path}/count").json == 1
    assert story.get(f"{path}/all").json == {"records": [{"id": 1, "msg": "one"}], "next": None}
    assert story.call("DELETE", f"{path}?id=1").json is True
    refused(story.call("DELETE", f"{path}?id=1"), 404, "ResourceNotFound")
    story.write(scope, 2, "two")
    assert story.call("DELETE", f"{path}/all").json is True
    assert story.get(f"{path}/count").json == 0


@pytest.mark.parametrize("scope", SCOPES)
def test_scopes_are_apart(story: Story, scope: str) -> None:
    path = f"/log/{scope}"
    story.write(scope, 1, "one")
    assert story.call("POST", f"{path}?scope=s1", {"id": 1, "msg": "scoped"}).json is True
    assert story.get(f"{path}?id=1&scope=s1").json == {"msg": "scoped"}
    assert story.get(f"{path}?id=1").json == {"msg": "one"}
    assert story.get(f"{path}/count?scope=s1").json == 1
    assert story.call("DELETE", f"{path}/all?scope=s1").json is True
    assert story.get(f"{path}/count").json == 1
    for bad in ("", "A", "a/b", "x" * 33, "ccf.gov"):
        reply = story.get(f"{path}?id=1&scope={bad}")
        assert "'scope'" in refused(reply, 400, "InvalidQueryParameterValue")
    missing = refused(story.get(path), 400, "InvalidQueryParameterValue")
    assert missing == "Missing query parameter 'id'"


@pytest.mark.parametrize("scope", SCOPES)
def test_conditions(story: Story, scope: str) -> None:
    path = f"/log/{scope}"
    fresh = {"if-none-match": "*"}
    first = story.call("POST", path, {"id": 1, "msg": "one"}, **fresh)
    assert first.json is True
    assert first.headers["etag"] == f'"{sha256(b"one").hexdigest()}"'
    refused(story.call("POST", path, {"id": 1, "msg": "x"}, **fresh), 412, "PreconditionFailed")
    read = story.get(f"{path}?id=1")
    assert read.headers["etag"] == first.headers["etag"]
    same = story.get(f"{path}?id=1", if_none_match=read.headers["etag"])
    assert (same.status, same.body) == (304, b"")
    assert same.headers["etag"] == first.headers["etag"]
    mine = {"if-match": read.headers["etag"]}
    assert story.call("POST", path, {"id": 1, "msg": "two"}, **mine).json is True
    refused(story.call("POST", path, {"id": 1, "msg": "x"}, **mine), 412, "PreconditionFailed")
    refused(story.call("DELETE", f"{path}?id=1", **mine), 412, "PreconditionFailed")
    refused(story.get(f"{path}?id=1", if_match="one"), 400, "InvalidHeaderValue")
    assert story.get(f"{path}?id=1").json == {"msg": "two"}


def test_users_by_token_and_by_signature(story: Story) -> None:
    service = story.service
    issuer = Issuer("https://issuer.example.com")
    tx = service.node.store.tx()
    jwt.set_keys(tx, issuer.name, [issuer.jwk()])
    service.node.commit(tx)
    service.pump()
    token = bearer(issuer.token(sub="alice"))
    body = {"id": 1, "msg": "by token"}
    assert service.call("POST", "/app/log/private", body, headers=token).json is True
    signature = signed(story.user, {"id": 2, "msg": "by signature"})
    reply = service.call("POST", "/app/log/private", signature, headers=COSE)
    assert reply.json is True
    assert story.get("/log/private?id=1").json == {"msg": "by token"}
    assert story.get("/log/private?id=2").json == {"msg": "by signature"}
    forged = signature[:-1] + bytes([signature[-1] ^ 1])
    for body_, headers in ((forged, COSE), (b"{}", {}), (b"{}", bearer("a.b.c"))):
        assert service.call("POST", "/app/log/private", body_, headers=headers).status in (401, 500)
    refused(service.call("GET", "/app/log/private?id=1"), 401, "InvalidAuthenticationInfo")
    unfit = signed(story.user, {"id": "x"})
    refused(service.call("POST", "/app/log/private", unfit, headers=COSE), 400, "InvalidInput")


def test_writes_in_other_ways(story: Story) -> None:
    service, post = story.service, story.service.call
    assert post("POST", "/app/log/private/anonymous", {"id": 1, "msg": "a"}).json is True
    told = post("POST", "/app/log/private/anonymous/v2", {"id": 2, "msg": "b"})
    assert told.json == {"success": True, "tx_id": told.txid}
    stranger = Person("stranger", service.entropy)
    marked = post("POST", "/app/log/private/prefix_cert", {"id": 3, "msg": "c"}, caller=stranger)
    assert marked.json is True
    assert story.call("POST", "/log/private/admin_only", {"id": 4, "msg": "d"}).json is True
    plain = {"content-type": "text/plain"}
    assert story.call("POST", "/log/private/raw_text/5", b"e", **plain).json is True
    expected = ["Anonymous: a", "Anonymous: b", f"{stranger.id}: c", "d", "e"]
    for number, msg in enumerate(expected, 1):
        assert story.get(f"/log/private?id={number}").json == {"msg": msg}
    nobody = add_user(service, "user1")
    refused(
        post("POST", "/app/log/private/admin_only", {"id": 4, "msg": "x"}, caller=nobody),
        403,
        "AuthorizationFailed",
    )
    for headers in ({}, {"content-type": "foo/bar"}):
        reply = story.call("POST", "/log/private/raw_text/5", b"e", **headers)
        refused(reply, 415, "UnsupportedContentType")
    for body in (b"", b"\xff", b"x" * 4097, b"a\x00b"):
        reply = story.call("POST", "/log/private/raw_text/5", body, **plain)
        refused(reply, 400, "InvalidInput")


@pytest.mark.parametrize("scope", SCOPES)
def test_the_past_with_receipts(story: Story, scope: str) -> None:
    txid = story.write(scope, 7, "then")
    unclaimed = story.write(scope, 8, "no claim", record_claim=False)
    claimed = story.write(scope, 9, "claim", record_claim=True)
    story.write(scope, 7, "now")
    path = f"/log/{scope}"
    assert story.past(f"{path}/historical?id=7", txid).json == {"msg": "then"}
    refused(story.past(f"{path}/historical?id=8", txid), 404, "ResourceNotFound")
    service_cert = story.service.parts.service.cert_pem
    for name in ("receipt", "historical_receipt"):
        for then, record_id, msg, claim in (
            (txid, 7, "then", scope == "public"),
            (unclaimed, 8, "no claim", False),
            (claimed, 9, "claim", True),
        ):
            found = story.past(f"{path}/{name}?id={record_id}", then).json
            assert found["msg"] == msg
            digest = sha256(msg.encode()).digest() if claim else bytes(32)
            proven = verify_json_receipt(found["receipt"], service_cert, claims=digest)
            assert str(proven.txid) == then
            with pytest.raises(InvalidReceipt):
                verify_json_receipt(found["receipt"], service_cert, claims=b"\x01" * 32)


def test_every_write_in_a_range_by_the_index(story: Story) -> None:
    for scope in SCOPES:
        seqnos = []
        for number in range(250):
            txid = story.write(scope, 1, f"m{number}")
            seqnos.append(int(txid.partition(".")[2]))
            if number % 50 == 0:
                story.write(scope, 2, "of another")
        assert story.call("DELETE", f"/log/{scope}?id=1").json is True
        settle(story.service)
        found: list[dict[str, Any]] = []
        link = f"/app/log/{scope}/historical/range?id=1&from_seqno={seqnos[0]}"
        pages = 0
        while link:
            page = story.get(link.removeprefix("/app"))
            assert page.status == 200, page.body
            found += page.json["entries"]
            link = page.json.get("@nextLink", "")
            pages += 1
        assert pages >= 3
        assert [entry["seqno"] for entry in found] == seqnos
        assert [entry["msg"] for entry in found] == [f"m{i}" for i in range(250)]
        path = f"/log/{scope}/historical/range?id=1"
        one = story.get(f"{path}&from_seqno={seqnos[3]}&to_seqno={seqnos[3]}").json
        assert one == {"entries": [{"seqno": seqnos[3], "id": 1, "msg": "m3"}]}
        for bad in ("&from_seqno=5&to_seqno=4", "&to_seqno=1000000"):
            refused(story.get(path + bad), 400, "InvalidInput")
        for bad in ("&from_seqno=0", "&from_seqno=x"):
            refused(story.get(path + bad), 400, "InvalidQueryParameterValue")


def test_a_range_that_is_not_indexed_so_far(story: Story) -> None:
    txid = story.write("private", 1, "one")
    seqno = txid.partition(".")[2]
    story.service.node.sign()
    story.service.pump()
    waiting = story.get(f"/log/private/historical/range?id=1&from_seqno={seqno}&to_seqno={seqno}")
    assert waiting.status == 202
    assert waiting.headers["retry-after"] == "1"
    settle(story.service)
    again = story.get(f"/log/private/historical/range?id=1&from_seqno={seqno}")
    assert [entry["msg"] for entry in again.json["entries"]] == ["one"]


def test_sparse(story: Story) -> None:
    seqnos = [story.write("private", 1, msg).partition(".")[2] for msg in ("a", "b", "c")]
    settle(story.service)
    path = "/log/private/historical/sparse?id=1&seqnos="
    found = story.get(f"{path}{seqnos[2]},{seqnos[0]}").json
    assert [(str(e["seqno"]), e["msg"]) for e in found["entries"]] == [
        (seqnos[0], "a"),
        (seqnos[2], "c"),
    ]
    assert story.get(f"{path}1").json == {"entries": []}
    far = ",".join(str(n) for n in range(1, 102))
    for bad in ("", "x", "0", "1,", "-1", "1.5", "9" * 30, "1000000", far, "%D9%A1"):
        refused(story.get(path + bad), 400, "InvalidInput")


def test_handles(story: Story) -> None:
    txid = story.write("private", 3, "here")
    settle(story.service)
    path = f"/log/private/historical/handle?handle=77&seqno={txid.partition('.')[2]}"
    first = story.get(path)
    assert first.status == 202
    story.service.tick()
    assert story.get(path).json == {
        "transaction_id": txid,
        "entries": [{"seqno": int(txid.partition(".")[2]), "id": 3, "msg": "here"}],
    }
    refused(story.get(path[: path.index("seqno")] + "seqno=1000000"), 400, "InvalidInput")


def test_the_index_of_committed_records(story: Story) -> None:
    path = "/log/private/committed?id=1"
    assert "install_committed_index" in refused(story.get(path), 404, "ResourceNotFound")
    assert story.call("POST", "/log/private/install_committed_index").status == 204
    assert story.get(path).status == 202
    story.write("private", 1, "one")
    settle(story.service)
    assert story.get(path).json == {"msg": "one"}
    story.service.disk = False
    story.write("private", 1, "not committed")
    story.service.tick()
    assert story.get("/log/private?id=1").json == {"msg": "not committed"}
    assert story.get(path).json == {"msg": "one"}
    story.service.persist()
    assert story.call("DELETE", "/log/private?id=1").json is True
    settle(story.service)
    refused(story.get(path), 404, "ResourceNotFound")
    names = {one["name"] for one in story.service.node.indexes.describe()}
    assert INDEX in names
    assert story.call("POST", "/log/private/uninstall_committed_index").status == 204
    assert "install_committed_index" in refused(story.get(path), 404, "ResourceNotFound")
    for verb, name in (
        ("GET", "committed?id=1"),
        ("POST", "install_committed_index"),
        ("POST", "uninstall_committed_index"),
    ):
        reply = story.service.call(verb, f"/app/log/private/{name}")
        refused(reply, 401, "InvalidAuthenticationInfo")


def test_proofs(story: Story) -> None:
    txid = story.write("public", 1, "proven")
    digest = sha256(b"proven").digest()
    key = story.service.parts.service.public
    receipt = story.past("/log/public/cose_receipt", txid)
    assert receipt.headers["content-type"] == "application/cose"
    proven = verify_cose_receipt(receipt.body, key, claims=digest)
    assert str(proven.txid) == txid
    with pytest.raises(InvalidReceipt):
        verify_cose_receipt(receipt.body, key, claims=bytes(32))
    proof = story.past("/log/public/cbor_merkle_proof", txid)
    assert proof.headers["content-type"] == "application/cbor"
    assert proof.body in receipt.body
    signature = b64decode(story.past("/log/public/cose_signature", txid).json["cose_signature"])
    assert cosesign.verify1(parse_sign1(signature), key, proven.root)
    missing = story.past("/log/public/cose_endorsements", txid)
    assert txid in refused(missing, 404, "ResourceNotFound")
    last = str(story.service.node.last_committed())
    for name in ("cose_receipt", "cbor_merkle_proof"):
        refused(story.get(f"/log/public/{name}", **{TXID_HEADER: last}), 404, "ResourceNotFound")
    refused(story.get("/log/public/cose_receipt"), 404, "TransactionInvalid")
    signer = story.service.parts.signer
    signer.issuer, signer.subject = "issuer.example", "ledger"
    named = story.get("/cose_signatures_config").json
    assert named == {"issuer": "issuer.example", "subject": "ledger"}


def test_endorsements_are_given(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyccf.node.historical import State

    txid = story.write("public", 1, "of an older service")
    monkeypatch.setattr(State, "cose_endorsements", property(lambda state: (b"\x01\x02", b"\x03")))
    found = story.past("/log/public/cose_endorsements", txid).json
    assert found == {"endorsements": ["AQI=", "Aw=="]}


def test_custom_auth(story: Story) -> None:
    def call(**headers: str) -> Reply:
        named = {f"x-custom-auth-{name}": value for name, value in headers.items()}
        return story.service.call("GET", "/app/custom_auth", headers=named)

    assert call(name="Alice", age="42").json == {
        "name": "Alice",
        "age": 42,
        "description": "Your name is Alice and you are 42",
    }
    for headers, reason in (
        ({}, "Missing required header x-custom-auth-name"),
        ({"name": "Alice"}, "Missing required header x-custom-auth-age"),
        ({"name": "Alice", "age": "10"}, "Caller age must be at least 16"),
        ({"name": "Alice", "age": "old"}, "Caller age must be a number"),
    ):
        reply = call(**headers)
        refused(reply, 401, "InvalidAuthenticationInfo")
        (detail,) = reply.json["error"]["details"]
        assert (detail["auth_policy"], detail["message"]) == ("custom_auth", reason)
    assert "Boom" not in refused(call(explode="Boom!"), 500, "InternalError")
    assert any("Boom!" in line.text for line in story.service.logs)


def test_multi_auth(story: Story) -> None:
    service = story.service
    issuer = Issuer("https://issuer.example.com", ec=True)
    tx = service.node.store.tx()
    jwt.set_keys(tx, issuer.name, [issuer.jwk()])
    service.node.commit(tx)
    service.pump()
    token = bearer(issuer.token(sub="alice"))

    def call(
        caller: Person | None = None, body: bytes = b"{}", headers: dict[str, str] | None = None
    ) -> str:
        reply = service.call("POST", "/app/multi_auth", body, headers=headers, caller=caller)
        assert reply.headers["content-type"] == "text/plain"
        return reply.body.decode()

    user, member = story.user, service.members[0]
    assert call() == ("Unauthenticated\nThe caller did not provide any authenticated identity")
    assert call(user).splitlines()[:5] == [
        "User TLS cert",
        f"The caller is a user with ID: {user.id}",
        "The caller's user data is: {",
        '  "isAdmin": true',
        "}",
    ]
    assert user.cert.strip() in call(user)
    assert call(member).startswith(
        f"Member TLS cert\nThe caller is a member with ID: {member.id}\n"
    )
    stranger = Person("stranger", service.entropy)
    assert call(stranger).startswith("Any TLS cert\nThe caller's cert is:\n-----BEGIN")
    assert call(Person("old", service.entropy, days=1)).startswith("Unauthenticated")
    assert call(headers=token).startswith(
        "JWT\nThe caller is identified by a JWT issued by: https://issuer.example.com\n"
    )
    both = call(user, headers=token)
    assert both.startswith("Conjoined auth policy: jwt+user_cert\nJWT\n")
    assert "\nUser TLS cert\n" in both
    assert call(body=signed(user, b"hi"), headers=COSE) == (
        "User COSE Sign1\n"
        f"The caller is identified by a COSE Sign1 signed by kid: {user.id}\n"
        "The caller is identified by a COSE Sign1 with content of size: 2"
    )
    assert call(user, signed(user, b"hi"), COSE).startswith("User TLS cert")


def test_whoami(story: Story) -> None:
    found = story.get("/whoami").json
    assert found == {"policy": "user_cert", "id": story.user.id, "data": {"isAdmin": True}}
    assert story.service.call("GET", "/app/whoami").json["policy"] == "no_auth"


def test_what_a_member_signed(story: Story) -> None:
    service = story.service

    def call(body: bytes) -> Reply:
        return service.call("POST", "/app/log/cose_signed_content", body, headers=COSE)

    reply = call(by_member(service, b"signed text"))
    assert (reply.status, reply.body) == (200, b"signed text")
    assert reply.headers["content-type"] == "text/plain"
    refused(call(by_member(service, b"\xff")), 400, "InvalidInput")
    reply = call(signed(story.user, b"x", ccf__gov__msg__type="app", ccf__gov__msg__created_at=1))
    refused(reply, 401, "InvalidAuthenticationInfo")


def test_the_query_is_given_back(story: Story) -> None:
    reply = story.service.call("GET", "/app/log/request_query?a=1&b=%C3%BC")
    assert reply.headers["content-type"] == "text/plain"
    assert reply.body.decode() == "a=1&b=ü"
    assert story.service.call("GET", "/app/log/request_query").body == b""
