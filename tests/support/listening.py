"""A listener with a scripted handler, certificates, and clients that speak bytes."""

from __future__ import annotations

import asyncio
import datetime
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from pyccf.http.message import Request, encode_response
from pyccf.http.session import Deliver, Session
from pyccf.shell.listen import Listener, split_address
from pyccf.shell.sender import Sender

PATIENCE_S = 60.0
"""How long a test waits for what must come."""
IDLE_S = 1.0
"""After which a connection is idle where one is to be: a request comes sooner on slow machines."""

SHARED: ContextVar[bool] = ContextVar("SHARED", default=False)
"""Whether listeners of a test have a second thread that sends (fixture `sending`)."""


@cache
def certificate(
    name: str, *extensions: x509.ExtensionType, expired: bool = False
) -> tuple[str, str, bytes]:
    """Self-signed certificate and key as PEM, and the certificate as DER."""
    key = ec.generate_private_key(ec.SECP384R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=-1 if expired else 1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - datetime.timedelta(days=2))
        .not_valid_after(end)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    made = builder.sign(key, hashes.SHA384())
    key_pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return (
        made.public_bytes(serialization.Encoding.PEM).decode(),
        key_pem.decode(),
        made.public_bytes(serialization.Encoding.DER),
    )


class Script:
    """A handler that answers with the request's path, or what its script says for that path."""

    def __init__(self) -> None:
        self.sessions: list[Session] = []
        self.closed: list[Session] = []
        self.handled: list[str] = []
        self.turns = 0
        self.before: Callable[[], None] = lambda: None
        self.script: dict[str, Callable[[Session, Request], bytes | None]] = {}
        self.deferred: dict[str, Deliver] = {}

    def open_session(self, interface: str, session_id: int, peer_cert: bytes | None) -> Session:
        session = Session(session_id, interface, peer_cert)
        self.sessions.append(session)
        return session

    def handle(self, session: Session, request: Request) -> bytes | None:
        self.handled.append(request.path)
        if request.path in self.script:
            return self.script[request.path](session, request)
        if request.path.startswith("/later"):
            self.deferred[request.path] = session.defer()
            return None
        return answer(request.path)

    def turn_done(self) -> None:
        self.turns += 1

    def before_answers(self) -> None:
        self.before()

    def close_session(self, session: Session) -> None:
        self.closed.append(session)


def answer(text: str) -> bytes:
    return encode_response(200, {"content-type": "text/plain"}, text.encode())


def ask(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nhost: h\r\n\r\n".encode()


class Client:
    """One connection; everything it waits for must come within PATIENCE_S."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def take(self, n: int) -> bytes:
        """Exactly n bytes."""
        return await asyncio.wait_for(self.reader.readexactly(n), PATIENCE_S)

    async def expect(self, data: bytes) -> None:
        """Exactly these bytes come next."""
        got = await self.take(len(data))
        assert got == data

    async def silent(self, seconds: float = 0.1) -> bool:
        """Whether nothing comes for a while."""
        try:
            await asyncio.wait_for(self.reader.readexactly(1), seconds)
        except TimeoutError:
            return True
        return False

    async def rest(self) -> bytes:
        """Everything until the other side closes."""
        try:
            return await asyncio.wait_for(self.reader.read(-1), PATIENCE_S)
        except (ConnectionError, ssl.SSLError):
            return b""

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError, ssl.SSLError):
            await asyncio.wait_for(self.writer.wait_closed(), PATIENCE_S)


def client_tls(alpn: list[str] | None = None) -> ssl.SSLContext:
    """A client that trusts any server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn is not None:
        context.set_alpn_protocols(alpn)
    return context


async def half_closing(listener: Listener, data: bytes, *, tls: bool) -> bytes:
    """All that a client gets whose side of the connection ends with what it asks."""
    if not tls:
        client = await connect(listener)
        client.send(data)
        client.writer.write_eof()
        return await client.rest()
    return await asyncio.to_thread(_half_closing_tls, listener.address, data)


def _half_closing_tls(address: str, data: bytes) -> bytes:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    with socket.create_connection(split_address(address), PATIENCE_S) as sock:
        sock.settimeout(None)  # pyOpenSSL wants it
        tls = SSL.Connection(context, sock)
        tls.set_connect_state()
        tls.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        got = b""
        with suppress(SSL.ZeroReturnError):
            while True:
                got += tls.recv(100_000)
        return got


def present(context: ssl.SSLContext, folder: Path, cert_pem: str, key_pem: str) -> None:
    """Let a client context present a certificate."""
    path = folder / "client.pem"
    path.write_text(cert_pem + key_pem)
    context.load_cert_chain(path)


_opened: list[asyncio.StreamWriter] = []


async def connect_raw(listener: Listener) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A TCP connection, whatever the listener expects on it."""
    return await _open(listener, None)


async def _open(
    listener: Listener, context: ssl.SSLContext | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = split_address(listener.address)
    reader, writer = await asyncio.wait_for(
        asyncio.open_connection(host, port, ssl=context), PATIENCE_S
    )
    _opened.append(writer)
    return reader, writer


async def connect(listener: Listener, context: ssl.SSLContext | None = None) -> Client:
    """A new connection, with TLS unless the listener is plain."""
    if context is None and listener.tls:
        context = client_tls()
    return Client(*await _open(listener, context))


@asynccontextmanager
async def listening(
    handler: Script, address: str = "127.0.0.1:0", **options: Any
) -> AsyncIterator[Listener]:
    """A started listener with a certificate, closed afterwards."""
    sender = Sender(handler.before_answers) if SHARED.get() else None
    listener = Listener("rpc", address, handler, **{"sender": sender, **options})
    if listener.tls:
        cert_pem, key_pem, _ = certificate("node")
        listener.set_certificate(cert_pem, key_pem)
    await listener.start()
    try:
        yield listener
    finally:
        await listener.close()
        if sender is not None:
            sender.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something to become true."""
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "it did not happen"
        await asyncio.sleep(0.005)


async def stays(value: Callable[[], int]) -> int:
    """Wait until a value changes no more: the loop turned often enough, however slow it is."""
    last, looks = value(), 0
    while looks < 15:
        await asyncio.sleep(0.02)
        looks = looks + 1 if value() == last else 0
        last = value()
    return last


def run(test: Coroutine[Any, Any, None]) -> None:
    """Run a test on the node's kind of event loop; closes the clients it left open."""

    async def whole() -> None:
        try:
            await test
        finally:
            while _opened:
                writer = _opened.pop()
                writer.transport.abort()
                with suppress(ConnectionError, ssl.SSLError, TimeoutError):
                    await asyncio.wait_for(writer.wait_closed(), PATIENCE_S)
            await asyncio.sleep(0)

    uvloop.run(whole())
