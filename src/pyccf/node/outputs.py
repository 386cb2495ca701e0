"""What a node asks its shell to do. Executed in order; nothing here acts by itself."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import TypeAlias

import msgspec

from pyccf.consensus.api import PeerMessage
from pyccf.ledger.entry import Entry
from pyccf.types import Millis, NodeId, SeqNo


class Append(msgspec.Struct, frozen=True):
    """Write these entries to the ledger, then tell the node `persisted`."""

    entries: list[Entry]


class Truncate(msgspec.Struct, frozen=True):
    """Entries after `seqno` never happened: cut the ledger there."""

    seqno: SeqNo


class Committed(msgspec.Struct, frozen=True):
    """Everything up to `seqno` is committed; completed chunks may take their final names."""

    seqno: SeqNo


class Begin(msgspec.Struct, frozen=True):
    """The ledger begins after `seqno`, where a snapshot was taken, or with 0 at its beginning.

    What of it is on disk already is compared with what will be appended.
    """

    seqno: SeqNo


class SaveSnapshot(msgspec.Struct, frozen=True):
    """Write a snapshot that is committed, then tell the node `snapshot_saved`.

    Everything else goes on meanwhile; what has been written must be durable when that is told.
    """

    name: str
    """Of the file while it is being written."""
    pieces: list[bytes]


class Fetch(msgspec.Struct, frozen=True):
    """Read entries first..last from the ledger, then tell the node `fetched`."""

    first: SeqNo
    last: SeqNo


class Replay(msgspec.Struct, frozen=True):
    """Read some of the entries first..last when other work allows, then tell the node `replayed`.

    How many is for the shell to say; none when the ledger has no entry `first`.
    """

    first: SeqNo
    last: SeqNo


class BeginRecovery(msgspec.Struct, frozen=True):
    """The ledger of the service that is recovered ends at `seqno`.

    Files begun from now on belong to a recovery that is not complete, and say so by their names.
    """

    seqno: SeqNo
    reason: str | None
    """This node goes on from there; what follows in its files is set aside, and this is why. None:
    it gets everything from another node."""


class EndRecovery(msgspec.Struct, frozen=True):
    """The recovered service is open: its ledger files are like any others."""


class StoreSpilled(msgspec.Struct, frozen=True):
    """Keep bytes under a name until this process ends; tell if that cannot be."""

    name: str
    data: bytes
    refused: Callable[[], None] | None = None


class LoadSpilled(msgspec.Struct, frozen=True):
    """Read back what was kept under a name; None if it is not there."""

    name: str
    reply: Callable[[bytes | None], None]


class Respond(msgspec.Struct, frozen=True):
    """Deliver the response of a request that had been put off."""

    deliver: Callable[[bytes], None]
    response: bytes


class Certificate(msgspec.Struct, frozen=True):
    """Present this certificate on interfaces whose endorsement authority is `authority`."""

    authority: str
    """Node or Service."""
    cert_pem: str


class Log(msgspec.Struct, frozen=True):
    """Report something that happened (levels: debug, info, fail, fatal)."""

    level: str
    tag: str
    text: str
    about: dict[str, str] | None = None
    """What it is about, by name: `tx`, the transaction whose state was read, and `request`."""


class Channel(IntEnum):
    """What a message between nodes is about; the first byte of its frame."""

    CONSENSUS = 1
    FORWARD = 2
    HELLO = 3
    """Where the node that made the connection listens for others; the shell's own business."""


class Send(msgspec.Struct, frozen=True):
    """Carry a message to a peer at this node-to-node address, with its ledger entries."""

    to: NodeId
    address: str
    channel: Channel
    message: PeerMessage


class Answer(msgspec.Struct, frozen=True):
    """What another service's or node's HTTPS interface answered."""

    status: int
    headers: dict[str, str]
    body: bytes


class CallFailed(msgspec.Struct, frozen=True):
    """No answer came; `reason` in words, `untrusted` when the server's certificate was refused."""

    reason: str
    untrusted: bool = False


class Call(msgspec.Struct, frozen=True):
    """Make one HTTPS request and report what became of it.

    `ca` holds the certificates (PEM) to one of which the server's must chain, for the host of
    `address`.
    """

    address: str
    """host:port."""
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    ca: str
    timeout: Millis
    reply: Callable[[Answer | CallFailed], None]
    anonymous: bool = False
    """Whether to keep this node's self-signed certificate from the server."""
    answer_max: int | None = None
    """Bytes of the answer, headers included, if fewer than the shell would take."""


class Stop(msgspec.Struct, frozen=True):
    """This node cannot go on: end the program with an error. `reason` is for the operator."""

    reason: str


Output: TypeAlias = (
    Append
    | Truncate
    | Committed
    | Begin
    | SaveSnapshot
    | Fetch
    | Replay
    | BeginRecovery
    | EndRecovery
    | StoreSpilled
    | LoadSpilled
    | Respond
    | Certificate
    | Log
    | Send
    | Call
    | Stop
)
