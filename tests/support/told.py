"""Nodes whose consensus is told what to do: a primary and its backups, without any agreement.

What backups have, what is committed, who leads in which view: a test says all that. Everything else
about the nodes is real. Messages about forwarded requests are carried between them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pyccf.apps.router import Endpoint
from pyccf.consensus.api import Executor
from pyccf.kv.store import Store
from pyccf.ledger.chunker import Chunker
from pyccf.ledger.entry import parse
from pyccf.ledger.history import History
from pyccf.ledger.secrets import LedgerSecrets
from pyccf.node.frontend import App, InterfaceRules
from pyccf.node.node import Limits, Node
from pyccf.node.outputs import Channel, Send
from pyccf.service import tables
from pyccf.types import Json, NodeId, SeqNo, TxID, View
from support.node import INTERFACE, Service


class ToldEngine:
    """Orders and follows as it is told."""

    should_sign = False

    def __init__(self, node_id: NodeId, primary: NodeId | None, view: View = 2) -> None:
        self.node_id = node_id
        self.view = view
        self.last: SeqNo = 0
        self.committed: SeqNo = 0
        self.primary = primary
        self.commits = True
        """Whether a signature that is persisted here is committed."""
        self.began: list[tuple[SeqNo, View]] = []
        self.members: dict[NodeId, str] = {}
        self._signatures: list[SeqNo] = []
        self._executor: Executor

    @property
    def can_replicate(self) -> bool:
        return self.primary == self.node_id

    def attach(self, executor: Executor) -> None:
        self._executor = executor

    def _ordered(self, seqno: SeqNo, view: View, committable: bool) -> None:
        assert seqno == self.last + 1
        self.last = seqno
        if not self.began or self.began[-1][1] != view:
            self.began.append((seqno, view))
        if committable:
            self._signatures.append(seqno)

    def append(self, seqno: SeqNo, committable: bool, size: int) -> None:
        self._ordered(seqno, self.view, committable)

    def follow(self, data: bytes) -> None:
        """Take over an entry of the primary."""
        parsed = parse(data)
        committable = self._executor.apply(TxID(parsed.view, parsed.seqno), data)
        self._ordered(parsed.seqno, parsed.view, committable)

    def persisted(self, seqno: SeqNo) -> None:
        if self.commits and self.can_replicate:
            self.commit(seqno)

    def commit(self, seqno: SeqNo) -> None:
        """Everything up to the last signature not after `seqno` is committed."""
        signed = max((s for s in self._signatures if s <= seqno), default=0)
        if signed > self.committed:
            self.committed = signed
            self._executor.compact(signed)

    def elect(self, view: View, primary: NodeId | None, keep: SeqNo) -> None:
        """A new view begins; what comes after `keep` is rolled back."""
        self.view = view
        self.primary = primary
        self.last = min(self.last, keep)
        self.began = [row for row in self.began if row[0] <= keep]
        self._signatures = [s for s in self._signatures if s <= keep]
        self._executor.rollback(keep, view)

    def view_of(self, seqno: SeqNo) -> View | None:
        if not 0 < seqno <= self.last:
            return None
        return max(row for row in self.began if row[0] <= seqno)[1]

    def view_history(self, since: View = 1) -> list[TxID]:
        return [TxID(view, seqno) for seqno, view in self.began if view >= since]

    def view_starts(self, upto: SeqNo) -> list[SeqNo]:
        starts: list[SeqNo] = []
        for first, view in self.began:
            if first <= upto:
                starts.extend([first] * (view - len(starts)))
        return starts

    def configure(self, seqno: SeqNo, nodes: dict[NodeId, str]) -> None:
        self.members = dict(nodes)

    def nodes(self) -> dict[NodeId, str]:
        return dict(self.members)

    def flush(self) -> None: ...

    def tick(self, elapsed: int) -> None: ...

    def receive(self, sender: NodeId, data: bytes) -> None: ...

    def congested(self, peer: NodeId, yes: bool) -> None: ...

    def retired_committed(self, seqno: SeqNo, nodes: list[NodeId]) -> None: ...

    def details(self) -> dict[str, Json]:
        return {}


Install = Callable[[Node], list[tuple[str, list[Endpoint]]]]


class Backup(Service):
    """A node that has what the primary has, as far as it was told."""

    def __init__(self, number: int, primary: Service, app: App | None, install: Install) -> None:
        self.entropy = primary.entropy
        self.ledger = []
        self.committed = 0
        self.logs = []
        self.certificates = {}
        self.snapshots = {}
        self.sent = []
        self.calls = []
        self.stopped = ""
        self.spilled = {}
        self.disk = True
        self.now = primary.now
        self._sessions = 1000 * number
        self.engine = ToldEngine(f"{number:02x}" * 32, primary.node.node_id)
        self.parts = primary.parts
        self.node = Node(
            node_id=self.engine.node_id,
            store=Store(view=2),
            history=History(LedgerSecrets(primary.parts.secrets.all())),
            chunker=Chunker(),
            consensus=self.engine,  # type: ignore[arg-type]
            sign=primary.node._sign,
            endorse_service=lambda old: old,
            service_key=lambda: primary.parts.service.key.public,
            entropy=primary.entropy,
            limits=Limits(),
            interfaces={INTERFACE: InterfaceRules()},
        )
        self.node.state = "PartOfNetwork"
        prepare(self.node, app, install)


def prepare(node: Node, app: App | None, install: Install) -> None:
    """Give a node its endpoints and open its doors."""
    node.app.app = app
    frontends = {"app": node.app, "gov": node.gov, "node": node.node}
    for name, endpoints in install(node):
        for endpoint in endpoints:
            frontends[name].add(endpoint)
    node.app.open = node.gov.open = True


def some_address(number: int, interface: int) -> str:
    """Where a node, by number, publishes an interface."""
    return f"10.0.0.{number}:{80 + interface}"


class Network:
    """A primary and backups.

    A given `primary` keeps its endpoints; `app` and `install` are then for the backups only.
    """

    def __init__(
        self,
        *,
        app: App | None = None,
        install: Install = lambda node: [],
        backups: int = 2,
        interfaces: Sequence[str] = (INTERFACE,),
        limits: Limits | None = None,
        primary: Service | None = None,
        address: Callable[[int, int], str] = some_address,
    ) -> None:
        self.primary = Service(app=app, limits=limits) if primary is None else primary
        node = self.primary.node
        self.leader = ToldEngine(node.node_id, node.node_id)
        self.leader.attach(node.replica)
        old = node.consensus
        for seqno, data in enumerate(self.primary.ledger, 1):
            self.leader._ordered(seqno, parse(data).view, seqno == len(self.primary.ledger))
        self.leader.committed = old.committed
        node.consensus = self.leader  # type: ignore[assignment]
        if primary is None:
            prepare(node, app, install)
        self.backups = [Backup(i, self.primary, app, install) for i in range(1, backups + 1)]
        self.members: list[Service] = [self.primary, *self.backups]
        self.interfaces = interfaces
        self._address = address
        self.cut: set[tuple[NodeId, NodeId]] = set()
        """Ways (from, to) on which nothing arrives."""
        for number, member in enumerate(self.members):
            self.trust(member.node.node_id, number)
        self.replicate()

    # --- what the service's tables say ----------------------------------------------------------

    def trust(self, node_id: NodeId, number: int, status: str = "Trusted", **more: Json) -> None:
        """Write a row about a node."""
        tx = self.primary.node.store.tx()
        like = tables.get_object(tx, tables.NODES_INFO, self.primary.node.node_id)
        assert like is not None
        known = like["rpc_interfaces"]
        assert isinstance(known, dict)
        interface = known[INTERFACE]
        assert isinstance(interface, dict)
        row: dict[str, Json] = {
            **like,
            "status": status,
            "node_to_node_interface": {"published_address": f"10.0.0.{number}:7"},
            "rpc_interfaces": {
                name: {**interface, "published_address": self._address(number, i)}
                for i, name in enumerate(self.interfaces)
            },
            **more,
        }
        tables.put_json(tx, tables.NODES_INFO, node_id, row)
        self.primary.node.commit(tx)
        self.primary.pump()

    # --- what happens ---------------------------------------------------------------------------

    def replicate(self, *backups: Backup, commit: bool = True) -> None:
        """Backups (all) get what the primary has, and know what is committed there."""
        self.settle()
        for backup in backups or tuple(self.backups):
            for data in self.primary.ledger[backup.engine.last :]:
                backup.engine.follow(data)
            if commit:
                backup.engine.commit(self.primary.node.consensus.committed)
        self.settle()

    def sign(self) -> None:
        """The primary signs, which commits what it has, and all get it."""
        self.primary.node.sign()
        self.replicate()

    def elect(self, number: int, view: View) -> Service:
        """A backup leads from now on; everybody keeps what it has and the others have, too."""
        chosen = self.members[number]
        keep = chosen.node.consensus.last
        for member in self.members:
            engine = member.node.consensus
            assert isinstance(engine, ToldEngine)
            engine.elect(view, chosen.node.node_id, min(keep, engine.last))
        self.settle()
        return chosen

    def tick(self, ms: int = 1000) -> None:
        """Time passes for all."""
        for member in self.members:
            member.tick(ms)
        self.settle()

    def settle(self) -> None:
        """Carry messages until nobody has anything more to say."""
        busy = True
        while busy:
            busy = False
            for member in self.members:
                member.pump()
                sent, member.sent = member.sent, []
                for message in sent:
                    busy = True
                    self._carry(member, message)

    def _carry(self, sender: Service, sent: Send) -> None:
        here = sender.node.node_id
        assert sent.message.first > sent.message.last
        if (here, sent.to) in self.cut:
            return
        for member in self.members:
            if member.node.node_id == sent.to and member.node.accepts_peer(here):
                member.node.receive(here, Channel(sent.channel), sent.message.encode())
