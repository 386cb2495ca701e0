"""The built-in endpoints that every service answers without asking who calls.

Spec: http-api.md §8 (commit, transaction status, receipts) and §9 (/node). Each method is one
request and raises ServiceError when refused; only the two `wait_...` methods ask repeatedly.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from pyccf.client.connection import Connection, Reply
from pyccf.client.errors import NotCommitted, ServiceError, UnexpectedAnswer
from pyccf.client.retry import SESSION_LOST
from pyccf.client.types import Consensus, NetworkInfo, NodeInfo, NodeState, NodeVersion, Quote
from pyccf.errors import Unavailable
from pyccf.types import Json, NodeId, TxID

WAIT_S = 10.0
"""Default patience with a commit or a receipt."""


class TxStatus(Enum):
    """What is known of a transaction (spec: http-api.md §8.2)."""

    UNKNOWN = "Unknown"
    PENDING = "Pending"
    COMMITTED = "Committed"
    INVALID = "Invalid"


class NodeApi(Connection):
    """Built-in endpoints under /node, and the common ones."""

    # -- transactions ----------------------------------------------------------------------------

    def last_committed(self) -> TxID:
        """The last transaction known to be committed."""
        return _txid(self.get("/node/commit"))

    def tx_status(self, txid: TxID) -> TxStatus:
        """How a transaction stands."""
        reply = self.get("/node/tx", params={"transaction_id": str(txid)})
        return reply.decode(_Status).status

    def wait_for_commit(self, txid: TxID, timeout_s: float = WAIT_S) -> None:
        """Return once the transaction is committed, whichever node says so.

        An election meanwhile does no harm, nor do nodes that fail as long as another of the
        addresses answers. Raises NotCommitted if the transaction never will be committed,
        Unavailable if that is not known in time, Unreachable if no node answers.
        """
        pause = self._pause(timeout_s)
        while True:
            try:
                status = self.tx_status(txid)
            except ServiceError as error:
                if error.code != SESSION_LOST:
                    raise
                status = TxStatus.UNKNOWN
            if status is TxStatus.COMMITTED:
                return
            if status is TxStatus.INVALID:
                raise NotCommitted(txid)
            if not pause.again():
                raise Unavailable(
                    f"Transaction {txid} is still {status.value} after {timeout_s:g} s",
                    hint="Ask again later; a service that lost most of its nodes cannot commit.",
                )

    def receipt(self, txid: TxID, timeout_s: float = WAIT_S) -> dict[str, Json]:
        """The JSON receipt of a transaction (spec: merkle-and-receipts.md §5).

        Asks again while the transaction is not committed or is being fetched. Raises NotCommitted,
        or ServiceError / Unavailable with the last answer when time is up.
        """
        pause = self._pause(timeout_s)
        while True:
            reply = self.get("/node/receipt", params={"transaction_id": str(txid)})
            if reply.status == 200:
                value = reply.json()
                if not isinstance(value, dict):
                    raise UnexpectedAnswer("The receipt is not a JSON object")
                return value
            if reply.status == 202:
                waiting: Exception = Unavailable(
                    f"The receipt of {txid} is not available yet", hint="Ask again in a moment."
                )
            else:
                try:
                    reply.check()
                    raise UnexpectedAnswer(f"Status {reply.status} where a receipt was expected")
                except ServiceError as error:
                    if error.code == "TransactionInvalid" and "is Invalid" in error.text:
                        raise NotCommitted(txid) from error
                    if error.code not in ("TransactionPendingOrUnknown", SESSION_LOST):
                        raise
                    waiting = error
            if not pause.again():
                raise waiting

    # -- this node -------------------------------------------------------------------------------

    def node_state(self) -> NodeState:
        """What the node is doing."""
        return self.get("/node/state").decode(NodeState)

    def node_version(self) -> NodeVersion:
        """What the node runs."""
        return self.get("/node/version").decode(NodeVersion)

    def ready_for_app(self) -> bool:
        """Whether the node serves application requests."""
        return _ready(self.get("/node/ready/app"))

    def ready_for_governance(self) -> bool:
        """Whether the node serves governance requests."""
        return _ready(self.get("/node/ready/gov"))

    def self_signed_certificate(self) -> str:
        """The node's certificate from before the service endorsed it, PEM."""
        return self.get("/node/self_signed_certificate").decode(_SelfSigned).self_signed_certificate

    def quote(self) -> Quote:
        """The node's own attestation evidence."""
        return self.get("/node/quotes/self").decode(Quote)

    def metrics(self) -> Json:
        """Session counters of the node."""
        return self.get("/node/metrics").check().json()

    def js_metrics(self) -> Json:
        """Limits and caches of the JavaScript engine."""
        return self.get("/node/js_metrics").check().json()

    def consensus(self) -> Consensus:
        """The node's part in consensus. Refused with 404 by a node that takes no part yet."""
        return self.get("/node/consensus").decode(_Consensus).details

    # -- the service -----------------------------------------------------------------------------

    def network(self) -> NetworkInfo:
        """The service this node belongs to."""
        return self.get("/node/network").decode(NetworkInfo)

    def nodes(self) -> list[NodeInfo]:
        """All nodes of the service."""
        return self.get("/node/network/nodes").decode(_Nodes).nodes

    def node(self, node_id: NodeId | None = None) -> NodeInfo:
        """One node; this one if no id is given."""
        return self.get(f"/node/network/nodes/{node_id or 'self'}").decode(NodeInfo)

    def primary(self) -> NodeInfo:
        """The primary node."""
        return self.get("/node/network/nodes/primary").decode(NodeInfo)

    def removable_nodes(self) -> list[NodeInfo]:
        """Retired nodes of which the service has taken leave: their processes may stop."""
        return self.get("/node/network/removable_nodes").decode(_Nodes).nodes

    def quotes(self) -> list[Quote]:
        """Attestation evidence of all trusted nodes."""
        return self.get("/node/quotes").decode(_Quotes).quotes

    def previous_service_identity(self) -> str:
        """Certificate of the service that this one recovered, PEM."""
        return (
            self.get("/node/service/previous_identity").decode(_Previous).previous_service_identity
        )


class _Status(msgspec.Struct):
    status: TxStatus


class _Consensus(msgspec.Struct):
    details: Consensus


class _TransactionId(msgspec.Struct):
    transaction_id: str


class _SelfSigned(msgspec.Struct):
    self_signed_certificate: str


class _Previous(msgspec.Struct):
    previous_service_identity: str


class _Nodes(msgspec.Struct):
    nodes: list[NodeInfo]


class _Quotes(msgspec.Struct):
    quotes: list[Quote]


def _txid(reply: Reply) -> TxID:
    text = reply.decode(_TransactionId).transaction_id
    txid = TxID.parse(text)
    if txid is None:
        raise UnexpectedAnswer(f"{text!r} is not a transaction id")
    return txid


def _ready(reply: Reply) -> bool:
    if reply.status == 503:
        return False
    reply.check()
    return True
