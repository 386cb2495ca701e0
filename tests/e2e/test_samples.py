"""The logging sample in its three languages: one API, one set of requests (samples/README.md)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from pyccf.audit.verify import verify
from pyccf.client import Client, Reply
from pyccf.crypto import certs
from pyccf.crypto.entropy import SeededEntropy
from pyccf.crypto.keys import Curve, PrivateKey
from pyccf.errors import InvalidReceipt
from pyccf.ledger.receipt import verify_json_receipt
from pyccf.types import TxID
from support.samples import sample
from support.sandbox import Sandbox

TXID_HEADER = "x-ms-ccf-transaction-id"
SCOPES = ("private", "public")
ID_MAX = 2**53 - 1
POLLS_MAX = 100
POLL_S = 0.05


@pytest.fixture(scope="module", params=["logging", "logging-ts", "logging-py"])
def sandbox(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sandbox]:
    folder = sample(request.param)
    workspace = tmp_path_factory.mktemp(request.param)
    with Sandbox(folder, workspace / "sandbox", "--users", "2") as sandbox:
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
        assert read.txid == written.txid
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
def test_records_are_listed_by_id_in_pages(user: Client, scope: str) -> None:
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
        refused(user.get(f"{path}/all", params=params), 400, "InvalidInput")


BAD_QUERIES = ["", "?", "?id", "?id=", "?id=x", "?id=-1", "?id=1.5", f"?id={2**53}", "?ids=1"]


@pytest.mark.parametrize("query", BAD_QUERIES)
@pytest.mark.parametrize("verb", ["GET", "DELETE"])
def test_bad_queries_are_refused(user: Client, verb: str, query: str) -> None:
    for scope in SCOPES:
        reply = user.request(verb, f"/app/log/{scope}{query}")
        refused(reply, 400, "InvalidInput")


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
        assert user.get("/app/log/private?id=5").json() == {"msg": "anonymous: hi"}


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
def test_every_write_of_a_record_in_a_range(user: Client, scope: str) -> None:
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
        {"id": "21", "from_seqno": "0"},
        {"id": "21", "from_seqno": "x"},
        {"from_seqno": "1"},
    ):
        refused(user.get(path, params=params), 400, "InvalidInput")


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
