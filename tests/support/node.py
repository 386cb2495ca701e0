"""A node whose shell is a list: everything real but sockets and disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, assert_never

from pyccf.apps.router import Endpoint
from pyccf.crypto import certs
from pyccf.crypto.entropy import SeededEntropy
from pyccf.crypto.keys import Curve, PrivateKey, RsaPrivateKey
from pyccf.http.message import Request
from pyccf.http.session import Session
from pyccf.ledger.snapshot import COMMITTED
from pyccf.node.create import Parts, ServicePlan, start_service
from pyccf.node.frontend import App
from pyccf.node.node import Limits
from pyccf.node.outputs import (
    Append,
    Begin,
    BeginRecovery,
    Call,
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
from pyccf.service import genesis
from pyccf.service.identity import make_node, make_service
from pyccf.service.nodes import RpcInterface

DAY_S = 86_400
STARTED = 1_795_260_000
"""Shortly after everything that was recorded."""
INTERFACE = "primary_rpc_interface"
REPLAYED = 7
"""Entries of its own ledger that a node is given at once."""
MINIMAL_CONSTITUTION = "export function validate(input) { return {valid: true}; }"


class Reply:
    """A response taken apart."""

    def __init__(self, data: bytes) -> None:
        head, _, self.body = data.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        self.status = int(lines[0].split(" ")[1])
        self.headers = dict(line.split(": ", 1) for line in lines[1:])

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def txid(self) -> str:
        return self.headers["x-ms-ccf-transaction-id"]


class Person:
    """A key with a self-signed certificate."""

    def __init__(self, name: str, entropy: SeededEntropy, days: int = 365) -> None:
        self.key = PrivateKey.generate(Curve.P384, entropy)
        self.cert = certs.self_signed(
            self.key, f"CN={name}", not_before=STARTED - DAY_S, days=days, entropy=entropy
        )
        self.id = certs.fingerprint(self.cert)
        self.der = certs.pem_to_der(self.cert)


class Service:
    """A one-node service in memory."""

    reads = True
    """False: what is to be read from the ledger is read later than anybody waits."""

    def __init__(
        self,
        *,
        app: App | None = None,
        install: Callable[[Parts], list[tuple[str, list[Endpoint]]]] | None = None,
        constitution: str = MINIMAL_CONSTITUTION,
        limits: Limits | None = None,
        members: int = 1,
        seed: int = 1,
        disk: bool = True,
    ) -> None:
        entropy = SeededEntropy(seed.to_bytes(32, "big"))
        self.entropy = entropy
        self.members = [Person(f"member{i}", entropy) for i in range(members)]
        self.member_keys = [RsaPrivateKey.generate() for _ in self.members]
        self.ledger: list[bytes] = []
        self.committed = 0
        self.logs: list[Log] = []
        self.certificates: dict[str, str] = {}
        self.snapshots: dict[str, bytes] = {}
        self.sent: list[Send] = []
        self.calls: list[Call] = []
        self.stopped = ""
        self.spilled: dict[str, bytes] = {}
        self.disk = disk
        """False: entries are not persisted, so nothing commits."""
        self.now = 0
        self.recovery_from: int | None = None
        self._sessions = 0
        identity = make_node(entropy=entropy, not_before=STARTED, days=365, sans=["IP:127.0.0.1"])
        service = make_service(entropy=entropy, not_before=STARTED, days=365)
        plan = ServicePlan(
            members=tuple(
                genesis.Member(cert=m.cert, encryption_pub_key=k.public.pem())
                for m, k in zip(self.members, self.member_keys, strict=True)
            ),
            constitution=constitution,
            configuration=genesis.ServiceConfiguration(),
            host_data="ab" * 32,
            node_bind_address="127.0.0.1:1",
            node_published_address="127.0.0.1:1",
            rpc_interfaces={
                INTERFACE: RpcInterface(bind_address="127.0.0.1:2", published_address="127.0.0.1:2")
            },
            chunk_size_bytes=5 * 1024 * 1024,
            limits=limits or Limits(),
        )

        def add(parts: Parts) -> None:
            frontends = {"app": parts.node.app, "gov": parts.node.gov, "node": parts.node.node}
            for name, endpoints in install(parts) if install else ():
                for endpoint in endpoints:
                    frontends[name].add(endpoint)

        self.parts = start_service(
            plan, identity, service, entropy=entropy, started=STARTED, app=app, install=add
        )
        self.node = self.parts.node
        self.pump()

    def pump(self) -> None:
        """Do what the node asks for until it asks for nothing more."""
        while self.node.has_outputs:
            for output in self.node.take_outputs():
                match output:
                    case Append():
                        self.ledger.extend(e.data for e in output.entries)
                        if self.disk:
                            self.node.persisted(output.entries[-1].seqno)
                    case Truncate():
                        del self.ledger[output.seqno :]
                    case Send():
                        self.sent.append(output)
                    case Call():
                        self.calls.append(output)
                    case Stop():
                        self.stopped = output.reason
                    case Respond():
                        output.deliver(output.response)
                    case Committed():
                        self.committed = output.seqno
                    case Begin():
                        assert output.seqno == len(self.ledger)
                    case SaveSnapshot():
                        self.snapshots[output.name + COMMITTED] = b"".join(output.pieces)
                        self.node.snapshot_saved(output.name, None)
                    case Fetch(first, last):
                        if self.reads:
                            self.node.fetched(first, last, self.ledger[first - 1 : last])
                    case Replay():
                        first, last = output.first, min(output.last, output.first + REPLAYED - 1)
                        self.node.replayed(first, self.ledger[first - 1 : last])
                    case BeginRecovery():
                        del self.ledger[output.seqno :]
                        self.recovery_from = output.seqno
                    case EndRecovery():
                        self.recovery_from = None
                    case StoreSpilled():
                        self.spilled[output.name] = output.data
                    case LoadSpilled():
                        output.reply(self.spilled.get(output.name))
                    case Certificate():
                        self.certificates[output.authority] = output.cert_pem
                    case Log():
                        self.logs.append(output)
                    case _:
                        assert_never(output)

    def persist(self) -> None:
        """The disk works again."""
        self.disk = True
        self.node.persisted(len(self.ledger))
        self.pump()

    def tick(self, ms: int = 1000) -> None:
        """Let time pass."""
        self.now += ms
        self.node.tick(self.now, STARTED + self.now // 1000)
        self.pump()

    def open_app(self) -> None:
        """Let users in without a vote."""
        self.node.app.open = True

    def session(self, person: Person | None = None) -> Session:
        self._sessions += 1
        return Session(self._sessions, INTERFACE, person.der if person else None)

    def send(self, request: Request, session: Session | None = None) -> list[Reply]:
        """Handle a request; the list holds its reply as soon as there is one."""
        session = session or self.session()
        replies: list[Reply] = []
        session.deferrer = lambda: lambda data: replies.append(Reply(data))
        data = self.node.handle(session, request)
        if data is not None:
            replies.append(Reply(data))
        self.pump()
        return replies

    def call(
        self,
        method: str,
        target: str,
        body: bytes | object = b"",
        *,
        headers: dict[str, str] | None = None,
        caller: Person | None = None,
        session: Session | None = None,
    ) -> Reply:
        """The reply to a request that must be answered at once."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = Request(method, target, headers or {}, raw)
        (reply,) = self.send(request, session or self.session(caller))
        return reply
