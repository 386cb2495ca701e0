"""What only the Python sample offers, from a running service; the original's tools judge it."""

from __future__ import annotations

import json
import time
from base64 import b64decode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from ccf.cose import verify_receipt
from ccf.receipt import root, verify
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.x509 import load_pem_x509_certificate

from pyccf.client import Client, Reply
from pyccf.codec.cose import parse_sign1
from pyccf.crypto.cosesign import verify1
from pyccf.crypto.keys import PublicKey
from pyccf.ledger.receipt import verify_cose_receipt
from support.samples import SAMPLES
from support.sandbox import Sandbox

TXID_HEADER = "x-ms-ccf-transaction-id"
DEADLINE_S = 60.0
POLL_S = 0.05
MSG = "proven to everybody"


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    workspace = tmp_path_factory.mktemp("native") / "sandbox"
    with Sandbox(SAMPLES / "logging-py", workspace) as running:
        yield running


@pytest.fixture
def user(sandbox: Sandbox) -> Iterator[Client]:
    with sandbox.client("user0") as client:
        yield client


def until(client: Client, path: str, **headers: str) -> Reply:
    """Ask again as long as the node is not there yet."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        reply = client.get(path, headers={n.replace("_", "-"): v for n, v in headers.items()})
        if reply.status != 202:
            return reply.check()
        assert time.monotonic() < deadline, f"{path} was never there"
        time.sleep(POLL_S)


def test_receipts_of_a_transaction(sandbox: Sandbox, user: Client) -> None:
    body = {"id": 1, "msg": MSG}
    written = user.post("/app/log/public", json=body, wait="commit").check()
    assert written.txid is not None
    then = {TXID_HEADER: str(written.txid)}
    claims = sha256(MSG.encode()).digest()
    pem = Path(sandbox.info.service_cert).read_text()
    receipt = until(user, "/app/log/public/cose_receipt", **then).body
    theirs = load_pem_x509_certificate(pem.encode()).public_key()
    assert isinstance(theirs, EllipticCurvePublicKey)
    headers = verify_receipt(receipt, theirs, claims)
    assert headers[395] == 2
    with pytest.raises(ValueError, match="Claim digest mismatch"):
        verify_receipt(receipt, theirs, bytes(32))
    ours = PublicKey.from_certificate(pem)
    proven = verify_cose_receipt(receipt, ours, claims=claims)
    assert proven.txid == written.txid
    assert until(user, "/app/log/public/cbor_merkle_proof", **then).body in receipt
    document = json.loads(until(user, "/app/log/public/cose_signature", **then).body)
    assert verify1(parse_sign1(b64decode(document["cose_signature"])), ours, proven.root)
    found = json.loads(until(user, "/app/log/public/historical_receipt?id=1", **then).body)
    assert found["msg"] == MSG
    receipt_json = found["receipt"]
    node = load_pem_x509_certificate(receipt_json["cert"].encode())
    leaf = receipt_json["leaf_components"]
    assert leaf["claims_digest"] == claims.hex()
    evidence = sha256(leaf["commit_evidence"].encode()).digest()
    top = root(
        sha256(bytes.fromhex(leaf["write_set_digest"]) + evidence + claims).hexdigest(),
        receipt_json["proof"],
    )
    verify(top, receipt_json["signature"], node)
    assert bytes.fromhex(top) == proven.root


def test_indexes_follow_the_ledger(user: Client) -> None:
    txids = [
        user.post("/app/log/private", json={"id": 5, "msg": msg}, wait="commit").check().txid
        for msg in ("one", "two")
    ]
    first, second = (txid.seqno for txid in txids if txid is not None)
    span = f"id=5&from_seqno={first}&to_seqno={second}"
    page = json.loads(until(user, f"/app/log/private/historical/range?{span}").body)
    entries = [{"seqno": first, "id": 5, "msg": "one"}, {"seqno": second, "id": 5, "msg": "two"}]
    assert page == {"entries": entries}
    some = f"/app/log/private/historical/sparse?id=5&seqnos={second}"
    assert json.loads(until(user, some).body) == {"entries": entries[1:]}
    assert user.post("/app/log/private/install_committed_index").status == 204
    deadline = time.monotonic() + DEADLINE_S
    while user.get("/app/log/private/committed?id=5").status != 200:
        assert time.monotonic() < deadline
        time.sleep(POLL_S)
    assert user.get("/app/log/private/committed?id=5").json() == {"msg": "two"}
    names = {one["name"] for one in json.loads(user.get("/node/index/strategies").body)}
    assert {"CommittedRecords records", "SeqnosByKey records"} <= names


def test_signatures_say_who_makes_them(user: Client) -> None:
    found = user.get("/app/cose_signatures_config").check().json()
    assert isinstance(found, dict)
    assert found.keys() == {"issuer", "subject"}


def test_the_document_is_that_of_the_application(user: Client) -> None:
    document = json.loads(user.get("/app/api").check().body)
    assert document["info"]["title"] == "Logging"
    assert "/app/log/public/cose_receipt" in document["paths"]
