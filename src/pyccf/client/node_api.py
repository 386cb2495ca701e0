"""The built-in endpoints that every service answers without asking who calls.

Spec: http-api.md §8 (commit, transaction status, receipts) and §9 (/node). Each method is one
request and raises ServiceError when refused; only the two `wait_...` methods ask repeatedly.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Literal, TypeAlias

import msgspec

from pyccf.client.connection import Connection, Reply
from pyccf.client.errors import NotCommitted, ServiceError, UnexpectedAnswer
from pyccf.client.retry import SESSION_LOST
from pyccf.client.types import (
    Consensus,
    KeyRefreshMetrics,
    MemoryUsage,
    NetworkInfo,
    NodeAddress,
    NodeInfo,
    NodeServiceConfiguration,
    NodeState,
    NodeVersion,
    Quote,
    ScriptMetrics,
    SessionMetrics,
)
from pyccf.errors import Unavailable
from pyccf.types import Json, NodeId, TxID

WAIT_S = 10.0
"""Default patience with a commit or a receipt."""


Frontend: TypeAlias = Literal["node", "app", "gov"]
"""Where an endpoint that all three have is asked: an interface may not serve them all."""


class TxStatus(Enum):
    """What is known of a transaction (spec: http-api.md §8.2)."""

    UNKNOWN = "Unknown"
    PENDING = "Pending"
    COMMITTED = "Committed"
    INVALID = "Invalid"


class NodeApi(Connection):
    """Built-in endpoints under /node, and the common ones."""

    # -- transactions ----------------------------------------------------------------------------

    def last_committed(self, via: Frontend = "node") -> TxID:
        """The last transaction known to be committed."""
        return _txid(self.get(f"/{via}/commit").decode(_Commit).transaction_id)

    def view_history(self, via: Frontend = "node") -> list[TxID]:
        """The first transaction of each view, up to what is committed."""
        reply = self.get(f"/{via}/commit", params={"view_history": "true"})
        return [_txid(text) for text in reply.decode(_Commit).view_history]

    def tx_status(self, txid: TxID, via: Frontend = "node") -> TxStatus:
        """How a transaction stands."""
        reply = self.get(f"/{via}/tx", params={"transaction_id": str(txid)})
        return reply.decode(_Status).status

    def wait_for_commit(
        self, txid: TxID, timeout_s: float = WAIT_S, via: Frontend = "node"
    ) -> None:
        """Return once the transaction is committed, whichever node says so.

        An election meanwhile does no harm, nor do nodes that fail as long as another of the
        addresses answers. Raises NotCommitted if the transaction never will be committed,
        Unavailable if that is not known in time, Unreachable if no node answers.
        """
        pause = self._pause(timeout_s)
        while True:
            try:
                status = self.tx_status(txid, via)
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

    def receipt(
        self, txid: TxID, timeout_s: float = WAIT_S, via: Frontend = "node"
    ) -> dict[str, Json]:
        """The JSON receipt of a transaction (spec: merkle-and-receipts.md §5).

        Asks again while the transaction is not committed or is being fetched. Raises NotCommitted,
        or ServiceError / Unavailable with the last answer when time is up.
        """
        pause = self._pause(timeout_s)
        while True:
            reply = self.get(f"/{via}/receipt", params={"transaction_id": str(txid)})
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

    def attestation(self) -> Quote:
        """The node's own attestation evidence, by its newer name."""
        return self.get("/node/attestations/self").decode(Quote)

    def metrics(self) -> SessionMetrics:
        """Connections of clients to the node."""
        return self.get("/node/metrics").decode(_NodeMetrics).sessions

    def js_metrics(self) -> ScriptMetrics:
        """Limits and caches of the JavaScript engine."""
        return self.get("/node/js_metrics").decode(ScriptMetrics)

    def memory(self) -> MemoryUsage:
        """Memory of the node's process."""
        return self.get("/node/memory").decode(MemoryUsage)

    def key_refresh_metrics(self) -> KeyRefreshMetrics:
        """How the keys of token issuers were refreshed, on this node."""
        return self.get("/node/jwt_keys/refresh/metrics").decode(KeyRefreshMetrics)

    def indexing_strategies(self) -> Json:
        """Indexes of the application on this node."""
        return self.get("/node/index/strategies").check().json()

    def node_document(self) -> Json:
        """The OpenAPI document of /node."""
        return self.get("/node/api").check().json()

    def is_primary(self) -> bool:
        """Whether this node is the primary."""
        return _is_so(self.get("/node/primary"))

    def is_backup(self) -> bool:
        """Whether this node is a backup."""
        return _is_so(self.get("/node/backup"))

    def consensus(self) -> Consensus:
        """The node's part in consensus. Refused with 404 by a node that takes no part yet."""
        return self.get("/node/consensus").decode(_Consensus).details

    # -- the service -----------------------------------------------------------------------------

    def network(self) -> NetworkInfo:
        """The service this node belongs to."""
        return self.get("/node/network").decode(NetworkInfo)

    def nodes(
        self, *, host: str | None = None, port: int | None = None, status: str | None = None
    ) -> list[NodeInfo]:
        """All nodes of the service, or those at an address or with a status."""
        asked = {"host": host, "port": None if port is None else str(port), "status": status}
        params = {name: value for name, value in asked.items() if value is not None}
        return self.get("/node/network/nodes", params=params).decode(_Nodes).nodes

    def delete_node(self, node_id: NodeId) -> None:
        """Forget a node whose retirement is committed."""
        self.request("DELETE", f"/node/network/nodes/{node_id}").check()

    def consensus_nodes(self) -> Mapping[NodeId, NodeAddress]:
        """Who takes part in consensus, with node-to-node addresses."""
        return self.get("/node/config").decode(dict[NodeId, NodeAddress])

    def service_configuration(self) -> NodeServiceConfiguration:
        """Settings that govern the service."""
        return self.get("/node/service/configuration").decode(NodeServiceConfiguration)

    def attestations(self) -> list[Quote]:
        """Attestation evidence of all trusted nodes, by its newer name."""
        return self.get("/node/attestations").decode(_Attestations).attestations

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


class _Commit(msgspec.Struct):
    transaction_id: str
    view_history: list[str] = []


class _NodeMetrics(msgspec.Struct):
    sessions: SessionMetrics


class _Attestations(msgspec.Struct):
    attestations: list[Quote]


class _SelfSigned(msgspec.Struct):
    self_signed_certificate: str


class _Previous(msgspec.Struct):
    previous_service_identity: str


class _Nodes(msgspec.Struct):
    nodes: list[NodeInfo]


class _Quotes(msgspec.Struct):
    quotes: list[Quote]


def _txid(text: str) -> TxID:
    txid = TxID.parse(text)
    if txid is None:
        raise UnexpectedAnswer(f"{text!r} is not a transaction id")
    return txid


def _is_so(reply: Reply) -> bool:
    """What a question without a body was answered by its status."""
    if reply.status == 404:
        return False
    reply.check()
    return True


def _ready(reply: Reply) -> bool:
    if reply.status == 503:
        return False
    reply.check()
    return True
