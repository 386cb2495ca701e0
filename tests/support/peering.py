"""Nodes that only speak to each other: identities of one service, messages, a ledger in memory.

`post` is a node, `dialled` a stranger that dials one, `answering` one that is dialled, and `pipe`
the network between two nodes, which may lose its nerve.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pyccf.consensus.api import PeerMessage
from pyccf.crypto.entropy import SeededEntropy
from pyccf.node.outputs import Channel
from pyccf.service.identity import NodeIdentity, ServiceIdentity, make_node, make_service
from pyccf.shell.listen import join_address, split_address
from pyccf.shell.peers import Peers
from pyccf.shell.tls import PEER_PROTOCOL
from pyccf.types import NodeId, SeqNo
from support.listening import Client, client_tls, present

NOW = 1_760_000_000
DAYS = 365


@cache
def service(name: str = "service") -> ServiceIdentity:
    return make_service(entropy=SeededEntropy(name.encode()), not_before=NOW, days=DAYS)


@dataclass(frozen=True)
class Identity:
    """Who a node is: what `Peers.identify` takes."""

    node: NodeIdentity
    cert_pem: str
    service_cert_pem: str

    @property
    def id(self) -> NodeId:
        return self.node.node_id

    @property
    def key_pem(self) -> str:
        return self.node.key.pem()

    def renewed(self, serial: str) -> Identity:
        """The same node with another certificate."""
        cert = service().endorse(self.node.csr_pem, NOW + 60, DAYS, SeededEntropy(serial.encode()))
        return Identity(self.node, cert, self.service_cert_pem)


@cache
def identity(
    name: str, *, of: str = "service", not_before: int = NOW, days: int = DAYS
) -> Identity:
    """A node endorsed by the service called `of`."""
    entropy = SeededEntropy(f"node {name}".encode())
    node = make_node(entropy=entropy, not_before=NOW, days=DAYS, sans=["iPAddress:127.0.0.1"])
    issuer = service(of)
    cert = issuer.endorse(node.csr_pem, not_before, days, entropy)
    return Identity(node, cert, issuer.cert_pem)


class Note:
    """A message: a text, and the range of entries that follow it."""

    _RANGE = struct.Struct("<QQ")

    def __init__(self, text: str, first: SeqNo = 1, last: SeqNo = 0) -> None:
        self.text = text
        self.first = first
        self.last = last

    def encode(self) -> bytes:
        text = self.text.encode()
        return bytes([len(text)]) + text + self._RANGE.pack(self.first, self.last)

    def upto(self, seqno: SeqNo) -> PeerMessage:
        return Note(self.text, self.first, seqno)

    def after(self, seqno: SeqNo) -> PeerMessage:
        return Note(self.text, seqno + 1, self.last)


@dataclass(frozen=True)
class Heard:
    """A note as it arrived."""

    sender: NodeId
    channel: Channel
    text: str
    first: SeqNo
    last: SeqNo
    entries: bytes

    @classmethod
    def parse(cls, sender: NodeId, channel: Channel, data: bytes) -> Heard:
        size = data[0]
        first, last = Note._RANGE.unpack_from(data, 1 + size)
        text = data[1 : 1 + size].decode()
        return cls(sender, channel, text, first, last, data[1 + size + 16 :])


class MemoryLedger:
    """Entries by seqno, and how often they were read."""

    def __init__(self, entries: list[bytes] | None = None) -> None:
        self.entries = entries if entries is not None else []
        self.cuts = 0
        self.reads = 0

    def cut(self, seqno: SeqNo) -> None:
        del self.entries[seqno:]
        self.cuts += 1

    def raw(self, first: SeqNo, last: SeqNo, bytes_max: int) -> tuple[bytes, SeqNo]:
        self.reads += 1
        taken: list[bytes] = []
        size = 0
        for data in self.entries[first - 1 : last]:
            size += len(data)
            if taken and size > bytes_max:
                break
            taken.append(data)
        return b"".join(taken), first - 1 + len(taken)


@dataclass
class Post:
    """A node's `Peers`, and everything it was told."""

    identity: Identity
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    heard: list[Heard] = field(default_factory=list)
    congestion: list[tuple[NodeId, bool]] = field(default_factory=list)
    lines: list[tuple[str, str]] = field(default_factory=list)
    refused: set[NodeId] = field(default_factory=set)
    hook: Callable[[Heard], None] | None = None
    address: str = ""
    peers: Peers = field(init=False)

    @property
    def id(self) -> NodeId:
        return self.identity.id

    def receive(self, sender: NodeId, channel: Channel, data: bytes) -> None:
        note = Heard.parse(sender, channel, data)
        self.heard.append(note)
        if self.hook is not None:
            self.hook(note)

    def send(
        self, to: Post, note: Note, channel: Channel = Channel.CONSENSUS, *, at: str = ""
    ) -> bool:
        """Send in a turn of its own."""
        kept = self.peers.send(to.id, at or to.address, channel, note)
        self.peers.turn_done()
        return kept

    @property
    def texts(self) -> list[str]:
        return [note.text for note in self.heard]

    def logged(self, words: str) -> bool:
        return any(words in text for _, text in self.lines)


@asynccontextmanager
async def post(
    who: Identity,
    ledger: MemoryLedger | None = None,
    *,
    port: int = 0,
    identified: bool = True,
    **options: Any,
) -> AsyncIterator[Post]:
    """A started node, closed afterwards."""
    made = Post(who, ledger if ledger is not None else MemoryLedger())
    settings: dict[str, Any] = {"connect_timeout_s": 60.0, "idle_timeout_s": 60.0, **options}
    made.peers = Peers(
        ledger=made.ledger,
        receive=made.receive,
        congested=lambda peer, yes: made.congestion.append((peer, yes)),
        accepts=lambda peer: peer not in made.refused,
        log=lambda level, text: made.lines.append((level, text)),
        **settings,
    )
    made.address = await made.peers.start("127.0.0.1", port)
    if identified:
        made.peers.identify(who.id, who.key_pem, who.cert_pem, who.service_cert_pem)
    try:
        yield made
    finally:
        await made.peers.close()


def presenting(folder: Path, cert_pem: str, key_pem: str) -> ssl.SSLContext:
    """How a client presents a certificate to a node."""
    context = client_tls([PEER_PROTOCOL.decode()])
    present(context, folder, cert_pem, key_pem)
    return context


@asynccontextmanager
async def dialled(to: Post, context: ssl.SSLContext | None) -> AsyncIterator[Client]:
    """A connection to a node by somebody who writes bytes; plain TCP without a context."""
    host, port = split_address(to.address)
    reader, writer = await asyncio.open_connection(host, port, ssl=context)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()
        with suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()


class Answering:
    """Somebody who listens where a node is expected, and reads only when told to."""

    def __init__(self) -> None:
        self.address = ""
        self.data = bytearray()
        self.connections: list[asyncio.Transport] = []
        self.reading = True


@asynccontextmanager
async def answering(context: ssl.SSLContext | None, port: int = 0) -> AsyncIterator[Answering]:
    """Listen with a server's context, or in plain TCP."""
    made = Answering()

    class Connection(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            made.connections.append(transport)  # type: ignore[arg-type]
            if not made.reading:
                transport.pause_reading()  # type: ignore[attr-defined]

        def data_received(self, data: bytes) -> None:
            made.data += data

    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", port, ssl=context)
    made.address = join_address(*server.sockets[0].getsockname()[:2])
    try:
        yield made
    finally:
        server.close()
        for transport in made.connections:
            transport.abort()
        await asyncio.sleep(0.01)


def serving(folder: Path, who: Identity) -> ssl.SSLContext:
    """How somebody with a node's key answers."""
    path = folder / "server.pem"
    path.write_text(who.cert_pem + who.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(path)
    context.set_alpn_protocols([PEER_PROTOCOL.decode()])
    return context


class Pipe:
    """The network between a node and `to`: everything passes, unless it is told otherwise."""

    def __init__(self, to: str) -> None:
        self.to = to
        self.address = ""
        self.seen: list[bytes] = []
        """What the side that dialled sent, chunk by chunk."""
        self.mangle: Callable[[bytes], bytes] = bytes
        """What becomes of it."""
        self.flows = asyncio.Event()
        self.flows.set()
        self.writers: list[asyncio.StreamWriter] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        host, port = split_address(self.to)
        try:
            onward_reader, onward_writer = await asyncio.open_connection(host, port)
        except OSError:
            writer.transport.abort()
            return
        self.writers.append(onward_writer)
        self.tasks += [
            asyncio.create_task(self._carry(reader, onward_writer, there=True)),
            asyncio.create_task(self._carry(onward_reader, writer, there=False)),
        ]

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, there: bool
    ) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                await self.flows.wait()
                if there:
                    self.seen.append(data)
                    data = self.mangle(data)
                writer.write(data)
                await writer.drain()
        writer.close()

    def cut(self) -> None:
        """Break every connection."""
        for writer in self.writers:
            writer.transport.abort()
        self.writers.clear()


@asynccontextmanager
async def pipe(to: str, port: int = 0) -> AsyncIterator[Pipe]:
    made = Pipe(to)
    server = await asyncio.start_server(made.accept, "127.0.0.1", port)
    made.address = join_address(*server.sockets[0].getsockname()[:2])
    try:
        yield made
    finally:
        server.close()
        made.cut()
        for task in made.tasks:
            task.cancel()
        await asyncio.gather(*made.tasks, return_exceptions=True)
        await asyncio.sleep(0.01)
