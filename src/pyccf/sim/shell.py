"""The shell of one simulated node: it does what the node asks for, with simulated hands.

Outputs are executed strictly in order. Entries that follow a message to a peer are read from the
ledger when the message leaves; one that has to wait, because the way is clogged, takes them as
they stand then. A message too large for one frame is cut, as the real shell does. What arrives
while the process is stopped (SIGSTOP) is handled when it goes on; a crashed one hears nothing.
The node's own clock may be fast or slow.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from pyccf.crypto import certs
from pyccf.http.message import Request
from pyccf.http.session import Session
from pyccf.ledger.snapshot import COMMITTED
from pyccf.node.outputs import (
    Answer,
    Append,
    Begin,
    BeginRecovery,
    Call,
    CallFailed,
    Certificate,
    Channel,
    Committed,
    EndRecovery,
    Fetch,
    LoadSpilled,
    Log,
    Output,
    Replay,
    Respond,
    SaveSnapshot,
    Send,
    Stop,
    StoreSpilled,
    Truncate,
)
from pyccf.sim.clock import Clock
from pyccf.sim.disk import Disk
from pyccf.sim.identities import STARTED, host
from pyccf.types import Millis, NodeId, SeqNo

if TYPE_CHECKING:
    from pyccf.consensus.api import PeerMessage
    from pyccf.ledger.entry import Entry
    from pyccf.node.create import Parts
    from pyccf.node.node import Node

INTERFACE = "rpc"
TICK: Millis = 50
"""How often a node is told the time, by its own clock."""
REPLAYED_MAX = 50
"""Entries of its own ledger that a node goes through at once."""
CLOGGED_MAX = 32
"""Messages that wait for a clogged way; further ones are dropped."""


class Standing(Enum):
    """What the operating system does with the process."""

    RUNNING = "running"
    STOPPED = "stopped"
    """SIGSTOP: it will go on."""
    GONE = "gone"
    """Crashed, or ended: it never comes back under this identity."""


class World(Protocol):
    """What a shell needs of everything around it."""

    clock: Clock

    def carry_frame(self, sender: Shell, to: NodeId, channel: Channel, data: bytes) -> None:
        """Carry a frame to a peer."""
        ...

    def carry_call(self, sender: Shell, call: Call) -> None:
        """Carry an HTTPS request to wherever its address leads."""
        ...

    def touched(self, shell: Shell) -> None:
        """A node did something."""
        ...

    def note(self, shell: Shell, text: str) -> None:
        """Something happened that a reader of the run may want to see."""
        ...

    def decayed(self, data: bytes) -> bytes:
        """What becomes of a snapshot on the disk."""
        ...

    def ledger_upto(self, seqno: SeqNo) -> list[Entry]:
        """What is committed up to `seqno`, where a snapshot was taken."""
        ...


class Shell:
    """One node process."""

    def __init__(self, number: int, world: World, frame_bytes_max: int) -> None:
        self.number = number
        self.name = f"n{number}"
        self.node_address = f"{host(number)}:7000"
        self.rpc_address = f"{host(number)}:8000"
        self.disk = Disk()
        self.standing = Standing.RUNNING
        self.ending = False
        """It was told to stop (SIGTERM) and will be gone soon."""
        self.stop_reason = ""
        """Why the node itself ended the program."""
        self.certificates: dict[str, str] = {}
        self.parts: Parts
        self.node: Node
        self._world = world
        self._clock = world.clock
        self._frame_bytes_max = frame_bytes_max
        self._spilled: dict[str, bytes] = {}
        self._held: list[Callable[[], None]] = []
        self._clogged: dict[NodeId, list[tuple[Channel, PeerMessage]]] = {}
        self._rate = 1.0
        self._anchor: tuple[Millis, Millis] = (self._clock.now, 0)
        self._sessions = 0
        self._do: dict[type[Output], Callable[..., None]] = {
            Append: self._append,
            Truncate: self._truncate,
            Committed: self._committed,
            Begin: self._begin,
            SaveSnapshot: self._save,
            Fetch: self._fetch,
            Replay: self._replay,
            BeginRecovery: self._begin_recovery,
            EndRecovery: self._end_recovery,
            StoreSpilled: self._store_spilled,
            LoadSpilled: self._load_spilled,
            Respond: self._respond,
            Certificate: self._certificate,
            Log: self._log,
            Send: self._send,
            Call: self._call,
            Stop: self._stop,
        }

    def adopt(self, parts: Parts) -> None:
        """This is the node; called while it is made, before it asks for anything."""
        self.parts = parts
        self.node = parts.node

    def boot(self) -> None:
        """Do what the new node asks for first, and keep telling it the time."""
        self._pump()
        self._clock.after(TICK, self._tick)

    # --- inputs ---------------------------------------------------------------------------------

    def input(self, action: Callable[[], None]) -> None:
        """Give the node something, and do what it then asks for."""
        if self.standing is Standing.STOPPED:
            self._held.append(action)
        elif self.standing is Standing.RUNNING:
            action()
            self._pump()

    def frame(self, sender: NodeId, channel: Channel, data: bytes) -> None:
        """A frame of an authenticated peer arrived."""
        if self.node.accepts_peer(sender):
            self.node.receive(sender, channel, data)

    def serve(self, request: Request, session: Session, deliver: Callable[[bytes], None]) -> None:
        """Execute a client's request; `deliver` gets the answer, at once or later."""
        session.deferrer = lambda: deliver
        answer = self.node.handle(session, request)
        if answer is not None:
            deliver(answer)

    def session(self, peer_cert: bytes | None = None) -> Session:
        """A new connection of a client."""
        self._sessions += 1
        return Session(self._sessions, INTERFACE, peer_cert)

    # --- the process ----------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        return self.standing is not Standing.GONE

    @property
    def staying(self) -> bool:
        """Whether it can be counted on: it exists and was not told to stop."""
        return self.standing is not Standing.GONE and not self.ending

    @property
    def running(self) -> bool:
        return self.standing is Standing.RUNNING

    def crash(self) -> None:
        """The process ends without a word."""
        self.standing = Standing.GONE
        self._held.clear()
        self._clogged.clear()

    def pause(self) -> None:
        """SIGSTOP."""
        if self.standing is Standing.RUNNING:
            self.standing = Standing.STOPPED

    def resume(self) -> None:
        """SIGCONT: what came meanwhile is handled, one thing after the other."""
        if self.standing is not Standing.STOPPED:
            return
        self.standing = Standing.RUNNING
        held, self._held = self._held, []
        for action in held:
            self._clock.after(0, lambda action=action: self.input(action))  # type: ignore[misc]

    def skew(self, rate: float) -> None:
        """From now on this node's clock runs at `rate` times the true one."""
        self._anchor = (self._clock.now, self._local_now())
        self._rate = rate

    def jump(self, ms: Millis) -> None:
        """This node's clock jumps forward."""
        self._anchor = (self._clock.now, self._local_now() + ms)
        self.input(self._tell_time)

    def _local_now(self) -> Millis:
        true, local = self._anchor
        return local + int((self._clock.now - true) * self._rate)

    def _tick(self) -> None:
        if self.standing is Standing.RUNNING:
            self._tell_time()
            self._pump()
        if self.standing is not Standing.GONE:
            self._clock.after(max(1, int(TICK / self._rate)), self._tick)

    def _tell_time(self) -> None:
        now = self._local_now()
        self.node.tick(now, STARTED + now // 1000)

    # --- clogged ways ---------------------------------------------------------------------------

    def clog(self, peer: NodeId) -> None:
        """What is sent to a peer has to wait from now on."""
        if peer not in self._clogged:
            self._clogged[peer] = []
            self.node.congested(peer, True)

    def unclog(self, peer: NodeId) -> None:
        """The way to a peer is free: what waits is sent."""
        waiting = self._clogged.pop(peer, None)
        if waiting is None:
            return
        for channel, message in waiting:
            self._attach(peer, channel, message)
        self.node.congested(peer, False)

    def unclog_all(self) -> None:
        """All ways are free."""
        for peer in list(self._clogged):
            self.input(lambda peer=peer: self.unclog(peer))  # type: ignore[misc]

    # --- outputs --------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Do everything the node wants done."""
        node = self.node
        do = self._do
        while node.has_outputs and self.standing is Standing.RUNNING:
            for output in node.take_outputs():
                do[type(output)](output)
        self._world.touched(self)

    def _append(self, output: Append) -> None:
        disk = self.disk
        now = self._clock.now
        disk.append(output.entries, now)
        due = disk.next_written
        assert due is not None
        if due <= now:
            self._written()
        else:
            self._clock.at(due, lambda: self.input(self._written))

    def _written(self) -> None:
        done = self.disk.written(self._clock.now)
        if done is not None:
            self.node.persisted(done)

    def _truncate(self, output: Truncate) -> None:
        self.disk.truncate(output.seqno)

    def _committed(self, output: Committed) -> None:
        self.disk.commit(output.seqno)

    def _begin(self, output: Begin) -> None:
        self.disk.begin(self._world.ledger_upto(output.seqno))

    def _save(self, output: SaveSnapshot) -> None:
        data = b"".join(output.pieces)
        kept = self._world.decayed(data)
        self.disk.snapshots.save(output.name + COMMITTED, kept, whole=kept == data)
        self.node.snapshot_saved(output.name, None)

    def _fetch(self, output: Fetch) -> None:
        first, last = output.first, output.last
        entries = self.disk.read(first, last)
        self._clock.after(1, lambda: self.input(lambda: self.node.fetched(first, last, entries)))

    def _replay(self, output: Replay) -> None:
        first, last = output.first, min(output.last, output.first + REPLAYED_MAX - 1)

        def read() -> None:
            self.node.replayed(first, self.disk.read(first, last))

        self._clock.after(1, lambda: self.input(read))

    def _begin_recovery(self, output: BeginRecovery) -> None:
        if output.reason is not None:
            self.disk.begin_recovery(output.seqno)

    def _end_recovery(self, output: EndRecovery) -> None:
        self._world.note(self, "its recovery is complete")

    def _store_spilled(self, output: StoreSpilled) -> None:
        self._spilled[output.name] = output.data

    def _load_spilled(self, output: LoadSpilled) -> None:
        data = self._spilled.get(output.name)
        self._clock.after(1, lambda: self.input(lambda: output.reply(data)))

    def _respond(self, output: Respond) -> None:
        output.deliver(output.response)

    def _certificate(self, output: Certificate) -> None:
        self.certificates[output.authority] = output.cert_pem

    def _log(self, output: Log) -> None:
        if output.level != "debug":
            self._world.note(self, f"{output.level}: {output.text}")

    def _stop(self, output: Stop) -> None:
        self.stop_reason = output.reason
        self._world.note(self, f"stops: {output.reason}")
        self.crash()

    def _call(self, output: Call) -> None:
        self._world.carry_call(self, output)

    def _send(self, output: Send) -> None:
        waiting = self._clogged.get(output.to)
        if waiting is None:
            self._attach(output.to, output.channel, output.message)
        elif len(waiting) < CLOGGED_MAX:
            waiting.append((output.channel, output.message))

    def _attach(self, to: NodeId, channel: Channel, message: PeerMessage) -> None:
        """Send a message with its entries, in as many frames as it takes."""
        while True:
            first, last = message.first, message.last
            if last < first:
                self._world.carry_frame(self, to, channel, message.encode())
                return
            entries: list[bytes] = []
            size = 0
            for data in self.disk.read(first, last):
                size += len(data)
                if entries and size > self._frame_bytes_max:
                    break
                entries.append(data)
            end = first + len(entries) - 1
            if not entries:
                return
            part = message if end == last else message.upto(end)
            self._world.carry_frame(self, to, channel, part.encode() + b"".join(entries))
            if end == last:
                return
            message = message.after(end)


def peer_certificate(shell: Shell) -> bytes:
    """What a node presents when it calls another over HTTPS: its self-signed certificate."""
    return certs.pem_to_der(shell.parts.identity.self_signed_pem)


def parse_answer(data: bytes) -> Answer:
    """Take the bytes of a response apart."""
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:])
    return Answer(int(lines[0].split(" ")[1]), headers, body)


def unreachable(reason: str) -> CallFailed:
    """No answer came."""
    return CallFailed(reason)
