"""Signed requests, bearer tokens, receipts verified here; and that nothing is left out."""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest

from pyccf.client import Client, Identity, ServiceError
from pyccf.codec.cose import parse_sign1
from pyccf.errors import InvalidReceipt, LocalError
from pyccf.types import TxID
from support.fake_service import URL, URLS, FakeService
from support.transcripts import make_service


def test_a_request_signed_by_a_user(service: FakeService, client: Client, member: Identity) -> None:
    service.on("POST", "/app/x", {"ok": True})
    assert client.post_signed("/app/x", b"hello", message="note", wait="commit").status == 200
    (request,) = service.requests
    assert request.headers["content-type"] == "application/cose"
    assert request.headers["x-pyccf-wait"] == "commit"
    envelope = parse_sign1(request.content)
    assert envelope.payload == b"hello"
    assert envelope.kid == member.id.encode()
    assert envelope.headers["ccf.msg.type"] == "note"


def test_nobody_signs_without_a_key(connect: Callable[..., Client], member: Identity) -> None:
    client = connect(signed=False)
    with pytest.raises(LocalError, match="must be signed by a user"):
        client.post_signed("/app/x", b"")


def test_a_token_goes_along_with_each_request(
    service: FakeService, connect: Callable[..., Client]
) -> None:
    given = iter(["a", "b"])
    client = connect(token=lambda: next(given))
    service.on("GET", "/app/x", "1")
    client.get("/app/x")
    client.get("/app/x")
    assert [r.headers["authorization"] for r in service.requests] == ["Bearer a", "Bearer b"]
    fixed = connect(token="t")
    fixed.get("/app/x", headers={"authorization": "other"})
    assert service.requests[-1].headers["authorization"] == "other"


def test_a_token_follows_redirects_to_other_nodes_of_the_service(
    service: FakeService, connect: Callable[..., Client]
) -> None:
    client = connect(token="t")
    service.on("POST", f"{URL}/app/x", status=307, headers={"location": f"{URLS[1]}/app/x"})
    service.on("POST", f"{URLS[1]}/app/x", {"ok": True})
    assert client.post("/app/x", json=1).status == 200
    assert [r.headers["authorization"] for r in service.requests] == ["Bearer t"] * 2


@pytest.mark.parametrize("receipt", [{}, b"", b"\xd2\x84"])
def test_what_is_no_receipt_is_refused(client: Client, receipt: Any) -> None:
    with pytest.raises(InvalidReceipt):
        client.verify_receipt(receipt)


# --- every endpoint ---------------------------------------------------------------------------

ID = "a" * 64
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "delete_node": (ID,),
    "submit": (b"{}",),
    "vote": (ID,),
    "withdraw": (ID,),
    "proposal": (ID,),
    "proposal_actions": (ID,),
    "ballot": (ID, ID),
    "state_digest": (ID,),
    "encrypted_share": (ID,),
    "submit_share": ("c2hhcmU=",),
    "member": (ID,),
    "user": (ID,),
    "service_node": (ID,),
    "javascript_module": ("/m.js",),
}
TRANSACTIONS = ("tx_status", "receipt", "wait_for_commit", "gov_tx_status")
VERBS = {"get", "post", "delete"}
VIA = ("last_committed", "view_history", "tx_status", "receipt")


def requested(client: Client, service: FakeService) -> set[str]:
    """What all methods of the client ask for, whatever comes of it."""
    for name, method in inspect.getmembers(client, inspect.ismethod):
        if name.startswith("_") or name in ("request", "get", "post", "close", "ack"):
            continue
        if name in ("post_signed", "verify_receipt", "send_signed"):
            continue
        arguments = (TxID(2, 3),) if name in TRANSACTIONS else ARGUMENTS.get(name, ())
        for via in ("node", "app") if name in VIA else (None,):
            with contextlib.suppress(ServiceError):
                method(*arguments, **({} if via is None else {"via": via}))
    with contextlib.suppress(ServiceError):
        client.node(ID)
    assert client.identity is not None
    digests = f"/gov/members/state-digests/{client.identity.id}"
    service.on("POST", f"{digests}:update", {"memberId": ID, "stateDigest": "d"})
    service.on("POST", f"{digests}:ack", status=204)
    client.ack()
    return {f"{r.method} {r.url.raw_path.decode().partition('?')[0]}" for r in service.requests}


def documented() -> set[str]:
    """Every operation of our documents."""
    node = make_service()
    node.tick()
    node.open_app()
    found: set[str] = set()
    for name in ("node", "gov", "app"):
        document = node.call("GET", f"/{name}/api?api-version=2024-07-01").json
        for path, item in document["paths"].items():
            found |= {
                f"{verb.upper()} {path}" for verb in item if verb in ("get", "post", "delete")
            }
    return found


def test_every_documented_operation_has_a_method(client: Client, service: FakeService) -> None:
    asked = requested(client, service)
    missing = []
    for operation in documented():
        pattern = re.sub(r"\\\{\w+\\\}", "[^/:]+", re.escape(operation))
        if not any(re.fullmatch(pattern, one) for one in asked):
            missing.append(operation)
    assert not missing


def test_proof_of_a_real_transaction() -> None:
    """A receipt of a service of ours, with the certificate that a client is given."""
    node = make_service()
    for _ in range(3):
        node.tick()
    txid = node.call("GET", "/node/commit").json["transaction_id"]
    receipt = node.call("GET", f"/node/receipt?transaction_id={txid}").json
    pem = node.parts.service.cert_pem
    with Client(URL, pem) as client:
        proven = client.verify_receipt(receipt)
        assert proven.node == node.node.node_id
        receipt["signature"] = "AAAA"
        with pytest.raises(InvalidReceipt):
            client.verify_receipt(receipt)
