"""Nodes that only speak to each other: identities of one service, messages, a ledger in memory."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pyccf.consensus.api import PeerMessage
from pyccf.crypto.entropy import SeededEntropy
from pyccf.node.outputs import Channel
from pyccf.service.identity import NodeIdentity, ServiceIdentity, make_node, make_service
from pyccf.shell.peers import Peers
from pyccf.types import NodeId, SeqNo

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
    settings: dict[str, Any] = {"connect_timeout_s": 2.0, "idle_timeout_s": 20.0, **options}
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
