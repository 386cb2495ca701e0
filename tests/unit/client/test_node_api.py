"""pyccf.client.node_api: typed answers, waiting for commit, receipts."""

from __future__ import annotations

import json

import pytest

from pyccf.client import Client, NotCommitted, ServiceError, UnexpectedAnswer
from pyccf.client.node_api import TxStatus
from pyccf.errors import Unavailable
from pyccf.types import TxID
from support.fake_service import FakeService
from support.vectors import vectors_dir

TXID = TxID(2, 17)


def test_commit_status(service: FakeService, client: Client) -> None:
    service.on("GET", "/node/commit", {"transaction_id": "2.31"})
    service.on("GET", "/node/tx", {"transaction_id": "2.17", "status": "Pending"})
    assert client.last_committed() == TxID(2, 31)
    assert client.tx_status(TXID) is TxStatus.PENDING
    assert service.requests[1].url.params["transaction_id"] == "2.17"


def test_a_commit_that_is_no_transaction_id(service: FakeService, client: Client) -> None:
    service.on("GET", "/node/commit", {"transaction_id": "0.x"})
    with pytest.raises(UnexpectedAnswer, match="not a transaction id"):
        client.last_committed()


def test_wait_for_commit_asks_until_committed(service: FakeService, client: Client) -> None:
    for status in ("Unknown", "Pending", "Pending", "Committed"):
        service.on("GET", "/node/tx", {"transaction_id": "2.17", "status": status})
    client.wait_for_commit(TXID)
    assert service.slept == [0.005, 0.01, 0.02]


def test_wait_for_commit_knows_lost_transactions(service: FakeService, client: Client) -> None:
    service.on("GET", "/node/tx", {"transaction_id": "2.17", "status": "Invalid"})
    with pytest.raises(NotCommitted) as caught:
        client.wait_for_commit(TXID)
    assert caught.value.txid == TXID
    assert service.slept == []


def test_wait_for_commit_gives_up(service: FakeService, client: Client) -> None:
    service.on("GET", "/node/tx", {"transaction_id": "2.17", "status": "Pending"})
    with pytest.raises(Unavailable, match="still Pending after 1 s"):
        client.wait_for_commit(TXID, timeout_s=1)
    assert sum(service.slept) == pytest.approx(1)
    assert max(service.slept) <= 0.2


def test_receipt_waits_for_commit_and_for_the_fetch(service: FakeService, client: Client) -> None:
    path = "/node/receipt"
    service.refuse("GET", path, 404, "TransactionPendingOrUnknown", "… is Pending")
    service.on("GET", path, "not currently available", status=202)
    service.on("GET", path, {"signature": "s", "proof": []})
    assert client.receipt(TXID) == {"signature": "s", "proof": []}
    assert len(service.slept) == 2


def test_receipt_of_a_lost_transaction(service: FakeService, client: Client) -> None:
    message = "Only committed transactions can be queried. Transaction 2.17 is Invalid"
    service.refuse("GET", "/node/receipt", 404, "TransactionInvalid", message)
    with pytest.raises(NotCommitted):
        client.receipt(TXID)


def test_receipt_gives_up_with_the_last_answer(service: FakeService, client: Client) -> None:
    service.refuse("GET", "/node/receipt", 404, "TransactionPendingOrUnknown", "is Unknown")
    with pytest.raises(ServiceError) as caught:
        client.receipt(TXID, timeout_s=0.5)
    assert caught.value.code == "TransactionPendingOrUnknown"
    service.answers.clear()
    service.on("GET", "/node/receipt", "", status=202)
    with pytest.raises(Unavailable, match="not available yet"):
        client.receipt(TXID, timeout_s=0.5)


def test_receipt_refused_for_another_reason_is_not_asked_again(
    service: FakeService, client: Client
) -> None:
    service.refuse("GET", "/node/receipt", 500, "InternalError", "no")
    with pytest.raises(ServiceError):
        client.receipt(TXID)
    assert len(service.requests) == 1


@pytest.mark.parametrize(("status", "body"), [(200, [1]), (201, {})])
def test_what_is_no_receipt(
    service: FakeService, client: Client, status: int, body: object
) -> None:
    service.on("GET", "/node/receipt", body, status=status)
    with pytest.raises(UnexpectedAnswer):
        client.receipt(TXID)


def test_readiness(service: FakeService, client: Client) -> None:
    service.on("GET", "/node/ready/app", status=204)
    service.on("GET", "/node/ready/gov", status=503)
    assert client.ready_for_app()
    assert not client.ready_for_governance()
    service.answers.clear()
    service.refuse("GET", "/node/ready/app", 500, "InternalError", "no")
    with pytest.raises(ServiceError):
        client.ready_for_app()


def test_nodes(service: FakeService, client: Client) -> None:
    node = {
        "node_id": "aa",
        "status": "Trusted",
        "primary": True,
        "rpc_interfaces": {"primary": {"bind_address": "127.0.0.1:1"}},
        "node_data": {"x": [1]},
        "last_written": 5,
        "something_new": 1,
    }
    for path in ("self", "primary", "aa"):
        service.on("GET", f"/node/network/nodes/{path}", node)
    service.on("GET", "/node/network/nodes", {"nodes": [node]})
    service.on("GET", "/node/network/removable_nodes", {"nodes": [node]})
    assert client.node() == client.primary() == client.node("aa") == client.nodes()[0]
    assert client.node().node_data == {"x": [1]}
    assert client.removable_nodes() == client.nodes()


def test_consensus(service: FakeService, client: Client) -> None:
    details = {
        "acks": {"bb": {"seqno": 7, "last_received_ms": 12}},
        "configs": [{"idx": 1, "rid": 1, "nodes": {"aa": {"address": "h:1"}}}],
        "current_view": 3,
        "membership_state": "Retired",
        "leadership_state": None,
        "retirement_phase": "Signed",
        "ticking": True,
        "reconfiguration_type": "OneTransaction",
    }
    service.on("GET", "/node/consensus", {"details": details})
    found = client.consensus()
    assert (found.current_view, found.retirement_phase) == (3, "Signed")
    assert (found.acks["bb"].seqno, found.acks["bb"].last_received_ms) == (7, 12)
    service.answers.clear()
    service.refuse("GET", "/node/consensus", 404, "ResourceNotFound", "No configured consensus")
    with pytest.raises(ServiceError):
        client.consensus()


def test_recorded_answers_are_understood(service: FakeService, client: Client) -> None:
    """The original's answers to what this room asks decode into the typed results."""
    for name in ("opening", "node"):
        path = vectors_dir() / "ccf" / "transcripts" / f"{name}.jsonl"
        for line in path.read_text().splitlines():
            exchange = json.loads(line)
            request, response = exchange["request"], exchange["response"]
            key = (request["method"], request["path"])
            if response["status"] == 200 and "body" in response and key not in service.answers:
                service.on(*key, response["body"], headers={})
    node_id = client.node_state().node_id
    assert client.network().service_certificate.startswith("-----BEGIN CERTIFICATE")
    assert client.node_version().ccf_version == "ccf-7.0.0-dev5"
    assert client.self_signed_certificate().startswith("-----BEGIN CERTIFICATE")
    assert client.quote().format == "Insecure_Virtual"
    assert {quote.node_id for quote in client.quotes()} >= {node_id}
    assert client.node().status == "Trusted"
    assert client.primary().primary
    assert {node.status for node in client.nodes()} == {"Trusted"}
    assert client.metrics().interfaces["primary_rpc_interface"].soft_cap == 1000
    assert client.js_metrics().max_heap_size == 100 * 1024 * 1024
    assert client.key_refresh_metrics().attempts == 0
    assert client.memory().max_total_heap_size > 0
    assert client.service_configuration().recovery_threshold == 3
    assert client.attestation() == client.quote()
    assert client.attestations() == client.quotes()
    assert node_id in client.consensus_nodes()
    assert client.indexing_strategies() == []
    consensus = client.consensus()
    assert consensus.leadership_state in ("Leader", "Follower")
    assert consensus.primary_id == client.primary().node_id
    assert consensus.membership_state == "Active"
