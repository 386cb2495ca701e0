"""One HTTPS request: to whom it is made, what is believed of the answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import msgspec
import pytest
from OpenSSL import SSL

from pyccf.crypto import certs
from pyccf.node.outputs import Answer, Call, CallFailed
from pyccf.service.identity import NodeIdentity, ServiceIdentity, make_node, make_service
from pyccf.shell import fetch as fetch_module
from pyccf.shell.fetch import fetch, is_for
from pyccf.shell.hardware import SystemEntropy
from pyccf.shell.tls import peer_certificate, server_context

NOW = int(time.time())
DAYS = 3
ENTROPY = SystemEntropy()
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nX-Thing: a\r\n\r\nhi"


@cache
def service() -> ServiceIdentity:
    return make_service(entropy=ENTROPY, not_before=NOW, days=DAYS)


@cache
def node(san: str = "IP:127.0.0.1") -> NodeIdentity:
    return make_node(entropy=ENTROPY, not_before=NOW, days=DAYS, sans=[san])


def endorsed(who: NodeIdentity, *, begin: int = NOW) -> str:
    return service().endorse(who.csr_pem, begin, DAYS, ENTROPY)


class Server:
    """A TLS server that answers once with given bytes."""

    def __init__(self, cert_pem: str, identity: NodeIdentity, answer: bytes | None) -> None:
        self.context = server_context(cert_pem, identity.key.pem())
        self.answer = answer
        self.request = b""
        self.client: bytes | None = None
        self.address = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self.speak(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def speak(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tls = SSL.Connection(self.context, None)
        tls.set_accept_state()
        while True:
            try:
                if not self.request:
                    tls.do_handshake()
                    self.client = peer_certificate(tls)
                self.request += tls.recv(65536)
                if b"\r\n\r\n" in self.request:
                    break
            except SSL.WantReadError:
                self.push(tls, writer)
                data = await reader.read(65536)
                if not data:
                    return
                tls.bio_write(data)
            except SSL.Error:
                return
        if self.answer is None:
            await reader.read()
            return
        for i in range(0, len(self.answer), 1 << 20):
            tls.sendall(self.answer[i : i + (1 << 20)])
            self.push(tls, writer)
            await writer.drain()

    def push(self, tls: SSL.Connection, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                writer.write(tls.bio_read(65536))
            except SSL.WantReadError:
                return


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[Server]:
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    host, port = listening.sockets[0].getsockname()
    server.address = f"{host}:{port}"
    try:
        yield server
    finally:
        listening.close()


def call(address: str, *, timeout: int = 5000, body: bytes = b"{}", ca: str = "") -> Call:
    headers = {"content-type": "application/json"}
    ca = ca or service().cert_pem
    return Call(address, "POST", "/x", headers, body, ca, timeout, lambda answer: None)


def ask(
    server: Server, *, timeout: int = 60_000, ca: str = "", port: str = "", now: int = NOW + 5
) -> Answer | CallFailed:
    async def run() -> Answer | CallFailed:
        async with serving(server):
            address = f"{port}:{server.address.rpartition(':')[2]}" if port else server.address
            me = node()
            return await fetch(
                call(address, timeout=timeout, ca=ca), me.self_signed_pem, me.key.pem(), lambda: now
            )

    return asyncio.run(run())


def make_server(answer: bytes | None = OK, san: str = "IP:127.0.0.1") -> Server:
    return Server(endorsed(node(san)), node(san), answer)


def test_an_exchange() -> None:
    server = make_server()
    answer = ask(server)
    assert answer == Answer(200, {"content-length": "2", "x-thing": "a"}, b"hi")
    head, _, body = server.request.partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == b"POST /x HTTP/1.1"
    assert b"content-length: 2" in head
    assert body == b"{}"
    assert server.client == certs.pem_to_der(node().self_signed_pem)


def test_a_refusal_is_an_answer_too() -> None:
    answer = ask(make_server(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n"))
    assert answer == Answer(401, {"content-length": "0"}, b"")


def failure(answer: Answer | CallFailed) -> CallFailed:
    assert isinstance(answer, CallFailed)
    return answer


def test_a_server_of_another_service_is_not_trusted() -> None:
    other = make_service(entropy=ENTROPY, not_before=NOW, days=DAYS)
    server = make_server()
    found = failure(ask(server, ca=other.cert_pem))
    assert found.untrusted
    assert "invalid cert on handshake" in found.reason
    assert server.request == b""


def test_a_server_that_vouches_for_itself_is_not_trusted() -> None:
    found = failure(ask(Server(node().self_signed_pem, node(), OK)))
    assert found.untrusted


@pytest.mark.parametrize("now", [NOW - 1000, NOW + 86400 * DAYS + 10])
def test_a_certificate_out_of_date_is_not_trusted(now: int) -> None:
    assert failure(ask(make_server(), now=now)).untrusted


def test_a_certificate_for_another_host_is_not_trusted() -> None:
    found = failure(ask(make_server(san="IP:127.0.0.2")))
    assert found == CallFailed("invalid cert on handshake: it is not for 127.0.0.1", untrusted=True)


def test_hosts_have_names_too() -> None:
    assert isinstance(ask(make_server(san="DNS:localhost"), port="localhost"), Answer)


@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\ncontent-len",
        b"",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"h%d: x\r\n" % i for i in range(300)) + b"\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nhi",
    ],
)
def test_what_is_no_whole_answer_is_a_failure(answer: bytes) -> None:
    found = failure(ask(make_server(answer)))
    assert found.reason
    assert not found.untrusted


def test_an_answer_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_module, "ANSWER_MAX", 1 << 20)
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 3000000\r\n\r\n"
    found = failure(ask(make_server(head + bytes(3_000_000))))
    assert found.reason == f"the answer is larger than {1 << 20} bytes"


def make_call(address: str, **changes: object) -> Call:
    return msgspec.structs.replace(call(address), **changes)


def ask_as(server: Server, **changes: object) -> Answer | CallFailed:
    async def run() -> Answer | CallFailed:
        async with serving(server):
            made = make_call(server.address, **changes)
            return await fetch(made, node().self_signed_pem, node().key.pem(), lambda: NOW + 5)

    return asyncio.run(run())


def test_a_caller_that_is_to_be_anonymous_shows_no_certificate() -> None:
    server = make_server()
    assert isinstance(ask_as(server, anonymous=True), Answer)
    assert server.client is None


def test_a_call_may_want_less_than_the_shell_would_take() -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n" + bytes(900)
    assert isinstance(ask_as(make_server(answer), answer_max=2000), Answer)
    found = failure(ask_as(make_server(answer), answer_max=500))
    assert found.reason == "the answer is larger than 500 bytes"


def test_one_of_several_authorities_is_enough() -> None:
    other = make_service(entropy=ENTROPY, not_before=NOW, days=DAYS)
    bundle = "# a comment\n" + other.cert_pem + service().cert_pem
    assert isinstance(ask(make_server(), ca=bundle), Answer)


def test_an_answer_that_never_comes() -> None:
    assert failure(ask(make_server(None), timeout=200)).reason == "no answer within 200ms"


def test_nobody_listens() -> None:
    me = node()
    for address in ("127.0.0.1:1", "nowhere", "127.0.0.1:x", ":", "a" * 70 + ".test:1"):
        found = asyncio.run(fetch(call(address), me.self_signed_pem, me.key.pem(), lambda: NOW))
        assert failure(found).reason
        assert not failure(found).untrusted


@pytest.mark.parametrize(
    "address", ["h", ":443", "h:", "h:-1", "h:65536", "h:²", "h:" + "9" * 5000]
)
def test_what_is_no_address_is_a_failure(address: str) -> None:
    got = asyncio.run(fetch(call(address), endorsed(node()), node().key.pem(), lambda: NOW))
    assert isinstance(got, CallFailed)
    assert "is no address of the form host:port" in got.reason


def test_a_connection_that_can_no_longer_be_written_to_is_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """OpenSSL refuses to write: here because the end of the connection was announced."""
    judge = fetch_module._judge
    connections: list[SSL.Connection] = []

    def presented(tls: SSL.Connection) -> list[bytes]:
        connections.append(tls)
        return [peer_certificate(tls) or b""]

    def judged(*args: Any) -> None:
        judge(*args)
        connections[0].set_shutdown(SSL.SENT_SHUTDOWN)

    monkeypatch.setattr(fetch_module, "_presented", presented)
    monkeypatch.setattr(fetch_module, "_judge", judged)
    got = ask(Server(endorsed(node()), node(), OK))
    assert isinstance(got, CallFailed)
    assert "TLS failed: protocol is shutdown" in got.reason


def test_a_server_without_tls() -> None:
    async def run() -> Answer | CallFailed:
        async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        listening = await asyncio.start_server(plain, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        me = node()
        try:
            return await fetch(
                call(f"127.0.0.1:{port}"), me.self_signed_pem, me.key.pem(), lambda: NOW
            )
        finally:
            listening.close()

    found = failure(asyncio.run(run()))
    assert found.reason.startswith("TLS handshake failed: ")
    assert not found.untrusted


@pytest.mark.parametrize(
    ("san", "host", "matches"),
    [
        ("DNS:a.example", "a.example", True),
        ("DNS:A.Example", "a.example.", True),
        ("DNS:*.example.com", "a.example.com", True),
        ("DNS:*.example.com", "b.a.example.com", False),
        ("DNS:*.example.com", "example.com", False),
        ("DNS:*.com", "com", False),
        ("DNS:a.example", "b.example", False),
        ("IP:127.0.0.1", "127.0.0.1", True),
        ("IP:127.0.0.1", "localhost", False),
        ("IP:::1", "::1", True),
        ("DNS:127.0.0.1", "127.0.0.1", False),
    ],
)
def test_whom_a_certificate_is_for(san: str, host: str, matches: bool) -> None:
    pem = certs.self_signed(node().key, "CN=x", not_before=NOW, days=1, sans=[san], entropy=ENTROPY)
    assert is_for(certs.pem_to_der(pem), host) is matches


def test_a_certificate_without_alternative_names_is_for_its_subject() -> None:
    pem = certs.self_signed(node().key, "CN=X.y", not_before=NOW, days=1, entropy=ENTROPY)
    assert is_for(certs.pem_to_der(pem), "x.y")
    assert not is_for(certs.pem_to_der(pem), "y")
    address = certs.self_signed(node().key, "CN=127.0.0.1", not_before=NOW, days=1, entropy=ENTROPY)
    assert not is_for(certs.pem_to_der(address), "127.0.0.1")
    assert not is_for(b"no certificate", "x")


@pytest.mark.parametrize("ca", [True, False])
def test_a_server_whose_own_certificate_was_given_is_trusted(ca: bool) -> None:
    """Whether it says of itself that it is an authority, or not."""

    def made(begin: int) -> str:
        return certs.self_signed(
            node().key, "CN=localhost", not_before=begin, days=DAYS, ca=ca, entropy=ENTROPY
        )

    pem, other = made(NOW), made(NOW - 1)
    asked = {"ca": other + pem, "port": "localhost"}
    assert isinstance(ask(Server(pem, node(), OK), **asked), Answer)
    late = NOW + 86400 * DAYS + 10
    assert failure(ask(Server(pem, node(), OK), now=late, **asked)).untrusted
    assert failure(ask(Server(pem, node(), OK), ca=pem)).reason.endswith("it is not for 127.0.0.1")
    if not ca:
        assert failure(ask(Server(pem, node(), OK), ca=other, port="localhost")).untrusted
