"""One connection between two nodes: mutual TLS 1.3 over memory BIOs, in one direction.

The node that has something to send dials (`Outgoing`) and sends; the one that accepts (`Incoming`)
only listens. So two nodes that dial each other at the same time do not get in each other's way, and
each learns at once when its own way to the other is cut.

Both sides judge the certificate after the handshake, through their owner. The acceptor gives whole
frames to the owner, at most `TURN_BYTES_MAX` in one turn of the loop, and rests after such a turn;
while it is behind it does not read, so a peer that sends faster than its messages are handled
waits. Everything that no node does (other first bytes than TLS, bad records, bad frames,
application data from an acceptor) ends the connection; the owner is told why.
(spec: node-to-node.md §6-7)
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from OpenSSL import SSL
from OpenSSL._util import ffi, lib

from pyccf.node.outputs import Channel
from pyccf.shell.frames import BadFrame, FrameParser
from pyccf.shell.peer_sockets import cause
from pyccf.shell.records import (
    ANY_POINTER,
    RECORD_SIZE_MAX,
    TLS_HANDSHAKE,
    bio_read,
    bio_size,
    bio_write,
    ssl_read,
    ssl_write,
)
from pyccf.shell.tls import PEER_PROTOCOL, peer_certificate, words
from pyccf.types import NodeId

READ_SIZE = 256 * 1024
"""Bytes of decrypted input parsed at once."""
TURN_BYTES_MAX = 256 * 1024
"""Bytes of frames of one peer handled before others, and clients, get their turn."""
REST_PER_WORK = 1.0
"""When there are more, they wait as long as those took of the processor, times this: a node that
catches up uses half of one, and leaves the rest to its clients and to the others on the machine."""
BULK_BYTES = 16 * 1024
"""Bytes of frames in one read from which on they count."""
FRAME_COST_MIN = 256
"""What the smallest frame counts for in a turn."""
OUTPUT_HIGH = 4 * 1024 * 1024
"""Bytes waiting for one peer to read them before no more is taken from the ledger for it."""
OUTPUT_LOW = 1024 * 1024
"""Bytes at which it goes on."""


class Buffers:
    """Memory that all connections of a node use in turn."""

    def __init__(self) -> None:
        self.read = ffi.new("char[]", READ_SIZE)
        self.read_view = ffi.buffer(self.read)
        self.write = ffi.new("char[]", READ_SIZE)
        self.write_view = ffi.buffer(self.write)


class LinkOwner(Protocol):
    """What a connection needs of the `Peers` it belongs to."""

    buffers: Buffers

    def established(self, link: Link, certificate: bytes | None) -> str | None:
        """The handshake is done; why this certificate (DER) will not do, None if it will."""
        ...

    def deliver(self, link: Incoming, channel: Channel, payload: bytes) -> None:
        """A frame came. May abort the link."""
        ...

    def flowing(self, link: Outgoing, yes: bool) -> None:
        """The buffer to the peer is full, or has room again."""
        ...

    def ended(self, link: Link, reason: str, fault: bool) -> None:
        """The connection is gone; `fault` when the other side broke the rules."""
        ...


class Link(asyncio.Protocol):
    """What both directions have in common: the handshake, records, the end."""

    __slots__ = (
        "_bio_in",
        "_bio_out",
        "_context",
        "_owner",
        "_ssl",
        "_tls",
        "_transport",
        "fault",
        "handshaking",
        "peer",
        "reason",
        "remote",
        "since",
    )

    server: bool

    def __init__(self, owner: LinkOwner, context: SSL.Context) -> None:
        self._owner = owner
        self._context = context
        self._transport: asyncio.Transport | None = None
        self._tls: SSL.Connection | None = None
        self.fault = False
        """The other side broke the rules."""
        self.reason = ""
        """Why the connection ended."""
        self.handshaking = True
        self.peer: NodeId = ""
        """Id of the node at the other end, once it has proved it."""
        self.remote = ""
        """Address of the other end."""
        self.since = asyncio.get_running_loop().time()
        """When the connection, and later when the handshake, was made (loop time)."""

    # asyncio calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # The interface of asyncio.Transport; uvloop's does not inherit from it.
        self._transport = transport  # type: ignore[assignment]
        name = transport.get_extra_info("peername")
        self.remote = f"{name[0]}:{name[1]}" if name else "an unknown address"
        tls = SSL.Connection(self._context, None)
        if self.server:
            tls.set_accept_state()
        else:
            tls.set_connect_state()
        self._tls = tls
        # These live as long as `tls`.
        self._ssl = tls._ssl
        self._bio_in = tls._into_ssl
        self._bio_out = tls._from_ssl

    def data_received(self, data: bytes) -> None:
        if self._tls is None:
            return
        if not self.handshaking:
            bio_write(self._bio_in, data, len(data))
            self._readable()
            return
        if self.server and self._fresh(data):
            self.abort("it did not begin with TLS", fault=True)
            return
        self._tls.bio_write(data)
        self._handshake()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.reason:
            self.reason = "the other side closed" if exc is None else str(exc)
            if isinstance(exc, OSError):
                self.reason = cause(exc)
        self._transport = None
        self._tls = self._ssl = self._bio_in = self._bio_out = None
        self._owner.ended(self, self.reason, self.fault)

    # The handshake.

    def _fresh(self, data: bytes) -> bool:
        return False

    def _handshake(self) -> None:
        tls = self._tls
        assert tls is not None, "a handshake is made on a connection"
        lib.ERR_clear_error()  # to OpenSSL 3 errors of others look like ours
        try:
            tls.do_handshake()
        except SSL.WantReadError:
            self._flush()
            return
        except SSL.Error as error:
            lib.ERR_clear_error()
            self._flush()
            self.abort(f"TLS handshake failed: {words(error)}", fault=True)
            return
        self._flush()
        self.since = asyncio.get_running_loop().time()
        if tls.get_alpn_proto_negotiated() != PEER_PROTOCOL:
            self.abort("it does not speak the protocol of nodes", fault=True)
            return
        refusal = self._owner.established(self, peer_certificate(tls))
        if refusal is not None:
            self.abort(refusal, fault=True)
            return
        self.handshaking = False
        self._readable()

    # Records.

    def _readable(self) -> None:
        raise NotImplementedError

    def _fill(self) -> int:
        """Decrypt what is there into the read buffer; how many bytes. Ends a bad connection."""
        buffer = self._owner.buffers.read
        total = 0
        lib.ERR_clear_error()  # to OpenSSL 3 errors of others look like ours
        while READ_SIZE - total >= RECORD_SIZE_MAX:
            n = ssl_read(self._ssl, buffer + total, READ_SIZE - total)
            if n <= 0:
                if total:
                    lib.ERR_clear_error()  # comes again in the next read, and is judged then
                    break
                self._no_record(n)
                return 0
            total += n
            if bio_size(self._bio_in, ANY_POINTER) == 0 and lib.SSL_pending(self._ssl) == 0:
                break
        return total

    def _no_record(self, result: int) -> None:
        """A read gave nothing: wait for more, or end."""
        error = lib.SSL_get_error(self._ssl, result)
        lib.ERR_clear_error()
        if error == lib.SSL_ERROR_WANT_READ:
            return
        if error == lib.SSL_ERROR_ZERO_RETURN:
            self.abort("the other side closed", fault=False)
        else:
            self._flush()
            self.abort("bad TLS record, or an alert", fault=True)

    def _flush(self) -> None:
        """Hand to the socket what TLS wants to send."""
        transport, bio = self._transport, self._bio_out
        if transport is None:
            return
        buffers = self._owner.buffers
        while (n := bio_read(bio, buffers.write, READ_SIZE)) > 0:
            transport.write(buffers.write_view[:n])

    # The end.

    @property
    def open(self) -> bool:
        """Whether the connection still stands."""
        return self._transport is not None and not self.reason

    def abort(self, reason: str, *, fault: bool = False) -> None:
        """Close now; what is buffered is lost. `ended` follows in a later turn of the loop."""
        if not self.reason:
            self.reason = reason
            self.fault = fault
        transport = self._transport
        if transport is not None:
            transport.abort()

    def close(self, reason: str) -> None:
        """Say goodbye, and close once what is buffered was sent."""
        transport = self._transport
        if transport is None or self.reason:
            return
        self.reason = reason
        if not self.handshaking:
            if lib.SSL_shutdown(self._ssl) < 0:
                lib.ERR_clear_error()
            self._flush()
        transport.close()


class Outgoing(Link):
    """A connection this node dialled, to send."""

    __slots__ = ("full", "ready", "wanted", "written")

    server = False

    def __init__(self, owner: LinkOwner, context: SSL.Context, wanted: NodeId) -> None:
        super().__init__(owner, context)
        self.wanted = wanted
        """The node that was dialled."""
        self.full = False
        self.written = 0
        """TLS records sent, about."""
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the peer proved to be the node that was dialled, or the connection ended."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=OUTPUT_HIGH, low=OUTPUT_LOW)  # type: ignore[attr-defined]
        self._handshake()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if not self.ready.done():
            self.ready.set_result(None)

    def pause_writing(self) -> None:
        self.full = True
        self._owner.flowing(self, False)

    def resume_writing(self) -> None:
        self.full = False
        self._owner.flowing(self, True)

    @property
    def buffered(self) -> int:
        """Bytes that the socket has not taken."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def write(self, data: bytes) -> None:
        """Send frames."""
        transport = self._transport
        if transport is None or self.reason:
            return
        size = len(data)
        if ssl_write(self._ssl, data, size) != size:
            lib.ERR_clear_error()
            self.abort("TLS could not write")
            return
        self.written += 1 + size // RECORD_SIZE_MAX
        buffers = self._owner.buffers
        n = bio_read(self._bio_out, buffers.write, READ_SIZE)
        transport.write(buffers.write_view[:n])
        if n == READ_SIZE:
            self._flush()

    def _readable(self) -> None:
        if not self.ready.done():
            self.ready.set_result(None)
        if self._fill() and not self.reason:
            self.abort("it sent data where it only listens", fault=True)


class Incoming(Link):
    """A connection a peer dialled, to be listened to."""

    __slots__ = ("_held", "_left", "_parser", "_renewing", "_seen", "_worked_s", "heard")

    server = True

    def __init__(self, owner: LinkOwner, context: SSL.Context) -> None:
        super().__init__(owner, context)
        self._parser = FrameParser()
        self._held = False
        """The share of this turn is used up: reading goes on in the next one."""
        self._left = TURN_BYTES_MAX
        """What is left of it."""
        self._worked_s = 0.0
        """How long what is used of it took."""
        self._renewing = False
        self._seen = False
        self.heard = 0.0
        """When something came last (loop time)."""

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.reason and self._parser.pending:
            self.reason = "it was cut in the middle of a frame"
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self.heard = asyncio.get_running_loop().time()
        super().data_received(data)

    def _fresh(self, data: bytes) -> bool:
        """Whether these are the first bytes, and no TLS."""
        wrong = not self._seen and data[0] != TLS_HANDSHAKE
        self._seen = True
        return wrong

    def _readable(self) -> None:
        if not self._held:
            self._take()

    def _take(self) -> None:
        """Deliver frames until there are none, or this turn's share is used up."""
        owner, parser = self._owner, self._parser
        left = self._left
        began = time.thread_time()
        try:
            while not self.reason:
                if left <= 0:
                    self._use(left, began)
                    self._hold()
                    return
                frame = parser.next()
                if frame is None:
                    n = self._fill()
                    if not n:
                        break
                    parser.feed(owner.buffers.read_view[:n])
                    continue
                left -= max(len(frame.payload), FRAME_COST_MIN)
                owner.deliver(self, frame.channel, frame.payload)
        except BadFrame as bad:
            self.abort(bad.message, fault=True)
            return
        except BaseException:
            # A mistake of ours: the loop's exception handler is told, this link is of no more use.
            self.abort("a message of it could not be handled")
            raise
        if self._left - left >= BULK_BYTES:
            self._use(left, began)
        if self._held:
            self._held = False
            if self._transport is not None and not self.reason:
                self._transport.resume_reading()

    def _use(self, left: int, began: float) -> None:
        """So much of this turn's share is left: the loop may read again in the same turn."""
        self._left = left
        self._worked_s += time.thread_time() - began
        if not self._renewing:
            self._renewing = True
            asyncio.get_running_loop().call_soon(self._renew)

    def _hold(self) -> None:
        if not self._held:
            self._held = True
            if self._transport is not None:
                self._transport.pause_reading()

    def _renew(self) -> None:
        """A new turn, and a new share: after a rest if more was there."""
        worked_s, self._worked_s = self._worked_s, 0.0
        if self._held and worked_s:
            asyncio.get_running_loop().call_later(REST_PER_WORK * worked_s, self._renew)
            return
        self._renewing = False
        self._left = TURN_BYTES_MAX
        if self._held and self._transport is not None and not self.reason:
            self._take()
