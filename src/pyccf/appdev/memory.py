"""An application over tables in memory, called like the router of a node calls it.

Every transaction is committed at once, and everything written can be read back as a historical
state. `mark` and `back_to` undo whole stretches, tables and history alike. Receipts have the form
of real ones and prove nothing: nobody signs here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from pyccf.appdev.dispatch import TXID_HEADER, execute
from pyccf.appdev.indexes import MemoryIndexes
from pyccf.apps.context import Caller, Context, HistoricalState, SignsAs, TxStatus
from pyccf.apps.js.registry import JsApp
from pyccf.codec.text import dump_json
from pyccf.errors import LocalError, RpcError
from pyccf.http.message import Request
from pyccf.http.session import Session
from pyccf.kv.changes import UNIT, Changes
from pyccf.kv.store import Store
from pyccf.kv.tx import Tx
from pyccf.node import historical
from pyccf.service import tables
from pyccf.types import Json, SeqNo, TxID, UnixSeconds, View

FIRST_VIEW: Final = 2

Rows = Mapping[str, Mapping[bytes, bytes | None]]


class LogLine(NamedTuple):
    """One line that the application or the runtime wrote to the log."""

    level: str
    tag: str
    text: str


class Answer(msgspec.Struct, frozen=True):
    """What one request got. `txid` is the transaction that it became, if it wrote something."""

    status: int
    headers: dict[str, str]
    body: bytes
    txid: TxID | None = None
    claims_digest: bytes | None = None


class PastState:
    """What one transaction wrote. Nobody signed it, so nothing proves it."""

    cose_receipt: bytes | None = None
    cose_signature: bytes | None = None
    cose_endorsements: tuple[bytes, ...] | None = None
    proof: bytes | None = None
    is_signature: bool = False

    def __init__(self, txid: TxID, maps: Rows) -> None:
        self.txid = txid
        self.maps = maps

    @property
    def receipt(self) -> dict[str, Json]:
        """Right in form; it proves nothing."""
        return {
            "signature": "",
            "cert": "",
            "node_id": "0" * 64,
            "proof": [{"left": "0" * 64}] * 3,
            "leaf_components": {
                "write_set_digest": "0" * 64,
                "commit_evidence": f"ce:{self.txid}:{'0' * 64}",
                "claims_digest": "0" * 64,
            },
        }

    def rows(self, name: str) -> Mapping[bytes, bytes | None]:
        """The rows of one map."""
        return self.maps.get(name, {})

    def tx(self) -> Tx:
        """The rows, to be read."""
        return Tx.over(self.maps, self.txid.seqno, self.txid.view)


class MemoryNode:
    """What handlers may ask of the node: it committed everything it has seen."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.lines: list[LogLine] = []
        self.states: dict[SeqNo, PastState] = {}
        self.handles: set[int] = set()
        self.indexes = MemoryIndexes(store, lambda: [s for _, s in sorted(self.states.items())])
        self.fetching = 0
        """How many more times a historical state is not there yet."""

    def last_committed(self) -> TxID:
        """The last transaction."""
        return TxID(self._store.view, self._store.version)

    def tx_status(self, txid: TxID) -> TxStatus:
        """Committed or invalid for what was seen, unknown beyond."""
        if txid.seqno > self._store.version:
            return TxStatus.UNKNOWN
        return TxStatus.COMMITTED if txid.view == self._store.view else TxStatus.INVALID

    def view_of(self, seqno: SeqNo) -> View | None:
        """There is one view."""
        return self._store.view if 0 < seqno <= self._store.version else None

    def unix_time(self) -> UnixSeconds:
        """This machine's."""
        return int(time.time())

    def random(self, n: int) -> bytes:
        """This machine's."""
        return os.urandom(n)

    def historical_range(
        self, handle: int, first: SeqNo, last: SeqNo, expiry_s: int
    ) -> list[HistoricalState] | None:
        """All states, but None as long as `fetching` says so, or beyond the last transaction."""
        if first < 1:
            raise LocalError(
                "Earliest known ledger secret at 1 has no earlier secret stored version (0)"
            )
        return self.historical_states(handle, range(first, last + 1), expiry_s)

    def historical_states(
        self, handle: int, seqnos: Sequence[SeqNo], expiry_s: int
    ) -> list[HistoricalState] | None:
        """The same for single transactions."""
        self.handles.add(handle)
        if seqnos[-1] > self._store.version or self.still_fetching():
            return None
        historical.check(seqnos)
        return [self.states[seqno] for seqno in seqnos]

    def historical_state(self, ctx: Context, txid: TxID) -> HistoricalState:
        """One transaction. Raises RpcError like the historical adapter, 202 while fetching."""
        status = self.tx_status(txid)
        if status is not TxStatus.COMMITTED or txid.seqno not in self.states:
            unknown = status is TxStatus.UNKNOWN
            raise RpcError(
                404,
                "TransactionPendingOrUnknown" if unknown else "TransactionInvalid",
                f"Only committed transactions can be queried. Transaction {txid} is {status.value}",
            )
        if self.still_fetching():
            pending = f"Historical transaction {txid} is not currently available."
            code = "TransactionPendingOrUnknown"
            raise RpcError(202, code, pending, headers={"retry-after": "3"})
        return self.states[txid.seqno]

    def historical_drop(self, handle: int) -> bool:
        """Whether the handle was used."""
        known = handle in self.handles
        self.handles.discard(handle)
        return known

    def signs_as(self) -> SignsAs:
        """Nothing is signed here."""
        return SignsAs("", "")

    def still_fetching(self) -> bool:
        """Whether a state is said to be on its way this time."""
        waiting = self.fetching > 0
        self.fetching -= waiting
        return waiting

    def log(self, level: str, tag: str, text: str, about: dict[str, str] | None = None) -> None:
        """Kept in `lines`."""
        self.lines.append(LogLine(level, tag, text))


class MemoryService:
    """One application, installed and ready."""

    def __init__(self, modules: Mapping[str, str], endpoints: Mapping[str, Json]) -> None:
        """`modules` by name; `endpoints` as in app.json: {url: {method: metadata}}."""
        self.store = Store(FIRST_VIEW)
        self.node = MemoryNode(self.store)
        self.app = JsApp(log_exceptions=True)
        self._session = Session(1, "test")
        self.write(_installed(modules, endpoints))

    # -- tables ---------------------------------------------------------------------------------

    def write(self, rows: Rows) -> TxID | None:
        """Commit rows of any tables, None for a removal. None if there are no rows."""
        tx = self.store.tx()
        for name, content in rows.items():
            handle = tx.map(name)
            for key, value in content.items():
                if value is None:
                    handle.delete(key)
                else:
                    handle.set(key, value)
        return self.commit(tx)

    def commit(self, tx: Tx) -> TxID | None:
        """Make what a transaction wrote the next transaction."""
        maps: Changes = {name: dict(rows) for name, rows in tx.writes.items()}
        written = self.store.commit(tx)
        if written is None:
            return None
        txid = TxID(self.store.view, written.version)
        self.node.states[txid.seqno] = PastState(txid, maps)
        return txid

    def mark(self) -> SeqNo:
        """The state as it is now, for `back_to`."""
        return self.store.version

    def back_to(self, mark: SeqNo) -> None:
        """Undo every transaction since."""
        for seqno in range(mark + 1, self.store.version + 1):
            del self.node.states[seqno]
        self.store.rollback(mark, self.store.view)

    # -- requests -------------------------------------------------------------------------------

    def call(self, request: Request, caller: Caller | None = None) -> Answer:
        """Execute one request to /app/...; its writes are committed if it succeeds.

        `caller` must satisfy a policy of the endpoint; without one the request comes over a
        connection without certificate.
        """
        tx = self.store.tx()
        done = execute(self.app, request, tx, self.node, self._session, caller)
        if not done.applied:
            return Answer(done.status, done.headers, done.body)
        txid = self.commit(tx)
        shown = txid or tx.read_txid
        headers = done.headers if shown is None else {**done.headers, TXID_HEADER: str(shown)}
        return Answer(done.status, headers, done.body, txid, done.claims_digest)


def _installed(modules: Mapping[str, str], endpoints: Mapping[str, Json]) -> Rows:
    """The tables as `set_js_app` writes them."""
    rows: dict[bytes, bytes | None] = {}
    for url, verbs in endpoints.items():
        if not isinstance(verbs, dict):
            raise LocalError(f"The endpoint {url} has no methods")
        for verb, metadata in verbs.items():
            if not isinstance(metadata, dict):
                raise LocalError(f"The endpoint {verb.upper()} {url} is not an object")
            module = str(metadata.get("js_module", ""))
            stored = {**metadata, "js_module": "/" + module.lstrip("/")}
            rows[f"{verb.upper()} {url}".encode()] = dump_json(stored)
    return {
        tables.MODULES: {
            f"/{name.lstrip('/')}".encode(): text.encode() for name, text in modules.items()
        },
        tables.ENDPOINTS: rows,
        tables.INTERPRETER_FLUSH: {UNIT: b"true"},
    }
