"""Clients with several addresses or with patience: what is sent again, and what never is."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import httpx2
import pytest

from pyccf.client import (
    Client,
    NotCommitted,
    ServiceError,
    Unanswered,
    Unreachable,
    Untrusted,
)
from pyccf.errors import LocalError, Unavailable
from pyccf.types import TxID
from support.fake_service import URL, URLS, FakeService

Connect = Callable[..., Client]


def asked(service: FakeService) -> list[str]:
    """Hosts of the requests that arrived, in order."""
    return [request.url.host.split(".")[0] for request in service.requests]


def break_off(request: httpx2.Request) -> httpx2.Response:
    raise httpx2.ReadError("reset", request=request)


def never_answer(request: httpx2.Request) -> httpx2.Response:
    raise httpx2.ReadTimeout("late", request=request)


def election(service: FakeService, path: str = "/app/log") -> None:
    service.refuse("POST", path, 503, "PrimaryNotFound", "unknown")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_node_that_is_down_is_passed_over(
    service: FakeService, connect: Connect, method: str
) -> None:
    service.on(method, "/app/log", "x")
    service.down = {"service.test:8000", "second.test:8000"}
    client = connect(urls=URLS)
    assert client.request(method, "/app/log", params={"id": "1"}).text() == "x"
    assert client.url == URLS[2]
    assert str(service.requests[0].url) == f"{URLS[2]}/app/log?id=1"
    service.down = set()
    client.request(method, "/app/log")
    assert asked(service) == ["third", "third"]
    service.down = {"third.test:8000"}
    client.request(method, "/app/log")
    assert asked(service) == ["third", "third", "service"]


def test_all_nodes_down(service: FakeService, connect: Connect) -> None:
    service.down = {"service.test:8000", "second.test:8000", "third.test:8000"}
    with pytest.raises(Unreachable, match="Connection refused") as caught:
        connect(urls=URLS).post("/app/log", json=1)
    assert not isinstance(caught.value, Unanswered)
    assert service.slept == []


def test_at_least_one_address(connect: Connect) -> None:
    with pytest.raises(LocalError, match="at least one node"):
        connect(urls=())


@pytest.mark.parametrize(
    ("url", "why"),
    [("https://1:2:3", "Invalid port"), ("127.0.0.1:https", "Invalid port"), ("https://", "host")],
)
def test_an_address_that_is_none(connect: Connect, url: str, why: str) -> None:
    with pytest.raises(LocalError, match=f"is no address of a node: .*{why}") as caught:
        connect(urls=(URLS[0], url))
    assert "https://host:port" in caught.value.explain()


@pytest.mark.parametrize("trouble", [break_off, never_answer])
@pytest.mark.parametrize("patience_s", [0.0, 5.0])
def test_a_write_without_answer_is_not_sent_again(
    service: FakeService,
    connect: Connect,
    trouble: Callable[[httpx2.Request], httpx2.Response],
    patience_s: float,
) -> None:
    service.do("POST", "/app/log", trouble)
    with pytest.raises(Unanswered, match="may have been executed") as caught:
        connect(urls=URLS, patience_s=patience_s).post("/app/log", json=1)
    assert asked(service) == ["service"]
    assert caught.value.explain().splitlines()[1].startswith("See whether it took effect")


@pytest.mark.parametrize("trouble", [break_off, never_answer])
def test_a_read_without_answer_goes_to_the_next(
    service: FakeService, connect: Connect, trouble: Callable[[httpx2.Request], httpx2.Response]
) -> None:
    service.do("GET", f"{URL}/app/log", trouble)
    service.on("GET", "/app/log", "x")
    assert connect(urls=URLS).get("/app/log").text() == "x"
    assert asked(service)[-1] == "second"


def test_a_redirect_to_a_dead_primary(service: FakeService, connect: Connect) -> None:
    for url in URLS[1:]:
        service.on("POST", f"{url}/app/log", status=307, headers={"location": f"{URL}/app/log"})
    service.down = {"service.test:8000"}
    with pytest.raises(Unreachable):
        connect(urls=URLS[1:]).post("/app/log", json=1)
    assert asked(service) == ["second", "third"]


def test_a_node_that_is_not_trusted_is_not_passed_over(
    service: FakeService, connect: Connect
) -> None:
    def distrust(request: httpx2.Request) -> httpx2.Response:
        verdict = ssl.SSLCertVerificationError("unable to get local issuer certificate")
        verdict.verify_message = "unable to get local issuer certificate"
        raise httpx2.ConnectError("TLS", request=request) from verdict

    service.do("GET", f"{URL}/a", distrust)
    with pytest.raises(Untrusted, match="cannot be trusted"):
        connect(urls=URLS, patience_s=5).get("/a")
    assert asked(service) == ["service"]


# -- patience ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("PrimaryNotFound", "unknown"),
        ("TransactionReplicationFailed", "Transaction failed to replicate."),
        ("InternalError", "RPC could not be forwarded to unknown primary."),
    ],
)
def test_what_was_not_executed_is_sent_again_when_asked_for(
    service: FakeService, connect: Connect, code: str, message: str
) -> None:
    for _ in range(3):
        service.refuse("POST", "/app/log", 503, code, message)
    service.on("POST", "/app/log", "x")
    assert connect(patience_s=5).post("/app/log", json=1).check().text() == "x"
    assert [r.content for r in service.requests] == [b"1"] * 4
    assert len(service.slept) == 3


def test_patience_asks_other_nodes_too(service: FakeService, connect: Connect) -> None:
    election(service)
    service.on("POST", f"{URLS[1]}/app/log", "x")
    assert connect(urls=URLS, patience_s=5).post("/app/log", json=1).text() == "x"
    assert asked(service) == ["service", "second"]


def test_without_patience_a_refusal_is_an_answer(service: FakeService, connect: Connect) -> None:
    election(service)
    assert connect(urls=URLS).post("/app/log", json=1).status == 503
    assert asked(service) == ["service"]


def test_patience_ends(service: FakeService, connect: Connect) -> None:
    election(service)
    reply = connect(patience_s=1).post("/app/log", json=1)
    assert reply.status == 503
    with pytest.raises(ServiceError, match="PrimaryNotFound"):
        reply.check()
    assert sum(service.slept) == pytest.approx(1)
    service.down = {"service.test:8000"}
    with pytest.raises(Unreachable):
        connect(patience_s=1).post("/app/log", json=1)
    assert sum(service.slept) == pytest.approx(2)


def test_patience_until_a_node_is_back(service: FakeService, connect: Connect) -> None:
    service.down = {"service.test:8000"}
    service.on("POST", "/app/log", "x")
    client = connect(patience_s=1)
    client._sleep = lambda _: service.down.clear()
    assert client.post("/app/log", json=1).text() == "x"


@pytest.mark.parametrize(
    ("status", "code", "txid"),
    [
        (503, "PrimaryNotFound", "2.5"),  # names a transaction: it was executed
        (503, "Busy", None),
        (503, "InternalError", None),
        (500, "SessionConsistencyLost", None),
        (504, "CommitTimeout", None),
    ],
)
def test_other_refusals_are_not_sent_again(
    service: FakeService, connect: Connect, status: int, code: str, txid: str | None
) -> None:
    headers = {} if txid is None else {"x-ms-ccf-transaction-id": txid}
    error = {"error": {"code": code, "message": "m"}}
    service.on("POST", "/app/log", error, status=status, headers=headers)
    assert connect(urls=URLS, patience_s=5).post("/app/log", json=1).status == status
    assert asked(service) == ["service"]


def test_readiness_is_not_waited_for(service: FakeService, connect: Connect) -> None:
    service.on("GET", "/node/ready/app", status=503)
    assert not connect(patience_s=5).ready_for_app()
    assert service.slept == []


def test_a_forwarded_request_without_answer_is_explained(
    service: FakeService, connect: Connect
) -> None:
    text = "Request was forwarded to node n[a], but no response was received after 3000ms"
    service.on("POST", "/app/log", text, status=504)
    with pytest.raises(ServiceError) as caught:
        connect(patience_s=5).post("/app/log").check()
    assert "may have been executed" in caught.value.explain()
    assert len(service.requests) == 1


# -- commit --------------------------------------------------------------------------------------


def statuses(service: FakeService, *texts: str) -> None:
    for text in texts:
        service.on("GET", "/node/tx", {"transaction_id": "2.9", "status": text})


def lose_session(service: FakeService, path: str) -> None:
    service.refuse("GET", path, 500, "SessionConsistencyLost", "Started in view 2, now in view 4")


def test_commit_across_an_election(service: FakeService, connect: Connect) -> None:
    statuses(service, "Pending")
    lose_session(service, "/node/tx")
    statuses(service, "Unknown", "Committed")
    connect(urls=URLS).wait_for_commit(TxID(2, 9))
    assert len(service.requests) == 4


def test_commit_while_the_node_dies(service: FakeService, connect: Connect) -> None:
    statuses(service, "Pending", "Pending", "Committed")
    client = connect(urls=URLS)
    client._sleep = lambda _: service.down.add("service.test:8000")
    client.wait_for_commit(TxID(2, 9))
    assert asked(service) == ["service", "second", "second"]


def test_commit_that_will_not_be(service: FakeService, connect: Connect) -> None:
    lose_session(service, "/node/tx")
    statuses(service, "Invalid")
    with pytest.raises(NotCommitted):
        connect().wait_for_commit(TxID(2, 9))
    service.answers.clear()
    lose_session(service, "/node/tx")
    with pytest.raises(Unavailable, match="still Unknown after 1 s"):
        connect().wait_for_commit(TxID(2, 9), timeout_s=1)


def test_a_receipt_across_an_election(service: FakeService, connect: Connect) -> None:
    lose_session(service, "/node/receipt")
    service.on("GET", "/node/receipt", {"leaf": "00"})
    assert connect().receipt(TxID(2, 9)) == {"leaf": "00"}
