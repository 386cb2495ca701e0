"""The logging sample in its three languages: one API, one set of requests (samples/README.md)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from pyccf.audit.verify import verify
from pyccf.client import Client, Reply
from pyccf.client.signing import COSE_TYPE, sign_user
from pyccf.crypto import certs
from pyccf.crypto.entropy import SeededEntropy
from pyccf.crypto.keys import Curve, PrivateKey
from pyccf.errors import InvalidReceipt
from pyccf.ledger.receipt import verify_json_receipt
from pyccf.types import TxID
from support.samples import sample
from support.sandbox import Sandbox
from support.tokens import Issuer

TXID_HEADER = "x-ms-ccf-transaction-id"
SCOPES = ("private", "public")
ID_MAX = 2**53 - 1
POLLS_MAX = 1200
POLL_S = 0.05


@pytest.fixture(scope="module", params=["logging", "logging-ts", "logging-py"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def unfit(name: str) -> str:
    """The code of a query that does not fit: of Python's handlers it is not theirs to say so."""
    return "InvalidQueryParameterValue" if name == "logging-py" else "InvalidInput"


@pytest.fixture(scope="module")
def sandbox(name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    workspace = tmp_path_factory.mktemp(name)
    with Sandbox(sample(name), workspace / "sandbox", "--users", "2") as sandbox:
        yield sandbox


@pytest.fixture
def user(sandbox: Sandbox) -> Iterator[Client]:
    """user0, with both tables empty."""
    with sandbox.client("user0") as client:
        for scope in SCOPES:
            assert client.request("DELETE", f"/app/log/{scope}/all").check().json() is True
        yield client


@pytest.fixture
def nobody(sandbox: Sandbox) -> Iterator[Client]:
    with sandbox.client() as client:
        yield client


@pytest.fixture
def stranger(sandbox: Sandbox, tmp_path: Path) -> Iterator[Client]:
    """Somebody with a certificate that the service does not know."""
    entropy = SeededEntropy(bytes(32))
    key = PrivateKey.generate(Curve.P384, entropy)
    now = int(time.time())
    cert = certs.self_signed(key, "CN=stranger", not_before=now - 60, days=1, entropy=entropy)
    (tmp_path / "cert.pem").write_text(cert)
    (tmp_path / "key.pem").write_text(key.pem())
    info = sandbox.info
    with Client(
        info.nodes[0].url,
        info.service_cert,
        cert=tmp_path / "cert.pem",
        key=tmp_path / "key.pem",
    ) as client:
        yield client


def refused(reply: Reply, status: int, code: str) -> str:
    """The message of a refusal in CCF's format."""
    assert reply.status == status, reply.text()
    assert reply.headers["content-type"] == "application/json"
    error = cast("dict[str, dict[str, Any]]", reply.json())["error"]
    assert error["code"] == code
    assert error["message"]
    assert reply.txid is None  # nothing was written
    return cast("str", error["message"])


def until_there(client: Client, path: str, **params: str) -> Reply:
    """Ask again as long as the node fetches what it needs."""
    headers = {TXID_HEADER: params.pop("txid")} if "txid" in params else {}
    for _ in range(POLLS_MAX):
        reply = client.get(path, params=params, headers=headers)
        if reply.status != 202:
            return reply
        assert int(reply.headers["retry-after"]) >= 1
        time.sleep(POLL_S)
    raise AssertionError(f"{path} was never there")


def write(client: Client, scope: str, record_id: int, msg: str) -> TxID:
    """Write a record and wait until it is committed."""
    reply = client.post(f"/app/log/{scope}", json={"id": record_id, "msg": msg}, wait="commit")
    assert reply.check().json() is True
    assert reply.txid is not None
    return reply.txid


@pytest.mark.parametrize("scope", SCOPES)
def test_records_are_written_read_and_deleted(user: Client, scope: str) -> None:
    path = f"/app/log/{scope}"
    for record_id, msg in ((0, "first"), (ID_MAX, "Zürich → 東京 🎉"), (7, "x" * 4096)):
        written = user.post(path, json={"id": record_id, "msg": msg})
        assert written.status == 200
        assert written.headers["content-type"] == "application/json"
        assert written.json() is True
        assert written.txid is not None
        read = user.get(path, params={"id": str(record_id)})
        assert read.status == 200
        assert read.json() == {"msg": msg}
        # The state that was read: what was written, and perhaps a signature after it.
        assert read.txid is not None
        assert read.txid.view == written.txid.view
        assert read.txid.seqno >= written.txid.seqno
    assert user.post(path, json={"id": 7, "msg": "again"}).status == 200
    assert user.get(path, params={"id": "7"}).json() == {"msg": "again"}
    assert user.get(f"{path}/count").json() == 3
    assert user.request("DELETE", path, params={"id": "7"}).json() is True
    refused(user.get(path, params={"id": "7"}), 404, "ResourceNotFound")
    refused(user.request("DELETE", path, params={"id": "7"}), 404, "ResourceNotFound")
    assert user.get(f"{path}/count").json() == 2
    assert user.request("DELETE", f"{path}/all").json() is True
    assert user.get(f"{path}/count").json() == 0


def test_private_and_public_records_are_apart(user: Client) -> None:
    user.post("/app/log/private", json={"id": 1, "msg": "secret"}).check()
    refused(user.get("/app/log/public?id=1"), 404, "ResourceNotFound")
    user.post("/app/log/public", json={"id": 1, "msg": "known"}).check()
    assert user.get("/app/log/private?id=1").json() == {"msg": "secret"}
    assert user.request("DELETE", "/app/log/public/all").json() is True
    assert user.get("/app/log/private/count").json() == 1


@pytest.mark.parametrize("scope", SCOPES)
def test_records_are_listed_by_id_in_pages(user: Client, unfit: str, scope: str) -> None:
    path = f"/app/log/{scope}"
    ids = [30, 2, 100, 1, 20]
    for record_id in ids:
        user.post(path, json={"id": record_id, "msg": f"m{record_id}"}).check()
    everything = [{"id": i, "msg": f"m{i}"} for i in sorted(ids)]
    assert user.get(f"{path}/all").json() == {"records": everything, "next": None}
    page = user.get(f"{path}/all", params={"limit": "2"}).json()
    assert page == {"records": everything[:2], "next": 20}
    page = user.get(f"{path}/all", params={"limit": "3", "from": "20"}).json()
    assert page == {"records": everything[2:], "next": None}
    for params in ({"limit": "0"}, {"limit": "1001"}, {"from": "-1"}, {"limit": "x"}):
        refused(user.get(f"{path}/all", params=params), 400, unfit)


BAD_QUERIES = ["", "?", "?id", "?id=", "?id=x", "?id=-1", "?id=1.5", f"?id={2**53}", "?ids=1"]


@pytest.mark.parametrize("query", BAD_QUERIES)
@pytest.mark.parametrize("verb", ["GET", "DELETE"])
def test_bad_queries_are_refused(user: Client, unfit: str, verb: str, query: str) -> None:
    for scope in SCOPES:
        reply = user.request(verb, f"/app/log/{scope}{query}")
        refused(reply, 400, unfit)


BAD_BODIES = {
    "empty": b"",
    "cut": b'{"id": 1, "msg": "x"',
    "trailing": b'{"id": 1, "msg": "x"} x',
    "array": b'[1, "x"]',
    "null": b"null",
    "text": b'"x"',
    "no id": b'{"msg": "x"}',
    "no msg": b'{"id": 1}',
    "text id": b'{"id": "1", "msg": "x"}',
    "negative id": b'{"id": -1, "msg": "x"}',
    "fraction": b'{"id": 1.5, "msg": "x"}',
    "large id": b'{"id": 9007199254740992, "msg": "x"}',
    "boolean id": b'{"id": true, "msg": "x"}',
    "null msg": b'{"id": 1, "msg": null}',
    "number msg": b'{"id": 1, "msg": 2}',
    "empty msg": b'{"id": 1, "msg": ""}',
    "long msg": b'{"id": 1, "msg": "' + b"x" * 4097 + b'"}',
    "NUL": b'{"id": 1, "msg": "a\\u0000b"}',
    "half a surrogate": b'{"id": 1, "msg": "\\ud800"}',
}


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES.keys())
def test_bad_bodies_are_refused_and_nothing_is_written(user: Client, body: bytes) -> None:
    for path in ("private", "public", "private/anonymous", "private/prefix_cert"):
        reply = user.post(
            f"/app/log/{path}", content=body, headers={"content-type": "application/json"}
        )
        refused(reply, 400, "InvalidInput")
    for scope in SCOPES:
        assert user.get(f"/app/log/{scope}/count").json() == 0


def test_only_users_may(nobody: Client, stranger: Client, sandbox: Sandbox) -> None:
    with sandbox.client("member0") as member:
        for client in (nobody, stranger, member):
            for scope in SCOPES:
                path = f"/app/log/{scope}"
                for verb, more in (
                    ("GET", "?id=1"),
                    ("POST", ""),
                    ("DELETE", "?id=1"),
                    ("GET", "/count"),
                    ("GET", "/all"),
                    ("DELETE", "/all"),
                    ("GET", "/historical?id=1"),
                    ("GET", "/receipt?id=1"),
                    ("GET", "/historical/range?id=1"),
                ):
                    body = {"id": 1, "msg": "x"} if verb == "POST" else None
                    reply = client.request(verb, path + more, json=body)
                    refused(reply, 401, "InvalidAuthenticationInfo")


def test_anybody_may_write_anonymously(user: Client, nobody: Client) -> None:
    for client in (nobody, user):
        reply = client.post("/app/log/private/anonymous", json={"id": 5, "msg": "hi"})
        assert reply.check().json() is True
        assert user.get("/app/log/private?id=5").json() == {"msg": "Anonymous: hi"}


def test_a_certificate_marks_its_messages(user: Client, stranger: Client, nobody: Client) -> None:
    for client in (user, stranger):
        assert client.identity is not None
        body = {"id": 6, "msg": "hi"}
        assert client.post("/app/log/private/prefix_cert", json=body).check().json() is True
        mark = certs.fingerprint(Path(client.identity.cert_path).read_text())
        assert user.get("/app/log/private?id=6").json() == {"msg": f"{mark}: hi"}
    reply = nobody.post("/app/log/private/prefix_cert", json={"id": 6, "msg": "hi"})
    refused(reply, 401, "InvalidAuthenticationInfo")


def test_user_data_makes_an_admin(user: Client, sandbox: Sandbox) -> None:
    body = {"id": 8, "msg": "by admin"}
    path = "/app/log/private/admin_only"
    with sandbox.client("user1") as admin:
        assert admin.identity is not None
        for data in (None, {"isAdmin": "yes"}, ["isAdmin"]):
            if data is not None:
                args = {"user_id": admin.identity.id, "user_data": data}
                sandbox.govern("set_user_data", args)
            refused(admin.post(path, json=body), 403, "AuthorizationFailed")
        args = {"user_id": admin.identity.id, "user_data": {"isAdmin": True}}
        sandbox.govern("set_user_data", args)
        assert admin.post(path, json=body).check().json() is True
        assert user.get("/app/log/private?id=8").json() == {"msg": "by admin"}
        refused(user.post(path, json=body), 403, "AuthorizationFailed")
        sandbox.govern("set_user_data", {"user_id": admin.identity.id})
        refused(admin.post(path, json=body), 403, "AuthorizationFailed")


def test_plain_text_is_a_message(user: Client) -> None:
    path = "/app/log/private/raw_text"
    for kind in ("text/plain", "text/plain; charset=utf-8", "Text/Plain"):
        reply = user.post(f"{path}/9", content="añb".encode(), headers={"content-type": kind})
        assert reply.check().json() is True
        assert user.get("/app/log/private?id=9").json() == {"msg": "añb"}
    refused(
        user.post(f"{path}/9", content=b"x", headers={"content-type": "application/json"}),
        415,
        "UnsupportedContentType",
    )
    refused(user.post(f"{path}/9", content=b"x"), 415, "UnsupportedContentType")
    plain = {"content-type": "text/plain"}
    refused(user.post(f"{path}/x", content=b"x", headers=plain), 400, "InvalidInput")
    refused(user.post(f"{path}/9", content=b"", headers=plain), 400, "InvalidInput")
    refused(user.post(f"{path}/9", content=b"x" * 4097, headers=plain), 400, "InvalidInput")
    refused(user.post(f"{path}/9", content=b"a\x00b", headers=plain), 400, "InvalidInput")


def test_whoami(user: Client, nobody: Client, stranger: Client, sandbox: Sandbox) -> None:
    with sandbox.client("member0") as member:
        for client, policy in (
            (user, "user_cert"),
            (member, "member_cert"),
            (stranger, "any_cert"),
            (nobody, "no_auth"),
        ):
            known = policy in ("user_cert", "member_cert")
            expected = client.identity.id if known and client.identity is not None else None
            found = client.get("/app/whoami").check().json()
            assert found == {"policy": policy, "id": expected, "data": None}


@pytest.mark.parametrize("scope", SCOPES)
def test_records_of_a_scope_are_apart(user: Client, unfit: str, scope: str) -> None:
    path = f"/app/log/{scope}"
    here, there = {"id": "40", "scope": "here"}, {"id": "40", "scope": "th-3_re"}
    txid = user.post(path, params=here, json={"id": 40, "msg": "in"}, wait="commit").check().txid
    user.post(path, params=there, json={"id": 40, "msg": "out"}).check()
    assert user.get(path, params=here).json() == {"msg": "in"}
    assert user.get(f"{path}/backup", params=here).json() == {"msg": "in"}
    refused(user.get(path, params={"id": "40"}), 404, "ResourceNotFound")
    assert user.get(f"{path}/count").json() == 0
    past = until_there(user, f"{path}/historical", txid=str(txid), **here)
    assert past.check().json() == {"msg": "in"}
    past = until_there(user, f"{path}/historical", txid=str(txid), **there)
    refused(past, 404, "ResourceNotFound")
    assert user.request("DELETE", f"{path}/all", params={"scope": "here"}).json() is True
    refused(user.get(path, params=here), 404, "ResourceNotFound")
    assert user.request("DELETE", path, params=there).json() is True
    for wrong in ("", "A", "a.b", "x" * 33, "%2e"):
        for verb, body in (("GET", None), ("POST", {"id": 1, "msg": "x"})):
            reply = user.request(verb, f"{path}?id=1&scope={wrong}", json=body)
            refused(reply, 400, unfit)


def test_what_receipts_prove_is_for_the_caller_to_say(user: Client, sandbox: Sandbox) -> None:
    service_cert = Path(sandbox.info.service_cert).read_text()
    body = {"id": 41, "msg": "proven"}
    for scope, claimed, digest in (
        ("private", True, sha256(b"proven").digest()),
        ("private", False, bytes(32)),
        ("public", True, sha256(b"proven").digest()),
        ("public", False, bytes(32)),
    ):
        said = {**body, "record_claim": claimed}
        receipt = user.post(f"/app/log/{scope}", json=said, wait="receipt").check().receipt
        assert receipt is not None
        verify_json_receipt(receipt, service_cert, claims=digest)
    for wrong in ("yes", 1, []):
        reply = user.post("/app/log/public", json={**body, "record_claim": wrong})
        refused(reply, 400, "InvalidInput")


@pytest.fixture(scope="module")
def issuer(sandbox: Sandbox) -> Issuer:
    """Somebody whose tokens the service takes."""
    made = Issuer("https://issuer.example", ec=True)
    sandbox.govern("set_jwt_issuer", {"issuer": made.name, "jwks": made.jwks(made.name)})
    return made


@pytest.fixture
def bearer(sandbox: Sandbox, issuer: Issuer) -> Iterator[Client]:
    """Somebody with a token and no certificate."""
    info = sandbox.info
    with Client(info.nodes[0].url, info.service_cert, token=issuer.token(sub="alice")) as client:
        yield client


@pytest.mark.parametrize("scope", SCOPES)
def test_users_by_token_and_by_signature(
    user: Client, nobody: Client, bearer: Client, issuer: Issuer, scope: str
) -> None:
    path = f"/app/log/{scope}"
    assert bearer.post(path, json={"id": 42, "msg": "by token"}).check().json() is True
    assert bearer.get(path, params={"id": "42"}).json() == {"msg": "by token"}
    assert bearer.get(f"{path}/count").json() == 1
    signer = user.identity
    content = json.dumps({"id": 43, "msg": "by signature"}).encode()
    assert nobody.post_signed(path, content, signer=signer).check().json() is True
    assert user.get(path, params={"id": "43"}).json() == {"msg": "by signature"}
    refused(nobody.post_signed(path, b"{", signer=signer), 400, "InvalidInput")
    forged = Issuer(issuer.name, ec=True, kid="other").token(sub="alice")
    reply = nobody.get(f"{path}?id=42", headers={"authorization": f"Bearer {forged}"})
    refused(reply, 401, "InvalidAuthenticationInfo")


def test_who_calls_by_seven_policies(
    user: Client,
    nobody: Client,
    stranger: Client,
    bearer: Client,
    issuer: Issuer,
    sandbox: Sandbox,
) -> None:
    path = "/app/multi_auth"
    signer = user.identity
    assert signer is not None
    with sandbox.client("member0") as member:
        told = {
            "user": user.post(path),
            "member": member.post(path),
            "stranger": stranger.post(path),
            "token": bearer.post(path),
            "signature": nobody.post_signed(path, b"four", signer=signer),
            "nobody": nobody.post(path),
        }
    for reply in told.values():
        assert reply.check().headers["content-type"] == "text/plain"
    lines = {name: reply.text().split("\n") for name, reply in told.items()}
    cert = Path(signer.cert_path).read_text()
    assert lines["user"][:2] == ["User TLS cert", f"The caller is a user with ID: {signer.id}"]
    assert cert.strip() in told["user"].text()
    assert lines["member"][0] == "Member TLS cert"
    assert lines["stranger"][:2] == ["Any TLS cert", "The caller's cert is:"]
    assert lines["token"][:2] == [
        "JWT",
        "The caller is identified by a JWT issued by: https://issuer.example",
    ]
    assert '  "sub": "alice"' in "\n".join(lines["token"])
    assert lines["signature"] == [
        "User COSE Sign1",
        f"The caller is identified by a COSE Sign1 signed by kid: {signer.id}",
        "The caller is identified by a COSE Sign1 with content of size: 4",
    ]
    assert lines["nobody"][0] == "Unauthenticated"
    everything = user.post(
        path,
        content=sign_user(signer, b"four", int(time.time()), None),
        headers={"authorization": f"Bearer {issuer.token(sub='alice')}", "content-type": COSE_TYPE},
    )
    found = everything.check().text().split("\n")
    assert found[0].startswith("Conjoined auth policy: jwt+user_cert")
    assert {"JWT", "User TLS cert"} <= set(found)


def test_a_policy_of_the_applications_own(nobody: Client) -> None:
    def ask(**said: str) -> Reply:
        headers = {f"x-custom-auth-{name}": value for name, value in said.items()}
        return nobody.get("/app/custom_auth", headers=headers)

    assert ask(name="Ada", age="36").check().json() == {
        "name": "Ada",
        "age": 36,
        "description": "Your name is Ada and you are 36",
    }
    for said in (
        {},
        {"name": "Ada"},
        {"age": "36"},
        {"name": "", "age": "36"},
        {"name": "Ada", "age": "15"},
        {"name": "Ada", "age": "-36"},
        {"name": "Ada", "age": "1e3"},
        {"name": "Ada", "age": "9" * 40},
    ):
        refused(ask(**said), 401, "InvalidAuthenticationInfo")
    exploded = ask(explode="bang")
    assert exploded.status == 500
    assert exploded.txid is None
    assert nobody.get("/app/whoami").status == 200


@pytest.mark.parametrize("scope", SCOPES)
def test_the_past_is_read_with_receipts(user: Client, sandbox: Sandbox, scope: str) -> None:
    path = f"/app/log/{scope}"
    first = write(user, scope, 11, "one")
    second = write(user, scope, 11, "two")
    deleted = user.request("DELETE", path, params={"id": "11"}, wait="commit")
    assert deleted.check().txid is not None
    service_cert = Path(sandbox.info.service_cert).read_text()
    for txid, msg in ((first, "one"), (second, "two")):
        past = until_there(user, f"{path}/historical", id="11", txid=str(txid))
        assert past.check().json() == {"msg": msg}
        for name in ("receipt", "historical_receipt"):
            reply = until_there(user, f"{path}/{name}", id="11", txid=str(txid))
            proof = cast("dict[str, Any]", reply.check().json())
            assert proof["msg"] == msg
            receipt = proof["receipt"]
            evidence = receipt["leaf_components"]["commit_evidence"]
            assert evidence.startswith(f"ce:{txid}:")
            claim = sha256(msg.encode()).digest()
            if scope == "public":
                assert receipt["leaf_components"]["claims_digest"] == claim.hex()
                verify_json_receipt(receipt, service_cert, claims=claim)
                other = sha256(b"other").digest()
                with pytest.raises(InvalidReceipt):
                    verify_json_receipt(receipt, service_cert, claims=other)
            else:
                assert receipt["leaf_components"]["claims_digest"] == bytes(32).hex()
                verify_json_receipt(receipt, service_cert)
    for txid in (str(first), str(deleted.txid)):
        other_id = "12" if txid == str(first) else "11"
        reply = until_there(user, f"{path}/historical", id=other_id, txid=txid)
        refused(reply, 404, "ResourceNotFound")


@pytest.mark.parametrize("scope", SCOPES)
def test_what_cannot_be_read_of_the_past(user: Client, scope: str) -> None:
    path = f"/app/log/{scope}/historical?id=1"
    refused(user.get(path), 404, "TransactionInvalid")
    refused(user.get(path, headers={TXID_HEADER: "x"}), 404, "TransactionInvalid")
    future = {TXID_HEADER: "2.1000000"}
    refused(user.get(path, headers=future), 404, "TransactionPendingOrUnknown")
    wrong_view = {TXID_HEADER: "9.1"}
    refused(user.get(path, headers=wrong_view), 404, "TransactionInvalid")


@pytest.mark.parametrize("scope", SCOPES)
def test_every_write_of_a_record_in_a_range(user: Client, unfit: str, scope: str) -> None:
    path = f"/app/log/{scope}/historical/range"
    first = write(user, scope, 21, "one")
    write(user, scope, 22, "of another")
    second = write(user, scope, 21, "two")
    write(user, scope, 23, "later")
    span = {"id": "21", "from_seqno": str(first.seqno), "to_seqno": str(second.seqno)}
    expected = [
        {"seqno": first.seqno, "id": 21, "msg": "one"},
        {"seqno": second.seqno, "id": 21, "msg": "two"},
    ]
    assert until_there(user, path, **span).check().json() == {"entries": expected}
    found: list[object] = []
    span["from_seqno"] = "1"
    following = f"{path}?{urlencode(span)}"
    while following:
        page = cast("dict[str, Any]", until_there(user, following).check().json())
        assert set(page) <= {"entries", "@nextLink"}
        found += page["entries"]
        seqno = int(parse_qs(urlsplit(following).query)["from_seqno"][0])
        following = page.get("@nextLink", "")
        if following:
            more = parse_qs(urlsplit(following).query)
            assert int(more["from_seqno"][0]) > seqno
            assert following.startswith(f"{path}?")
    assert found == expected
    whole = cast("dict[str, Any]", until_there(user, path, id="21").check().json())
    assert "entries" in whole
    for params in (
        {"id": "21", "from_seqno": "5", "to_seqno": "4"},
        {"id": "21", "to_seqno": "1000000"},
    ):
        refused(user.get(path, params=params), 400, "InvalidInput")
    for params in (
        {"id": "21", "from_seqno": "0"},
        {"id": "21", "from_seqno": "x"},
        {"from_seqno": "1"},
    ):
        refused(user.get(path, params=params), 400, unfit)


def test_every_endpoint_is_described(nobody: Client) -> None:
    document = cast("dict[str, Any]", nobody.get("/app/api").check().json())
    for path, operations in document["paths"].items():
        assert path.startswith("/app/")
        if "/log/" in path or path.endswith("/whoami"):
            for verb in set(operations) - {"parameters"}:
                assert operations[verb]["summary"], (path, verb)
    assert "/app/log/private/raw_text/{id}" in document["paths"]


def test_verbs_and_paths_that_do_not_exist(user: Client) -> None:
    refused(user.get("/app/log/nothing"), 404, "ResourceNotFound")
    reply = user.request("PUT", "/app/log/private", json={"id": 1, "msg": "x"})
    refused(reply, 405, "UnsupportedHttpVerb")
    assert reply.headers["allow"] == "OPTIONS, DELETE, GET, POST"


def test_the_ledger_verifies_and_keeps_secrets(sandbox: Sandbox, user: Client) -> None:
    """Last: the service is stopped, and its ledger looked at."""
    write(user, "private", 31, "nobody reads this in the ledger")
    write(user, "public", 32, "everybody reads this in the ledger")
    assert sandbox.stop() == 0
    report = verify(sandbox.info.ledgers)
    assert report.error is None
    assert report.unsigned == 0
    data = b"".join(p.read_bytes() for p in Path(sandbox.info.ledgers[0]).iterdir())
    assert b"everybody reads this" in data
    assert b"nobody reads this" not in data
