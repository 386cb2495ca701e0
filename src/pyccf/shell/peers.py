"""The other nodes: messages to them, messages from them, and nobody else's.

Each node dials the nodes it has something for (`peer_way`), and accepts connections of those that
have something for it (`peer_link`). A connection stands only between two nodes whose certificates
the current service key signed; whether those are still in date does not matter, so that a service
whose certificates all expired can still be repaired. A peer's id is the hash of its key, proved in
the handshake. `accepts` is asked for that id when a connection is made and again for each frame.

What is promised about a message: it arrives whole, once, and after those sent before it on the same
channel and connection; or it does not arrive. Nothing is ever sent twice. A peer that is far behind
costs no memory, and the node is told that the way to it is full (`congested`). Every piece of a
catch-up moves the peer's election timer, so heartbeats queued behind it are not missed.

Refuses, and says so in the log, but not over and over: peers without a certificate, with one of
another service or of nobody, nodes that the service does not list any more, an address at which
another node answers than was asked for, and what `peer_link` refuses.
(spec: node-to-node.md §7, consensus-cft.md §13)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from OpenSSL import SSL

from pyccf.consensus.api import PeerMessage
from pyccf.crypto import certs, chains
from pyccf.errors import LocalError
from pyccf.node.outputs import Channel
from pyccf.shell.frames import ADDRESS_MAX
from pyccf.shell.listen import join_address, split_address
from pyccf.shell.peer_link import Buffers, Incoming, Link, Outgoing
from pyccf.shell.peer_sockets import listening_socket
from pyccf.shell.peer_way import LedgerReader, Way, Ways
from pyccf.shell.quiet import QuietLog
from pyccf.shell.tls import peer_context
from pyccf.types import Json, NodeId

HANDSHAKE_TIMEOUT_S = 10.0
"""Time who dialled has for its handshake."""
STRANGERS_MAX = 64
"""Accepted connections whose handshake is not done; one more ends the oldest."""
INCOMING_PER_PEER = 2
"""Connections of one peer that are listened to: a new one, and one being replaced."""
SWEEP_S = 1.0
CLOSE_GRACE_S = 1.0
"""Time `close` waits for what was sent last to leave."""
CLOSE_LOOK_S = 0.005
TOLD_MAX = 1000
"""Nodes whose word for their address is remembered; one more displaces the oldest."""
BACKLOG = 128
"""Connections the kernel may hold before they are accepted."""


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
        self._receive = receive
        self._accepts = accepts
        self._log = QuietLog(log, lambda: asyncio.get_running_loop().time())
        self._idle_timeout_s = idle_timeout_s
        self._sweep_s = min(SWEEP_S, idle_timeout_s / 4)
        self._ways = Ways(self, ledger, congested, self._log, connect_timeout_s, local_address)
        self._way_to: dict[NodeId, Way] = {}
        self._incoming: dict[Incoming, None] = {}
        self._identity: _Identity | None = None
        self._server: asyncio.AbstractServer | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._closing = False
        self._told: dict[NodeId, str] = {}
        """Where nodes that connected to us said that they listen."""
        self._received_messages = self._received_bytes = self._refused = 0

    # --- what the program calls -----------------------------------------------------------------

    async def start(self, host: str, port: int) -> str:
        """Begin to listen; "host:port" as it really is. Raises LocalError.

        Connections are refused until `identify` was called.
        """
        assert self._server is None, "peers are started once"
        loop = asyncio.get_running_loop()
        sock = await listening_socket(host, port)
        try:
            self._server = await loop.create_server(self._accept, sock=sock, backlog=BACKLOG)
        except OSError as error:
            sock.close()
            raise LocalError(f"Cannot listen on {join_address(host, port)}: {error}") from None
        name = sock.getsockname()
        self._sweeper = loop.call_later(self._sweep_s, self._sweep)
        return join_address(str(name[0]), int(name[1]))

    def identify(
        self,
        node_id: NodeId,
        key_pem: bytes | str,
        cert_pem: str,
        service_cert_pem: str,
        address: str = "",
    ) -> None:
        """Who this node is, and whose nodes it speaks to. Again when a certificate is renewed.

        `address`, host:port, is where it is reached: each node it connects to is told, since one
        that has just joined has no table to look it up. Connections that stand stay; new ones use
        what is new. Raises LocalError when key and certificate do not belong together or the
        service did not sign the certificate.
        """
        key = key_pem.decode() if isinstance(key_pem, bytes) else key_pem
        context = peer_context(cert_pem, key)
        if certs.public_key(cert_pem).id != node_id:
            raise LocalError(f"The certificate of node {node_id} is for another key.")
        if not chains.check_endorsed(cert_pem, service_cert_pem, ignore_time=True):
            raise LocalError(f"The certificate of node {node_id} is not signed by the service.")
        self._identity = _Identity(node_id, context, service_cert_pem, certs.spki(service_cert_pem))
        self._ways.context = context
        self._ways.hello = address.encode()
        for way in self._way_to.values():
            way.connect_if_wanted()

    def send(self, to: NodeId, address: str, channel: Channel, message: PeerMessage) -> bool:
        """Carry a message to a node at "host:port"; what stands in the ledger now follows it.

        Without an address it goes where the node said that it listens, if it ever did. Leaves with
        the next `turn_done`. False when it was dropped at once: too much is waiting already. True
        promises nothing.
        """
        if self._closing:
            return False
        if not address:
            address = self._told.get(to, "")
            if not address:
                return False
        way = self._way_to.get(to)
        if way is None:
            way = self._way_to[to] = Way(self._ways, to, address)
        way.address = address
        return way.send(channel, message, asyncio.get_running_loop().time())

    def turn_done(self) -> None:
        """The messages of this turn of the loop are all there: write them."""
        self._ways.turn_done()

    async def close(self) -> None:
        """Stop listening; let what was sent leave; close every connection."""
        self._closing = True
        self.turn_done()
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._server is not None:
            self._server.close()
        self._ways.context = None
        tasks = [way.stop() for way in self._way_to.values()]
        await asyncio.gather(*(task for task in tasks if task is not None), return_exceptions=True)
        for link in self._links():
            link.close("this node stops")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + CLOSE_GRACE_S
        while self._links():
            if loop.time() > deadline:
                for link in self._links():
                    link.abort("this node stops")
            await asyncio.sleep(CLOSE_LOOK_S)
        if self._server is not None:
            await self._server.wait_closed()

    def metrics(self) -> dict[str, Json]:
        """Counts of connections, messages and bytes; `peers` by node id."""
        return {
            "peers": {way.node_id: way.metrics() for way in self._way_to.values()},
            "incoming": len(self._incoming),
            "received_messages": self._received_messages,
            "received_bytes": self._received_bytes,
            "refused_connections": self._refused,
        }

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
        if not chains.check_endorsed(certificate, identity.service_cert, ignore_time=True):
            return "its certificate is not signed by this service"
        if certs.spki(certificate) == identity.service_key:
            return "it presents the certificate of the service, not of a node"
        try:
            node_id = certs.public_key(certificate).id
        except ValueError:
            return "its certificate is for a kind of key that no node has"
        link.peer = node_id
        if node_id == identity.node_id:
            return "it presents a certificate of this node itself"
        if isinstance(link, Outgoing):
            wanted = link.wanted
            return None if node_id == wanted else f"node {node_id} answers, not node {wanted}"
        assert isinstance(link, Incoming), "a connection has one of two directions"
        if not self._accepts(node_id):
            return f"node {node_id} is not trusted in this network"
        others = [i for i in self._incoming if i.peer == node_id and i is not link and i.open]
        for old in others[: len(others) + 1 - INCOMING_PER_PEER]:
            old.abort("newer connections of the same node replace it")
        self._log.say("info", f"from {node_id}", f"Node {node_id} connected from {link.remote}")
        return None

    def deliver(self, link: Incoming, channel: Channel, payload: bytes) -> None:
        """A frame of a peer came."""
        if not self._accepts(link.peer):
            link.abort(f"node {link.peer} is not trusted in this network any more", fault=True)
            return
        if channel is Channel.HELLO:
            self._hello(link, payload)
            return
        self._received_messages += 1
        self._received_bytes += len(payload)
        self._receive(link.peer, channel, payload)

    def _hello(self, link: Incoming, payload: bytes) -> None:
        """A peer says where it listens. Only used while no table says so."""
        try:
            address = payload[: ADDRESS_MAX + 1].decode()
            if len(payload) > ADDRESS_MAX:
                raise LocalError("it is too long")
            split_address(address)
        except (UnicodeDecodeError, LocalError):
            link.abort("the address it names as its own is none", fault=True)
            return
        self._told.pop(link.peer, None)
        if len(self._told) >= TOLD_MAX:
            del self._told[next(iter(self._told))]
        self._told[link.peer] = address

    def flowing(self, link: Outgoing, yes: bool) -> None:
        """The buffer of a connection is full, or has room again."""
        way = self._way_to.get(link.wanted)
        if way is not None:
            way.flowing(link, yes)

    def ended(self, link: Link, reason: str, fault: bool) -> None:
        """A connection is gone."""
        in_use = True
        if isinstance(link, Outgoing):
            self._ways.links.pop(link, None)
            which = f"Connection to node {link.wanted} at {link.remote}"
            way = self._way_to.get(link.wanted)
            in_use = way is not None and way.lost(link)
        else:
            assert isinstance(link, Incoming), "a connection has one of two directions"
            del self._incoming[link]
            which = f"Connection from {link.remote}"
            if link.peer:
                which += f", node {link.peer}"
        if fault:
            self._refused += 1
            # A stranger's address must not make a new line each time.
            self._log.say("fail", f"refused {link.peer or reason}", f"{which} is refused: {reason}")
        elif in_use and not link.handshaking and not self._closing:
            self._log.say("info", f"ended {link.server} {link.peer}", f"{which} ended: {reason}")

    # --- housekeeping ---------------------------------------------------------------------------

    def _links(self) -> list[Link]:
        return [*self._ways.links, *self._incoming]

    def _sweep(self) -> None:
        """Close what is idle or never came to be."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for link in list(self._incoming):
            if link.handshaking:
                if now - link.since > HANDSHAKE_TIMEOUT_S:
                    link.abort("its handshake took too long")
            elif now - link.heard > self._idle_timeout_s:
                link.abort("nothing came for a long time")
        for way in list(self._way_to.values()):
            if now - way.used > self._idle_timeout_s:
                if way.idle:
                    del self._way_to[way.node_id]
                else:
                    way.rest()
        self._sweeper = loop.call_later(self._sweep_s, self._sweep)


class _Refused(asyncio.Protocol):
    """A connection that comes too early, or too late."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.abort()  # type: ignore[attr-defined]
