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
from pyccf.client.steps import Rest, Steps, conversation
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

    @conversation
    def last_committed(self, via: Frontend = "node") -> Steps[TxID]:
        """The last transaction known to be committed."""
        return _txid((yield from self._get(f"/{via}/commit")).decode(_Commit).transaction_id)

    @conversation
    def view_history(self, via: Frontend = "node") -> Steps[list[TxID]]:
        """The first transaction of each view, up to what is committed."""
        reply = yield from self._get(f"/{via}/commit", params={"view_history": "true"})
        return [_txid(text) for text in reply.decode(_Commit).view_history]

    @conversation
    def tx_status(self, txid: TxID, via: Frontend = "node") -> Steps[TxStatus]:
        """How a transaction stands."""
        reply = yield from self._get(f"/{via}/tx", params={"transaction_id": str(txid)})
        return reply.decode(_Status).status

    @conversation
    def wait_for_commit(
        self, txid: TxID, timeout_s: float = WAIT_S, via: Frontend = "node"
    ) -> Steps[None]:
        """Return once the transaction is committed, whichever node says so.

        An election meanwhile does no harm, nor do nodes that fail as long as another of the
        addresses answers. Raises NotCommitted if the transaction never will be committed,
        Unavailable if that is not known in time, Unreachable if no node answers.
        """
        pause = self._pause(timeout_s)
        while True:
            try:
                status = yield from NodeApi.tx_status.steps(self, txid, via)
            except ServiceError as error:
                if error.code != SESSION_LOST:
                    raise
                status = TxStatus.UNKNOWN
            if status is TxStatus.COMMITTED:
                return
            if status is TxStatus.INVALID:
                raise NotCommitted(txid)
            seconds = pause.next_s()
            if seconds is None:
                raise Unavailable(
                    f"Transaction {txid} is still {status.value} after {timeout_s:g} s",
                    hint="Ask again later; a service that lost most of its nodes cannot commit.",
                )
            yield Rest(seconds)

    @conversation
    def receipt(
        self, txid: TxID, timeout_s: float = WAIT_S, via: Frontend = "node"
    ) -> Steps[dict[str, Json]]:
        """The JSON receipt of a transaction (spec: merkle-and-receipts.md §5).

        Asks again while the transaction is not committed or is being fetched. Raises NotCommitted,
        or ServiceError / Unavailable with the last answer when time is up.
        """
        pause = self._pause(timeout_s)
        while True:
            reply = yield from self._get(f"/{via}/receipt", params={"transaction_id": str(txid)})
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
            seconds = pause.next_s()
            if seconds is None:
                raise waiting
            yield Rest(seconds)

    # -- this node -------------------------------------------------------------------------------

    @conversation
    def node_state(self) -> Steps[NodeState]:
        """What the node is doing."""
        return (yield from self._get("/node/state")).decode(NodeState)

    @conversation
    def node_version(self) -> Steps[NodeVersion]:
        """What the node runs."""
        return (yield from self._get("/node/version")).decode(NodeVersion)

    @conversation
    def ready_for_app(self) -> Steps[bool]:
        """Whether the node serves application requests."""
        return _ready((yield from self._get("/node/ready/app")))

    @conversation
    def ready_for_governance(self) -> Steps[bool]:
        """Whether the node serves governance requests."""
        return _ready((yield from self._get("/node/ready/gov")))

    @conversation
    def self_signed_certificate(self) -> Steps[str]:
        """The node's certificate from before the service endorsed it, PEM."""
        reply = yield from self._get("/node/self_signed_certificate")
        return reply.decode(_SelfSigned).self_signed_certificate

    @conversation
    def quote(self) -> Steps[Quote]:
        """The node's own attestation evidence."""
        return (yield from self._get("/node/quotes/self")).decode(Quote)

    @conversation
    def attestation(self) -> Steps[Quote]:
        """The node's own attestation evidence, by its newer name."""
        return (yield from self._get("/node/attestations/self")).decode(Quote)

    @conversation
    def metrics(self) -> Steps[SessionMetrics]:
        """Connections of clients to the node."""
        return (yield from self._get("/node/metrics")).decode(_NodeMetrics).sessions

    @conversation
    def js_metrics(self) -> Steps[ScriptMetrics]:
        """Limits and caches of the JavaScript engine."""
        return (yield from self._get("/node/js_metrics")).decode(ScriptMetrics)

    @conversation
    def memory(self) -> Steps[MemoryUsage]:
        """Memory of the node's process."""
        return (yield from self._get("/node/memory")).decode(MemoryUsage)

    @conversation
    def key_refresh_metrics(self) -> Steps[KeyRefreshMetrics]:
        """How the keys of token issuers were refreshed, on this node."""
        return (yield from self._get("/node/jwt_keys/refresh/metrics")).decode(KeyRefreshMetrics)

    @conversation
    def indexing_strategies(self) -> Steps[Json]:
        """Indexes of the application on this node."""
        return (yield from self._get("/node/index/strategies")).check().json()

    @conversation
    def node_document(self) -> Steps[Json]:
        """The OpenAPI document of /node."""
        return (yield from self._get("/node/api")).check().json()

    @conversation
    def is_primary(self) -> Steps[bool]:
        """Whether this node is the primary."""
        return _is_so((yield from self._get("/node/primary")))

    @conversation
    def is_backup(self) -> Steps[bool]:
        """Whether this node is a backup."""
        return _is_so((yield from self._get("/node/backup")))

    @conversation
    def consensus(self) -> Steps[Consensus]:
        """The node's part in consensus. Refused with 404 by a node that takes no part yet."""
        return (yield from self._get("/node/consensus")).decode(_Consensus).details

    # -- the service -----------------------------------------------------------------------------

    @conversation
    def network(self) -> Steps[NetworkInfo]:
        """The service this node belongs to."""
        return (yield from self._get("/node/network")).decode(NetworkInfo)

    @conversation
    def nodes(
        self, *, host: str | None = None, port: int | None = None, status: str | None = None
    ) -> Steps[list[NodeInfo]]:
        """All nodes of the service, or those at an address or with a status."""
        asked = {"host": host, "port": None if port is None else str(port), "status": status}
        params = {name: value for name, value in asked.items() if value is not None}
        return (yield from self._get("/node/network/nodes", params=params)).decode(_Nodes).nodes

    @conversation
    def delete_node(self, node_id: NodeId) -> Steps[None]:
        """Forget a node whose retirement is committed."""
        (yield from self._request("DELETE", f"/node/network/nodes/{node_id}")).check()

    @conversation
    def consensus_nodes(self) -> Steps[Mapping[NodeId, NodeAddress]]:
        """Who takes part in consensus, with node-to-node addresses."""
        return (yield from self._get("/node/config")).decode(dict[NodeId, NodeAddress])

    @conversation
    def service_configuration(self) -> Steps[NodeServiceConfiguration]:
        """Settings that govern the service."""
        reply = yield from self._get("/node/service/configuration")
        return reply.decode(NodeServiceConfiguration)

    @conversation
    def attestations(self) -> Steps[list[Quote]]:
        """Attestation evidence of all trusted nodes, by its newer name."""
        return (yield from self._get("/node/attestations")).decode(_Attestations).attestations

    @conversation
    def node(self, node_id: NodeId | None = None) -> Steps[NodeInfo]:
        """One node; this one if no id is given."""
        return (yield from self._get(f"/node/network/nodes/{node_id or 'self'}")).decode(NodeInfo)

    @conversation
    def primary(self) -> Steps[NodeInfo]:
        """The primary node."""
        return (yield from self._get("/node/network/nodes/primary")).decode(NodeInfo)

    @conversation
    def removable_nodes(self) -> Steps[list[NodeInfo]]:
        """Retired nodes of which the service has taken leave: their processes may stop."""
        return (yield from self._get("/node/network/removable_nodes")).decode(_Nodes).nodes

    @conversation
    def quotes(self) -> Steps[list[Quote]]:
        """Attestation evidence of all trusted nodes."""
        return (yield from self._get("/node/quotes")).decode(_Quotes).quotes

    @conversation
    def previous_service_identity(self) -> Steps[str]:
        """Certificate of the service that this one recovered, PEM."""
        reply = yield from self._get("/node/service/previous_identity")
        return reply.decode(_Previous).previous_service_identity


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
