"""The change feeds of a node: who listens to which table, and how far each has been told.

A listener is told every committed transaction that wrote to its table, in order and none twice,
each with its id; who comes back with the last id it got (`Last-Event-ID`, or `?since=`) misses
nothing. Transactions are read back from the ledger and verified like all history, so nothing is
told that could be undone. A listener that reads slowly is waited for: nothing is read ahead for it.
While nothing happens it is sent a comment now and then, with the id of what it is past by then.
Whether it may still listen is asked again at intervals; when not, or when this node leaves the
network, its feed ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from pyccf.apps import feed as feeds
from pyccf.apps.context import AnswerFollows, Caller, NeedsHistory, TxStatus
from pyccf.apps.feed import FeedSpec, OpenFeed
from pyccf.apps.router import Mode
from pyccf.errors import PyccfError, RpcError
from pyccf.http.message import query_parameters
from pyccf.node.frontend import ForPrimary
from pyccf.node.historical.batch import Batch
from pyccf.types import Millis, SeqNo, TxID

if TYPE_CHECKING:
    from pyccf.http.message import Request
    from pyccf.http.session import Flow, Session
    from pyccf.node.node import Node

FEEDS_MAX = 1000
"""Listeners of one node."""
FEEDS_PER_CALLER_MAX = 100
"""Listeners of one caller, or of one connection where nobody asked who calls."""
FEEDS_OF_UNNAMED_MAX = 500
"""Listeners of all callers together that no policy gave an identity: it costs nothing to be many of
them, and those who have one are to find a place."""
BATCH_MAX = 200
"""Transactions read for a listener at once."""
HEARTBEAT_MS: Millis = 15_000
"""After so long without anything else a listener is sent a comment."""
RECHECK_MS: Millis = 30_000
"""How often it is asked whether a listener may still listen."""
RECHECK_STEP_MS: Millis = 18_541
"""One listener is asked about so much later than the one before it, modulo `RECHECK_MS`: those that
came together are spread over the time (the step is its golden section)."""
PIECE = 16 * 1024
"""Bytes handed to the connection at once."""

EVENT_STREAM = "text/event-stream"
LAST_EVENT_ID = "last-event-id"
SINCE = "since"
START = "start"


Who: TypeAlias = tuple[str, ...] | int
"""An identity that a policy verified, or the number of a connection."""


def _who(session: Session, caller: Caller | None) -> Who:
    for one in () if caller is None else caller.all_of or (caller,):
        if one.id is not None:
            return (one.policy, one.id)
        subject = None if one.jwt is None else one.jwt.payload.get("sub")
        if one.jwt is not None and isinstance(subject, str):
            return (one.policy, one.jwt.key_issuer, subject)
    return session.connection


class Feeds:
    """All listeners."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._listeners: dict[int, Listener] = {}
        self._opened = 0

    def __len__(self) -> int:
        return len(self._listeners)

    def open(self, session: Session, request: Request, wanted: OpenFeed) -> None:
        """Begin to tell somebody. Raises RpcError when that cannot be."""
        if not session.can_stream or request.method == "HEAD":
            raise RpcError(501, "NotImplemented", "A feed cannot be given over this connection.")
        if len(self._listeners) >= FEEDS_MAX:
            raise RpcError(
                503, "SessionCapExhausted", f"This node has {FEEDS_MAX} listeners already."
            )
        who = _who(session, wanted.caller)
        unnamed = sum(isinstance(of.who, int) for of in self._listeners.values())
        if isinstance(who, int) and unnamed >= FEEDS_OF_UNNAMED_MAX:
            raise RpcError(
                503,
                "SessionCapExhausted",
                f"This node has {FEEDS_OF_UNNAMED_MAX} listeners without an identity already.",
            )
        if sum(of.who == who for of in self._listeners.values()) >= FEEDS_PER_CALLER_MAX:
            raise RpcError(
                503,
                "SessionCapExhausted",
                f"You have {FEEDS_PER_CALLER_MAX} listeners on this node already.",
            )
        after = self._begin_after(request)
        self._opened += 1
        listener = Listener(
            self, self._opened, self._node, session, request, wanted.spec, after, who
        )
        self._listeners[self._opened] = listener
        listener.start()

    def close(self, number: int) -> None:
        """A listener is gone."""
        self._listeners.pop(number, None)
        self._node.historical.drop(("feed", number))

    def tick(self) -> None:
        """Time passed: tell everybody what was committed since."""
        for listener in list(self._listeners.values()):
            listener.tick()

    def end(self) -> None:
        """This node learns of no more commits."""
        for listener in list(self._listeners.values()):
            listener.end()

    def _begin_after(self, request: Request) -> SeqNo:
        """The transaction after which to begin."""
        name, text = LAST_EVENT_ID, request.headers.get(LAST_EVENT_ID)
        if not text:
            name, text = SINCE, query_parameters(request.query).get(SINCE)
            if text == START:
                return 0
        if not text:
            return self._node.consensus.committed
        txid = TxID.parse(text)
        if txid is None:
            raise RpcError(
                400,
                "InvalidHeaderValue" if name == LAST_EVENT_ID else "InvalidQueryParameterValue",
                f"{name} must be the transaction id of an event, such as 2.15, not {text[:100]!r}.",
            )
        status = self._node.tx_status(txid)
        if status is not TxStatus.COMMITTED:
            invalid = status is TxStatus.INVALID
            raise RpcError(
                404,
                "TransactionInvalid" if invalid else "TransactionPendingOrUnknown",
                f"A feed goes on only after a committed transaction. Transaction {txid} is"
                f" {status.value}",
            )
        return txid.seqno


class Listener:
    """One client of one feed; the source of its answer's body."""

    endless = True

    def __init__(
        self,
        feeds: Feeds,
        number: int,
        node: Node,
        session: Session,
        request: Request,
        spec: FeedSpec,
        after: SeqNo,
        who: Who,
    ) -> None:
        self.who = who
        """Whose listener it is."""
        self._feeds = feeds
        self._number = number
        self._node = node
        self._session = session
        self._request = request
        self._spec = spec
        self._told: SeqNo = after
        """Everything up to here was told, or was not of interest."""
        self._rest = b""
        """Bytes of an event that wait for the client."""
        self._full = False
        self._batch = Batch(BATCH_MAX)
        self._quiet_since = node.now
        self._checked_at = node.now - number * RECHECK_STEP_MS % RECHECK_MS
        self._flow: Flow

    def start(self) -> None:
        """Give the head of the answer."""
        self._flow = self._session.stream(self)
        self._flow.begin(200, {"content-type": EVENT_STREAM, "cache-control": "no-cache"})
        self._push(b": listening\n\n")

    # --- what the connection tells --------------------------------------------------------------

    def room(self) -> None:
        """The client took what it was sent."""
        self._full = False
        self._pour()

    def gone(self) -> None:
        """The client is no longer there."""
        self._feeds.close(self._number)

    # --- what the node tells --------------------------------------------------------------------

    def tick(self) -> None:
        """Time passed."""
        now = self._node.now
        if now - self._checked_at >= RECHECK_MS:
            self._checked_at = now
            if not self._may_listen():
                self.end()
                return
        if self._full or self._rest:
            return
        committed = self._node.consensus.committed
        if committed > self._told:
            self._tell(committed)
        if now - self._quiet_since >= HEARTBEAT_MS and not self._full:
            self._push(self._heartbeat())

    def end(self) -> None:
        """Nothing more will be told; the client may come back elsewhere."""
        self._flow.end()
        self._feeds.close(self._number)

    def _tell(self, committed: SeqNo) -> None:
        historical, handle = self._node.historical, ("feed", self._number)
        last = min(committed, self._told + self._batch.asks(historical.holds(handle)))
        try:
            states = historical.request(handle, range(self._told + 1, last + 1))
            if states is None:
                trouble = historical.missing(SeqNo(self._told + 1))
                if trouble is not None:
                    raise trouble
                return
            for state in states:
                self._push(feeds.event(self._spec, state.txid, state.rows(self._spec.map)))
                self._told = state.txid.seqno
                if self._full:
                    break
        except Exception as e:
            # History that cannot be had, or the application's own choice of keys that failed.
            if isinstance(e, AssertionError):
                raise
            told = e.message if isinstance(e, PyccfError) else f"{type(e).__name__}: {e}"
            self._node.log("fail", "feed", f"A feed of {self._spec.map} ends: {told}")
            self._flow.fail()
            self._feeds.close(self._number)
            return
        historical.drop(handle)
        self._batch.ends(taken=True)

    def _heartbeat(self) -> bytes:
        """Says that the feed is alive and, once there is one, from where to go on."""
        view = self._node.view_of(self._told) if self._told else None
        return b": alive\n\n" if view is None else b": alive\nid: %d.%d\n\n" % (view, self._told)

    def _may_listen(self) -> bool:
        """Whether the endpoint still lets this client listen."""
        path = self._request.path
        if path.startswith("/app/"):
            path = path[4:]
        endpoint = self._node.app.endpoint(self._request.method, path)
        if endpoint is None or endpoint.mode is not Mode.READONLY:
            # The application was replaced: what is there now was not asked for.
            return False
        try:
            self._node.execute(self._session, self._request)
        except OpenFeed as wanted:
            now, before = wanted.spec, self._spec
            if (now.map, now.format) != (before.map, before.format):
                return False
            self._spec = now  # it may be for fewer keys by now
            return True
        except NeedsHistory:
            # The handler did let it listen without looking back.
            return False
        except (AnswerFollows, ForPrimary, RpcError):
            return False
        return False

    # --- to the connection ----------------------------------------------------------------------

    def _push(self, data: bytes) -> None:
        if data:
            self._quiet_since = self._node.now
            self._rest += data
            self._pour()

    def _pour(self) -> None:
        """Hand over what waits, as far as there is room."""
        rest = self._rest
        at = 0
        while at < len(rest) and not self._full:
            self._full = not self._flow.push(rest[at : at + PIECE])
            at += PIECE
        self._rest = rest[at:]
