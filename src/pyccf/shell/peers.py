"""The other nodes: messages to them, messages from them, and nobody else's.

Each node dials the nodes it has something for, and accepts connections of those that have something
for it (`peer_link`). A connection stands only between two nodes whose certificates the current
service key signed; whether those certificates are still in date does not matter, so that a service
whose certificates all expired can still be repaired. A peer's id is the hash of its key, proved in
the handshake. `accepts` is asked for that id when a connection is made and again for each frame.

What is promised about a message: it arrives whole, once, and after those sent before it on the same
channel and connection; or it does not arrive. Nothing is ever sent twice. While a connection is
being made the newest consensus message waits, and up to `FORWARDS_WAITING_MAX` forwarded ones, for
at most `WAITING_MAX_S`. When a connection breaks, what it had not carried is dropped; the next
message dials again, not sooner than a back-off that grows to `BACKOFF_MAX_S`.

Ledger entries that follow a consensus message are read from the ledger when the message is sent,
in pieces of about `PIECE_BYTES`, each a message of its own. Only so many are handed to the socket
as it takes; the rest stays in the ledger, so a peer that is far behind costs no memory, and the
node is told that the way is full (`congested`). Every piece moves the peer's election timer, so
heartbeats queued behind it are not missed. Entries cut from the ledger meanwhile are not sent.

Refuses, and says so in the log, but not more than once in `LOG_EVERY_S` for one reason: peers
without a certificate, with one of another service or of nobody, nodes that the service does not
list any more, an address at which another node answers than was asked for, and what `peer_link`
refuses. (spec: node-to-node.md §7, consensus-cft.md §13)
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, Protocol

from OpenSSL import SSL

from pyccf.consensus.api import PeerMessage
from pyccf.crypto import certs
from pyccf.errors import LocalError
from pyccf.node.outputs import Channel
from pyccf.shell.frames import encode_header, fits
from pyccf.shell.listen import join_address, split_address
from pyccf.shell.peer_link import Buffers, Incoming, Link, Outgoing
from pyccf.shell.tls import peer_context
from pyccf.types import Json, NodeId, SeqNo

PIECE_BYTES = 256 * 1024
"""Entries that follow one message; a single larger one goes alone."""
TURN_BYTES_MAX = 1024 * 1024
"""Bytes of one peer's messages written at once, before entries have to wait."""
QUEUE_MAX = 256
"""Consensus messages that wait behind entries; more are dropped."""
FORWARDS_WAITING_MAX = 10
"""Forwarded messages kept while a connection is being made (spec: node-to-node.md §3.6)."""
FORWARD_BUFFER_MAX = 16 * 1024 * 1024
"""Bytes waiting for one peer above which forwarded messages are dropped."""
WAITING_MAX_S = 5.0
"""Age at which a message that waits for a connection is dropped."""
BACKOFF_MIN_S = 0.05
BACKOFF_MAX_S = 1.0
STABLE_S = 1.0
"""A connection that stood so long is no failed attempt."""
DEAD_AFTER_MS = 2000
"""Time without acknowledgement after which the other machine is taken for gone."""
KEEPALIVE_S = 1
KEEPALIVE_PROBES = 3
RECORDS_MAX = 1 << 23
"""TLS records after which a new connection, with new keys, replaces one (RFC 8446 5.5)."""
HANDSHAKE_TIMEOUT_S = 10.0
"""Time who dialled has for its handshake."""
STRANGERS_MAX = 64
"""Accepted connections whose handshake is not done; one more ends the oldest."""
INCOMING_PER_PEER = 2
"""Connections of one peer that are listened to: a new one, and one being replaced."""
SWEEP_S = 1.0
CLOSE_GRACE_S = 1.0
"""Time `close` waits for what was sent last to leave."""
LOG_EVERY_S = 10.0
LOG_REASONS_MAX = 256
BACKLOG = 128


class LedgerReader(Protocol):
    """The ledger, for what follows consensus messages."""

    @property
    def cuts(self) -> int:
        """How often entries were cut off the end of the ledger."""
        ...

    def raw(self, first: SeqNo, last: SeqNo, bytes_max: int) -> tuple[bytes, SeqNo]:
        """Entries first..k as they stand in the ledger, back to back, and k.

        k is `last`, or less when there would be more than `bytes_max` bytes; one entry is given
        whatever its size. Without the entry `first`: no bytes, and first - 1.
        """
        ...


class _Waiting(NamedTuple):
    """A consensus message whose entries are not read yet."""

    message: PeerMessage
    cuts: int
    """State of the ledger that the message speaks of."""
    since: float


class _Peer:
    """The way to one node."""

    __slots__ = (
        "address",
        "congested",
        "dialling",
        "dropped",
        "failures",
        "forwards",
        "link",
        "node_id",
        "not_before",
        "out",
        "out_bytes",
        "queue",
        "retry",
        "sent_bytes",
        "sent_frames",
        "used",
    )

    def __init__(self, node_id: NodeId, address: str) -> None:
        self.node_id = node_id
        self.address = address
        self.link: Outgoing | None = None
        self.dialling: asyncio.Task[None] | None = None
        self.retry: asyncio.TimerHandle | None = None
        self.not_before = 0.0
        self.failures = 0
        self.used = 0.0
        self.queue: deque[_Waiting] = deque()
        self.forwards: deque[tuple[bytes, float]] = deque()
        self.out: list[bytes] = []
        """Frames to write at the end of this turn."""
        self.out_bytes = 0
        self.congested = False
        self.sent_frames = self.sent_bytes = self.dropped = 0


class _Identity(NamedTuple):
    node_id: NodeId
    context: SSL.Context
    service_cert: str
    service_key: bytes


class Peers:
    """All connections of one node to others.

    `receive` gets each frame of a peer; whoever gives it sees to it that what the node then asks
    for is done, and `turn_done` called, in the same turn of the loop. `congested` gets the state of
    the way to a peer; it may also be called while `send` or `turn_done` runs. `accepts` says
    whether a node may speak to us. `local_address`, host or host:port, is where connections are
    dialled from.
    """

    def __init__(
        self,
        *,
        ledger: LedgerReader,
        receive: Callable[[NodeId, Channel, bytes], None],
        congested: Callable[[NodeId, bool], None],
        accepts: Callable[[NodeId], bool],
        log: Callable[[str, str], None],
        connect_timeout_s: float,
        idle_timeout_s: float,
        local_address: str | None = None,
    ) -> None:
        self.buffers = Buffers()
        self._ledger = ledger
        self._receive = receive
        self._congested = congested
        self._accepts = accepts
        self._log = log
        self._connect_timeout_s = connect_timeout_s
        self._idle_timeout_s = idle_timeout_s
        self._local_address = local_address
        self._identity: _Identity | None = None
        self._server: asyncio.AbstractServer | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._closing = False
        self._peers: dict[NodeId, _Peer] = {}
        self._incoming: dict[Incoming, None] = {}
        self._outgoing: dict[Outgoing, None] = {}
        self._dirty: dict[_Peer, None] = {}
        self._pumping: dict[_Peer, None] = {}
        self._pump_soon = False
        self._read: tuple[SeqNo, SeqNo, int] = (0, 0, 0)
        self._read_result: tuple[bytes, SeqNo] = (b"", 0)
        self._said: dict[str, tuple[float, int]] = {}
        self._received_frames = self._received_bytes = self._refused = 0

    # --- life -----------------------------------------------------------------------------------

    async def start(self, host: str, port: int) -> str:
        """Begin to listen; "host:port" as it really is. Raises LocalError.

        Connections are refused until `identify` was called.
        """
        assert self._server is None, "peers are started once"
        loop = asyncio.get_running_loop()
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
            _watch(sock)  # what is accepted inherits it
            sock.bind(target)
            sock.setblocking(False)
            self._server = await loop.create_server(self._accept, sock=sock, backlog=BACKLOG)
        except OSError as error:
            if sock is not None:
                sock.close()
            raise LocalError(
                f"Cannot listen on {join_address(host, port)}"
                f" (network.node_to_node_interface): {_cause(error)}",
                hint="Stop whatever uses this address, or choose another one (port 0 is free).",
            ) from None
        name = sock.getsockname()
        self._sweeper = loop.call_later(self._sweep_s, self._sweep)
        return join_address(str(name[0]), int(name[1]))

    def identify(
        self, node_id: NodeId, key_pem: bytes | str, cert_pem: str, service_cert_pem: str
    ) -> None:
        """Who this node is, and whose nodes it speaks to. Again when a certificate is renewed.

        Connections that stand stay; new ones use what is new. Raises LocalError when key and
        certificate do not belong together or the service did not sign the certificate.
        """
        key = key_pem.decode() if isinstance(key_pem, bytes) else key_pem
        context = peer_context(cert_pem, key)
        if certs.public_key(cert_pem).id != node_id:
            raise LocalError(f"The certificate of node {node_id} is for another key.")
        if not certs.check_endorsed(cert_pem, service_cert_pem, ignore_time=True):
            raise LocalError(f"The certificate of node {node_id} is not signed by the service.")
        self._identity = _Identity(node_id, context, service_cert_pem, certs.spki(service_cert_pem))

    async def close(self) -> None:
        """Stop listening; let what was sent leave; close every connection."""
        self._closing = True
        for peer in list(self._peers.values()):
            peer.queue.clear()
            peer.forwards.clear()
        self.turn_done()
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._server is not None:
            self._server.close()
        tasks = [p.dialling for p in self._peers.values() if p.dialling is not None]
        for peer in self._peers.values():
            if peer.retry is not None:
                peer.retry.cancel()
            if peer.dialling is not None:
                peer.dialling.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for link in [*self._outgoing, *self._incoming]:
            link.close("this node stops")
        deadline = asyncio.get_running_loop().time() + CLOSE_GRACE_S
        while self._outgoing or self._incoming:
            if asyncio.get_running_loop().time() > deadline:
                for link in [*self._outgoing, *self._incoming]:
                    link.abort("this node stops")
            await asyncio.sleep(0.005)
        if self._server is not None:
            await self._server.wait_closed()

    # --- sending --------------------------------------------------------------------------------

    def send(self, to: NodeId, address: str, channel: Channel, message: PeerMessage) -> bool:
        """Carry a message to a node at "host:port"; what stands in the ledger now follows it.

        Leaves with the next `turn_done`. False when it was dropped at once: too much is waiting
        already. True promises nothing.
        """
        peer = self._peers.get(to)
        if peer is None:
            peer = self._peers[to] = _Peer(to, address)
        peer.address = address
        now = peer.used = asyncio.get_running_loop().time()
        if self._closing:
            return False
        if peer.link is not None and not peer.link.open:
            self._lost(peer.link)
        if peer.link is None:
            kept = self._keep(peer, channel, message, now)
            self._dial(peer)
            return kept
        if channel is Channel.FORWARD:
            return self._send_forward(peer, message.encode())
        if peer.queue or peer.link.full:
            if len(peer.queue) >= QUEUE_MAX:
                peer.dropped += 1
                return False
            peer.queue.append(_Waiting(message, self._ledger.cuts, now))
            return True
        rest = self._put(peer, message, TURN_BYTES_MAX)
        if rest is not None:
            peer.queue.append(_Waiting(rest, self._ledger.cuts, now))
            self._pump(peer)
        return True

    def turn_done(self) -> None:
        """The messages of this turn of the loop are all there: write them."""
        self._read = (0, 0, 0)
        self._read_result = (b"", 0)
        if self._dirty:
            dirty, self._dirty = self._dirty, {}
            for peer in dirty:
                self._write(peer)

    def _keep(self, peer: _Peer, channel: Channel, message: PeerMessage, now: float) -> bool:
        """Keep a message while there is no connection."""
        if channel is Channel.FORWARD:
            if len(peer.forwards) >= FORWARDS_WAITING_MAX:
                peer.dropped += 1
                return False
            peer.forwards.append((message.encode(), now))
            return True
        peer.dropped += len(peer.queue)
        peer.queue.clear()
        peer.queue.append(_Waiting(message, self._ledger.cuts, now))
        return True

    def _send_forward(self, peer: _Peer, payload: bytes) -> bool:
        link = peer.link
        assert link is not None, "a forwarded message is sent on a connection"
        if peer.out_bytes + link.buffered > FORWARD_BUFFER_MAX:
            peer.dropped += 1
            return False
        return self._frame(peer, Channel.FORWARD, payload, b"")

    def _put(self, peer: _Peer, message: PeerMessage, bytes_max: int) -> PeerMessage | None:
        """Frame a message and its entries; what of it has to wait once `bytes_max` are out."""
        first, last = message.first, message.last
        if first > last:
            self._frame(peer, Channel.CONSENSUS, message.encode(), b"")
            return None
        while True:
            entries, upto = self._entries(first, last)
            if not entries:
                peer.dropped += 1
                self._say("debug", f"gone {peer.node_id}", f"Entries from {first} on are gone.")
                return None
            if upto >= last:
                self._frame(peer, Channel.CONSENSUS, message.encode(), entries)
                return None
            self._frame(peer, Channel.CONSENSUS, message.upto(upto).encode(), entries)
            message = message.after(upto)
            first = upto + 1
            if peer.out_bytes >= bytes_max:
                return message

    def _entries(self, first: SeqNo, last: SeqNo) -> tuple[bytes, SeqNo]:
        """A piece of the ledger. The same piece goes to several peers in one turn."""
        wanted = (first, last, self._ledger.cuts)
        if wanted != self._read:
            found = self._ledger.raw(first, last, PIECE_BYTES)
            if not found[0]:
                return found
            self._read, self._read_result = wanted, found
        return self._read_result

    def _frame(self, peer: _Peer, channel: Channel, payload: bytes, entries: bytes) -> bool:
        size = len(payload) + len(entries)
        if not fits(size):
            peer.dropped += 1
            self._say(
                "fail",
                f"size {peer.node_id}",
                f"A message of {size} bytes cannot be sent to a node.",
            )
            return False
        out = peer.out
        if not out:
            self._dirty[peer] = None
        out.append(encode_header(channel, size))
        out.append(payload)
        if entries:
            out.append(entries)
        peer.out_bytes += size
        peer.sent_frames += 1
        peer.sent_bytes += size
        return True

    def _write(self, peer: _Peer) -> None:
        """Hand a peer's frames to its connection."""
        link = peer.link
        data = b"".join(peer.out)
        peer.out.clear()
        peer.out_bytes = 0
        if link is None or not data:
            return
        link.write(data)
        if link.written >= RECORDS_MAX and peer.dialling is None:
            self._dial(peer)

    # --- catching up ----------------------------------------------------------------------------

    def _pump(self, peer: _Peer) -> None:
        """Go on with what waits for a peer, a piece in each turn of the loop."""
        self._pumping[peer] = None
        self._tell(peer)
        if not self._pump_soon:
            self._pump_soon = True
            asyncio.get_running_loop().call_soon(self._pump_all)

    def _pump_all(self) -> None:
        self._pump_soon = False
        pumping, self._pumping = self._pumping, {}
        for peer in pumping:
            link = peer.link
            if link is None or link.full:
                continue
            while peer.queue and peer.out_bytes < PIECE_BYTES:
                waiting = peer.queue.popleft()
                message = waiting.message
                if message.first <= message.last and waiting.cuts != self._ledger.cuts:
                    peer.dropped += 1  # it speaks of a ledger that is no more
                    continue
                rest = self._put(peer, message, PIECE_BYTES)
                if rest is not None:
                    peer.queue.appendleft(_Waiting(rest, waiting.cuts, waiting.since))
            self._dirty.pop(peer, None)
            self._write(peer)
            if peer.queue and not link.full:
                self._pump(peer)
            else:
                self._tell(peer)

    def _tell(self, peer: _Peer) -> None:
        """Tell the node when the way to a peer gets full or free."""
        link = peer.link
        congested = link is not None and (link.full or bool(peer.queue))
        if congested != peer.congested:
            peer.congested = congested
            self._congested(peer.node_id, congested)

    def flowing(self, link: Outgoing, yes: bool) -> None:
        """What a connection tells of its buffer."""
        peer = self._peers.get(link.wanted)
        if peer is None or peer.link is not link:
            return
        if yes and peer.queue:
            self._pump(peer)
        else:
            self._tell(peer)

    # --- dialling -------------------------------------------------------------------------------

    def _dial(self, peer: _Peer) -> None:
        """Make a connection, now or when the back-off is over."""
        if peer.dialling is not None or peer.retry is not None:
            return
        if self._identity is None or self._closing:
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now < peer.not_before:
            peer.retry = loop.call_at(peer.not_before, self._dial_again, peer)
            return
        peer.dialling = loop.create_task(self._connect(peer, self._identity))

    def _dial_again(self, peer: _Peer) -> None:
        peer.retry = None
        self._expire(peer)
        if peer.link is None and (peer.queue or peer.forwards):
            self._dial(peer)

    def _expire(self, peer: _Peer) -> None:
        """Drop what waited too long for a connection."""
        if peer.link is None:
            oldest = asyncio.get_running_loop().time() - WAITING_MAX_S
            while peer.forwards and peer.forwards[0][1] < oldest:
                peer.forwards.popleft()
                peer.dropped += 1
            while peer.queue and peer.queue[0].since < oldest:
                peer.queue.popleft()
                peer.dropped += 1

    async def _connect(self, peer: _Peer, identity: _Identity) -> None:
        address = peer.address
        link: Outgoing | None = None
        reason = ""
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                sock = await self._reach(address)
                loop = asyncio.get_running_loop()
                link = Outgoing(self, identity.context, peer.node_id)
                self._outgoing[link] = None
                made = link
                try:
                    await loop.create_connection(lambda: made, sock=sock)
                except BaseException:
                    self._outgoing.pop(link, None)
                    sock.close()
                    raise
                await link.ready
        except TimeoutError:
            reason = f"no answer within {self._connect_timeout_s:g} s"
        except LocalError as error:
            reason = error.message
        except OSError as error:
            reason = _cause(error)
        finally:
            peer.dialling = None
            if link is not None and (link.handshaking or not link.open):
                reason = reason or ("" if link.fault else link.reason)
                link.abort(reason or "given up")
                link = None
        if link is not None:
            self._connected(peer, link)
            return
        if reason:
            self._say(
                "info",
                f"dial {peer.node_id}",
                f"Cannot reach node {peer.node_id} at {address}: {reason}",
            )
        self._failed(peer)

    async def _reach(self, address: str) -> socket.socket:
        """A TCP connection to "host:port". Raises OSError, LocalError."""
        loop = asyncio.get_running_loop()
        host, port = split_address(address)
        error: OSError = OSError("the name has no address")
        for family, kind, protocol, _, target in await loop.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        ):
            sock = socket.socket(family, kind, protocol)
            try:
                sock.setblocking(False)
                _watch(sock)
                if self._local_address is not None:
                    sock.bind(await self._local(family))
                await loop.sock_connect(sock, target)
            except OSError as refused:
                sock.close()
                error = refused
            except BaseException:
                sock.close()
                raise
            else:
                return sock
        raise error

    async def _local(self, family: int) -> tuple[object, ...]:
        """The address to dial from."""
        text = self._local_address
        assert text is not None, "asked for when there is one"
        host, port = (text, 0)
        with suppress(LocalError):
            host, port = split_address(text)
        found = await asyncio.get_running_loop().getaddrinfo(
            host.strip("[]"), port, family=family, type=socket.SOCK_STREAM
        )
        return found[0][4]

    def _connected(self, peer: _Peer, link: Outgoing) -> None:
        """A new connection stands: it replaces an old one, and takes what was waiting."""
        old, peer.link = peer.link, link
        if old is not None:
            old.close("a new connection replaces it")
        self._say(
            "info", f"to {peer.node_id}", f"Connected to node {peer.node_id} at {link.remote}"
        )
        while peer.forwards:
            self._send_forward(peer, peer.forwards.popleft()[0])
        if peer.queue:
            self._pump(peer)
        if peer.out:
            self._dirty.pop(peer, None)
            self._write(peer)
        self._tell(peer)

    def _failed(self, peer: _Peer) -> None:
        """An attempt was in vain: the next one waits a little longer than the last."""
        peer.failures += 1
        pause = min(BACKOFF_MAX_S, BACKOFF_MIN_S * 2 ** min(peer.failures - 1, 10))
        loop = asyncio.get_running_loop()
        peer.not_before = loop.time() + pause * random.uniform(0.5, 1.0)
        self._expire(peer)
        if peer.link is None and (peer.queue or peer.forwards):
            self._dial(peer)

    # --- what connections tell ------------------------------------------------------------------

    def _accept(self) -> asyncio.Protocol:
        identity = self._identity
        if identity is None or self._closing:
            return _Refused()
        strangers = [link for link in self._incoming if link.handshaking]
        if len(strangers) >= STRANGERS_MAX:
            strangers[0].abort("too many connections whose handshake is not done")
        link = Incoming(self, identity.context)
        self._incoming[link] = None
        return link

    def established(self, link: Link, certificate: bytes | None) -> str | None:
        """Judge the other side's certificate; why it will not do, or None."""
        identity = self._identity
        assert identity is not None, "connections are made by nodes that know who they are"
        if certificate is None:
            return "it has no certificate"
        if not certs.check_endorsed(certificate, identity.service_cert, ignore_time=True):
            return "its certificate is not signed by this service"
        if certs.spki(certificate) == identity.service_key:
            return "it presents the certificate of the service, not of a node"
        try:
            node_id = certs.public_key(certificate).id
        except ValueError:
            return "its certificate is for a kind of key that no node has"
        link.peer = node_id
        if node_id == identity.node_id:
            return "it presents this node's own certificate"
        if isinstance(link, Outgoing):
            if node_id != link.wanted:
                return f"node {node_id} answers there, not node {link.wanted}"
            return None
        assert isinstance(link, Incoming), "a connection has one of two directions"
        if not self._accepts(node_id):
            return f"node {node_id} is not trusted in this network"
        link.heard = link.since
        others = [i for i in self._incoming if i.peer == node_id and i is not link and i.open]
        for old in others[: len(others) + 1 - INCOMING_PER_PEER]:
            old.abort("newer connections of the same node replace it")
        self._say("info", f"from {node_id}", f"Node {node_id} connected from {link.remote}")
        return None

    def deliver(self, link: Incoming, channel: Channel, payload: bytes) -> None:
        """A frame of a peer came."""
        if not self._accepts(link.peer):
            link.abort(f"node {link.peer} is not trusted in this network any more", fault=True)
            return
        self._received_frames += 1
        self._received_bytes += len(payload)
        self._receive(link.peer, channel, payload)

    def ended(self, link: Link, reason: str, fault: bool) -> None:
        """A connection is gone."""
        if isinstance(link, Outgoing):
            self._outgoing.pop(link, None)
            if fault:
                self._complain(link, f"Connection to node {link.wanted} at {link.remote}", reason)
            standing = self._lost(link)
            if standing and not fault and not self._closing:
                self._say(
                    "info",
                    f"lost {link.wanted}",
                    f"Connection to node {link.wanted} ended: {reason}",
                )
            return
        assert isinstance(link, Incoming), "a connection has one of two directions"
        self._incoming.pop(link, None)
        whose = f"node {link.peer}, {link.remote}," if link.peer else link.remote
        if fault:
            self._complain(link, f"Connection from {whose}", reason)
        elif not link.handshaking and not self._closing:
            self._say("info", f"gone {link.peer}", f"Connection from {whose} ended: {reason}")

    def _complain(self, link: Link, which: str, reason: str) -> None:
        self._refused += 1
        # A stranger's address must not make a new line each time.
        kind = link.peer or reason
        self._say("fail", f"refused {kind}", f"{which} is refused: {reason}")

    def _lost(self, link: Outgoing) -> bool:
        """A connection carries nothing more; whether it was the one in use."""
        peer = self._peers.get(link.wanted)
        if peer is None or peer.link is not link:
            return False
        peer.link = None
        peer.dropped += len(peer.queue)
        peer.queue.clear()
        peer.out.clear()
        peer.out_bytes = 0
        self._dirty.pop(peer, None)
        if asyncio.get_running_loop().time() - link.since < STABLE_S:
            self._failed(peer)
        else:
            peer.failures = 0
            peer.not_before = 0.0
        self._tell(peer)
        return True

    # --- housekeeping ---------------------------------------------------------------------------

    @property
    def _sweep_s(self) -> float:
        return min(SWEEP_S, self._idle_timeout_s / 4)

    def _sweep(self) -> None:
        """Close what is idle or never came to be."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for link in list(self._incoming):
            if link.handshaking:
                if now - link.since > HANDSHAKE_TIMEOUT_S:
                    link.abort("its handshake took too long")
            elif now - link.heard > self._idle_timeout_s:
                link.abort("nothing came for too long")
        for peer in list(self._peers.values()):
            if now - peer.used > self._idle_timeout_s:
                if peer.link is not None:
                    peer.link.close("nothing was sent for a long time")
                elif peer.dialling is None and peer.retry is None:
                    del self._peers[peer.node_id]
        self._sweeper = loop.call_later(self._sweep_s, self._sweep)

    def _say(self, level: str, key: str, text: str) -> None:
        """Log, but not the same thing over and over."""
        now = asyncio.get_running_loop().time()
        last, untold = self._said.get(key, (-LOG_EVERY_S, 0))
        if now - last < LOG_EVERY_S:
            self._said[key] = (last, untold + 1)
            return
        if len(self._said) >= LOG_REASONS_MAX:
            self._said.clear()
        self._said[key] = (now, 0)
        self._log(level, f"{text} ({untold} more like this)" if untold else text)

    def metrics(self) -> dict[str, Json]:
        """Counts of connections, messages and bytes."""
        peers: dict[str, Json] = {
            peer.node_id: {
                "connected": peer.link is not None,
                "congested": peer.congested,
                "queued": len(peer.queue) + len(peer.forwards),
                "buffered_bytes": 0 if peer.link is None else peer.link.buffered,
                "sent_messages": peer.sent_frames,
                "sent_bytes": peer.sent_bytes,
                "dropped_messages": peer.dropped,
            }
            for peer in self._peers.values()
        }
        return {
            "peers": peers,
            "incoming": len(self._incoming),
            "received_messages": self._received_frames,
            "received_bytes": self._received_bytes,
            "refused_connections": self._refused,
        }


class _Refused(asyncio.Protocol):
    """A connection that comes too early, or too late."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.abort()  # type: ignore[attr-defined]


def _watch(sock: socket.socket) -> None:
    """Have the kernel notice that the other machine is gone, and send small messages at once."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_S),
        ("TCP_KEEPINTVL", KEEPALIVE_S),
        ("TCP_KEEPCNT", KEEPALIVE_PROBES),
        ("TCP_USER_TIMEOUT", DEAD_AFTER_MS),
    ):
        option = getattr(socket, name, None)  # not on every operating system
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _cause(error: OSError) -> str:
    if error.errno is not None and error.errno > 0 and not isinstance(error, socket.gaierror):
        return os.strerror(error.errno)
    return error.strerror or str(error)
