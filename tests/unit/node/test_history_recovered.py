"""History across recoveries: proofs of earlier services are good for the present one."""

from __future__ import annotations

import json
from functools import cache

import pytest

from pyccf.apps.python import App, AppContext, Reply
from pyccf.codec import cose
from pyccf.codec.text import b64, unb64
from pyccf.crypto import cosesign
from pyccf.crypto.keys import PublicKey
from pyccf.ledger import receipt
from pyccf.ledger.certchain import key_of
from pyccf.ledger.entry import parse
from pyccf.ledger.signature import is_signature
from pyccf.types import TxID
from support.recovering import Recovered
from support.transcripts import make_service
from unit.node.test_recover import PRIVATE, former, opened, put


def make_app() -> App:
    app = App()

    @app.get("/proofs", mode="historical", forwarding="never")
    def proofs(ctx: AppContext) -> Reply:
        state = ctx.historical
        value = state.kv(PRIVATE).get(b"a")
        shown = {
            "receipt": state.receipt,
            "cose": None if state.cose_receipt is None else b64(state.cose_receipt),
            "endorsements": [b64(e) for e in state.cose_endorsements or ()],
            "value": None if value is None else value.decode(),
        }
        return Reply(200, json.dumps(shown))

    return app


@cache
def twice_recovered() -> tuple[Recovered, int, int]:
    """A service recovered two times; a write of the first service, and one of the second."""
    first = next(
        n
        for n, data in enumerate(former().ledger, 1)
        if PRIVATE.encode() not in data and not is_signature(parse(data)) and b"public:open" in data
    )
    second = Recovered(former().ledger, former().identity, seed=100)
    consortium = former().consortium(second)
    second.tick()
    consortium.accept(former().identity, second.identity)
    consortium.restore()
    assert opened(second), second.lines
    put(second, "a", "of the second")
    written = second.node.store.version
    second.tick()
    second.tick()
    third = Recovered(second.ledger, second.identity, seed=200, app=make_app())
    consortium = former().consortium(third)
    third.tick()
    consortium.accept(second.identity, third.identity)
    consortium.restore()
    assert opened(third), third.lines
    return third, first, written


def ask(service: Recovered, seqno: int) -> dict[str, object]:
    txid = TxID(service.node.view_of(seqno) or 0, seqno)
    reply = service.call("GET", "/app/proofs", headers={"x-ms-ccf-transaction-id": str(txid)})
    assert reply.status == 200, reply.body
    found: dict[str, object] = reply.json
    return found


def check(service: Recovered, seqno: int, endorsements: int) -> dict[str, object]:
    """Every proof of a transaction holds for the present service, and says which it is."""
    found = ask(service, seqno)
    shown = found["receipt"]
    assert isinstance(shown, dict)
    assert ("service_endorsements" in shown) == bool(endorsements)
    proven = receipt.verify_json_receipt(shown, service.identity)
    assert proven.txid is not None
    assert proven.txid.seqno == seqno
    chain = found["endorsements"]
    assert isinstance(chain, list)
    assert len(chain) == endorsements
    key = key_of(service.identity)
    for text in chain:
        envelope = cose.parse_sign1(unb64(text))
        assert cosesign.verify1(envelope, key)
        assert envelope.payload is not None
        key = PublicKey.from_der(envelope.payload)
    raw = found["cose"]
    assert isinstance(raw, str)
    assert receipt.verify_cose_receipt(unb64(raw), key).txid == proven.txid
    return found


def test_proofs_of_every_service_hold_for_the_present_one() -> None:
    service, first, second = twice_recovered()
    assert check(service, first, 2)["value"] == "the first value"
    assert check(service, second, 1)["value"] == "of the second"
    put(service, "a", "of the third")
    third = service.node.store.version
    service.tick()
    assert check(service, third, 0)["value"] == "of the third"
    assert not [line for line in service.lines if "istorical" in line]


def test_before_a_recovery_is_complete_the_past_is_out_of_reach() -> None:
    service = Recovered(former().ledger, former().identity, seed=300)
    service.tick()
    reply = service.call("GET", "/node/receipt?transaction_id=2.3")
    assert (reply.status, reply.json["error"]["code"]) == (404, "TransactionInvalid")
    assert "cannot be retrieved until recovery is complete" in reply.json["error"]["message"]


@pytest.mark.parametrize("path", ["/gov/receipt/cose", "/node/receipt/cose"])
def test_receipts_in_cose_are_given_before_the_service_is_open(path: str) -> None:
    service = make_service()
    service.tick()
    reply = service.call("GET", f"{path}?transaction_id=2.1")
    assert (reply.status, reply.headers["content-type"]) == (200, "application/cose")
    key = key_of(service.parts.service.cert_pem)
    assert receipt.verify_cose_receipt(reply.body, key).txid == TxID(2, 1)
