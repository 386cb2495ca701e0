"""A JavaScript application over an in-memory store, called like the frontend calls it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from pyccf.appdev.indexes import MemoryIndexes
from pyccf.appdev.memory import MemoryNode, PastState
from pyccf.apps.auth import authenticate
from pyccf.apps.context import Context, HistoricalState
from pyccf.apps.index import Strategy
from pyccf.apps.js.bytecode import refresh_bytecode
from pyccf.apps.js.registry import JsApp
from pyccf.apps.router import Mode
from pyccf.crypto.entropy import SeededEntropy
from pyccf.errors import RpcError
from pyccf.http.message import Request, error_body
from pyccf.http.session import Session
from pyccf.kv.changes import UNIT
from pyccf.kv.store import Store
from pyccf.service import tables
from pyccf.types import Json, SeqNo, TxID, UnixSeconds

NOW = 1_795_260_000
"""November 2026, when the recorded certificates are valid."""


class Offered(MemoryIndexes):
    """Indexes that a test offers, whatever endpoints declare."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, list)
        self._offered: dict[str, Strategy] = {}

    def install(self, strategy: Strategy) -> bool:
        self._offered[strategy.name] = strategy
        return True

    def find(self, name: str) -> Strategy | None:
        return self._offered.get(name)


class FakeServices(MemoryNode):
    """The node of the developers' tools, at a fixed time, with chance from a seed.

    States of the past are there when they are asked for the second time.
    """

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._entropy = SeededEntropy("js")
        self.about: list[dict[str, str]] = []
        """What each of the lines is about."""
        self.fetched: set[SeqNo] = set()
        self.indexes = Offered(store)

    def unix_time(self) -> UnixSeconds:
        return NOW

    def random(self, n: int) -> bytes:
        return self._entropy.bytes(n)

    def historical_states(
        self, handle: int, seqnos: Sequence[SeqNo], expiry_s: int
    ) -> list[HistoricalState] | None:
        found = super().historical_states(handle, seqnos, expiry_s)
        if found is None:
            return None
        ready = self.fetched.issuperset(seqnos)
        self.fetched.update(seqnos)
        return found if ready else None

    def log(self, level: str, tag: str, text: str, about: dict[str, str] | None = None) -> None:
        super().log(level, tag, text, about)
        self.about.append(about or {})


class Answer:
    """What came of one request."""

    def __init__(self, ctx: Context, committed: TxID | None) -> None:
        self.status = ctx.status
        self.headers = ctx.headers
        self.body = ctx.body
        self.claims = ctx.claims_digest
        self.txid = committed

    def json(self) -> Json:
        value: Json = json.loads(self.body)
        return value


class JsBench:
    """Install modules and endpoints, then call."""

    def __init__(self, *, log_calls: bool = False) -> None:
        self.store = Store(2)
        self.services = FakeServices(self.store)
        self.app = JsApp(log_calls=log_calls)
        self.session = Session(1, "test")
        self.past: PastState | None = None

    def write(self, maps: Mapping[str, Mapping[bytes, bytes | None]]) -> TxID:
        """Commit some rows; they can then be asked for as a historical state."""
        tx = self.store.tx()
        for name, rows in maps.items():
            handle = tx.map(name)
            for key, value in rows.items():
                if value is None:
                    handle.delete(key)
                else:
                    handle.set(key, value)
        written = self.store.commit(tx)
        assert written is not None
        txid = TxID(self.store.view, written.version)
        self.services.states[txid.seqno] = PastState(txid, maps)
        return txid

    def install(
        self,
        modules: Mapping[str, str | bytes],
        endpoints: Mapping[str, Mapping[str, Json] | str],
        *,
        bytecode: bool = False,
    ) -> None:
        """Put an application in place of the one before, as `set_js_app` does.

        `endpoints` maps "<VERB> <path>" to metadata, or to "module:function" for a read-write one.
        """
        tx = self.store.tx()
        for name in (tables.MODULES, tables.ENDPOINTS):
            tx.map(name).clear()
        for name, source in modules.items():
            raw = source.encode() if isinstance(source, str) else source
            tx.map(tables.MODULES).set(b"/" + name.encode(), raw)
        for key, metadata in endpoints.items():
            tx.map(tables.ENDPOINTS).set(key.encode(), json.dumps(self._row(metadata)).encode())
        tx.map(tables.INTERPRETER_FLUSH).set(UNIT, b"true")
        if bytecode:
            refresh_bytecode(tx)
        else:
            tx.map(tables.MODULES_BYTECODE).clear()
            tx.map(tables.MODULES_VERSION).delete(UNIT)
        writes = tx.writes
        written = self.store.commit(tx)
        assert written is not None
        txid = TxID(self.store.view, written.version)
        self.services.states[txid.seqno] = PastState(txid, writes)

    @staticmethod
    def _row(metadata: Mapping[str, Json] | str) -> dict[str, Json]:
        if isinstance(metadata, str):
            module, _, function = metadata.partition(":")
            metadata = {"js_module": module, "js_function": function}
        row: dict[str, Json] = {
            "forwarding_required": "sometimes",
            "authn_policies": ["no_auth"],
            "mode": "readwrite",
            **metadata,
        }
        row["js_module"] = f"/{row['js_module']}"
        return row

    def options(self, **values: Json) -> None:
        """Set the runtime options."""
        self.write({tables.JS_RUNTIME_OPTIONS: {UNIT: json.dumps(values).encode()}})

    def call(
        self,
        verb: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request to /app<path>."""
        return self.run(Request(verb, f"/app{path}", headers, body), path)

    def receive(self, verb: str, target: str, fields: list[bytes], body: bytes) -> Answer:
        """One request as it comes off the wire; `fields` alternates header names and values."""
        request = Request.received(verb, target, fields, body)
        return self.run(request, request.path.removeprefix("/app"))

    def forget(self) -> None:
        """What is committed stays so; how it came about is not kept."""
        self.store.compact(self.store.version)
        self.services.states.clear()

    def run(self, request: Request, path: str) -> Answer:
        """Execute and commit, or not, like the frontend does."""
        tx = self.store.tx()
        found = self.app.lookup(tx, request.method, path)
        assert found is not None, f"no endpoint {request.method} {path}"
        endpoint, params = found
        ctx = Context(request, self.session, tx, self.services, endpoint)
        ctx.params = params
        ctx.route = "/app" + endpoint.path
        try:
            if endpoint.auth:
                ctx.caller = authenticate(ctx, endpoint.auth)
            if endpoint.mode is Mode.HISTORICAL:
                assert self.past is not None, "historical requests need a past"
                ctx.historical = self.past
            endpoint.execute(ctx)
        except RpcError as e:
            ctx.status = e.status
            ctx.headers = {**e.headers, "content-type": "application/json"}
            ctx.body = error_body(e.code, e.message, e.details)
            return Answer(ctx, None)
        apply = ctx.apply_writes if ctx.apply_writes is not None else 200 <= ctx.status < 300
        if not apply:
            return Answer(ctx, None)
        writes = tx.writes
        written = self.store.commit(tx)
        if written is None:
            return Answer(ctx, tx.read_txid)
        txid = TxID(self.store.view, written.version)
        self.services.states[txid.seqno] = PastState(txid, writes)
        return Answer(ctx, txid)
