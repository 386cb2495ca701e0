"""Clients that read and write registers over TLS while things go wrong, and note what they see.

The application is a few lines of JavaScript, installed by governance. `Load` runs clients, each in
a thread with a connection (a session) of its own, against whatever nodes it is told are there;
`history` stops them, reads the logs of all registers from committed state and returns the `History`
that `support.linear.check` judges.

A client notes every request before it knows what became of it. An answer is believed to mean
"nothing was executed" only where the protocol says so; whatever else is not a plain answer leaves
the outcome open.
"""

from __future__ import annotations

import json
import random
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import HTTPException, HTTPResponse, HTTPSConnection
from typing import Any

from pyccf.client.retry import SESSION_LOST, may_try_again
from pyccf.types import Json, TxID
from support.linear import History, Kind, Operation, Outcome, Seen, Status
from support.tls import trusting

MODULE = """
const pad = (n) => String(n).padStart(8, "0");
const entry = (register, n) => ccf.strToBuf(register + "/" + pad(n));

function current(register) {
  const row = ccf.kv.registers.get(ccf.strToBuf(register));
  return row === undefined ? { count: 0, last: -1 } : ccf.bufToJsonCompatible(row);
}

export function write(request) {
  const { register, value } = request.body.json();
  const seen = current(register);
  ccf.kv.logs.set(entry(register, seen.count), ccf.jsonCompatibleToBuf(value));
  const row = { count: seen.count + 1, last: value };
  ccf.kv.registers.set(ccf.strToBuf(register), ccf.jsonCompatibleToBuf(row));
  return { body: seen };
}

export function read(request) {
  return { body: current(request.query.split("=")[1]) };
}

/** Writes number `first` .. `first` + `count` - 1 of a register, as far as there are so many. */
export function log(request) {
  const { register, first, count } = request.body.json();
  const found = [];
  for (let n = first; n < first + count; ++n) {
    const row = ccf.kv.logs.get(entry(register, n));
    if (row === undefined) break;
    found.push(ccf.bufToJsonCompatible(row));
  }
  return { body: found };
}
"""


def _endpoint(function: str, mode: str, forwarding: str, redirection: str = "none") -> Json:
    return {
        "js_module": "registers.js",
        "js_function": function,
        "mode": mode,
        "forwarding_required": forwarding,
        "redirection_strategy": redirection,
        "authn_policies": ["no_auth"],
    }


BUNDLE: dict[str, Json] = {
    "metadata": {
        "endpoints": {
            "/registers": {
                "post": _endpoint("write", "readwrite", "always", "to_primary"),
                "get": _endpoint("read", "readonly", "sometimes"),
            },
            "/log": {"post": _endpoint("log", "readonly", "never")},
        }
    },
    "modules": [{"name": "registers.js", "module": MODULE}],
}
"""The application, as `set_js_app` takes it."""

LOG_PAGE = 2000
REQUEST_TIMEOUT_S = 10.0
END_TIMEOUT_S = 60.0
POLL_S = 0.05
STATUS_SAMPLE = 200
"""Committed transactions whose status is asked of every node in the end; of the others, all."""
LAST_REGISTER = "end"
ERROR_SHOWN = 100

Endpoint = tuple[str, int]
Endpoints = Callable[[], dict[int, Endpoint]]
"""Where the nodes listen that clients know of, by number."""


class Plan:
    """What clients do. Shares are parts of all requests; a session has so many on average.

    `readers` are clients besides that only read, so that nothing they ask is ever forwarded.
    """

    def __init__(
        self,
        *,
        clients: int = 6,
        readers: int = 0,
        registers: int = 4,
        pause_s: float = 0.005,
        reads: float = 0.4,
        waits: float = 0.2,
        polls: float = 0.2,
        session: int = 50,
        timeout_s: float = REQUEST_TIMEOUT_S,
        seed: int = 1,
    ) -> None:
        self.clients = clients
        self.readers = readers
        self.registers = [f"r{i}" for i in range(registers)]
        self.pause_s = pause_s
        self.reads = reads
        self.waits = waits
        self.polls = polls
        self.session = session
        self.timeout_s = timeout_s
        self.seed = seed


class Answer:
    """A response: status, error code and text if it has one, transaction, and the body as JSON."""

    def __init__(self, response: HTTPResponse) -> None:
        raw = response.read()
        self.status = response.status
        self.txid = TxID.parse(response.headers.get("x-ms-ccf-transaction-id", ""))
        try:
            self.body: Any = json.loads(raw) if raw else None
        except ValueError:
            self.body = raw.decode("utf-8", "replace")
        error = self.body.get("error", {}) if isinstance(self.body, dict) else {}
        self.code = str(error.get("code", ""))
        self.text = str(error.get("message", ""))

    @property
    def error(self) -> str:
        return f"{self.status} {self.code} {self.text or self.body}"[:ERROR_SHOWN]


class Connection:
    """One TLS connection to one node: a session, as the service understands it."""

    def __init__(self, endpoint: Endpoint, context: ssl.SSLContext, timeout_s: float) -> None:
        """Raises OSError when the node cannot be reached; then nothing was asked."""
        self._http = HTTPSConnection(*endpoint, timeout=timeout_s, context=context)
        self.forwarded = False
        """It has asked for something that only the primary does, so its node may ask that for all
        that follows."""
        try:
            self._http.connect()
        except BaseException:
            self._http.close()
            raise

    def ask(self, method: str, path: str, body: Json = None, *, wait: bool = False) -> Answer:
        """One exchange. Raises OSError or HTTPException when no whole answer came."""
        headers = {"content-type": "application/json"} if body is not None else {}
        if wait:
            headers["x-pyccf-wait"] = "commit"
        self._http.request(method, path, None if body is None else json.dumps(body), headers)
        return Answer(self._http.getresponse())

    def close(self) -> None:
        self._http.close()


class Load:
    """Clients at work. Use it in a `with` statement, or `start` and `stop` it."""

    def __init__(self, endpoints: Endpoints, service_cert: str, plan: Plan | None = None) -> None:
        self.plan = plan or Plan()
        self._endpoints = endpoints
        self._context = trusting(service_cert)
        self._lock = threading.Lock()
        self._last = 0
        self._sessions = 0
        self._operations: list[Operation] = []
        self._statuses: list[Status] = []
        self._stop = threading.Event()
        self._failed: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._run, args=(i,), name=f"client {i}", daemon=True)
            for i in range(self.plan.clients + self.plan.readers)
        ]

    def __enter__(self) -> Load:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End all clients; raises what went wrong in one of them."""
        self._stop.set()
        for thread in self._threads:
            thread.join(END_TIMEOUT_S)
            assert not thread.is_alive(), f"{thread.name} does not end"
        if self._failed:
            raise self._failed[0]

    def operations(self) -> list[Operation]:
        """What was done so far."""
        with self._lock:
            return list(self._operations)

    def committed_writes(self) -> int:
        """Writes that were answered as committed so far."""
        return sum(
            op.kind is Kind.WRITE and op.waited and op.outcome is Outcome.ANSWERED
            for op in self.operations()
        )

    # -- clients ---------------------------------------------------------------------------------

    def _next(self) -> int:
        with self._lock:
            self._last += 1
            return self._last

    def _run(self, number: int) -> None:
        try:
            self._client(number, random.Random(f"{self.plan.seed} {number}"))
        except BaseException as error:
            self._failed.append(error)
            raise

    def _client(self, number: int, chance: random.Random) -> None:
        at = number
        reads = self.plan.reads if number < self.plan.clients else 1.0
        while not self._stop.is_set():
            endpoints = self._endpoints()
            node = sorted(endpoints)[at % len(endpoints)]
            at += 1
            try:
                connection = Connection(endpoints[node], self._context, self.plan.timeout_s)
            except OSError:
                self._stop.wait(POLL_S)
                continue
            with self._lock:
                self._sessions += 1
                session = self._sessions
            try:
                while not self._stop.is_set() and self._one(
                    connection, node, session, chance, reads
                ):
                    self._stop.wait(self.plan.pause_s * 2 * chance.random())
            finally:
                connection.close()

    def _one(
        self,
        connection: Connection,
        node: int,
        session: int,
        chance: random.Random,
        share: float,
    ) -> bool:
        """One operation, and perhaps a question for its status; whether the session goes on.

        `share` of the operations are reads.
        """
        reads = chance.random() < share
        op = self._operation(
            connection,
            node,
            session,
            Kind.READ if reads else Kind.WRITE,
            chance.choice(self.plan.registers),
            not reads and chance.random() < self.plan.waits,
        )
        with self._lock:
            self._operations.append(op)
        if op.outcome is not Outcome.ANSWERED or chance.random() * self.plan.session < 1:
            return False
        if op.txid is not None and chance.random() < self.plan.polls:
            return self._poll(connection, node, session, op.txid)
        return True

    def _operation(
        self, connection: Connection, node: int, session: int, kind: Kind, register: str, wait: bool
    ) -> Operation:
        number, sent = self._next(), time.monotonic()
        seen, txid, error = None, None, ""
        try:
            if kind is Kind.READ:
                answer = connection.ask("GET", f"/app/registers?register={register}")
            else:
                connection.forwarded = True
                body: Json = {"register": register, "value": number}
                answer = connection.ask("POST", "/app/registers", body, wait=wait)
            txid = answer.txid
            outcome = _outcome(answer)
            if outcome is Outcome.ANSWERED:
                seen = Seen(answer.body["count"], answer.body["last"])
            else:
                error = answer.error
        except (OSError, HTTPException) as failure:
            outcome, error = Outcome.UNKNOWN, type(failure).__name__
        return Operation(
            number=number,
            session=session,
            node=node,
            kind=kind,
            register=register,
            sent=sent,
            answered=time.monotonic(),
            outcome=outcome,
            txid=txid,
            seen=seen,
            waited=wait,
            error=error,
        )

    def _poll(self, connection: Connection, node: int, session: int, txid: TxID) -> bool:
        sent = time.monotonic()
        by = f"node {node}" if not connection.forwarded else f"session {session} with node {node}"
        try:
            answer = connection.ask("GET", f"/node/tx?transaction_id={txid}")
        except (OSError, HTTPException):
            return False
        if answer.status != 200:
            return False
        with self._lock:
            status = answer.body["status"]
            self._statuses.append(Status(by, txid, status, sent, time.monotonic()))
        return True

    # -- the end ---------------------------------------------------------------------------------

    def history(self) -> History:
        """Stop, then read the logs from committed state and ask all nodes for what they know."""
        self.stop()
        deadline = time.monotonic() + END_TIMEOUT_S
        final = self._until_committed(deadline)
        node, connection = self._caught_up(final, deadline)
        try:
            logs = {
                register: list(_read_log(connection, register))
                for register in [*self.plan.registers, LAST_REGISTER]
            }
            answer = connection.ask("GET", "/node/commit?view_history=true")
        finally:
            connection.close()
        committed = TxID.parse(answer.body["transaction_id"])
        views = [TxID.parse(text) for text in answer.body["view_history"]]
        assert committed is not None
        history = History(
            self.operations(),
            self._statuses,
            logs,
            committed,
            [view for view in views if view is not None],
        )
        for node in sorted(self._endpoints()):
            self._ask_all(node, history, final, deadline)
        return history

    def _until_committed(self, deadline: float) -> TxID:
        """A last write, answered once committed: its transaction."""
        while True:
            for node, endpoint in sorted(self._endpoints().items()):
                with suppress(OSError):
                    connection = Connection(endpoint, self._context, REQUEST_TIMEOUT_S)
                    with self._lock:
                        self._sessions += 1
                    op = self._operation(
                        connection, node, self._sessions, Kind.WRITE, LAST_REGISTER, True
                    )
                    connection.close()
                    self._operations.append(op)
                    if op.outcome is Outcome.ANSWERED:
                        assert op.txid is not None
                        return op.txid
            assert time.monotonic() < deadline, f"nothing can be written any more: {op.error}"
            time.sleep(POLL_S)

    def _caught_up(self, txid: TxID, deadline: float) -> tuple[int, Connection]:
        """A node that has committed a transaction, and a connection to it."""
        while True:
            for node, endpoint in sorted(self._endpoints().items()):
                with suppress(OSError):
                    connection = Connection(endpoint, self._context, REQUEST_TIMEOUT_S)
                    if _status(connection, txid) == "Committed":
                        return node, connection
                    connection.close()
            assert time.monotonic() < deadline, f"no node says that {txid} is committed"
            time.sleep(POLL_S)

    def _ask_all(self, node: int, history: History, final: TxID, deadline: float) -> None:
        """Ask one node, once it has committed everything, how transactions stand."""
        chance = random.Random(self.plan.seed)
        done = [op.txid for op in history.operations if op.txid is not None]
        lost = [txid for txid in done if not history.is_committed(txid)]
        kept = [txid for txid in done if history.is_committed(txid)]
        try:
            connection = Connection(self._endpoints()[node], self._context, REQUEST_TIMEOUT_S)
        except OSError:
            return
        try:
            while _status(connection, final) != "Committed":
                assert time.monotonic() < deadline, f"node {node} does not catch up to {final}"
                time.sleep(POLL_S)
            for txid in lost + chance.sample(kept, min(len(kept), STATUS_SAMPLE)):
                assert self._poll(connection, node, 0, txid), f"node {node} does not know {txid}"
        finally:
            connection.close()


def _outcome(answer: Answer) -> Outcome:
    """What an answer says about the execution of its request."""
    if answer.status == 200 and answer.txid is not None:
        return Outcome.ANSWERED
    if answer.status == 503 and answer.code == "TransactionReplicationFailed" and answer.txid:
        return Outcome.INVALIDATED
    if answer.code == SESSION_LOST:
        return Outcome.REFUSED
    if may_try_again(answer.status, answer.code, answer.text, answer.txid is not None):
        return Outcome.REFUSED
    return Outcome.UNKNOWN


def _read_log(connection: Connection, register: str) -> Iterator[int]:
    first = 0
    while True:
        body: Json = {"register": register, "first": first, "count": LOG_PAGE}
        page = connection.ask("POST", "/app/log", body, wait=True)
        assert page.status == 200, page.error
        yield from page.body
        first += len(page.body)
        if len(page.body) < LOG_PAGE:
            return


def _status(connection: Connection, txid: TxID) -> str:
    answer = connection.ask("GET", f"/node/tx?transaction_id={txid}")
    assert answer.status == 200, answer.error
    return str(answer.body["status"])
