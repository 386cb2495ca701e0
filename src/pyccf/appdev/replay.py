"""Runs a committed request again, on the state it ran on, and tells every step.

The state before the transaction comes from the ledger, and with it the application, the runtime
options and the constitution in force then. What the request writes now is compared with what the
ledger says it wrote. Requests of members are in the ledger; those of an application are where its
endpoint records them (`record_request`), else they must be given.

Time and chance are those of now, and receipts are made up: a request that depends on them comes out
otherwise, and the differences are told. So does one that ran on an older state than the transaction
just before it, and one whose private tables cannot be read.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

import msgspec

from pyccf.appdev.dispatch import Executed, execute
from pyccf.appdev.governing import run_again, told_by_members
from pyccf.appdev.indexes import MemoryIndexes
from pyccf.appdev.memory import PastState
from pyccf.appdev.past import Moment, Rows, moment, past_rows
from pyccf.appdev.requests import GivenRequest, request_of
from pyccf.appdev.trace import Step, Steps, host_maker
from pyccf.apps.context import Context, HistoricalState, SignsAs, TxStatus
from pyccf.apps.js import recording
from pyccf.apps.js.registry import JsApp
from pyccf.audit.files import StrPath
from pyccf.audit.read import readable, readable_key
from pyccf.codec.text import load_json
from pyccf.errors import LocalError, RpcError
from pyccf.http.session import Session
from pyccf.kv.tx import Tx
from pyccf.ledger.secrets import LedgerSecrets
from pyccf.node import historical
from pyccf.service import tables
from pyccf.types import Json, SeqNo, TxID, UnixSeconds, View

NO_CLAIMS = bytes(32)

MADE_ANEW = frozenset(
    {
        tables.RECOVERY_SHARES,
        tables.HISTORICAL_ENCRYPTED_LEDGER_SECRET,
        tables.ENCRYPTED_LEDGER_SECRETS,
        tables.PREVIOUS_SERVICE_IDENTITY_ENDORSEMENT,
        tables.NODES_ENDORSED_CERTIFICATES,
        tables.MODULES_BYTECODE,
        tables.MODULES_VERSION,
    }
)
"""Tables of what a node makes with its keys, its chance and its engine."""

Past = Callable[[SeqNo, SeqNo], dict[SeqNo, tuple[TxID, Rows]]]
"""What transactions of the ledger wrote, first and last included."""


class Difference(msgspec.Struct, frozen=True):
    """A row that came out otherwise; None stands for removed, and "not written" is told apart."""

    table: str
    key: bytes
    ledger: bytes | None
    replay: bytes | None
    in_ledger: bool
    in_replay: bool

    def to_json(self) -> dict[str, Json]:
        """For scripts: values are there if the row was written, null if it was removed."""
        shown: dict[str, Json] = {"table": self.table, "key": readable_key(self.key)}
        if self.in_ledger:
            shown["ledger"] = None if self.ledger is None else readable(self.ledger)
        if self.in_replay:
            shown["replay"] = None if self.replay is None else readable(self.replay)
        return shown


class Replayed(msgspec.Struct, frozen=True):
    """What came of running a request again."""

    txid: TxID
    request: str
    """Method and path."""
    answer: Executed
    steps: list[Step]
    differences: list[Difference]
    claims_equal: bool
    private_compared: bool
    """Whether private tables could be read."""

    @property
    def equal(self) -> bool:
        """Whether the request wrote what the ledger says."""
        return not self.differences and self.claims_equal

    @property
    def only_made_anew(self) -> bool:
        """Whether it differs, if at all, in what nodes make with keys, chance and engine alone."""
        return self.claims_equal and all(one.table in MADE_ANEW for one in self.differences)

    def to_json(self) -> dict[str, Json]:
        """For scripts."""
        return {
            "txid": str(self.txid),
            "request": self.request,
            "answer": {
                "status": self.answer.status,
                "headers": dict[str, Json](self.answer.headers),
                "body": readable(self.answer.body),
            },
            "steps": [step.to_json() for step in self.steps],
            "equal": self.equal,
            "only_made_anew": self.only_made_anew,
            "claims_equal": self.claims_equal,
            "private_compared": self.private_compared,
            "differences": [one.to_json() for one in self.differences],
        }


def replay(
    directories: StrPath | Sequence[StrPath],
    seqno: SeqNo,
    *,
    secrets: LedgerSecrets | None = None,
    given: GivenRequest | None = None,
    peer_cert: bytes | None = None,
) -> Replayed:
    """Run the request that became `seqno` again.

    `given` is the request if the ledger does not hold it; `peer_cert` (DER) is what its client
    presented, for requests without a stated caller. Raises LocalError when there is no request.
    """
    then = moment(directories, seqno, secrets)
    steps: Steps = []
    node = _Node(then, lambda first, last: past_rows(directories, first, last, secrets), steps)
    by_members = None if given is not None else told_by_members(then)
    if by_members is not None:
        tx = then.store.tx()
        done = run_again(by_members, then, tx, node, steps)
        return _compared(then, by_members.request, done, tx, steps, secrets)
    known = given or _recorded(then)
    if known is None:
        sealed = "" if secrets is not None else " If it was recorded, --enc-key opens it."
        raise LocalError(
            f"The ledger does not hold the request that became {then.txid}",
            hint="Give it with --request, or have the endpoint record its requests from now on."
            + sealed,
        )
    tx = then.store.tx()
    if not tx.map(tables.ENDPOINTS).size():
        raise LocalError(
            f"No JavaScript application was installed when {then.txid} was made",
            hint="Applications in Python are part of the node's program, not of the ledger.",
        )
    session = Session(1, "replay", peer_cert)
    app = JsApp(log_exceptions=True, make_host=host_maker(steps))
    done = execute(app, known.request, tx, node, session, known.caller)
    return _compared(
        then, f"{known.request.method} {known.request.target}", done, tx, steps, secrets
    )


def _recorded(then: Moment) -> GivenRequest | None:
    """The request as the application's endpoint recorded it."""
    raw = then.writes.get(recording.TABLE, {}).get(recording.KEY)
    if raw is None:
        return None
    try:
        value = load_json(raw)
    except ValueError as e:
        raise LocalError(f"The recorded request of {then.txid} is not JSON: {e}") from None
    if not isinstance(value, dict):
        raise LocalError(f"The recorded request of {then.txid} is not an object")
    return request_of(value)


def _compared(
    then: Moment,
    request: str,
    done: Executed,
    tx: Tx,
    steps: Steps,
    secrets: LedgerSecrets | None,
) -> Replayed:
    made: Rows = {name: dict(rows) for name, rows in tx.writes.items()} if done.applied else {}
    readable_all = secrets is not None or not then.private_bytes
    told = {table: rows for table, rows in then.writes.items() if table != recording.TABLE}
    made = {
        table: rows
        for table, rows in made.items()
        if table != recording.TABLE and (readable_all or table.startswith("public:"))
    }
    claims = then.claims if then.claims is not None else NO_CLAIMS
    return Replayed(
        txid=then.txid,
        request=request,
        answer=done,
        steps=steps,
        differences=_differences(told, made),
        claims_equal=claims == (done.claims_digest or NO_CLAIMS),
        private_compared=readable_all,
    )


def _differences(told: Rows, made: Rows) -> list[Difference]:
    found = []
    for table in sorted({*told, *made}):
        ledger, replayed = told.get(table, {}), made.get(table, {})
        for key in sorted({*ledger, *replayed}):
            one = Difference(
                table, key, ledger.get(key), replayed.get(key), key in ledger, key in replayed
            )
            if one.in_ledger != one.in_replay or one.ledger != one.replay:
                found.append(one)
    return found


class _Node:
    """What handlers may ask of the node, as far as the ledger before the transaction tells it."""

    def __init__(self, then: Moment, past: Past, steps: Steps) -> None:
        self._store = then.store
        self._past = past
        self._steps = steps
        self.indexes = MemoryIndexes(then.store, self._everything)

    def _everything(self) -> list[HistoricalState]:
        """All transactions before this one."""
        found = self._past(1, self._store.version)
        return [PastState(*found[seqno]) for seqno in sorted(found)]

    def last_committed(self) -> TxID:
        """What was ordered before counts as committed."""
        return TxID(self._store.view, self._store.version)

    def tx_status(self, txid: TxID) -> TxStatus:
        """By the views of the ledger."""
        view = self.view_of(txid.seqno)
        if view is None:
            return TxStatus.UNKNOWN
        return TxStatus.COMMITTED if view == txid.view else TxStatus.INVALID

    def view_of(self, seqno: SeqNo) -> View | None:
        """The view an entry was ordered in."""
        if not 0 < seqno <= self._store.version:
            return None
        return self._past(seqno, seqno)[seqno][0].view

    def unix_time(self) -> UnixSeconds:
        """Now: the ledger does not hold the time of requests."""
        return int(time.time())

    def random(self, n: int) -> bytes:
        """Chance of its own: that of then is not in the ledger."""
        return os.urandom(n)

    def historical_state(self, ctx: Context, txid: TxID) -> HistoricalState:
        """One transaction before this one. Raises RpcError like the historical adapter."""
        status = self.tx_status(txid)
        if status is not TxStatus.COMMITTED:
            text = f"Only committed transactions can be queried. Transaction {txid} is"
            raise RpcError(404, "TransactionInvalid", f"{text} {status.value}")
        return PastState(*self._past(txid.seqno, txid.seqno)[txid.seqno])

    def historical_range(
        self, handle: int, first: SeqNo, last: SeqNo, expiry_s: int
    ) -> Sequence[HistoricalState] | None:
        """Those of the ledger, at once."""
        return self.historical_states(handle, range(first, last + 1), expiry_s)

    def historical_states(
        self, handle: int, seqnos: Sequence[SeqNo], expiry_s: int
    ) -> Sequence[HistoricalState] | None:
        """The same for single transactions."""
        if seqnos[-1] > self._store.version:
            return None
        historical.check(seqnos)
        found = self._past(seqnos[0], seqnos[-1])
        return [PastState(*found[seqno]) for seqno in seqnos]

    def historical_drop(self, handle: int) -> bool:
        """Nothing is kept."""
        return False

    def signs_as(self) -> SignsAs:
        """Nothing is signed."""
        return SignsAs("", "")

    def log(self, level: str, tag: str, text: str, about: dict[str, str] | None = None) -> None:
        """A step like the others."""
        self._steps.append(Step(level, told=text))
