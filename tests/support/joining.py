"""A service in memory and nodes that join it, each with a shell that is a list."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, assert_never

from pyccf.api import join
from pyccf.api import node as node_api
from pyccf.api import snapshot as snapshot_api
from pyccf.apps.router import Endpoint
from pyccf.crypto import certs
from pyccf.crypto.entropy import SeededEntropy
from pyccf.http.message import Request
from pyccf.http.session import Session
from pyccf.kv.tx import Tx
from pyccf.ledger.snapshot import COMMITTED
from pyccf.node.create import NodePlan, Parts
from pyccf.node.fetch_snapshot import FetchPlan
from pyccf.node.join import JoinTarget, join_service
from pyccf.node.node import Limits, Node
from pyccf.node.outputs import (
    Answer,
    Append,
    Begin,
    BeginRecovery,
    Call,
    CallFailed,
    Certificate,
    Committed,
    EndRecovery,
    Fetch,
    LoadSpilled,
    Log,
    Replay,
    Respond,
    SaveSnapshot,
    Send,
    Stop,
    StoreSpilled,
    Truncate,
)
from pyccf.node.restore import Restorable
from pyccf.service import info, recovery, tables
from pyccf.service.identity import NodeIdentity, make_node
from pyccf.service.info import ServiceStatus
from pyccf.service.nodes import NodeStatus, RpcInterface
from pyccf.types import Json
from support.node import INTERFACE, STARTED, Reply, Service
from support.shelf import Shelf

HOST_DATA = "ab" * 32
"""What `support.node.Service` trusts."""
DAYS = 30
RETRY = 1000
HEARTBEAT = 100
PRIMARY = "127.0.0.1:2"


def endpoints(parts: Parts) -> list[tuple[str, list[Endpoint]]]:
    """What nodes of these tests serve."""
    shell = node_api.ShellFacts(
        sessions=dict,
        memory=dict,
        self_signed_certificate=lambda: parts.self_signed_pem,
        engine_version="",
        js_metrics=lambda tx: {},
        entry=parts.entry,
    )
    return [("node", [join.endpoint(parts), *node_api.endpoints(parts.node, shell)])]


def make_primary(**arguments: Any) -> Service:
    """A service of one node that lets others join, and serves the snapshots it takes."""
    shelf = Shelf()

    def install(parts: Parts) -> list[tuple[str, list[Endpoint]]]:
        return [*endpoints(parts), ("node", snapshot_api.endpoints(parts.node, shelf))]

    made = Service(install=install, **arguments)
    made.snapshots = shelf.files
    return made


def write(service: Service, change: Callable[[Tx], None], *, sign: bool = True) -> None:
    """What a proposal would do, done directly; committed as far as this node can do it alone."""
    tx = service.node.store.tx()
    change(tx)
    service.node.commit(tx)
    if sign:
        service.tick()
    else:
        service.pump()


def open_service(service: Service) -> None:
    """As if the members had opened it."""
    write(service, lambda tx: info.set_status(tx, ServiceStatus.OPEN))


def trust(service: Service, node_id: str, *, sign: bool = True) -> None:
    """What transition_node_to_trusted writes."""

    def change(tx: Tx) -> None:
        row = tables.get_object(tx, tables.NODES_INFO, node_id)
        assert row is not None
        csr = str(row["certificate_signing_request"])
        pem = service.parts.service.endorse(csr, STARTED, DAYS, service.entropy)
        row["status"] = NodeStatus.TRUSTED.value
        row["ledger_secret_seqno"] = recovery.latest_secret(tx, service.parts.secrets).version
        tables.put_json(tx, tables.NODES_INFO, node_id, row)
        tables.put_raw(tx, tables.NODES_ENDORSED_CERTIFICATES, node_id, pem)

    write(service, change, sign=sign)


def set_status(service: Service, node_id: str, status: NodeStatus) -> None:
    """What remove_node writes, for example."""

    def change(tx: Tx) -> None:
        row = tables.get_object(tx, tables.NODES_INFO, node_id)
        assert row is not None
        tables.put_json(tx, tables.NODES_INFO, node_id, {**row, "status": status.value})

    write(service, change)


def row_of(service: Service, node_id: str) -> dict[str, Json] | None:
    """The row of a node as the service has it."""
    return tables.get_object(service.node.store.tx(), tables.NODES_INFO, node_id)


def status_of(service: Service, node_id: str) -> str | None:
    row = row_of(service, node_id)
    return None if row is None else str(row["status"])


@cache
def make_identity(name: str = "joiner") -> NodeIdentity:
    return make_node(
        entropy=SeededEntropy(name), not_before=STARTED, days=DAYS, sans=["IP:127.0.0.1"]
    )


class Joining:
    """A node that joins; its calls wait until `answer` or one of its kin is called."""

    def __init__(
        self,
        cert_pem: str,
        *,
        name: str = "joiner",
        address: str = "127.0.0.1:11",
        host_data: str = HOST_DATA,
        target: str = PRIMARY,
        follow_redirect: bool = True,
        fetch: FetchPlan | None = None,
        snapshot: Restorable | None = None,
    ) -> None:
        self.identity = make_identity(name)
        self.calls: list[Call] = []
        self.logs: list[Log] = []
        self.ledger: list[bytes] = []
        self.certificates: dict[str, str] = {}
        self.snapshots: dict[str, bytes] = {}
        self.began: int | None = None
        """Where its ledger begins, once it was told."""
        self.sent: list[Send] = []
        self.recovery_from: int | None = None
        self.stopped = ""
        self.now = 0
        plan = NodePlan(
            host_data=host_data,
            node_bind_address=address,
            node_published_address=address,
            rpc_interfaces={
                INTERFACE: RpcInterface(bind_address="127.0.0.1:12", published_address="h:12")
            },
            chunk_size_bytes=5 * 1024 * 1024,
            limits=Limits(),
        )

        def add(parts: Parts) -> None:
            for _, found in endpoints(parts):
                for endpoint in found:
                    parts.node.node.add(endpoint)

        self.parts = join_service(
            plan,
            JoinTarget(
                address=target,
                service_cert_pem=cert_pem,
                retry_timeout=RETRY,
                follow_redirect=follow_redirect,
                fetch=fetch,
            ),
            self.identity,
            entropy=SeededEntropy(f"{name} at work"),
            started=STARTED,
            app=None,
            install=add,
            snapshot=snapshot,
        )
        self.node = self.parts.node
        self.pump()

    @property
    def id(self) -> str:
        return self.identity.node_id

    @property
    def lines(self) -> list[str]:
        return [f"{log.level}: {log.text}" for log in self.logs]

    def pump(self) -> None:
        while self.node.has_outputs:
            for output in self.node.take_outputs():
                match output:
                    case Append():
                        self.ledger.extend(e.data for e in output.entries)
                        self.node.persisted(output.entries[-1].seqno)
                    case Truncate():
                        del self.ledger[output.seqno :]
                    case Call():
                        self.calls.append(output)
                    case Log():
                        self.logs.append(output)
                    case Stop():
                        self.stopped = output.reason
                    case Replay():
                        first, last = output.first, output.last
                        self.node.replayed(first, self.ledger[first - 1 : last])
                    case BeginRecovery():
                        self.recovery_from = output.seqno
                    case EndRecovery():
                        self.recovery_from = None
                    case Certificate():
                        self.certificates[output.authority] = output.cert_pem
                    case Send():
                        self.sent.append(output)
                    case Respond():
                        output.deliver(output.response)
                    case Begin():
                        self.began = output.seqno
                    case SaveSnapshot():
                        self.snapshots[output.name + COMMITTED] = b"".join(output.pieces)
                        self.node.snapshot_saved(output.name, None)
                    case Committed() | Fetch() | StoreSpilled() | LoadSpilled():
                        pass
                    case _:
                        assert_never(output)

    def tick(self, ms: int = RETRY) -> None:
        self.now += ms
        self.node.tick(self.now, STARTED + self.now // 1000)
        self.pump()

    def call(self) -> Call:
        """The one call under way, asking for it if there is none."""
        if not self.calls:
            self.tick()
        (call,) = self.calls
        self.calls.clear()
        return call

    def reply(self, answer: Answer | CallFailed) -> None:
        """Answer the next call."""
        self.call().reply(answer)
        self.pump()

    def ask(self, service: Service, interface: str = INTERFACE) -> Reply:
        """Let the service answer the next call; the answer."""
        call = self.call()
        reply = post(service, self.identity, call.body, interface)
        call.reply(Answer(reply.status, reply.headers, reply.body))
        self.pump()
        return reply

    def get(self, path: str) -> Reply:
        session = Session(1, INTERFACE, None)
        data = self.node.handle(session, Request("GET", path, {}, b""))
        assert data is not None
        return Reply(data)


def post(
    service: Service, identity: NodeIdentity | None, body: bytes, interface: str = INTERFACE
) -> Reply:
    """Send a join request to a service."""
    der = None if identity is None else certs.pem_to_der(identity.self_signed_pem)
    session = Session(99, interface, der)
    (reply,) = service.send(Request("POST", "/node/join", {}, body), session)
    return reply


def known(service: Service) -> list[str]:
    """Ids of all nodes in the table."""
    return sorted(n for n, _ in tables.objects(service.node.store.tx(), tables.NODES_INFO))


def exchange(service: Service, joiner: Joining, *, rounds: int = 30, base: int = 0) -> None:
    """Let time pass for both, with every message between them arriving.

    `base`: entries up to there are not in the service's ledger, and what needs them is not sent.
    """
    for _ in range(rounds):
        service.tick(HEARTBEAT)
        joiner.tick(HEARTBEAT)
        while service.sent or joiner.sent:
            _carry(service.node, service.sent, service.ledger, joiner.node, base)
            joiner.pump()
            _carry(joiner.node, joiner.sent, joiner.ledger, service.node)
            service.pump()


def _carry(sender: Node, sent: list[Send], ledger: list[bytes], to: Node, base: int = 0) -> None:
    while sent:
        send = sent.pop(0)
        if send.to != to.node_id or not to.accepts_peer(sender.node_id):
            continue
        message = send.message
        if message.first <= min(message.last, base):
            continue
        entries = b"".join(ledger[message.first - 1 : message.last])
        to.receive(sender.node_id, send.channel, message.encode() + entries)
