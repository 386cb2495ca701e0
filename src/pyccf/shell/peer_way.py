"""The way to one peer: what waits for it, the connection, and when to dial again.

Without a connection the newest consensus message waits, and up to `FORWARDS_WAITING_MAX` forwarded
ones, for at most `WAITING_MAX_S`; each message has the peer dialled, not sooner than a back-off
after the last attempt that was in vain. With one, messages become frames at once and are written
when the turn of the loop is done.

Entries that follow a message are read from the ledger when it is framed, in pieces of about
`PIECE_BYTES`, each a message of its own. What does not fit into one turn, or into the connection's
buffer, waits as messages whose entries are not read yet; the rest of a long catch-up is one such
message. After entries were cut off the ledger, messages that speak of entries are dropped: the
ledger may hold others in their place by now. A connection that breaks takes all that with it.
(spec: node-to-node.md §7)
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from OpenSSL import SSL

from pyccf.consensus.api import PeerMessage
from pyccf.errors import InvalidLedger, LocalError, StorageError
from pyccf.node.outputs import Channel
from pyccf.shell.frames import encode_header, fits
from pyccf.shell.peer_link import LinkOwner, Outgoing
from pyccf.shell.peer_sockets import cause, dial
from pyccf.shell.quiet import QuietLog
from pyccf.types import Json, NodeId, SeqNo

PIECE_BYTES = 256 * 1024
"""Entries that follow one message; a single larger one goes alone."""
TURN_BYTES_MAX = 256 * 1024
"""Bytes of one peer's messages framed in one turn, before entries have to wait."""
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
"""A connection that stood so long was no attempt in vain."""
RECORDS_MAX = 1 << 23
"""TLS records after which a new connection, with new keys, replaces one (RFC 8446 5.5)."""


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


class Ways:
    """What the ways of one node have in common: the ledger, and what is to be done this turn."""

    def __init__(
        self,
        owner: LinkOwner,
        ledger: LedgerReader,
        congested: Callable[[NodeId, bool], None],
        log: QuietLog,
        connect_timeout_s: float,
        local_address: str | None,
    ) -> None:
        self.owner = owner
        self.ledger = ledger
        self.congested = congested
        self.log = log
        self.connect_timeout_s = connect_timeout_s
        self.local_address = local_address
        self.context: SSL.Context | None = None
        """How to present this node; None as long as nobody may be dialled."""
        self.hello = b""
        """Where this node listens, told first on each connection."""
        self.links: dict[Outgoing, None] = {}
        """Every connection dialled, also those that only come to be or end."""
        self._dirty: dict[Way, None] = {}
        self._pumping: dict[Way, None] = {}
        self._pump_soon = False
        self._wanted: tuple[SeqNo, SeqNo, int] = (0, 0, 0)
        self._piece: tuple[bytes, SeqNo] = (b"", 0)

    def entries(self, first: SeqNo, last: SeqNo) -> tuple[bytes, SeqNo]:
        """A piece of the ledger, empty when it cannot be had. Several peers get the same one."""
        wanted = (first, last, self.ledger.cuts)
        if wanted == self._wanted:
            return self._piece
        try:
            found = self.ledger.raw(first, last, PIECE_BYTES)
        except (StorageError, InvalidLedger) as error:
            self.log.say("fail", "ledger", f"Cannot read entries for other nodes: {error.message}")
            return b"", first - 1
        if found[0]:
            self._wanted, self._piece = wanted, found
        return found

    def write_soon(self, way: Way) -> None:
        """A way has frames to write when the turn is done."""
        self._dirty[way] = None

    def turn_done(self) -> None:
        """Write the frames of this turn."""
        self._wanted, self._piece = (0, 0, 0), (b"", 0)
        if self._dirty:
            dirty, self._dirty = self._dirty, {}
            for way in dirty:
                way.write()

    def pump_soon(self, way: Way) -> None:
        """A way goes on with what waits, in the next turn of the loop."""
        self._pumping[way] = None
        if not self._pump_soon:
            self._pump_soon = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_soon = False
        pumping, self._pumping = self._pumping, {}
        for way in pumping:
            way.pump()


class _Waiting(NamedTuple):
    """A consensus message whose entries are not read yet."""

    message: PeerMessage
    cuts: int
    """State of the ledger that the message speaks of."""
    since: float


class Way:
    """Everything about sending to one node."""

    __slots__ = (
        "_congested",
        "_dialling",
        "_dropped",
        "_failures",
        "_forwards",
        "_link",
        "_not_before",
        "_out",
        "_out_bytes",
        "_queue",
        "_retry",
        "_sent_bytes",
        "_sent_messages",
        "_ways",
        "address",
        "node_id",
        "used",
    )

    def __init__(self, ways: Ways, node_id: NodeId, address: str) -> None:
        self.node_id = node_id
        self.address = address
        self.used = 0.0
        """When something was sent last (loop time)."""
        self._ways = ways
        self._link: Outgoing | None = None
        self._dialling: asyncio.Task[None] | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._not_before = 0.0
        self._failures = 0
        self._queue: deque[_Waiting] = deque()
        self._forwards: deque[tuple[bytes, float]] = deque()
        self._out: list[bytes] = []
        """Frames to write at the end of this turn."""
        self._out_bytes = 0
        self._congested = False
        self._sent_messages = self._sent_bytes = self._dropped = 0

    # --- sending --------------------------------------------------------------------------------

    def send(self, channel: Channel, message: PeerMessage, now: float) -> bool:
        """See `Peers.send`."""
        self.used = now
        link = self._link
        if link is not None and not link.open:
            self.lost(link)
            link = None
        if link is None:
            kept = self._keep(channel, message, now)
            self.connect()
            return kept
        if channel is Channel.FORWARD:
            return self._forward(link, message.encode())
        if self._queue or link.full:
            if len(self._queue) >= QUEUE_MAX:
                self._dropped += 1
                return False
            self._queue.append(_Waiting(message, self._ways.ledger.cuts, now))
            return True
        rest = self._put(message, TURN_BYTES_MAX)
        if rest is not None:
            self._queue.append(_Waiting(rest, self._ways.ledger.cuts, now))
            self._ways.pump_soon(self)
            self._tell()
        return True

    def _keep(self, channel: Channel, message: PeerMessage, now: float) -> bool:
        """Keep a message while there is no connection."""
        if channel is Channel.FORWARD:
            if len(self._forwards) >= FORWARDS_WAITING_MAX:
                self._dropped += 1
                return False
            self._forwards.append((message.encode(), now))
            return True
        self._dropped += len(self._queue)
        self._queue.clear()
        self._queue.append(_Waiting(message, self._ways.ledger.cuts, now))
        return True

    def _forward(self, link: Outgoing, payload: bytes) -> bool:
        if self._out_bytes + link.buffered > FORWARD_BUFFER_MAX:
            self._dropped += 1
            return False
        return self._frame(Channel.FORWARD, payload, b"")

    def _put(self, message: PeerMessage, bytes_max: int) -> PeerMessage | None:
        """Frame a message and its entries; what of it has to wait once `bytes_max` are framed."""
        first, last = message.first, message.last
        if first > last:
            self._frame(Channel.CONSENSUS, message.encode(), b"")
            return None
        while True:
            entries, upto = self._ways.entries(first, last)
            if not entries:
                self._dropped += 1
                self._ways.log.say(
                    "debug",
                    f"gone {self.node_id}",
                    f"Ledger entries from {first} on, for node {self.node_id}, are not there.",
                )
                return None
            if upto >= last:
                self._frame(Channel.CONSENSUS, message.encode(), entries)
                return None
            if not self._frame(Channel.CONSENSUS, message.upto(upto).encode(), entries):
                return None
            message = message.after(upto)
            first = upto + 1
            if self._out_bytes >= bytes_max:
                return message

    def _frame(self, channel: Channel, payload: bytes, entries: bytes) -> bool:
        size = len(payload) + len(entries)
        if not fits(size):
            self._dropped += 1
            self._ways.log.say(
                "fail",
                f"size {self.node_id}",
                f"A message of {size} bytes is too large to be sent to node {self.node_id}.",
            )
            return False
        out = self._out
        if not out:
            self._ways.write_soon(self)
        out.append(encode_header(channel, size))
        out.append(payload)
        if entries:
            out.append(entries)
        self._out_bytes += size
        self._sent_messages += 1
        self._sent_bytes += size
        return True

    def write(self) -> None:
        """Hand the frames to the connection."""
        out, link = self._out, self._link
        if not out:
            return
        data = b"".join(out)
        out.clear()
        self._out_bytes = 0
        assert link is not None, "frames are made for a connection"
        link.write(data)
        if link.written >= RECORDS_MAX:
            self.connect()

    def pump(self) -> None:
        """Frame and write a piece of what waits; the next one follows in another turn."""
        link = self._link
        if link is None or link.full:
            return
        queue, cuts = self._queue, self._ways.ledger.cuts
        while queue and self._out_bytes < PIECE_BYTES:
            message, of_cuts, since = queue.popleft()
            if message.first <= message.last and of_cuts != cuts:
                self._dropped += 1
                continue
            rest = self._put(message, PIECE_BYTES)
            if rest is not None:
                queue.appendleft(_Waiting(rest, cuts, since))
        self.write()
        if queue and not link.full:
            self._ways.pump_soon(self)
        self._tell()

    def flowing(self, link: Outgoing, yes: bool) -> None:
        """The connection's buffer is full, or has room again."""
        if link is not self._link:
            return
        if yes and self._queue:
            self._ways.pump_soon(self)
        self._tell()

    def _tell(self) -> None:
        """Tell the node when the way gets full or free."""
        link = self._link
        congested = link is not None and (link.full or bool(self._queue))
        if congested != self._congested:
            self._congested = congested
            self._ways.congested(self.node_id, congested)

    # --- connecting -----------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether there is no connection, and none to come."""
        return self._link is None and self._dialling is None and self._retry is None

    def connect(self) -> None:
        """Dial, now or when the back-off is over."""
        ways = self._ways
        if self._dialling is not None or self._retry is not None or ways.context is None:
            return
        loop = asyncio.get_running_loop()
        if loop.time() < self._not_before:
            self._retry = loop.call_at(self._not_before, self._dial_again)
        else:
            self._dialling = loop.create_task(self._dial(ways.context))

    def _dial_again(self) -> None:
        self._retry = None
        self.connect_if_wanted()

    def connect_if_wanted(self) -> None:
        """Dial if something waits, and has not waited too long."""
        if self._link is not None:
            return
        oldest = asyncio.get_running_loop().time() - WAITING_MAX_S
        while self._forwards and self._forwards[0][1] < oldest:
            self._forwards.popleft()
            self._dropped += 1
        while self._queue and self._queue[0].since < oldest:
            self._queue.popleft()
            self._dropped += 1
        if self._queue or self._forwards:
            self.connect()

    async def _dial(self, context: SSL.Context) -> None:
        ways, address = self._ways, self.address
        link = Outgoing(ways.owner, context, self.node_id)
        reason = ""
        try:
            async with asyncio.timeout(ways.connect_timeout_s):
                sock = await dial(address, ways.local_address)
                ways.links[link] = None
                try:
                    await asyncio.get_running_loop().create_connection(lambda: link, sock=sock)
                except BaseException:
                    ways.links.pop(link, None)
                    sock.close()
                    raise
                await link.ready
        except TimeoutError:
            reason = f"no answer within {ways.connect_timeout_s:g} s"
        except LocalError as error:
            reason = error.message
        except OSError as error:
            reason = cause(error)
        except UnicodeError:  # of a label that is empty or too long
            reason = "the address names no host"
        finally:
            self._dialling = None
            good = link.open and not link.handshaking
            if not good:
                reason = reason or link.reason
                link.abort(reason or "dialling was given up")
        if good:
            self._connected(link)
            return
        if not link.fault:  # otherwise it is told when the connection ends
            ways.log.say(
                "info",
                f"dial {self.node_id}",
                f"Cannot reach node {self.node_id} at {address}: {reason}",
            )
        self._failed()

    def _connected(self, link: Outgoing) -> None:
        """A new connection stands: it replaces an old one, and takes what was waiting."""
        old, self._link = self._link, link
        hello = self._ways.hello
        if hello:
            link.write(encode_header(Channel.HELLO, len(hello)) + hello)
        if old is not None:
            old.close("a new connection replaces it")
        self._ways.log.say(
            "info", f"to {self.node_id}", f"Connected to node {self.node_id} at {link.remote}"
        )
        while self._forwards:
            self._forward(link, self._forwards.popleft()[0])
        self.pump()

    def _failed(self) -> None:
        """An attempt was in vain: the next one waits a little longer than the last."""
        pause = min(BACKOFF_MAX_S, BACKOFF_MIN_S * 2.0 ** min(self._failures, 10))
        self._failures += 1
        now = asyncio.get_running_loop().time()
        self._not_before = now + pause * random.uniform(0.5, 1.0)
        self.connect_if_wanted()

    def lost(self, link: Outgoing) -> bool:
        """A connection carries nothing more; whether it was the one in use."""
        if self._link is not link:
            return False
        self._link = None
        self._dropped += len(self._queue)
        self._queue.clear()
        self._out.clear()
        self._out_bytes = 0
        if asyncio.get_running_loop().time() - link.since < STABLE_S:
            self._failed()
        else:
            self._failures = 0
            self._not_before = 0.0
        self._tell()
        return True

    def rest(self) -> None:
        """Nothing was sent for a long time: close the connection."""
        if self._link is not None:
            self._link.close("nothing was sent for a long time")

    def stop(self) -> asyncio.Task[None] | None:
        """Dial no more and forget what waits; a task to wait for, if there is one."""
        self._queue.clear()
        self._forwards.clear()
        if self._retry is not None:
            self._retry.cancel()
        if self._dialling is not None:
            self._dialling.cancel()
        return self._dialling

    def metrics(self) -> dict[str, Json]:
        """Counts since this way is known."""
        return {
            "connected": self._link is not None,
            "congested": self._congested,
            "queued": len(self._queue) + len(self._forwards),
            "buffered_bytes": 0 if self._link is None else self._link.buffered,
            "sent_messages": self._sent_messages,
            "sent_bytes": self._sent_bytes,
            "dropped_messages": self._dropped,
        }
