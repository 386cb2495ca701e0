"""One HTTPS request to another node or service, as the node asked for with `Call`.

TLS 1.2 or 1.3 over memory BIOs; this side presents the node's self-signed certificate, unless the
call is to be anonymous. The server's certificate must be one of those that were given or chain to
one, be in date and be for the host that was asked; otherwise the failure is reported as
`untrusted`. One request, one answer, one connection, no redirections; answers above `ANSWER_MAX`
bytes (or what the call allows) and calls that outlast their time fail. Nothing is ever raised: what
went wrong is told in words.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Callable

import httptools
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto

from pyccf.crypto import certs, chains
from pyccf.node.outputs import Answer, Call, CallFailed
from pyccf.shell.tls import words
from pyccf.types import UnixSeconds

ANSWER_MAX = 64 * 1024 * 1024
"""Bytes of an answer, headers included."""
HEADERS_MAX = 256
READ_SIZE = 64 * 1024

_PORT = re.compile(r"[0-9]{1,5}")


class _Failed(Exception):
    def __init__(self, reason: str, untrusted: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.untrusted = untrusted


async def fetch(
    call: Call, cert_pem: str, key_pem: str, unix_time: Callable[[], UnixSeconds]
) -> Answer | CallFailed:
    """Make the request; the answer, or why there is none."""
    try:
        async with asyncio.timeout(call.timeout / 1000):
            return await _exchange(call, cert_pem, key_pem, unix_time)
    except TimeoutError:
        return CallFailed(f"no answer within {call.timeout}ms")
    except _Failed as e:
        return CallFailed(e.reason, e.untrusted)
    except OSError as e:
        return CallFailed(e.strerror or str(e) or "connection failed")
    except UnicodeError:
        return CallFailed(f"{call.address} names no host")


async def _exchange(
    call: Call, cert_pem: str, key_pem: str, unix_time: Callable[[], UnixSeconds]
) -> Answer:
    host, _, port = call.address.rpartition(":")
    if not host or not _PORT.fullmatch(port) or int(port) > 65535:
        raise _Failed(f"{call.address} is no address of the form host:port")
    host = host.strip("[]")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        context = _context()
        if not call.anonymous:
            _present(context, cert_pem, key_pem)
        tls = SSL.Connection(context, None)
        tls.set_connect_state()
        if not _is_ip(host):
            tls.set_tlsext_host_name(host.encode())
        channel = _Channel(tls, reader, writer)
        await channel.handshake()
        _judge(_presented(tls), call.ca, host, unix_time())
        await channel.write(_request(call))
        return await _answer(channel, min(ANSWER_MAX, call.answer_max or ANSWER_MAX))
    finally:
        writer.transport.abort()


def _request(call: Call) -> bytes:
    headers = {
        "host": call.address,
        "connection": "close",
        "content-length": str(len(call.body)),
        **call.headers,
    }
    lines = [f"{call.method} {call.path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
    assert not any(c in line for line in lines for c in "\r\n"), "headers are ours"
    return "\r\n".join((*lines, "", "")).encode() + call.body


class _Channel:
    """TLS over a pair of streams."""

    def __init__(
        self, tls: SSL.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._tls = tls
        self._reader = reader
        self._writer = writer

    async def handshake(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except SSL.WantReadError:
                if not await self._more():
                    raise _Failed("the connection was closed during the TLS handshake") from None
            except SSL.Error as e:
                await self._flush()
                raise _Failed(f"TLS handshake failed: {words(e)}") from None
            else:
                await self._flush()
                return

    async def write(self, data: bytes) -> None:
        try:
            self._tls.sendall(data)
        except SSL.Error as e:
            raise _Failed(f"TLS failed: {words(e)}") from None
        await self._flush()

    async def read(self) -> bytes:
        """The next bytes; empty at the end."""
        while True:
            try:
                return self._tls.recv(READ_SIZE)
            except SSL.WantReadError:
                if not await self._more():
                    return b""
            except SSL.ZeroReturnError:
                return b""
            except SSL.Error as e:
                raise _Failed(f"TLS failed: {words(e)}") from None

    async def _more(self) -> bool:
        await self._flush()
        data = await self._reader.read(READ_SIZE)
        if data:
            self._tls.bio_write(data)
        return bool(data)

    async def _flush(self) -> None:
        while True:
            try:
                self._writer.write(self._tls.bio_read(READ_SIZE))
            except SSL.WantReadError:
                break
        await self._writer.drain()


def _context() -> SSL.Context:
    """A client that judges the server's certificate itself."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    context.set_alpn_protos([b"http/1.1"])
    return context


def _present(context: SSL.Context, cert_pem: str, key_pem: str) -> None:
    """Show the server this certificate if it asks for one."""
    key = load_pem_private_key(key_pem.encode(), None)
    assert isinstance(key, EllipticCurvePrivateKey), "a node's key is an elliptic curve key"
    context.use_certificate(x509.load_pem_x509_certificate(cert_pem.encode()))
    context.use_privatekey(key)


def _presented(tls: SSL.Connection) -> list[bytes]:
    """The certificates (DER) of the server, its own first."""
    chain = tls.get_peer_cert_chain() or []
    return [crypto.dump_certificate(crypto.FILETYPE_ASN1, c) for c in chain]


# --- the server -----------------------------------------------------------------------------------


def _judge(chain: list[bytes], ca: str, host: str, now: UnixSeconds) -> None:
    """Refuse a server that is not vouched for, or not the one that was asked."""
    if not chain:
        raise _Failed("invalid cert on handshake: the server has none", untrusted=True)
    given = certs.split_pem(ca)
    if not (
        chains.is_pinned(chain[0], given, now=now) or chains.check_chain(chain, given, now=now)
    ):
        raise _Failed(
            "invalid cert on handshake: it is out of date or not signed by the certificate that"
            " was given",
            untrusted=True,
        )
    if not is_for(chain[0], host):
        raise _Failed(f"invalid cert on handshake: it is not for {host}", untrusted=True)


def is_for(certificate: bytes, host: str) -> bool:
    """Whether a certificate names a host.

    Among its alternative names; a certificate without any name of a host there may name it as its
    subject's common name, as issuers with a certificate of their own making do (RFC 6125 6.4.4).
    """
    try:
        loaded = certs.load(certificate)
        names = _alternative_names(loaded)
    except certs.UNREADABLE:
        return False
    if _is_ip(host):
        wanted_ip = ipaddress.ip_address(host)
        return names is not None and wanted_ip in names.get_values_for_type(x509.IPAddress)
    hosts = names.get_values_for_type(x509.DNSName) if names is not None else []
    if not hosts:
        common = loaded.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        hosts = [one.value for one in common if isinstance(one.value, str)]
    wanted = host.lower().rstrip(".")
    return any(_matches(name.lower(), wanted) for name in hosts)


def _alternative_names(certificate: x509.Certificate) -> x509.SubjectAlternativeName | None:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return None
    return found.value


def _matches(pattern: str, host: str) -> bool:
    """Whether a name, whose first label may be a star, stands for a host (RFC 6125 6.4)."""
    if not pattern.startswith("*."):
        return pattern == host
    first, _, rest = host.partition(".")
    return bool(first) and rest == pattern[2:] and "." in rest


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


# --- the answer -----------------------------------------------------------------------------------


class _Response:
    """What the parser found so far."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.body: list[bytes] = []
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) >= HEADERS_MAX:
            raise _Failed(f"the answer has more than {HEADERS_MAX} headers")
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self.body.append(body)

    def on_message_complete(self) -> None:
        self.complete = True


async def _answer(channel: _Channel, size_max: int) -> Answer:
    found = _Response()
    parser = httptools.HttpResponseParser(found)
    size = 0
    while not found.complete:
        data = await channel.read()
        if not data:
            raise _Failed("the connection was closed before the answer was complete")
        size += len(data)
        if size > size_max:
            raise _Failed(f"the answer is larger than {size_max} bytes")
        try:
            parser.feed_data(data)
        except httptools.HttpParserCallbackError as e:
            if isinstance(e.__context__, _Failed):
                raise e.__context__ from None
            raise
        except httptools.HttpParserUpgrade:
            raise _Failed("the answer wants to change the protocol") from None
        except httptools.HttpParserError as e:
            raise _Failed(f"the answer is not HTTP: {e}") from None
    return Answer(parser.get_status_code(), found.headers, b"".join(found.body))
