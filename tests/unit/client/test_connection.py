"""pyccf.client.connection: requests, redirects, replies and what happens without a service."""

from __future__ import annotations

import base64
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from pyccf.client import (
    Client,
    CommitTimeout,
    Identity,
    Reply,
    ServiceError,
    UnexpectedAnswer,
    Unreachable,
    Untrusted,
)
from pyccf.client.types import NodeState
from pyccf.crypto import certs
from pyccf.crypto.entropy import SeededEntropy
from pyccf.crypto.keys import Curve, PrivateKey
from pyccf.errors import LocalError
from pyccf.types import TxID
from support.fake_service import FakeService


def test_a_reply_carries_its_transaction(service: FakeService, client: Client) -> None:
    service.on("POST", "/app/log", {"ok": True}, headers={"X-MS-CCF-Transaction-Id": "2.17"})
    reply = client.post("/app/log", json={"b": 1, "a": "é"})
    assert reply.txid == TxID(2, 17)
    assert reply.json() == {"ok": True}
    assert reply.receipt is None
    sent = service.requests[0]
    assert sent.content == '{"a":"é","b":1}'.encode()
    assert sent.headers["content-type"] == "application/json"
    assert sent.headers["user-agent"].startswith("pyccf/")


def test_parameters_and_headers_are_sent(service: FakeService, client: Client) -> None:
    service.on("GET", "/app/log", "hello")
    reply = client.get("/app/log", params={"id": "1&2"}, headers={"x-extra": "y"})
    assert reply.text() == "hello"
    assert service.requests[0].url.params["id"] == "1&2"
    assert service.requests[0].headers["x-extra"] == "y"
    assert reply.txid is None


def test_a_query_in_the_path_is_kept(service: FakeService, client: Client) -> None:
    service.on("GET", "/app/log", "x")
    client.get("/app/log?id=7", params={"scope": "s"})
    assert service.requests[0].url.query == b"id=7&scope=s"


def test_refusals_are_replies_until_checked(service: FakeService, client: Client) -> None:
    service.on(
        "GET",
        "/app/x",
        {
            "error": {
                "code": "InvalidAuthenticationInfo",
                "message": "Invalid authentication credentials.",
                "details": [
                    {
                        "auth_policy": "user_cert",
                        "code": "InvalidAuthenticationInfo",
                        "message": "No caller user certificate",
                    }
                ],
            }
        },
        status=401,
    )
    reply = client.get("/app/x")
    assert reply.status == 401
    with pytest.raises(ServiceError) as caught:
        reply.check()
    error = caught.value
    assert (error.status, error.code) == (401, "InvalidAuthenticationInfo")
    assert error.details[0]["auth_policy"] == "user_cert"  # type: ignore[index,call-overload]
    assert error.explain().splitlines() == [
        "Invalid authentication credentials. (401 InvalidAuthenticationInfo): "
        "No caller user certificate",
        "Give the certificate and key of a caller the service knows.",
    ]


@pytest.mark.parametrize("body", [b"", b"oops", b"\xff", b"[]", b'{"error": 1}', b"null"])
def test_a_refusal_without_the_usual_body_is_still_one(
    service: FakeService, client: Client, body: bytes
) -> None:
    service.on("GET", "/x", body, status=503)
    with pytest.raises(ServiceError) as caught:
        client.get("/x").check()
    assert (caught.value.status, caught.value.code) == (503, "HTTP503")
    assert len(caught.value.explain().splitlines()) == 2


def test_waiting_for_commit_is_asked_for_by_header(service: FakeService, client: Client) -> None:
    receipt = base64.b64encode(b'{"leaf":"00"}').decode()
    service.on("POST", "/app/log", None, headers={"x-pyccf-receipt": receipt})
    reply = client.post("/app/log", json=1, wait="receipt", wait_timeout_ms=750)
    assert reply.receipt == {"leaf": "00"}
    client.post("/app/log", json=1, wait="commit")
    first, second = service.requests
    assert first.headers["x-pyccf-wait"] == "receipt"
    assert first.headers["x-pyccf-wait-timeout-ms"] == "750"
    assert second.headers["x-pyccf-wait"] == "commit"
    assert second.headers["x-pyccf-wait-timeout-ms"] == "10000"
    assert second.extensions["timeout"]["read"] == 15.0


def test_a_commit_that_takes_too_long_names_its_transaction(
    service: FakeService, client: Client
) -> None:
    service.on(
        "POST",
        "/app/log",
        {"error": {"code": "CommitTimeout", "message": "Not committed in time"}},
        status=504,
        headers={"x-ms-ccf-transaction-id": "2.9"},
    )
    with pytest.raises(CommitTimeout) as caught:
        client.post("/app/log", wait="commit").check()
    assert caught.value.txid == TxID(2, 9)
    assert "not lost" in caught.value.explain()


@pytest.mark.parametrize("text", ["!", base64.b64encode(b"{").decode(), "W10="])
def test_an_unreadable_receipt_is_not_taken(text: str) -> None:
    with pytest.raises(UnexpectedAnswer):
        _ = Reply(200, {"x-pyccf-receipt": text}, b"").receipt


def test_redirects_keep_method_body_and_headers(service: FakeService, client: Client) -> None:
    def redirect(request: httpx2.Request) -> httpx2.Response:
        if request.url.port == 8000:
            return httpx2.Response(307, headers={"location": "https://other.test:9000/app/log?x=1"})
        return httpx2.Response(200, content=request.content)

    service.do("POST", "/app/log", redirect)
    reply = client.post("/app/log", json={"a": 1}, headers={"authorization": "Bearer t"})
    assert reply.body == b'{"a":1}'
    second = service.requests[1]
    assert (second.method, str(second.url)) == ("POST", "https://other.test:9000/app/log?x=1")
    assert second.headers["authorization"] == "Bearer t"


def test_a_relative_redirect(service: FakeService, client: Client) -> None:
    service.on("GET", "/a/b", status=308, headers={"location": "c"})
    service.on("GET", "/a/c", "here")
    assert client.get("/a/b").text() == "here"


def test_redirects_end(service: FakeService, client: Client) -> None:
    service.on("GET", "/a", status=307, headers={"location": "/a"})
    with pytest.raises(UnexpectedAnswer, match="More than 5 redirects"):
        client.get("/a")
    assert len(service.requests) == 6


def test_redirects_do_not_leave_tls(service: FakeService, client: Client) -> None:
    service.on("GET", "/a", status=307, headers={"location": "http://service.test/a"})
    with pytest.raises(UnexpectedAnswer, match="away from TLS"):
        client.get("/a")


def test_addresses_that_are_none(service: FakeService, client: Client) -> None:
    service.on("GET", "/a", status=307, headers={"location": "https://[::bad/"})
    with pytest.raises(UnexpectedAnswer, match="redirects to no address"):
        client.get("/a")
    with pytest.raises(LocalError, match="is no path: Invalid port"):
        client.get("//[::bad")
    with pytest.raises(LocalError, match=r"is no path: .*surrogates"):
        client.get("/\udcff")


def test_an_answer_of_another_shape_is_refused(service: FakeService, client: Client) -> None:
    for body in (b"<html>", b"[]", b'{"node_id": 1, "state": "x"}', b""):
        service.answers.clear()
        service.on("GET", "/node/state", body)
        with pytest.raises(UnexpectedAnswer, match="not a NodeState"):
            client.get("/node/state").decode(NodeState)
    with pytest.raises(UnexpectedAnswer):
        Reply(200, {}, b"{").json()
    assert Reply(204, {}, b"").json() is None


def test_a_read_is_tried_again_when_a_kept_connection_broke(
    service: FakeService, client: Client
) -> None:
    def broken(_: httpx2.Request) -> httpx2.Response:
        raise httpx2.RemoteProtocolError("gone")

    service.do("GET", "/a", broken)
    service.on("GET", "/a", "x")
    assert client.get("/a").text() == "x"
    service.do("POST", "/b", broken)
    with pytest.raises(Unreachable):
        client.post("/b", json=1)
    assert [r.method for r in service.requests] == ["GET", "GET", "POST"]


def test_certificate_and_key_come_together(member: Identity) -> None:
    with pytest.raises(LocalError, match="together"):
        Client("https://x", member.cert_pem, cert=member.cert_path)


def test_the_service_certificate_must_be_one(tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_text("nothing")
    (tmp_path / "y.pem").write_bytes(b"\xff")
    for name, problem in {
        "none.pem": "Could not read",
        "x.pem": "cannot be used",
        "y.pem": "not a PEM",
    }.items():
        with pytest.raises(LocalError, match=problem):
            Client("https://x", tmp_path / name)


def test_a_name_without_scheme_means_https(member: Identity) -> None:
    with Client("service.test:8000", member.cert_pem) as client:
        assert client.url == "https://service.test:8000"


# -- with a real socket --------------------------------------------------------------------------


def test_nobody_there(member: Identity) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        port = reserved.getsockname()[1]
        client = Client(f"https://127.0.0.1:{port}", member.cert_pem)
        with client, pytest.raises(Unreachable, match=f"127.0.0.1:{port}"):
            client.node_state()


Serve = Callable[[str, PrivateKey], int]


@pytest.fixture
def serve(tmp_path: Path, request: pytest.FixtureRequest) -> Serve:
    """Starts a one-request TLS server with a certificate and key; returns its port."""

    def start(cert_pem: str, key: PrivateKey) -> int:
        (tmp_path / "server.pem").write_text(cert_pem)
        (tmp_path / "server_key.pem").write_text(key.pem())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server_key.pem")
        listener = socket.create_server(("127.0.0.1", 0))

        def one() -> None:
            raw, _ = listener.accept()
            with raw:
                try:
                    with context.wrap_socket(raw, server_side=True) as tls:
                        tls.recv(65536)
                        body = b'{"node_id":"n","state":"PartOfNetwork"}'
                        tls.sendall(
                            b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s"
                            % (len(body), body)
                        )
                except (ssl.SSLError, ConnectionError):
                    return  # the client refused us, or had nothing to say, as it should

        thread = threading.Thread(target=one)
        thread.start()
        request.addfinalizer(thread.join)
        request.addfinalizer(listener.close)
        return int(listener.getsockname()[1])

    return start


def service_pair(name: str) -> tuple[PrivateKey, str]:
    key = PrivateKey.generate(Curve.P384, SeededEntropy(name))
    cert = certs.self_signed(
        key, f"CN={name}", not_before=1_600_000_000, days=36500, entropy=SeededEntropy(name)
    )
    return key, cert


def node_pair(service: tuple[PrivateKey, str]) -> tuple[PrivateKey, str]:
    key = PrivateKey.generate(Curve.P384, SeededEntropy("node"))
    request = certs.csr(key, "CN=CCF Node", ["iPAddress:127.0.0.1"])
    cert = certs.endorse(
        request,
        service[0],
        service[1],
        not_before=1_600_000_000,
        days=36500,
        entropy=SeededEntropy("endorse"),
    )
    return key, cert


def test_a_node_endorsed_by_the_service_is_trusted(serve: Serve) -> None:
    service = service_pair("service")
    key, cert = node_pair(service)
    port = serve(cert, key)
    with Client(f"https://127.0.0.1:{port}", service[1]) as client:
        assert client.node_state().state == "PartOfNetwork"


def test_a_node_of_another_service_is_not(serve: Serve) -> None:
    key, cert = node_pair(service_pair("service"))
    port = serve(cert, key)
    _, other = service_pair("other")
    client = Client(f"https://127.0.0.1:{port}", other)
    with client, pytest.raises(Untrusted, match="cannot be trusted") as caught:
        client.node_state()
    assert len(caught.value.explain().splitlines()) == 2


@pytest.mark.parametrize("token", ["secret\n", "secret\r\nx: y", ""])
def test_what_http_does_not_allow_is_not_sent_nor_told(serve: Serve, token: str) -> None:
    service = service_pair("service")
    key, cert = node_pair(service)
    port = serve(cert, key)
    client = Client(f"https://127.0.0.1:{port}", service[1], token=token)
    with client, pytest.raises(LocalError, match="cannot be sent") as caught:
        client.post("/app/x", json=1)
    assert caught.value.__cause__ is None
    assert "secret" not in caught.value.explain()


@pytest.mark.parametrize("headers", [{"x": "secret-\u00e9"}, {"x-\u00e9": "secret"}, {}])
def test_headers_are_ascii(
    service: FakeService, connect: Callable[..., Client], headers: dict[str, str]
) -> None:
    client = connect(token=None if headers else "secret-\ud800")
    with pytest.raises(LocalError, match="cannot be sent") as caught:
        client.get("/app/x", headers=headers)
    assert "secret" not in caught.value.explain()
    assert service.requests == []


MEETING = """
import sys, threading, msgspec
from pyccf.client.connection import decoder

sys.setswitchinterval(1e-6)
fields = [(f"f{i}", int | str | None, None) for i in range(30)]
for number in range(100):
    kind = msgspec.defstruct("Inner", fields)
    for _ in range(12):
        kind = msgspec.defstruct("Outer", [*fields, ("inner", kind | None, None)])
    together = threading.Barrier(6)

    def meet(kind=kind):
        together.wait()
        decoder(kind).decode(b'{"inner":{"inner":{"f1":1}}}')

    threads = [threading.Thread(target=meet) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


def test_threads_that_meet_a_type_at_once() -> None:
    """In a process of its own, which it would end."""
    done = subprocess.run([sys.executable, "-c", MEETING], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
