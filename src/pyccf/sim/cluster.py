"""A whole network of nodes in one process, on virtual time.

Everything inside a node is the real thing: store, ledger, consensus, lifecycle, frontends. The
cluster gives it a shell whose time, network and disk are simulated, and carries out what a schedule
says: requests of clients, acts of governance, and faults.

Faults stay within what the protocol promises to survive: no crash, retirement or hand-over leaves
some configuration, pending ones included, without a majority of nodes that still exist. A crashed
node's identity never comes back (spec: consensus-cft.md §1, persistence); a machine that restarts
joins as a new node.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING

import msgspec

from pyccf.http.message import Request
from pyccf.node.outputs import Answer, Call, Channel
from pyccf.sim import build, identities, peek
from pyccf.sim.clock import Clock
from pyccf.sim.disk import Broken
from pyccf.sim.network import Network
from pyccf.sim.shell import (
    Shell,
    Standing,
    parse_answer,
    peer_certificate,
    unreachable,
)
from pyccf.types import Millis, NodeId, SeqNo

if TYPE_CHECKING:
    from pyccf.ledger.entry import Entry
    from pyccf.node.restore import Restorable
    from pyccf.service.identity import ServiceIdentity
    from pyccf.sim.transcript import Transcript

STOPPING: Millis = 200
"""How long a node that was told to stop waits for another primary."""


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What kind of network a run is about."""

    seed: int
    nodes: int
    """With how many nodes the faults begin."""
    message_timeout: Millis = 100
    election_timeout: Millis = 400
    signature_tx_count: int = 8
    signature_delay: Millis = 100
    frame_bytes_max: int = 4096
    batch_entries: int = 20
    window: int = 1000
    pre_vote: bool = True
    election_ticks: int = 4
    """1: who stood still takes the others for dead (`RaftSettings.election_ticks`)."""
    snapshot_tx_count: int = 10_000
    decay: float = 0.1
    """Of how many snapshots a bit is flipped on the disk."""
    fetch: bool = True
    """Whether newcomers ask for a snapshot."""
    wander: float = 0.5
    """How often a call to a node's address reaches another node."""


class Cluster:
    """All nodes of one run, their network and their time."""

    def __init__(
        self, setup: Setup, transcript: Transcript | None = None, *, first: int = 0
    ) -> None:
        """`first` is the number of the first node: none of a service is numbered twice."""
        self.setup = setup
        self.first = first
        self.service_cert = identities.service().cert_pem
        """What operators know the service by."""
        self.clock = Clock()
        self.network = Network(self.clock, str(setup.seed))
        self.chance = Random(f"{setup.seed} cluster")
        self._decay = Random(f"{setup.seed} decay")
        self.shells: list[Shell] = []
        self.by_id: dict[NodeId, Shell] = {}
        self.by_rpc: dict[str, Shell] = {}
        self.changed: list[Shell] = []
        """Nodes that did something in this step."""
        self.sent_views: list[tuple[NodeId, int]] = []
        """Sender and view of the consensus messages of this step."""
        self.transcript = transcript

    # --- World ----------------------------------------------------------------------------------

    def touched(self, shell: Shell) -> None:
        """A node did something in this step."""
        if shell not in self.changed:
            self.changed.append(shell)

    def note(self, shell: Shell, text: str) -> None:
        """Write a line into the transcript, if there is one."""
        if self.transcript is not None:
            self.transcript.note(shell, text)

    def carry_frame(self, sender: Shell, to: NodeId, channel: Channel, data: bytes) -> None:
        """Carry a frame between nodes; lost when the peer is gone."""
        target = self.by_id.get(to)
        if target is None or target.standing is Standing.GONE:
            return
        source = sender.node.node_id
        if channel is Channel.CONSENSUS:
            self.sent_views.append((source, int.from_bytes(data[1:9], "little")))

        def handle() -> None:
            target.frame(source, channel, data)

        def deliver() -> None:
            if self.transcript is not None and target.alive:
                self.transcript.frame(sender, target, channel, data, target.running)
            target.input(handle)

        arrives = self.network.carry(
            sender.name, target.name, deliver, ordered=channel is Channel.FORWARD
        )
        if self.transcript is not None and not arrives:
            self.transcript.lost(sender, target, channel, data)

    def carry_call(self, sender: Shell, call: Call) -> None:
        """Carry an HTTPS request to the node with this address and its answer back."""
        asked = [True]

        def conclude(outcome: Callable[[], None]) -> None:
            if asked[0]:
                asked[0] = False
                sender.input(outcome)

        def arrive() -> None:
            if "Service" not in target.certificates:
                return
            if self.transcript is not None:
                self.transcript.note(target, f"serves {call.method} {call.path} of {sender.name}")
            request = Request(call.method, call.path, dict(call.headers), call.body)
            session = target.session(peer_certificate(sender))
            target.input(lambda: target.serve(request, session, answered))

        def answered(data: bytes) -> None:
            answer: Answer = parse_answer(data)
            self.network.carry(
                target.name,
                sender.name,
                lambda: conclude(lambda: call.reply(answer)),
                ordered=True,
            )

        if call.address not in self.by_rpc:
            # Somebody outside, such as a token issuer: nobody is there.
            sender.input(lambda: call.reply(unreachable("no such host")))
            return
        target = self._resolve(call.address)
        self.network.carry(sender.name, target.name, arrive, ordered=True)
        self.clock.after(
            call.timeout, lambda: conclude(lambda: call.reply(unreachable("timed out")))
        )

    def _resolve(self, address: str) -> Shell:
        """The node behind an address: mostly the one it belongs to, else any that serves.

        So would a name that stands for all nodes of the service, or an operator who tries another
        node when one cannot help.
        """
        found = self.by_rpc[address]
        serving = [shell for shell in self.alive if "Service" in shell.certificates]
        if not serving or (found in serving and self.chance.random() < 1 - self.setup.wander):
            return found
        return self.chance.choice(serving)

    def decayed(self, data: bytes) -> bytes:
        """A snapshot as the disk gives it back, now and then with one bit flipped."""
        chance = self._decay
        if chance.random() >= self.setup.decay:
            return data
        at = chance.randrange(len(data))
        return data[:at] + bytes((data[at] ^ 1 << chance.randrange(8),)) + data[at + 1 :]

    def ledger_upto(self, seqno: SeqNo) -> list[Entry]:
        """What is committed up to `seqno`: as any node has it that knows it committed."""
        for shell in self.shells:
            if shell.disk.committed >= seqno:
                return shell.disk.entries[:seqno]
        raise Broken(f"a ledger was to begin at {seqno}, where nothing is committed")

    # --- nodes ----------------------------------------------------------------------------------

    def start(self) -> Shell:
        """The first node starts the service."""
        shell = self._new_shell()
        build.start(shell, self)
        self._register(shell)
        return shell

    def recover(
        self,
        entries: list[Entry],
        previous: str,
        service: ServiceIdentity,
        *,
        base: SeqNo = 0,
        snapshot: Restorable | None = None,
        snapshots: dict[str, bytes] | None = None,
    ) -> Shell:
        """The first node goes on with a ledger, as another service.

        `snapshot` is what it begins with, `base` the last entry that it does not have, and
        `snapshots` the files it serves.
        """
        shell = self._new_shell()
        shell.disk.entries = list(entries)
        shell.disk.base = base
        shell.disk.snapshots.files.update(snapshots or {})
        self.service_cert = service.cert_pem
        build.recover(shell, self, previous, service, snapshot)
        self._register(shell)
        return shell

    def join(self, target: Shell) -> Shell:
        """A new node asks `target` to be let in."""
        shell = self._new_shell()
        build.join(shell, self, target.rpc_address)
        self._register(shell)
        return shell

    def _new_shell(self) -> Shell:
        number = self.first + len(self.shells)
        shell = Shell(number, self, self.setup.frame_bytes_max)
        self.shells.append(shell)
        return shell

    def _register(self, shell: Shell) -> None:
        self.by_id[shell.node.node_id] = shell
        self.by_rpc[shell.rpc_address] = shell
        shell.boot()

    def named(self, node_id: NodeId | None) -> str:
        """The short name of a node."""
        shell = self.by_id.get(node_id) if node_id is not None else None
        return shell.name if shell is not None else "-"

    @property
    def alive(self) -> list[Shell]:
        """Nodes that exist, stopped ones included."""
        return [shell for shell in self.shells if shell.standing is not Standing.GONE]

    @property
    def running(self) -> list[Shell]:
        return [shell for shell in self.shells if shell.standing is Standing.RUNNING]

    def members(self) -> list[Shell]:
        """Existing nodes of the latest configuration of the most advanced primary or node."""
        leader = self.primary() or max(
            self.alive, key=lambda shell: (shell.node.consensus.last, -shell.number)
        )
        ids = leader.node.consensus.nodes()
        return [shell for shell in self.alive if shell.node.node_id in ids]

    def primary(self) -> Shell | None:
        """The primary of the highest view, if any."""
        leaders = [shell for shell in self.alive if shell.node.can_replicate]
        return max(leaders, key=lambda shell: shell.node.consensus.view, default=None)

    # --- what may happen to a node --------------------------------------------------------------

    def may_lose(self, shell: Shell) -> bool:
        """Whether every configuration that counts keeps a majority when this node is lost."""
        lost = shell.node.node_id
        return all(
            self._keeps_majority(nodes, [lost])
            for without in (None, shell)
            for nodes in self._configurations(without)
        )

    def may_change(self, leaving: list[NodeId], joining: list[NodeId]) -> bool:
        """Whether every configuration keeps a majority with these nodes taken out and in."""
        return all(
            self._keeps_majority(
                [n for n in nodes if n not in leaving] + [n for n in joining if n not in nodes]
            )
            for nodes in self._configurations()
        )

    def _configurations(self, without: Shell | None = None) -> list[list[NodeId]]:
        """Every configuration that may still have to decide, as far as these nodes know.

        What a node believes that has not even heard of the last configuration known to be committed
        does not count: it cannot be elected.
        """
        known = [
            (engine.committed, [(c.idx, list(c.nodes)) for c in engine.configs])
            for shell in self.alive
            if shell is not without
            for engine in (peek.engine(shell.node),)
            if engine.configs
        ]
        base = max((c[0][0] for committed, c in known if c[0][0] <= committed), default=0)
        found: dict[tuple[NodeId, ...], None] = {}
        for _, configs in known:
            if configs[-1][0] >= base:
                for _, nodes in configs:
                    found[tuple(sorted(nodes))] = None
        return [list(nodes) for nodes in found]

    def _keeps_majority(self, nodes: list[NodeId], lost: Sequence[NodeId] = ()) -> bool:
        left = sum(1 for n in nodes if n not in lost and n in self.by_id and self.by_id[n].staying)
        return left > len(nodes) // 2

    def can_recover(self) -> bool:
        """Whether every configuration anybody knows has a majority that can have everything."""
        lost = [shell.node.node_id for shell in self.alive if not self._can_be_helped(shell)]
        return all(self._keeps_majority(nodes, lost) for nodes in self._configurations())

    def _can_be_helped(self, shell: Shell) -> bool:
        """Whether somebody else has the entries that a node lacks, or a snapshot that is whole."""
        engine = shell.node.consensus
        if engine.committed == max(other.node.consensus.committed for other in self.alive):
            return True
        after = engine.last + 1
        return any(
            other.disk.base < after or other.disk.snapshots.offers(after)
            for other in self.alive
            if other is not shell and other.staying
        )

    def crash(self, shell: Shell) -> None:
        """The process dies and its memory with it."""
        shell.crash()
        self.touched(shell)
        self.note(shell, "crashes")

    def terminate(self, shell: Shell) -> None:
        """SIGTERM: sign, hand leadership over, stop."""
        shell.ending = True

        def hand_over() -> None:
            shell.node.stop_notice = True
            shell.node.finish()
            shell.node.hand_over()

        shell.input(hand_over)
        self.clock.after(STOPPING, lambda: self.crash(shell) if shell.alive else None)

    # --- faults of the network ------------------------------------------------------------------

    def cut(self, a: Shell, b: Shell, *, both: bool = True) -> None:
        """Nothing gets from a to b any more (nor back)."""
        self.network.cut(a.name, b.name)
        if both:
            self.network.cut(b.name, a.name)

    def mend(self, a: Shell, b: Shell) -> None:
        """Both ways between two nodes are open."""
        self.network.mend(a.name, b.name)
        self.network.mend(b.name, a.name)

    def isolate(self, shell: Shell) -> None:
        """Cut a node off from all others."""
        for other in self.shells:
            if other is not shell:
                self.cut(shell, other)

    def split(self, group: list[Shell]) -> None:
        """Cut the network in two."""
        for a in group:
            for b in self.shells:
                if b not in group:
                    self.cut(a, b)

    def heal(self) -> None:
        """No more faults: all ways open and fair, clocks true, disks quick, everybody awake."""
        self.network.mend_all()
        for shell in self.alive:
            shell.disk.lag = 0
            shell.skew(1.0)
            shell.resume()
            shell.unclog_all()

    def note_all(self, text: str) -> None:
        """Write a line about the network into the transcript."""
        if self.transcript is not None:
            self.transcript.act(text)
