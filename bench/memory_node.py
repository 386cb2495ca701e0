"""A whole node with a benchmark application, but neither sockets nor disk: for `bench.stages`."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pyccf.apps.js.bytecode import refresh_bytecode
from pyccf.apps.js.registry import JsApp
from pyccf.apps.python import App
from pyccf.crypto import certs
from pyccf.crypto.entropy import Entropy
from pyccf.crypto.keys import Curve, PrivateKey
from pyccf.http.message import Request
from pyccf.http.session import Session
from pyccf.node.create import Parts, ServicePlan, start_service
from pyccf.node.node import Limits, Node
from pyccf.node.outputs import Append
from pyccf.service import genesis, tables
from pyccf.service.identity import make_node, make_service
from pyccf.service.nodes import RpcInterface
from pyccf.shell.hardware import SystemEntropy

BENCH = Path(__file__).parent
INTERFACE = "primary_rpc_interface"
ADDRESS = "127.0.0.1:1"
DAYS = 1
CONSTITUTION = "export function validate(input) { return {valid: true}; }"
NEVER = 1 << 60


class MemoryNode:
    """One node of one service. `pump` plays the disk: what is appended is persisted at once.

    Signatures are made by no one but `sign`, so that a loop measures what it says.
    """

    def __init__(
        self,
        app: str,
        *,
        members: tuple[genesis.Member, ...] = (),
        constitution: str = CONSTITUTION,
        window: int | None = None,
        install: Callable[[Parts], None] = lambda parts: None,
    ) -> None:
        """`app`: app-js or app-py; `members` (default: one), `constitution` and the `window` of
        recent proposals are those of the service; `install` adds endpoints."""
        entropy = SystemEntropy()
        now = int(time.time())
        self.app: App | JsApp = JsApp() if app == "app-js" else _load(BENCH / app / "app.py")
        identity = make_node(entropy=entropy, not_before=now, days=DAYS, sans=["IP:127.0.0.1"])
        service = make_service(entropy=entropy, not_before=now, days=DAYS)
        limits = Limits(signature_tx_count=NEVER, signature_delay_ms=NEVER, uncommitted_max=0)
        plan = ServicePlan(
            members=members or (genesis.Member(cert=_member(entropy, now)),),
            constitution=constitution,
            configuration=genesis.ServiceConfiguration(recent_cose_proposals_window_size=window),
            host_data="00" * 32,
            node_bind_address=ADDRESS,
            node_published_address=ADDRESS,
            rpc_interfaces={
                INTERFACE: RpcInterface(bind_address=ADDRESS, published_address=ADDRESS)
            },
            chunk_size_bytes=5 * 1024 * 1024,
            limits=limits,
        )
        parts: Parts = start_service(
            plan,
            identity,
            service,
            entropy=entropy,
            started=now,
            app=self.app,
            install=install,
        )
        self.parts = parts
        self.node: Node = parts.node
        if isinstance(self.app, JsApp):
            self._install(BENCH / app)
        self.node.app.open = True
        self.sign()

    def session(self) -> Session:
        """A connection without a certificate."""
        return Session(1, INTERFACE)

    def call(self, request: Request) -> bytes:
        """The answer to one request. Raises RuntimeError unless it is a success."""
        answer = self.node.handle(self.session(), request)
        if answer is None or not answer.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(f"{request.method} {request.path}: {answer!r}")
        self.pump()
        return answer

    def sign(self) -> None:
        """Sign and commit everything so far."""
        self.node.sign()
        self.pump()

    def pump(self) -> None:
        """Persist what the node wants to append."""
        node = self.node
        while node.has_outputs:
            for output in node.take_outputs():
                if isinstance(output, Append):
                    node.persisted(output.entries[-1].seqno)

    def _install(self, folder: Path) -> None:
        """Put a bundle into the tables, as set_js_app does."""
        tx = self.node.store.tx()
        modules, endpoints = tx.map(tables.MODULES), tx.map(tables.ENDPOINTS)
        for path in sorted((folder / "src").iterdir()):
            modules.set(f"/{path.name}".encode(), path.read_bytes())
        metadata = json.loads((folder / "app.json").read_bytes())
        for url, verbs in metadata["endpoints"].items():
            for verb, endpoint in verbs.items():
                row = {**endpoint, "js_module": "/" + endpoint["js_module"]}
                endpoints.set(f"{verb.upper()} {url}".encode(), json.dumps(row).encode())
        refresh_bytecode(tx)
        self.node.commit(tx)


def _member(entropy: Entropy, now: int) -> str:
    key = PrivateKey.generate(Curve.P384, entropy)
    return certs.self_signed(key, "CN=member0", not_before=now, days=DAYS, entropy=entropy)


def _load(path: Path) -> App:
    spec = importlib.util.spec_from_file_location("bench_app_py", path)
    assert spec is not None, "a Python file has a spec"
    assert spec.loader is not None, "and a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where types named in annotations are looked up
    spec.loader.exec_module(module)
    app = module.app
    assert isinstance(app, App), "the benchmark application is one"
    return app
