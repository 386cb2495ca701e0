"""Services of one node or several under load: the sandbox's, with other settings.

Everything else is as `pyccf sandbox` does it; the load goes to the primary, which is the first node
as long as nothing happens to it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from bench.servers import BENCH, MESSAGE, cpu_s
from pyccf.cli.bundle import JsBundle, PythonApp, find_app
from pyccf.cli.governing import decide
from pyccf.cli.local_config import join_config
from pyccf.cli.local_node import LocalNode
from pyccf.cli.local_service import LocalService, Plan
from pyccf.client import Client, Identity
from pyccf.client.types import Action
from pyccf.crypto import certs
from pyccf.types import Json, NodeId, SeqNo

APP = "app-js"
KEYS = 1000
"""Records that the load writes and reads."""
PATIENCE_S = 60.0
POLL_S = 0.02
CLIENT_TIMEOUT_S = 60.0


class Settings(msgspec.Struct, frozen=True):
    """What the nodes are configured with, besides what a sandbox has."""

    signature_tx_count: int
    signature_delay_ms: int
    election_timeout_ms: int = 5000
    message_timeout_ms: int = 100

    def config(self) -> dict[str, Json]:
        """As members of a node's configuration."""
        return {
            "consensus": {
                "message_timeout": f"{self.message_timeout_ms}ms",
                "election_timeout": f"{self.election_timeout_ms}ms",
            },
            "ledger_signatures": {
                "tx_count": self.signature_tx_count,
                "delay": f"{self.signature_delay_ms}ms",
            },
        }


class Node(LocalNode):
    """A node with settings of our own; something to send requests to."""

    def __init__(self, title: str, folder: Path, settings: Settings) -> None:
        super().__init__(title, folder)
        self._settings = settings

    def start(self, config: Mapping[str, object], app: JsBundle | PythonApp) -> None:
        """Start it with the settings in place of the sandbox's."""
        super().start({**config, **self._settings.config()}, app)

    def cpu_s(self) -> float:
        """Processor time that its process has used."""
        return cpu_s(self.pid)


class Network:
    """An open service with the benchmark's JavaScript application; stopped when the block ends."""

    def __init__(self, size: int, settings: Settings, folder: Path) -> None:
        self._settings = settings
        self._app = find_app(BENCH / APP)
        plan = Plan(self._app, folder, nodes=size)
        self._service = LocalService(plan, lambda _: None)
        self.nodes = [Node(f"node{i}", folder / f"node{i}", settings) for i in range(size)]
        self._service.nodes = list(self.nodes)
        self._folder = folder

    def __enter__(self) -> Network:
        info = self._service.start()
        self.ids = [node.node_id for node in info.nodes]
        self._member = Identity.load(info.members[0].cert, info.members[0].key)
        body: Json = {"first": 0, "count": KEYS, "msg": MESSAGE}
        with self.client() as client:
            client.post("/app/fill", json=body, wait="commit").check()
        return self

    def __exit__(self, *exc: object) -> None:
        self._service.stop()

    @property
    def primary(self) -> Node:
        """The first node. `check` says whether that still holds."""
        return self.nodes[0]

    def client(self, node: Node | None = None) -> Client:
        """A client of the primary, or of another node."""
        return Client(
            (node or self.primary).url, self._service.service_cert, timeout_s=CLIENT_TIMEOUT_S
        )

    def check(self) -> None:
        """Raise RuntimeError if there was an election, or a node has ended."""
        for node in self.nodes:
            if not node.running:
                raise node.explain_end()
        with self.client() as client:
            found = client.network()
        if found.primary_id != self.ids[0]:
            raise RuntimeError("there was an election: the figures would mean nothing")

    def committed(self, node: Node | None = None) -> SeqNo:
        """The last seqno that a node knows to be committed."""
        with self.client(node) as client:
            return client.last_committed().seqno

    def govern(self, action: Action) -> None:
        """Have an action accepted. Raises RuntimeError."""
        with self.client() as client:
            proposal, _ = decide(client, [action], [self._member])
        if proposal.proposal_state != "Accepted":
            raise RuntimeError(f"{action.name} was not accepted: {proposal}")

    def settle(self) -> SeqNo:
        """Wait until all nodes have committed all there is; the last seqno."""
        deadline = time.monotonic() + PATIENCE_S
        before = None
        while True:
            seqnos = [self.committed(node) for node in self.nodes if node.url]
            if len(set(seqnos)) == 1 and seqnos[0] == before:
                return seqnos[0]
            before = seqnos[0]
            if time.monotonic() > deadline:
                raise RuntimeError(f"the nodes do not agree on what is committed: {seqnos}")
            time.sleep(max(POLL_S, 3 * self._settings.signature_delay_ms / 1000))

    def ack(self, node_id: NodeId) -> SeqNo:
        """How far a backup is, as the primary knows; 0 if it has not heard from it."""
        with self.client() as client:
            found = client.consensus().acks.get(node_id)
        return found.seqno if found else 0

    def join(self, *, fetch: bool = False) -> tuple[Node, NodeId]:
        """A further node, trusted but not yet caught up; `fetch`: it begins with a snapshot."""
        number = len(self.nodes)
        node = Node(f"node{number}", self._folder / f"node{number}", self._settings)
        target = self.primary.url.removeprefix("https://")
        self._service.nodes.append(node)
        config = join_config(0, target, self._service.service_cert)
        command = config["command"]
        assert isinstance(command, dict), "how to join"
        join = command["join"]
        assert isinstance(join, dict), "whom to ask"
        join["fetch_recent_snapshot"] = fetch
        node.start(config, self._app)
        self._wait(node.listens, node)
        cert = node.folder / "node.pem"
        self._wait(cert.exists, node)
        node_id = certs.public_key(cert.read_text()).id
        with self.client() as client:
            self._wait(lambda: any(n.node_id == node_id for n in client.nodes()), node)
            args = {"node_id": node_id, "valid_from": certs.time_text(int(time.time()))}
            action = Action("transition_node_to_trusted", args)
            proposal, _ = decide(client, [action], [self._member])
        if proposal.proposal_state != "Accepted":
            raise RuntimeError(f"the node was not trusted: {proposal}")
        return node, node_id

    def _wait(self, done: Callable[[], bool], node: Node) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not done():
            if node.ended:
                raise node.explain_end()
            if time.monotonic() > deadline:
                raise RuntimeError(f"{node.title} does not become part of the network")
            time.sleep(POLL_S)
