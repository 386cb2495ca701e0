"""One RPC interface: sockets, TLS and HTTP around a handler that only knows requests.

Bytes that arrive are decrypted, parsed and handled at once: one readable event leads to calls of
`Handler.handle` for the requests it completes, then one `turn_done`, then one write of all answers.
There is no task and no await per request. Answers leave in request order; one that comes later
(`Session.defer`) keeps its place.

Promises (spec: http-api.md §4.2, §4.4, §4.5): sessions are counted from accept on, above the soft
cap answered with one 503 and closed, at the hard cap or without a certificate closed at once; idle
and half-open connections are closed; a client that does not read stops being read. Every limit is
one of the constants below or an argument.

An exception out of the handler is an error of ours: the connection is closed and the event loop's
exception handler gets it.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import os
import socket
from collections import deque
from collections.abc import Iterator
from typing import Protocol, TypedDict

from OpenSSL import SSL
from OpenSSL._util import ffi, lib

from pyccf.errors import LocalError
from pyccf.http.h1 import ParseFailure, Parser
from pyccf.http.limits import PIPELINE_MAX, HttpLimits
from pyccf.http.message import Request, encode_error
from pyccf.http.session import Deliver, Session
from pyccf.shell.tls import peer_certificate, server_context

BACKLOG = 1024
"""Connections the kernel may hold before they are accepted."""
READ_SIZE = 64 * 1024
"""Bytes of decrypted input parsed at once."""
RECORD_SIZE_MAX = 16 * 1024
"""Bytes of one TLS record (RFC 8446 5.1)."""
OUTPUT_BUFFER_MAX = 1024 * 1024
"""Bytes waiting for one client to read them before its requests are no longer handled."""
TURN_OUTPUT_MAX = 256 * 1024
"""Bytes of answers gathered before they are handed to the socket."""
TURN_REQUESTS_MAX = 256
"""Requests of one connection handled before others get their turn."""
SESSIONS_SOFT = 1000
SESSIONS_HARD = 1010
IDLE_TIMEOUT_S = 60.0
HANDSHAKE_TIMEOUT_S = 10.0
"""Time a client has for its TLS handshake."""
LINGER_S = 2.0
"""Time a client has to close its side after we closed ours, so that it can read the last answer."""
CLOSE_GRACE_S = 5.0
"""Time `Listener.close` waits for answers that are still to come."""
SWEEP_S = 1.0
"""Connections are checked for these times this often (or four times per idle timeout)."""

_TLS_HANDSHAKE = 22
"""First byte of everything a TLS client says first (RFC 8446 5.1)."""

_bio_write = lib.BIO_write
_bio_read = lib.BIO_read
_bio_size = lib.BIO_get_mem_data
_ssl_read = lib.SSL_read
_ssl_write = lib.SSL_write
_ANY_POINTER = ffi.new("char **")

_BUSY = encode_error(
    503,
    "SessionCapExhausted",
    "Service is currently busy and unable to serve new connections",
)


class Handler(Protocol):
    """The node as a listener sees it."""

    def open_session(self, interface: str, session_id: int, peer_cert: bytes | None) -> Session:
        """A client connected; `peer_cert` is DER, unverified."""
        ...

    def handle(self, session: Session, request: Request) -> bytes | None:
        """The complete response, or None after having called `session.defer()`."""
        ...

    def turn_done(self) -> None:
        """All requests of one readable event are handled; their answers go out after this."""
        ...

    def close_session(self, session: Session) -> None:
        """The connection is gone."""
        ...


class SessionErrors(TypedDict):
    """How many sessions ended with which error."""

    parsing: int
    request_header_too_large: int
    request_payload_too_large: int


class SessionMetrics(TypedDict):
    """Sessions of one interface, as in `/node/metrics`."""

    active: int
    errors: SessionErrors
    hard_cap: int
    peak: int
    soft_cap: int


def split_address(address: str) -> tuple[str, int]:
    """Host and port of "host:port" or "[ipv6]:port". Raises LocalError."""
    host, colon, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise LocalError(
            f"'{address}' is not an address to listen on",
            hint='Write "host:port" or "[ipv6]:port"; port 0 takes a free one.',
        )
    return host, int(port)


def join_address(host: str, port: int) -> str:
    """The text form of an address, with brackets around IPv6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Listener:
    """One interface of a node: accepts connections and answers their requests.

    `tls=False` makes it plain TCP (authority Unsecured). With TLS, connections are refused until
    `set_certificate` was called. `idle_timeout_s` None keeps idle connections for ever.
    `session_ids` gives ids unique among the listeners of a node.
    """

    def __init__(
        self,
        name: str,
        bind_address: str,
        handler: Handler,
        limits: HttpLimits | None = None,
        *,
        tls: bool = True,
        sessions_soft: int = SESSIONS_SOFT,
        sessions_hard: int = SESSIONS_HARD,
        idle_timeout_s: float | None = IDLE_TIMEOUT_S,
        session_ids: Iterator[int] | None = None,
    ) -> None:
        self.name = name
        self.limits = HttpLimits() if limits is None else limits
        self.handler = handler
        self.tls = tls
        self.sessions_soft = sessions_soft
        self.sessions_hard = sessions_hard
        self.context: SSL.Context | None = None
        self.session_ids = itertools.count(1) if session_ids is None else session_ids
        self.read_buffer = ffi.new("char[]", READ_SIZE)
        self.read_view = ffi.buffer(self.read_buffer)
        self.write_buffer = ffi.new("char[]", READ_SIZE)
        self.write_view = ffi.buffer(self.write_buffer)
        self.connections: dict[_Connection, None] = {}
        self._leaving: list[_Connection] = []
        self._steps: list[tuple[_Connection, Request]] = []
        self.errors: SessionErrors = {
            "parsing": 0,
            "request_header_too_large": 0,
            "request_payload_too_large": 0,
        }
        self._bind_address = bind_address
        self._address: str | None = None
        self._server: asyncio.AbstractServer | None = None
        self._peak = 0
        self._closing = False
        self._idle_timeout_s = idle_timeout_s
        self._sweep_s = SWEEP_S if idle_timeout_s is None else min(SWEEP_S, idle_timeout_s / 4)
        self._sweeper: asyncio.TimerHandle | None = None
        self._all_gone: asyncio.Event = asyncio.Event()

    async def start(self) -> None:
        """Begin to accept. Raises LocalError when the address cannot be had."""
        assert self._server is None, "a listener is started once"
        loop = asyncio.get_running_loop()
        host, port = split_address(self._bind_address)
        sock: socket.socket | None = None
        try:
            found = await loop.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            family, kind, protocol, _, target = found[0]
            sock = socket.socket(family, kind, protocol)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(target)
            sock.setblocking(False)
            self._server = await loop.create_server(self._accept, sock=sock, backlog=BACKLOG)
        except OSError as error:
            if sock is not None:
                sock.close()
            reason = error.strerror or str(error)
            if error.errno is not None and error.errno > 0:
                reason = os.strerror(error.errno)
            raise LocalError(
                f"interface '{self.name}' cannot listen on {self._bind_address}: {reason}",
                hint="Stop whatever uses this address, or choose another one (port 0 is free).",
            ) from None
        name = sock.getsockname()
        self._address = join_address(str(name[0]), int(name[1]))
        self._sweeper = loop.call_later(self._sweep_s, self._sweep)

    @property
    def address(self) -> str:
        """Where it listens, "host:port", with the port it really got."""
        assert self._address is not None, "a listener has an address once it is started"
        return self._address

    def set_certificate(self, cert_pem: str, key_pem: str) -> None:
        """Serve this certificate to connections accepted from now on. Raises LocalError."""
        assert self.tls, "only an interface with TLS has a certificate"
        self.context = server_context(cert_pem, key_pem)

    def metrics(self) -> SessionMetrics:
        """Session counts of this interface (spec: http-api.md, /node/metrics)."""
        return {
            "active": len(self.connections),
            "errors": self.errors.copy(),
            "hard_cap": self.sessions_hard,
            "peak": self._peak,
            "soft_cap": self.sessions_soft,
        }

    async def close(self) -> None:
        """Stop accepting, let answers that are owed go out, close every connection."""
        self._closing = True
        if self._server is None:
            return
        self._server.close()
        for connection in list(self.connections):
            connection.shut()
        if self.connections:
            try:
                await asyncio.wait_for(self._all_gone.wait(), CLOSE_GRACE_S)
            except TimeoutError:
                for connection in list(self.connections):
                    connection.abort()
                await self._all_gone.wait()
        if self._sweeper is not None:
            self._sweeper.cancel()
        await self._server.wait_closed()

    # What connections tell their listener.

    def admit(self, connection: _Connection) -> bool:
        """Count a new connection; False when it must be closed at once."""
        open_now = len(self.connections)
        if self._closing or open_now >= self.sessions_hard or (self.tls and self.context is None):
            return False
        connection.busy = open_now >= self.sessions_soft
        self.connections[connection] = None
        self._peak = max(self._peak, open_now + 1)
        return True

    def step_soon(self, connection: _Connection, request: Request) -> None:
        """Handle a request once every readable connection was read: one after the other.

        Requests handled in a row find code and data of the handlers in the processor's caches;
        between two socket reads they would not.
        """
        if not self._steps:
            asyncio.get_running_loop().call_soon(self._step_all)
        self._steps.append((connection, request))

    def _step_all(self) -> None:
        steps, self._steps = self._steps, []
        for done, (connection, request) in enumerate(steps, 1):
            try:
                connection.step(request)
            except BaseException:
                # The loop's exception handler is told; the others are not to suffer.
                connection.abort()
                rest = steps[done:]
                if rest:
                    if not self._steps:
                        asyncio.get_running_loop().call_soon(self._step_all)
                    self._steps = rest + self._steps
                raise

    def leaving(self, connection: _Connection) -> None:
        """A connection has something to write at the end of this turn of the loop."""
        if not self._leaving:
            asyncio.get_running_loop().call_soon(self._drain)
        self._leaving.append(connection)

    def _drain(self) -> None:
        leaving, self._leaving = self._leaving, []
        for connection in leaving:
            connection.drain()

    def count(self, failure: ParseFailure) -> None:
        """Count an error of a session."""
        self.errors[failure.metric] += 1  # type: ignore[literal-required]

    def forget(self, connection: _Connection) -> None:
        """A connection is gone."""
        self.connections.pop(connection, None)
        if self._closing and not self.connections:
            self._all_gone.set()

    def _accept(self) -> _Connection:
        return _TlsConnection(self) if self.tls else _Connection(self)

    def _sweep(self) -> None:
        idle = self._idle_timeout_s
        idle_ticks = None if idle is None else math.ceil(idle / self._sweep_s)
        for connection in list(self.connections):
            connection.tick(
                idle_ticks,
                math.ceil(HANDSHAKE_TIMEOUT_S / self._sweep_s),
                math.ceil(LINGER_S / self._sweep_s),
            )
        self._sweeper = asyncio.get_running_loop().call_later(self._sweep_s, self._sweep)


class _Slot:
    """The place of one answer among those of its connection."""

    __slots__ = ("answer", "connection")

    def __init__(self, connection: _Connection | None, answer: bytes | None) -> None:
        self.connection = connection
        self.answer = answer

    def deliver(self, answer: bytes) -> None:
        assert self.answer is None, "a request is answered once"
        self.answer = answer
        connection = self.connection
        if connection is not None:
            self.connection = None
            connection.delivered()


class _Connection(asyncio.Protocol):
    """A plain TCP connection; `_TlsConnection` puts TLS around it."""

    __slots__ = (
        "_accepting",
        "_backlog",
        "_buffered",
        "_deferred",
        "_ending",
        "_eof",
        "_farewell",
        "_handler",
        "_in_turn",
        "_lingering",
        "_listener",
        "_loop",
        "_outgoing",
        "_output_full",
        "_parser",
        "_queue",
        "_reading",
        "_session",
        "_stepping",
        "_ticks",
        "_transport",
        "busy",
    )

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._handler = listener.handler
        self._loop = asyncio.get_running_loop()
        self._stepping = False
        """A request waits for its step at the end of this turn of the loop."""
        self._outgoing: list[bytes] = []
        """What goes to the socket at the end of this turn of the loop."""
        self._parser = Parser(listener.limits)
        self._transport: asyncio.Transport | None = None
        self._session: Session | None = None
        self._queue: deque[_Slot] = deque()  # answers owed, in request order
        self._deferred: _Slot | None = None  # what the request being handled deferred
        self._backlog: deque[Request] = deque()  # parsed, not yet handled
        self._farewell: bytes | None = None  # sent after all answers, then the end
        self._accepting = False  # bytes that arrive are requests
        self._in_turn = False
        self._ending = False  # nothing more is handled
        self._eof = False  # the client's side is closed
        self._lingering = False  # our side is closed
        self._output_full = False
        self._reading = True
        self._ticks = 0  # sweeps since something arrived
        self._buffered = 0
        self.busy = False
        """Above the soft cap: gets one 503 and nothing else."""

    # asyncio calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # The interface of asyncio.Transport; uvloop's does not inherit from it.
        self._transport = transport  # type: ignore[assignment]
        if not self._listener.admit(self):
            self.abort()
            return
        transport.set_write_buffer_limits(high=OUTPUT_BUFFER_MAX)  # type: ignore[attr-defined]
        self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._accepting = False
        self._ending = True
        for slot in self._queue:
            slot.connection = None
        self._queue.clear()
        self._backlog.clear()
        session = self._session
        if session is not None:
            self._session = None
            self._handler.close_session(session)
        self._listener.forget(self)

    def data_received(self, data: bytes) -> None:
        if self._accepting:
            self._ticks = 0
            self._turn(data)
        elif self.busy:
            self._refuse_busy()

    def eof_received(self) -> bool:
        """The client sends no more: what it asked is still answered."""
        self._eof = True
        if self._lingering or not (self._queue or self._backlog or self._stepping):
            return False
        self._bid_farewell(b"")
        return True

    def pause_writing(self) -> None:
        self._output_full = True
        self._set_reading(False)

    def resume_writing(self) -> None:
        self._output_full = False
        self._go_on()

    # What its listener asks of it.

    def shut(self) -> None:
        """Take no more requests; close when the answers owed are out."""
        if self._session is None or self._lingering:
            self.abort()
        elif self._queue or self._backlog or self._stepping:
            self._bid_farewell(b"")
            self._set_reading(False)
        else:
            self._finish(linger=False)

    def abort(self) -> None:
        """Close now, whatever is owed."""
        if self._transport is not None:
            self._transport.abort()

    def tick(self, idle: int | None, handshake: int, linger: int) -> None:
        """A sweep passed; the arguments are limits in sweeps."""
        self._ticks += 1
        if self._lingering:
            if self._ticks > linger:
                self.abort()
        elif self._session is None:
            if self._ticks > handshake:
                self.abort()
        elif idle is not None and self._ticks > idle and not self._queue:
            transport = self._transport
            assert transport is not None, "a connection that is swept is open"
            buffered = transport.get_write_buffer_size()
            if buffered != self._buffered:  # the client is reading, slowly
                self._buffered = buffered
                self._ticks = 0
            elif buffered:
                self.abort()
            else:
                self._finish(linger=False)

    def delivered(self) -> None:
        """The answer of an earlier request arrived."""
        if not self._in_turn and self._queue[0].answer is not None:
            self._go_on()

    # Requests and answers.

    def _begin(self) -> None:
        if not self.busy:
            self._open(None)

    def _open(self, peer_cert: bytes | None) -> None:
        listener = self._listener
        session = self._handler.open_session(listener.name, next(listener.session_ids), peer_cert)
        session.deferrer = self._defer
        self._session = session
        self._accepting = True

    def _defer(self) -> Deliver:
        assert self._in_turn, "a request is deferred while it is handled"
        assert self._deferred is None, "a request is deferred once"
        slot = _Slot(self, None)
        self._deferred = slot
        self._queue.append(slot)
        return slot.deliver

    def _turn(self, data: bytes) -> None:
        """Handle the requests that these bytes complete. The hot path."""
        try:
            requests = self._parser.feed(data)
        except ParseFailure as failure:
            self._listener.count(failure)
            self._bid_farewell(failure.encode())
            requests = failure.requests
        else:
            if len(requests) == 1 and not self._queue and not self._backlog and not self._stepping:
                self._stepping = True
                self._listener.step_soon(self, requests[0])
                return
            if not requests:
                return
        self._backlog.extend(requests)
        self._go_on()

    def step(self, request: Request) -> None:
        """Handle one request, together with those of other connections in this turn of the loop."""
        self._stepping = False
        session = self._session
        if session is None:
            return
        handler = self._handler
        self._in_turn = True
        answer = handler.handle(session, request)
        handler.turn_done()
        self._in_turn = False
        if answer is not None:
            assert self._deferred is None, "a deferred request has no answer yet"
            self._write(answer)
            if not session.close_after and not self._backlog and self._farewell is None:
                return
        else:
            assert self._deferred is not None, "a request is answered or deferred"
            self._deferred = None
        self._go_on()

    def _go_on(self) -> None:
        """Send what is ready, handle what is waiting, as far as the limits allow."""
        session = self._session
        transport = self._transport
        if session is None or self._in_turn or self._lingering or self._stepping:
            return
        if transport is None or transport.is_closing():
            return
        queue = self._queue
        backlog = self._backlog
        out: list[bytes] = []
        self._in_turn = True
        if backlog:
            self._handle_some(session, out)
        self._in_turn = False
        _take_ready(queue, out)
        if session.close_after:
            self._ending = True
        elif self._farewell is not None and not backlog and not self._ending:
            self._ending = True
            if queue:
                queue.append(_Slot(None, self._farewell))
            else:
                out.append(self._farewell)
        if out:
            self._write(b"".join(out))
        if self._ending:
            backlog.clear()
            self._accepting = False
            if not queue:
                self._finish(linger=True)
                return
        room = not self._output_full and len(queue) < PIPELINE_MAX
        if backlog and room:
            self._loop.call_soon(self._go_on)
        self._set_reading(self._accepting and room and not backlog)

    def _handle_some(self, session: Session, out: list[bytes]) -> None:
        """Handle requests of the backlog; answers go to `out`, or to the queue behind others."""
        handle = self._handler.handle
        queue = self._queue
        backlog = self._backlog
        _take_ready(queue, out)
        size = handled = 0
        while (
            backlog
            and not session.close_after
            and not self._output_full
            and size < TURN_OUTPUT_MAX
            and handled < TURN_REQUESTS_MAX
            and len(queue) < PIPELINE_MAX
        ):
            handled += 1
            answer = handle(session, backlog.popleft())
            if answer is None:
                assert self._deferred is not None, "a request is answered or deferred"
                self._deferred = None
                continue
            assert self._deferred is None, "a deferred request has no answer yet"
            size += len(answer)
            if queue:
                queue.append(_Slot(None, answer))
            else:
                out.append(answer)
        if handled:
            self._handler.turn_done()

    def _bid_farewell(self, last: bytes) -> None:
        """Take no more bytes; after the answers owed send `last` and close."""
        self._accepting = False
        if self._farewell is None:
            self._farewell = last

    def _set_reading(self, wanted: bool) -> None:
        transport = self._transport
        if wanted == self._reading or transport is None or transport.is_closing():
            return
        self._reading = wanted
        if wanted:
            transport.resume_reading()
        else:
            transport.pause_reading()

    def _refuse_busy(self) -> None:
        if not self._lingering:
            self._write(_BUSY)
            self._finish(linger=True)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._send(data)

    def _send(self, data: bytes) -> None:
        """Have bytes written at the end of this turn of the loop.

        Answers of all connections leave together: a client that sleeps is woken once for many of
        them, and what they acknowledge was handed to the disk before (`turn_done` came first).
        """
        outgoing = self._outgoing
        if not outgoing:
            self._listener.leaving(self)
        outgoing.append(data)

    def drain(self) -> None:
        """Write what is to leave."""
        outgoing = self._outgoing
        if not outgoing:
            return
        data = outgoing[0] if len(outgoing) == 1 else b"".join(outgoing)
        outgoing.clear()
        if self._transport is not None:
            self._transport.write(data)

    def _finish(self, *, linger: bool) -> None:
        """Close our side after what was written; then wait a little for the client's."""
        self._accepting = False
        self._ending = True
        transport = self._transport
        if transport is None or self._lingering:
            return
        self._ticks = 0
        self.drain()
        if linger and not self._eof and transport.can_write_eof():
            self._lingering = True
            self._set_reading(True)
            transport.write_eof()
        else:
            transport.close()


def _take_ready(queue: deque[_Slot], out: list[bytes]) -> None:
    while queue:
        answer = queue[0].answer
        if answer is None:
            return
        out.append(answer)
        queue.popleft()


class _TlsConnection(_Connection):
    """A TLS connection over memory BIOs.

    The handshake goes through pyOpenSSL's methods. Records are then read and written through the
    library functions underneath, with buffers made once: the methods cost more than the
    cryptography.
    """

    __slots__ = ("_bio_in", "_bio_out", "_fresh", "_ssl", "_tls")

    def __init__(self, listener: Listener) -> None:
        super().__init__(listener)
        self._tls: SSL.Connection | None = None
        self._fresh = True

    def _begin(self) -> None:
        context = self._listener.context
        assert context is not None, "a connection is admitted when there is a certificate"
        tls = SSL.Connection(context, None)
        tls.set_accept_state()
        self._tls = tls
        # These live as long as `tls`.
        self._ssl = tls._ssl
        self._bio_in = tls._into_ssl
        self._bio_out = tls._from_ssl

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._tls = self._ssl = self._bio_in = self._bio_out = None

    def data_received(self, data: bytes) -> None:
        if not self._accepting:
            if self._session is None and not self._lingering:
                self._handshake(data)
            return
        self._ticks = 0
        listener = self._listener
        _bio_write(self._bio_in, data, len(data))
        n = _ssl_read(self._ssl, listener.read_buffer, READ_SIZE)
        if n > 0 and _bio_size(self._bio_in, _ANY_POINTER) == 0:
            self._turn(listener.read_view[:n])
        else:
            self._pump(n)

    def _pump(self, n: int) -> None:
        """Go on reading records after a first read returned n, until none is whole."""
        listener = self._listener
        buffer = listener.read_buffer
        while n > 0:
            total = n
            while READ_SIZE - total >= RECORD_SIZE_MAX and self._pending():
                n = _ssl_read(self._ssl, buffer + total, READ_SIZE - total)
                if n <= 0:
                    lib.ERR_clear_error()  # comes again in the next read, and is judged then
                    break
                total += n
            self._turn(listener.read_view[:total])
            if not (self._accepting and self._reading) or (n > 0 and not self._pending()):
                return
            n = _ssl_read(self._ssl, buffer, READ_SIZE)
        self._no_record(n)

    def _pending(self) -> bool:
        return self._ssl is not None and _bio_size(self._bio_in, _ANY_POINTER) > 0

    def _no_record(self, result: int) -> None:
        """A read returned nothing: wait for more, or end."""
        error = lib.SSL_get_error(self._ssl, result)
        if error == lib.SSL_ERROR_SSL:
            # Errors of others in the thread's queue look like ours; a real one comes again.
            lib.ERR_clear_error()
            result = _ssl_read(self._ssl, self._listener.read_buffer, READ_SIZE)
            if result > 0:
                self._turn(self._listener.read_view[:result])
                return
            error = lib.SSL_get_error(self._ssl, result)
        lib.ERR_clear_error()
        self._flush()
        if error == lib.SSL_ERROR_WANT_READ:
            return
        self._finish(linger=False)  # also when the client said so: RFC 8446 6.1

    def _handshake(self, data: bytes) -> None:
        tls = self._tls
        if tls is None:
            return
        if self._fresh and data[0] != _TLS_HANDSHAKE:
            self.abort()  # not TLS: gets no answer (http-api.md §4.5)
            return
        self._fresh = False
        try:
            tls.bio_write(data)
            tls.do_handshake()
        except SSL.WantReadError:
            self._flush()
            return
        except SSL.Error:
            lib.ERR_clear_error()
            self._flush()
            self._tls = None
            super()._finish(linger=False)
            return
        self._flush()
        if self.busy:
            self._refuse_busy()
            return
        self._ticks = 0
        self._open(peer_certificate(tls))
        self._read_more()

    def _read_more(self) -> None:
        """Read records that came before they could be handled."""
        if self._accepting and self._reading:
            self._pump(_ssl_read(self._ssl, self._listener.read_buffer, READ_SIZE))

    def _set_reading(self, wanted: bool) -> None:
        resumed = wanted and not self._reading
        super()._set_reading(wanted)
        if resumed:
            self._loop.call_soon(self._read_more)

    def _write(self, data: bytes) -> None:
        if self._transport is None or not data:
            return
        if _ssl_write(self._ssl, data, len(data)) != len(data):
            lib.ERR_clear_error()
            self.abort()
            return
        listener = self._listener
        n = _bio_read(self._bio_out, listener.write_buffer, READ_SIZE)
        self._send(listener.write_view[:n])
        if n == READ_SIZE:
            self._flush()

    def _flush(self) -> None:
        """Hand to the socket what TLS wants to send."""
        if self._transport is None or self._bio_out is None:
            return
        listener = self._listener
        out: list[bytes] = []
        while (n := _bio_read(self._bio_out, listener.write_buffer, READ_SIZE)) > 0:
            out.append(listener.write_view[:n])
        if out:
            self._send(b"".join(out))

    def _finish(self, *, linger: bool) -> None:
        if self._tls is not None and not self._lingering:
            if lib.SSL_shutdown(self._ssl) < 0:
                lib.ERR_clear_error()
            self._flush()
        super()._finish(linger=linger)
