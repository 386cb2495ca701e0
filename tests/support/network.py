"""A network of nodes as processes: started, governed, hurt and replaced as its operators would.

The first node starts a service, the others join it while it is opening and are trusted at once;
then the one member opens it, with the register application of `support.linear_load`. Later joiners
are trusted by proposal. Every node has a folder of its own under the one given.

How nodes reach each other is decided by `Links`: directly, through a `FaultProxy`, or in network
namespaces (`support.network_namespaces`).

All processes end with the `with` block; only those that were started here are ever signalled.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any, Protocol

import msgspec

from pyccf import constitutions
from pyccf.cli.governing import decide
from pyccf.client import Client, Identity, ServiceError, Unreachable
from pyccf.client.types import Action
from pyccf.crypto import certs
from pyccf.errors import Unavailable
from pyccf.types import Json, NodeId, TxID
from support.fault_proxy import FaultProxy
from support.linear_load import BUNDLE, Endpoint, Load, Plan
from support.process import NodeProcess, make_config
from support.tls import trusting

PATIENCE_S = 60.0
"""With anything that must come at last, however busy the machine is."""
ASK_TIMEOUT_S = 10.0
POLL_S = 0.02
LOG_TAIL = 25
CERTIFICATE_DAYS = 10
ADDRESS_FILE = "n2n.json"
PACKAGE_FILE = "package"
PACKAGE = b"the code that all nodes run"
"""What nodes give evidence for, in place of a source tree that may change meanwhile."""


class Settings(msgspec.Struct, frozen=True):
    """What all nodes of a network are configured with. Short times, so that tests are."""

    heartbeat_ms: int = 50
    election_ms: int = 500
    signature_ms: int = 20
    chunk_size: str = "100KB"
    forwarding_ms: int = 1000


CALM = Settings(election_ms=6000, forwarding_ms=20_000)
"""For networks to which nothing happens: no node takes another for dead because both had to wait
for a busy machine."""


class Place(msgspec.Struct, frozen=True):
    """Where a node runs: its host, what it publishes and dials from, and how it is started."""

    host: str
    published: str | None = None
    source: str | None = None
    command: tuple[str, ...] = ()


class Links(Protocol):
    """How nodes reach each other."""

    def place(self, number: int, folder: Path) -> Place: ...
    def part(self, *groups: list[int]) -> None: ...
    def cut(self, one: int, two: int) -> None: ...
    def heal(self) -> None: ...


class Loopback:
    """Directly; nothing can be cut."""

    def place(self, number: int, folder: Path) -> Place:
        return Place("127.0.0.1")

    def part(self, *groups: list[int]) -> None:
        raise NotImplementedError("the loopback interface cannot be cut")

    def cut(self, one: int, two: int) -> None:
        raise NotImplementedError("the loopback interface cannot be cut")

    def heal(self) -> None:
        """Nothing is ever cut."""


class Proxied:
    """Through a proxy that can cut, delay and reset each way."""

    def __init__(self, proxy: FaultProxy) -> None:
        self.proxy = proxy
        self.part = proxy.part
        self.cut = proxy.cut
        self.heal = proxy.heal

    def place(self, number: int, folder: Path) -> Place:
        def listens() -> Endpoint | None:
            try:
                told = json.loads((folder / ADDRESS_FILE).read_text())
            except (OSError, ValueError):
                return None
            host, _, port = told["node_to_node_interface"].rpartition(":")
            return host, int(port)

        published = self.proxy.listen(number, listens)
        return Place("127.0.0.1", published, self.proxy.source(number))


class NetworkNode(NodeProcess):
    """One node of a network, by its number. Its process may have ended."""

    def __init__(self, folder: Path, number: int, place: Place) -> None:
        self.number = number
        self.folder = folder
        self.out = folder / "out.txt"
        self.err = folder / "err.txt"
        self.started = time.monotonic()
        self.paused = False
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [
                    *place.command,
                    *(sys.executable, "-m", "pyccf.cli.main", "node", "--config", "config.json"),
                    *("--package", PACKAGE_FILE),
                ],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={},
            )

    def __repr__(self) -> str:
        return f"node{self.number}"

    @property
    def id(self) -> NodeId:
        """Hex SHA-256 of its public key."""
        return hashlib.sha256(certs.spki((self.folder / "nodecert.pem").read_text())).hexdigest()

    @property
    def running(self) -> bool:
        """Whether its process is there and not stopped."""
        return self.process.poll() is None and not self.paused

    def ask(self, path: str, timeout_s: float = ASK_TIMEOUT_S) -> Any:
        """What the node answers to a GET, as JSON; None if it does not, or not with 200."""
        try:
            context = trusting(self.folder / "service_cert.pem")
            connection = HTTPSConnection(*self.address(), timeout=timeout_s, context=context)
        except OSError:
            return None
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
            return json.loads(body) if response.status == 200 else None
        except (OSError, HTTPException):
            return None
        finally:
            connection.close()

    def consensus(self) -> dict[str, Any]:
        """`details` of /node/consensus; empty when the node does not say."""
        found = self.ask("/node/consensus")
        return dict(found["details"]) if found else {}

    def committed(self) -> TxID | None:
        """The last transaction it knows to be committed."""
        found = self.ask("/node/commit")
        return TxID.parse(found["transaction_id"]) if found else None

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def pause(self) -> None:
        """SIGSTOP: it does nothing and knows nothing, its connections stay."""
        self.process.send_signal(signal.SIGSTOP)
        self.paused = True

    def resume(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)
        self.paused = False

    def log_tail(self, lines: int = LOG_TAIL) -> str:
        """The end of what it logged, and all of its standard error."""
        kept = self.out.read_text("utf-8", "replace").splitlines()[-lines:]
        return "\n".join([f"-- {self} ({self.process.poll()}) --", *kept, self.err.read_text()])


class Network:
    """`with Network(folder, 3) as network:` an open service whose nodes all answer."""

    def __init__(
        self,
        folder: Path,
        size: int = 3,
        *,
        settings: Settings | None = None,
        links: Links | None = None,
    ) -> None:
        self.folder = folder
        self.size = size
        self.settings = settings or Settings()
        self.links = links or Loopback()
        self.nodes: list[NetworkNode] = []
        """All that were ever started, by number."""
        self.serving: dict[int, NetworkNode] = {}
        """Those that operators believe to be part of the service."""

    def __enter__(self) -> Network:
        try:
            self._start()
        except BaseException:
            self._end(True)
            raise
        return self

    def __exit__(self, kind: object, *exc: object) -> None:
        self._end(kind is not None)

    def _end(self, failed: bool) -> None:
        for node in self.nodes:
            if node.process.poll() is None:
                node.process.kill()
            node.process.wait(PATIENCE_S)
        if failed:
            for node in self.nodes:
                print(node.log_tail())

    # -- starting --------------------------------------------------------------------------------

    def _start(self) -> None:
        first = self._launch(None)
        first.wait_ready()
        self.service_cert = self.folder / "service_cert.pem"
        shutil.copyfile(first.folder / "service_cert.pem", self.service_cert)
        self.serving[0] = first
        self.member = Identity.load(
            str(first.folder / "member0_cert.pem"), str(first.folder / "member0_privk.pem")
        )
        self.wait(self._acknowledge, "the member to be active")
        for _ in range(1, self.size):
            self._launch(first)
        for node in self.nodes[1:]:
            self._admitted(node)
        service = self.service_cert.read_text()
        self.govern(
            Action("set_js_app", {"bundle": BUNDLE, "disable_bytecode_cache": False}),
            self._has_application,
        )
        self.govern(
            Action("transition_service_to_open", {"next_service_identity": service}),
            lambda: (first.ask("/node/network") or {}).get("service_status") == "Open",
        )
        for node in self.nodes:
            self.wait(lambda node=node: _ready(node, "app"), f"{node} to open")  # type: ignore[misc]

    def _has_application(self) -> bool:
        with suppress(Unreachable, ServiceError), self.client() as client:
            return "/registers" in client.javascript_app()
        return False

    def _acknowledge(self) -> bool:
        with self.client() as client:
            try:
                client.ack(signer=self.member)
            except ServiceError as error:
                if error.code != "InternalError":  # before the first signature
                    raise
                return False
            return True

    def _launch(self, target: NetworkNode | None, package: bytes = PACKAGE) -> NetworkNode:
        """Start the process of a node that founds the service, or joins it through another."""
        number = len(self.nodes)
        folder = self.folder / f"node{number}"
        folder.mkdir()
        place = self.links.place(number, folder)
        config: dict[str, Any] = {}
        if target is None:
            config = make_config(folder)
            (folder / "constitution.js").write_text(constitutions.text("sandbox", "virtual"))
        config |= self._config(place)
        if target is not None:
            shutil.copyfile(self.service_cert, folder / "service_cert.pem")
            host, port = target.address()
            config["command"] = {
                "type": "Join",
                "join": {
                    "target_rpc_address": f"{host}:{port}",
                    "retry_timeout": "100ms",
                    # Every node is to leave a whole ledger; test_snapshots wants it otherwise.
                    "fetch_recent_snapshot": False,
                },
            }
        (folder / PACKAGE_FILE).write_bytes(package)
        self.tune(config, number)
        (folder / "config.json").write_text(json.dumps(config))
        node = NetworkNode(folder, number, place)
        self.nodes.append(node)
        return node

    def _config(self, place: Place) -> dict[str, Any]:
        node_to_node = {"bind_address": f"{place.host}:0"}
        if place.published is not None:
            node_to_node["published_address"] = place.published
        settings = self.settings
        config: dict[str, Any] = {
            "network": {
                "node_to_node_interface": node_to_node,
                "rpc_interfaces": {
                    "main": {
                        "bind_address": f"{place.host}:0",
                        "forwarding_timeout_ms": settings.forwarding_ms,
                    },
                    "redirecting": {"bind_address": f"{place.host}:0", "redirections": {}},
                },
            },
            "node_certificate": {"initial_validity_days": CERTIFICATE_DAYS},
            "consensus": {
                "message_timeout": f"{settings.heartbeat_ms}ms",
                "election_timeout": f"{settings.election_ms}ms",
            },
            "ledger": {"chunk_size": settings.chunk_size},
            "ledger_signatures": {"delay": f"{settings.signature_ms}ms"},
            "output_files": {
                "rpc_addresses_file": "rpc.json",
                "pid_file": "node.pid",
                "node_to_node_address_file": ADDRESS_FILE,
            },
        }
        if place.source is not None:
            config["node_client_interface"] = place.source
        return config

    def tune(self, config: dict[str, Any], number: int) -> None:
        """For tests that need other configurations: change it before it is written."""

    def _admitted(self, node: NetworkNode) -> None:
        """Wait until a joiner is part of the network and may be used."""

        def ready() -> bool:
            assert node.process.poll() is None, f"{node} ended: {node.err.read_text()}"
            return (node.folder / "rpc.json").exists() and _ready(node, "gov")

        self.wait(ready, f"{node} to be part of the network")
        self.serving[node.number] = node

    # -- asking ----------------------------------------------------------------------------------

    def wait(self, done: Callable[[], bool], what: str, timeout_s: float = PATIENCE_S) -> float:
        """Ask until it is so; how many seconds that took."""
        started = time.monotonic()
        while not done():
            assert time.monotonic() - started < timeout_s, f"waited in vain for {what}"
            time.sleep(POLL_S)
        return time.monotonic() - started

    def running(self) -> list[NetworkNode]:
        """Nodes of the service that can answer."""
        return [node for node in self.serving.values() if node.running]

    def primary(
        self, *, besides: NetworkNode | None = None, timeout_s: float = PATIENCE_S
    ) -> NetworkNode:
        """The node that leads the newest view, once there is one."""
        deadline = time.monotonic() + timeout_s
        while True:
            leaders = [
                (details["current_view"], node.number)
                for node in self.running()
                if node is not besides
                and (details := node.consensus()).get("leadership_state") == "Leader"
            ]
            if leaders:
                return self.nodes[max(leaders)[1]]
            assert time.monotonic() < deadline, "there is no primary"
            time.sleep(POLL_S)

    def backups(self) -> list[NetworkNode]:
        """Running nodes besides the primary."""
        primary = self.primary()
        return [node for node in self.running() if node is not primary]

    def client(self, *nodes: NetworkNode) -> Client:
        """A client with the member's key, of these nodes or of all that run."""
        asked = list(nodes) or self.running()
        addresses = [node.address() for node in asked]
        return Client(
            [f"https://{host}:{port}" for host, port in addresses],
            self.service_cert,
            cert=str(self.nodes[0].folder / "member0_cert.pem"),
            key=str(self.nodes[0].folder / "member0_privk.pem"),
            timeout_s=ASK_TIMEOUT_S,
            patience_s=PATIENCE_S / 2,
        )

    def endpoints(self) -> dict[int, Endpoint]:
        """Where clients find the nodes of the service."""
        return {number: node.address() for number, node in list(self.serving.items())}

    @contextmanager
    def load(self, plan: Plan | None = None) -> Iterator[Load]:
        """Clients of all nodes, at work as long as the block."""
        with Load(self.endpoints, str(self.service_cert), plan) as load:
            yield load

    def synced(self, nodes: Iterable[NetworkNode] | None = None) -> TxID:
        """Wait until nodes have committed what is committed now on the primary; what that is."""
        primary = self.primary()
        target = primary.committed()
        assert target is not None
        for node in self.running() if nodes is None else nodes:

            def there(node: NetworkNode = node, target: TxID = target) -> bool:
                found = node.committed()
                return found is not None and found.seqno >= target.seqno

            self.wait(there, f"{node} to commit {target}")
        return target

    # -- governing -------------------------------------------------------------------------------

    def govern(self, action: Action, done: Callable[[], bool] | None = None) -> None:
        """Have an action accepted; again, should an election swallow it, until it is `done`."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            with suppress(*([Unreachable, Unavailable, ServiceError] if done else [])):
                with self.client() as client:
                    proposal, _ = decide(client, [action], [self.member])
                if done is None:
                    assert proposal.proposal_state == "Accepted", proposal
                    return
            until = time.monotonic() + min(10 * self.settings.election_ms / 1000, PATIENCE_S / 2)
            while time.monotonic() < until:
                assert done is not None
                if done():
                    return
                time.sleep(POLL_S)
            assert time.monotonic() < deadline, f"{action.name} had no effect"

    def status_of(self, node_id: NodeId) -> str:
        """Status of a node in the primary's table of nodes; empty if it is not there."""
        nodes: list[dict[str, Any]] = []

        def told() -> bool:
            found = self.primary().ask("/node/network/nodes")
            nodes[:] = found["nodes"] if found else []
            return bool(nodes)

        self.wait(told, "the primary to list the nodes")
        return next((n["status"] for n in nodes if n["node_id"] == node_id), "")

    def knock(self, through: NetworkNode | None = None, package: bytes = PACKAGE) -> NetworkNode:
        """Start a further node; nothing is known of how the service receives it."""
        node = self._launch(through or self.primary(), package)
        node.wait_for("nodecert.pem")
        return node

    def join(self, through: NetworkNode | None = None) -> NetworkNode:
        """Start a further node of the open service and wait until it is pending."""
        node = self.knock(through)
        self.wait(lambda: self.status_of(node.id) == "Pending", f"{node} to be pending")
        return node

    def trust(self, node: NetworkNode) -> None:
        """Let a pending node in and wait until it serves."""
        args: Json = {"node_id": node.id, "valid_from": certs.time_text(int(time.time()))}
        self.govern(
            Action("transition_node_to_trusted", args),
            lambda: self.status_of(node.id) == "Trusted",
        )
        self._admitted(node)
        self.wait(lambda: _ready(node, "app"), f"{node} to open")

    def remove(self, node: NetworkNode) -> None:
        """Retire a node, dead or alive, and wait until the service has taken leave of it."""
        self.serving.pop(node.number, None)
        node_id = node.id
        self.govern(
            Action("remove_node", {"node_id": node_id}),
            lambda: self.status_of(node_id) in ("Retired", ""),
        )
        self.wait(lambda: node_id in self.removable(), f"{node} to be removable")

    def removable(self) -> list[NodeId]:
        """Nodes whose processes may be stopped."""
        found = self.primary().ask("/node/network/removable_nodes")
        return [node["node_id"] for node in found["nodes"]] if found else []

    def replace(self, old: NetworkNode) -> NetworkNode:
        """A new node for an old one: first in, then out if the old one lives, else the reverse."""
        if old.running:
            new = self.join()
            self.trust(new)
            self.remove(old)
            assert old.stop() == 0
        else:
            self.remove(old)
            new = self.join()
            self.trust(new)
        return new

    def stop(self) -> None:
        """Stop all running nodes by SIGTERM, the primary last, and see that they end well."""
        primary = self.primary()
        for node in sorted(self.running(), key=lambda node: node is primary):
            assert node.stop() == 0, node.log_tail()
        self.serving.clear()


def _ready(node: NetworkNode, frontend: str) -> bool:
    try:
        return node.get(f"/node/ready/{frontend}")[0] == 204
    except (OSError, HTTPException):
        return False
