"""One RPC interface: accepts connections, gives each its certificate, closes those that idle.

Bytes that arrive are decrypted (`wire_tls`), parsed and handled at once (`http1`, `http2`): one
readable event leads to calls of `Handler.handle` for the requests it completes, then one
`turn_done`, then one write of all answers. There is no task and no await per request.

Promises (spec: http-api.md §4.2, §4.4, §4.5): sessions are counted from accept on, above the soft
cap answered with one 503 and closed, at the hard cap or without a certificate closed at once; idle
and half-open connections are closed; a client that does not read stops being read. Every limit is
a constant of the module that enforces it, or an argument.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import math
import os
import socket
import sys
from collections.abc import Iterable, Iterator

from pyccf.errors import LocalError
from pyccf.http.limits import HttpLimits
from pyccf.http.room import Room
from pyccf.shell.admission import SESSIONS_HARD, SESSIONS_SOFT, Admission, SessionMetrics
from pyccf.shell.interface import Handler, Interface
from pyccf.shell.keep_alive import keep_alive
from pyccf.shell.sender import Sender
from pyccf.shell.tls import server_context
from pyccf.shell.wire import Wire
from pyccf.shell.wire_tls import TlsWire

BACKLOG = 1024
"""Connections the kernel may hold before they are accepted."""
IDLE_TIMEOUT_S = 60.0
HANDSHAKE_TIMEOUT_S = 10.0
"""Time a client has for its TLS handshake."""
LINGER_S = 2.0
"""Time a client has to close its side after we closed ours, so that it can read the last answer."""
KEEPALIVE_S = 30
KEEPALIVE_PROBES = 4
"""A client of which nothing is heard for so long is asked by the kernel whether it is still there,
so many times: idle connections may be kept for ever, those of machines that vanished must not."""
CLOSE_GRACE_S = 5.0
"""Time `Listener.close` waits for answers that are still to come."""
SWEEP_S = 1.0
"""Connections are checked for these times this often (or four times per idle timeout)."""
SWEEP_MIN_S = 0.05
"""But never more often than this."""


def split_address(address: str) -> tuple[str, int]:
    """Host and port of "host:port" or "[ipv6]:port". Raises LocalError."""
    host, colon, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    sound = port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535
    if not colon or not host or not sound:
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

    `tls=False` makes it plain TCP (authority Unsecured). `http2` makes it speak HTTP/2 and nothing
    else: what is spoken is fixed, not negotiated. With TLS, connections are refused until
    `set_certificate` was called. `idle_timeout_s` None keeps idle connections for ever.
    `session_ids` gives ids unique among the listeners of a node, `room` is the memory that
    their connections share, `sender` the thread that may send for them, `descriptors` the first
    descriptor that none of them may have.
    """

    def __init__(
        self,
        name: str,
        bind_address: str,
        handler: Handler,
        limits: HttpLimits | None = None,
        *,
        tls: bool = True,
        http2: bool = False,
        sessions_soft: int = SESSIONS_SOFT,
        sessions_hard: int = SESSIONS_HARD,
        idle_timeout_s: float | None = IDLE_TIMEOUT_S,
        session_ids: Iterator[int] | None = None,
        room: Room | None = None,
        sender: Sender | None = None,
        descriptors: int = sys.maxsize,
    ) -> None:
        self.name = name
        self.tls = tls
        self._admission = Admission(sessions_soft, sessions_hard)
        self._interface = Interface(
            name,
            handler,
            HttpLimits() if limits is None else limits,
            self._admission,
            itertools.count(1) if session_ids is None else session_ids,
            Room() if room is None else room,
            tls=tls,
            http2=http2,
            sender=sender,
            descriptors=descriptors,
        )
        self._bind_address = bind_address
        self._address: str | None = None
        self._server: asyncio.AbstractServer | None = None
        self._idle_timeout_s = idle_timeout_s
        self._sweep_s = SWEEP_S
        if idle_timeout_s is not None:
            self._sweep_s = min(SWEEP_S, max(SWEEP_MIN_S, idle_timeout_s / 4))
        self._sweeper: asyncio.TimerHandle | None = None

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
            keep_alive(sock, KEEPALIVE_S, KEEPALIVE_PROBES)
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
            hint = "Choose an address of this machine; port 0 takes a free one."
            if error.errno == errno.EADDRINUSE:
                hint = "Stop whatever uses this address, or choose another one (port 0 is free)."
            raise LocalError(
                f"interface '{self.name}' cannot listen on {self._bind_address}: {reason}",
                hint=hint,
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
        alpn = b"h2" if self._interface.http2 else b"http/1.1"
        self._interface.context = server_context(cert_pem, key_pem, alpn)

    @property
    def connections(self) -> Iterable[Wire]:
        """Those that are open now."""
        return self._admission.connections.keys()

    def metrics(self) -> SessionMetrics:
        """Session counts of this interface (spec: http-api.md, /node/metrics)."""
        return self._admission.metrics()

    async def close(self) -> None:
        """Stop accepting, let answers that are owed go out, close every connection."""
        self._admission.stop()
        if self._server is None:
            return
        self._server.close()
        for connection in list(self.connections):
            connection.shut()
        try:
            await asyncio.wait_for(self._admission.all_gone(), CLOSE_GRACE_S)
        except TimeoutError:
            for connection in list(self.connections):
                connection.abort()
            await self._admission.all_gone()
        if self._sweeper is not None:
            self._sweeper.cancel()
        await self._server.wait_closed()

    def _accept(self) -> Wire:
        return TlsWire(self._interface) if self.tls else Wire(self._interface)

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
