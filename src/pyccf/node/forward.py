"""Requests carried to the primary, and its answers brought back.

A client may ask any node. What only the primary may execute is carried there, together with the
certificate the client showed to this node, which the primary believes; everything else about the
caller it judges itself. The answer comes back as the bytes that go to the client. Each request has
a number of its own: an answer is given to the request it belongs to, once, and only when it comes
from the node that was asked. Who waits too long is told so, and what comes later is dropped.
(spec: node-to-node.md §5, http-api.md §5.3)

Refuses, with a line in the log and nothing changed: bytes that are no message, answers that nobody
waits for, requests of nodes that are not trusted (they are told, if they can be reached). A request
is carried once: a node that is not primary refuses it. Nothing is carried that does not fit
`MESSAGE_MAX`.

Messages are msgpack arrays that begin with their kind.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Annotated, assert_never

import msgspec

from pyccf.errors import InvalidLedger
from pyccf.http.message import TEXT_TYPE, Request, encode_response
from pyccf.http.session import Deliver, Session
from pyccf.node.frontend import (
    TXID_HEADER,
    InterfaceRules,
    Outcome,
    check_view,
    encode,
    refusal,
    retired,
)
from pyccf.node.outputs import Channel
from pyccf.node.waiting import TIMEOUT_HEADER, WAIT_HEADER, Held, Wish
from pyccf.service import tables
from pyccf.service.nodes import NodeStatus
from pyccf.types import Millis, NodeId, SeqNo, TxID

if TYPE_CHECKING:
    from pyccf.node.node import Node

MESSAGE_MAX = 64 * 1024 * 1024
"""Bytes of one message to or from the primary."""
PENDING_MAX = 10_000
"""Requests that wait for the primary at once."""
CALLERS_MAX = 1024
"""Sessions of other nodes of which the primary remembers what it found out about the caller."""

ANYWHERE = InterfaceRules()
"""Rules of requests that another node carried here: it applied its own."""

Unsigned = Annotated[int, msgspec.Meta(ge=0)]


class Carried(
    msgspec.Struct, frozen=True, array_like=True, tag=1, forbid_unknown_fields=True, gc=False
):
    """A client's request, on its way to the primary."""

    command: Unsigned
    view: Unsigned
    """In which the client's session began."""
    session: Unsigned
    caller: bytes | None
    """DER certificate of the client, who proved to have its key."""
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class Answered(
    msgspec.Struct, frozen=True, array_like=True, tag=2, forbid_unknown_fields=True, gc=False
):
    """The primary's answer."""

    command: Unsigned
    close: bool
    """The client's connection ends with it."""
    response: bytes


_decoder: msgspec.msgpack.Decoder[Carried | Answered] = msgspec.msgpack.Decoder(Carried | Answered)
_encode = msgspec.msgpack.encode


class ForwardMessage(msgspec.Struct, frozen=True):
    """A message to a peer that no ledger entries follow."""

    data: bytes

    @property
    def first(self) -> SeqNo:
        return 1

    @property
    def last(self) -> SeqNo:
        return 0

    def encode(self) -> bytes:
        return self.data

    def upto(self, seqno: SeqNo) -> ForwardMessage:
        return self

    def after(self, seqno: SeqNo) -> ForwardMessage:
        return self


class _Pending(msgspec.Struct, frozen=True):
    """A request that waits for its answer."""

    primary: NodeId
    session: Session
    head: bool
    """It is a HEAD request: there is no body."""
    wish: Wish | None
    since: Millis
    timeout: Millis
    deliver: Deliver


class Forwarder:
    """Both ends of it, for one node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._command = 0
        self._pending: dict[int, _Pending] = {}
        self.answers: list[tuple[NodeId, Answered]] = []
        """What other nodes are still to be told."""
        self._deadlines: list[tuple[Millis, int]] = []
        self._callers: dict[tuple[NodeId, int], tuple[bytes | None, dict[str, object]]] = {}
        self._trusted: dict[NodeId, bool] = {}
        self._trusted_at = (0, 0)
        """Version of the nodes table and number of roll-backs that `_trusted` belongs to."""

    def __len__(self) -> int:
        """Requests that wait for their answer."""
        return len(self._pending)

    # --- on a backup ----------------------------------------------------------------------------

    def forward(
        self,
        session: Session,
        request: Request,
        wish: Wish | None,
        defer: Callable[[], Deliver],
    ) -> Outcome | None:
        """Carry a request to the primary; None when that was done, else why it cannot be.

        `defer` is called if so, and gives what delivers the answer.
        """
        node = self._node
        if session.forwarded:
            return refusal(503, "RequestAlreadyForwarded", "RPC was already forwarded.")
        rules = node.interfaces[session.interface]
        if rules.http2:
            return refusal(
                501,
                "NotImplemented",
                "Request cannot be forwarded to primary on HTTP/2 interface.",
            )
        if node.membership.leaving:
            # The primary may stop listening at any moment: the answer would not come.
            return retired()
        lost = check_view(session, node)
        if lost is not None:
            return lost
        primary = node.consensus.primary
        if primary is None or primary == node.node_id:
            return refusal(503, "InternalError", "RPC could not be forwarded to unknown primary.")
        if len(self._pending) >= PENDING_MAX:
            return refusal(
                503, "InternalError", "Too many requests are waiting for the primary's answer."
            )
        command = self._command + 1
        assert session.view is not None
        data = _encode(
            Carried(
                command,
                session.view,
                session.id,
                session.peer_cert,
                request.method,
                request.target,
                _without_wish(request.headers) if wish is not None else request.headers,
                request.body,
            )
        )
        if len(data) > MESSAGE_MAX:
            return refusal(
                413,
                "RequestBodyTooLarge",
                f"Request is too large to be forwarded (max size allowed: {MESSAGE_MAX})",
            )
        if not self._carry(primary, data):
            return refusal(
                503, "InternalError", "Unable to establish channel to forward to primary."
            )
        self._command = command
        session.is_forwarding = True
        timeout = rules.forwarding_timeout_ms
        # Not the request itself: bodies of thousands would stay until they are answered.
        head = request.method == "HEAD"
        self._pending[command] = _Pending(primary, session, head, wish, node.now, timeout, defer())
        heappush(self._deadlines, (node.now + timeout, command))
        return None

    def _carry(self, primary: NodeId, data: bytes) -> bool:
        return self._node.send_to(primary, Channel.FORWARD, ForwardMessage(data))

    def _bring_back(self, sender: NodeId, answer: Answered) -> None:
        """The answer to a request of a client of ours."""
        node = self._node
        pending = self._pending.get(answer.command)
        if pending is None:
            node.log(
                "fail",
                "rpc",
                f"Answer {answer.command} of {sender} came too late, or nobody asked for it",
            )
            return
        if pending.primary != sender:
            node.log(
                "fail",
                "rpc",
                f"Answer {answer.command} is not from {pending.primary} but {sender}: dropped",
            )
            return
        del self._pending[answer.command]
        if answer.close:
            pending.session.close_after = True
        wish = pending.wish
        txid = None if wish is None else _txid(answer.response)
        if wish is None or txid is None:
            node.respond(pending.deliver, answer.response)
            return
        node.answers.hold(
            Held(
                txid,
                wish,
                pending.since + wish.timeout_ms,
                pending.deliver,
                answer.response,
                pending.head,
            )
        )

    def tick(self, now: Millis) -> None:
        """Time passed: tell those who waited too long."""
        deadlines = self._deadlines
        while deadlines and deadlines[0][0] <= now:
            command = heappop(deadlines)[1]
            pending = self._pending.pop(command, None)
            if pending is not None:
                text = (
                    f"Request was forwarded to node n[{pending.primary}], but no response was"
                    f" received after {pending.timeout}ms"
                )
                late = encode_response(
                    504, {"content-type": TEXT_TYPE}, text.encode(), pending.head
                )
                self._node.respond(pending.deliver, late)

    # --- on the primary -------------------------------------------------------------------------

    def receive(self, sender: NodeId, data: bytes) -> None:
        """A peer, authenticated as `sender`, sent a request or an answer."""
        message = _decode(data)
        if message is None:
            self._node.log(
                "fail", "rpc", f"{sender} sent a forwarded message that is none: dropped"
            )
        elif isinstance(message, Carried):
            self._serve(sender, message)
        elif isinstance(message, Answered):
            self._bring_back(sender, message)
        else:
            assert_never(message)

    def _serve(self, sender: NodeId, carried: Carried) -> None:
        """Execute a request that another node's client made."""
        node = self._node
        session = Session(carried.session, "", carried.caller)
        session.forwarded = True
        session.view = carried.view
        session.scratch = self._remembered(sender, carried)

        def deliver(response: bytes) -> None:
            self._answer(sender, carried.command, session, response)

        session.deferrer = lambda: deliver
        request = Request(carried.method, carried.target, carried.headers, carried.body)
        if not self._trusts(sender):
            node.log("fail", "rpc", f"{sender} is not trusted and forwarded a request: refused")
            refused = refusal(
                503,
                "InternalError",
                f"RPC could not be forwarded: node {sender} is not a trusted node of this service.",
            )
            deliver(encode(refused, request))
            return
        response = node.handle(session, request)
        if response is not None:
            deliver(response)

    def _answer(self, to: NodeId, command: int, session: Session, response: bytes) -> None:
        if len(response) > MESSAGE_MAX - 64:
            outcome = refusal(
                500, "InternalError", "The response is too large to be carried to another node."
            )
            txid = _txid(response)
            if txid is not None:
                outcome.headers[TXID_HEADER] = str(txid)
            response = encode_response(outcome.status, outcome.headers, outcome.body)
        self.answers.append((to, Answered(command, session.close_after, response)))

    def hand_out(self) -> None:
        """Have the answers carried that were given since the last call.

        Together, so that what they acknowledge is written at once, and before.
        """
        node = self._node
        answers, self.answers = self.answers, []
        for to, answer in answers:
            if not node.send_to(to, Channel.FORWARD, ForwardMessage(_encode(answer))):
                node.log("fail", "rpc", f"Answer {answer.command} has no way to {to}: dropped")

    def _remembered(self, sender: NodeId, carried: Carried) -> dict[str, object]:
        """What is kept of a session between its requests, as long as the certificate is the same.

        The one that was not used for longest goes when there are too many.
        """
        key = (sender, carried.session)
        kept = self._callers.pop(key, None)
        if kept is None or kept[0] != carried.caller:
            kept = (carried.caller, {})
            if len(self._callers) >= CALLERS_MAX:
                del self._callers[next(iter(self._callers))]
        self._callers[key] = kept
        return kept[1]

    def _trusts(self, sender: NodeId) -> bool:
        """Whether a node is trusted, by the nodes table as it is now."""
        store = self._node.store
        at = (store.map_version(tables.NODES_INFO), store.rollbacks)
        if at != self._trusted_at:
            self._trusted_at = at
            self._trusted.clear()
        trusted = self._trusted.get(sender)
        if trusted is None:
            trusted = self._trusted[sender] = self._judge(sender)
        return trusted

    def _judge(self, sender: NodeId) -> bool:
        table = self._node.store.maps.get(tables.NODES_INFO)
        pair = table.data.get(sender.encode()) if table is not None else None
        if pair is None:
            return False
        try:
            row = tables.decode_row(tables.NODES_INFO, pair.value)
        except InvalidLedger:
            return False
        return isinstance(row, dict) and row.get("status") == NodeStatus.TRUSTED.value


def _decode(data: bytes) -> Carried | Answered | None:
    """A message, None when it is none."""
    if len(data) > MESSAGE_MAX:
        return None
    try:
        message = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(message, Answered) and not message.response.startswith(b"HTTP/1.1 "):
        return None
    return message


def _without_wish(headers: dict[str, str]) -> dict[str, str]:
    """Headers less the wish to wait: this node waits, and the primary need not."""
    return {n: v for n, v in headers.items() if n not in (WAIT_HEADER, TIMEOUT_HEADER)}


_TXID_LINE = f"\r\n{TXID_HEADER}: ".encode()


def _txid(response: bytes) -> TxID | None:
    """The transaction that a response names."""
    head = response.partition(b"\r\n\r\n")[0]
    line = head.partition(_TXID_LINE)[2].partition(b"\r\n")[0]
    return TxID.parse(line.decode("ascii", "replace"))
