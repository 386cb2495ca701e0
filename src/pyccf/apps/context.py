"""What a handler sees while it executes one request: the request, its transaction, the caller.

A `Context` lives for one attempt. The frontend makes it, an endpoint's `execute` fills in the
response, the frontend decides whether the writes are applied (spec: http-api.md §2). A handler
refuses by raising `pyccf.errors.RpcError`. Nothing here does I/O; what a handler may ask of the
node comes through `Services`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from pyccf.apps.caller import Caller as Caller
from pyccf.apps.caller import Cose as Cose
from pyccf.apps.caller import Jwt as Jwt
from pyccf.apps.caller import SignsAs as SignsAs
from pyccf.codec.text import dump_json
from pyccf.types import Json, SeqNo, TxID, UnixSeconds, View

if TYPE_CHECKING:
    from pyccf.apps.index.strategy import Indexes
    from pyccf.apps.router import Endpoint
    from pyccf.http.message import Request
    from pyccf.http.session import Session
    from pyccf.kv.tx import Tx

JSON_TYPE = "application/json"


class TxStatus(Enum):
    """What is known of a transaction id (spec: http-api.md §8.2)."""

    UNKNOWN = "Unknown"
    PENDING = "Pending"
    COMMITTED = "Committed"
    INVALID = "Invalid"


class NeedsHistory(Exception):
    """A handler needs committed transactions that are not in memory; run the request again then.

    `what` names them to a client that is told to come back later.
    """

    def __init__(self, seqnos: Sequence[SeqNo], what: str) -> None:
        super().__init__(what)
        self.seqnos = seqnos
        self.what = what


class AnswerFollows(Exception):
    """A handler streams its answer; nothing it wrote is applied."""


class HistoricalState(Protocol):
    """A committed transaction brought back: its id, its proofs, and its write set to read."""

    @property
    def txid(self) -> TxID: ...
    @property
    def receipt(self) -> dict[str, Json]:
        """JSON receipt as served at /receipt (spec: merkle-and-receipts.md §5.1)."""
        ...

    @property
    def cose_receipt(self) -> bytes | None:
        """COSE receipt; None for a signature transaction and where there is no COSE signature."""
        ...

    @property
    def cose_signature(self) -> bytes | None:
        """COSE signature over the Merkle root of the signature transaction that covers this one."""
        ...

    @property
    def cose_endorsements(self) -> tuple[bytes, ...] | None:
        """Endorsements of service identities, newest first; None if none is needed."""
        ...

    @property
    def proof(self) -> bytes | None:
        """Inclusion proof in CBOR; None for a signature transaction."""
        ...

    @property
    def is_signature(self) -> bool: ...
    def rows(self, name: str) -> Mapping[bytes, bytes | None]:
        """What that transaction wrote to one map; None is a removal."""
        ...

    def tx(self) -> Tx:
        """A read-only transaction over exactly what that transaction wrote."""
        ...


class Services(Protocol):
    """What handlers may ask of the node. All answers are about this node, now."""

    def last_committed(self) -> TxID: ...
    def tx_status(self, txid: TxID) -> TxStatus: ...
    def view_of(self, seqno: SeqNo) -> View | None: ...
    def unix_time(self) -> UnixSeconds: ...
    def random(self, n: int) -> bytes:
        """n bytes fit for keys."""
        ...

    def historical_state(self, ctx: Context, txid: TxID) -> HistoricalState:
        """One committed transaction.

        Raises RpcError when it is not committed, NeedsHistory while it is being fetched.
        """
        ...

    def historical_range(
        self, handle: int, first: SeqNo, last: SeqNo, expiry_s: int
    ) -> Sequence[HistoricalState] | None:
        """States first..last inclusive, or None while they are being fetched."""
        ...

    def historical_states(
        self, handle: int, seqnos: Sequence[SeqNo], expiry_s: int
    ) -> Sequence[HistoricalState] | None:
        """States of these seqnos, ascending, or None while they are being fetched."""
        ...

    def historical_drop(self, handle: int) -> bool: ...
    def signs_as(self) -> SignsAs:
        """What the COSE signatures of this node say of their maker."""
        ...

    @property
    def indexes(self) -> Indexes:
        """The indexes of this node."""
        ...

    def log(self, level: str, tag: str, text: str, about: dict[str, str] | None = None) -> None:
        """Report one line of an application (levels: debug, info, fail, fatal).

        `about` says what it is about: see `about_request`.
        """
        ...


class Context:
    """One attempt at one request. Handlers read the upper half and fill in the lower."""

    __slots__ = (
        "apply_writes",
        "body",
        "caller",
        "claims_digest",
        "endpoint",
        "headers",
        "historical",
        "locally_committed",
        "params",
        "request",
        "route",
        "services",
        "session",
        "status",
        "tx",
    )

    def __init__(
        self, request: Request, session: Session, tx: Tx, services: Services, endpoint: Endpoint
    ) -> None:
        self.request = request
        self.session = session
        self.tx = tx
        self.services = services
        self.endpoint = endpoint
        self.params: dict[str, str] = {}
        """Path parameters, raw (not percent-decoded)."""
        self.route = ""
        """The template path with its frontend's prefix, e.g. /app/log/{id}."""
        self.caller: Caller | None = None
        self.historical: HistoricalState | None = None
        self.status = 200
        self.headers: dict[str, str] = {}
        self.body = b""
        self.apply_writes: bool | None = None
        """None: writes are applied if the status is 2xx. Otherwise decides."""
        self.claims_digest: bytes | None = None
        """32 bytes bound into the receipt of this transaction."""
        self.locally_committed: Callable[[Context, TxID], None] | None = None
        """Called once the transaction is ordered, to put its id into the answer."""

    def json(self, value: Json, status: int = 200) -> None:
        """Answer with a JSON document (sorted keys, no blanks)."""
        self.status = status
        self.headers["content-type"] = JSON_TYPE
        self.body = dump_json(value)

    def text(self, value: str, status: int = 200, content_type: str = "text/plain") -> None:
        """Answer with text in UTF-8."""
        self.status = status
        self.headers["content-type"] = content_type
        self.body = value.encode()

    def empty(self, status: int = 204) -> None:
        """Answer without a body."""
        self.status = status
        self.body = b""


def about_request(ctx: Context | None, tx: Tx | None) -> dict[str, str]:
    """What a line of a handler's log is about: the transaction whose state it reads, and the
    request. Neither bodies nor queries: they may hold what is not for the log."""
    about: dict[str, str] = {}
    txid = None if tx is None else tx.read_txid
    if txid is not None:
        about["tx"] = str(txid)
    if ctx is not None:
        about["request"] = f"{ctx.request.method} {ctx.request.path}"
    return about


class GovernanceOperations(Protocol):
    """What `ccf.node.*`, `ccf.network.*` and their kin do while a proposal is applied.

    All act inside the proposal's transaction `tx`; nothing outside happens until it commits.
    Failures raise `pyccf.errors.LocalError` with the text of js-runtime.md §4.10.
    """

    def trigger_ledger_rekey(self, tx: Tx) -> None: ...
    def transition_service_to_open(self, tx: Tx, previous: str | None, following: str) -> None:
        """Open the service; both identities are PEM text."""
        ...

    def trigger_recovery_shares_refresh(self, tx: Tx) -> None: ...
    def trigger_ledger_chunk(self, tx: Tx) -> None: ...
    def trigger_snapshot(self, tx: Tx) -> None: ...
    def latest_ledger_secret_seqno(self, tx: Tx) -> SeqNo: ...
    def generate_endorsed_certificate(self, csr_pem: str, valid_from: str, days: int) -> str: ...
    def generate_network_certificate(self, valid_from: str, days: int) -> str: ...
    def set_jwt_public_signing_keys(
        self, tx: Tx, issuer: str, metadata: Json, jwks: Json
    ) -> None: ...

    def remove_jwt_public_signing_keys(self, tx: Tx, issuer: str) -> None: ...
