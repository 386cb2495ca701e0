"""What the endpoints of a service answer, as frozen structs (spec: http-api.md §8, §9; gov-api.md).

Unknown members of an answer are passed over, so that newer services can be asked. A field typed
`object` holds any JSON value: None, bool, int, float, str, list or dict.
"""

from __future__ import annotations

import msgspec

from pyccf.types import MemberId, NodeId, ProposalId, SeqNo, UserId, View


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Base of answers under /node: names as in the JSON."""


class _GovAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of answers under /gov: camelCase in the JSON."""


# -- /node ---------------------------------------------------------------------------------------


class NodeState(_Answer, frozen=True):
    """What a node is doing."""

    node_id: NodeId
    state: str
    last_signed_seqno: SeqNo = 0
    startup_seqno: SeqNo = 0
    stop_notice: bool = False
    recovery_target_seqno: SeqNo | None = None
    last_recovered_seqno: SeqNo | None = None


class NodeVersion(_Answer, frozen=True):
    """What a node runs."""

    ccf_version: str
    quickjs_version: str
    unsafe: bool


class NetworkInfo(_Answer, frozen=True):
    """The service as a node sees it."""

    service_status: str
    service_certificate: str
    current_view: View | None = None
    primary_id: NodeId | None = None
    recovery_count: int = 0
    service_data: object = None
    current_service_create_txid: str | None = None


class NodeInfo(_Answer, frozen=True):
    """One node of the service."""

    node_id: NodeId
    status: str
    primary: bool
    rpc_interfaces: dict[str, dict[str, object]] = {}
    node_data: object = None
    last_written: SeqNo = 0


class Ack(_Answer, frozen=True):
    """What a primary knows of a backup: how far it is, and how long ago it was heard."""

    seqno: SeqNo
    last_received_ms: int


class Configuration(_Answer, frozen=True):
    """Nodes that decide from a seqno on, with their node-to-node addresses."""

    idx: SeqNo
    nodes: dict[NodeId, dict[str, str]]


class Consensus(_Answer, frozen=True):
    """A node's part in consensus; `leadership_state` is one of `consensus.api.Leadership`."""

    current_view: View
    membership_state: str
    leadership_state: str | None = None
    primary_id: NodeId | None = None
    retirement_phase: str | None = None
    acks: dict[NodeId, Ack] = {}
    configs: list[Configuration] = []
    ticking: bool = False


class Quote(_Answer, frozen=True):
    """A node's attestation evidence; `raw` and `endorsements` are base64."""

    node_id: NodeId
    raw: str
    endorsements: str
    format: str
    measurement: str | None = None
    uvm_endorsements: str | None = None


class Sessions(_Answer, frozen=True):
    """Connections of one interface; those above the soft cap are told so, others are not let in."""

    active: int
    peak: int
    soft_cap: int
    hard_cap: int
    errors: dict[str, int] = {}


class SessionMetrics(_Answer, frozen=True):
    """Connections of a node, by interface."""

    active: int
    peak: int
    interfaces: dict[str, Sessions] = {}


class ScriptMetrics(_Answer, frozen=True):
    """Limits and caches of the JavaScript engine: bytes and milliseconds."""

    bytecode_size: int
    bytecode_used: bool
    max_heap_size: int
    max_stack_size: int
    max_execution_time: int
    max_cached_interpreters: int


class MemoryUsage(_Answer, frozen=True):
    """Memory of a node's process, in bytes."""

    max_total_heap_size: int
    current_allocated_heap_size: int
    peak_allocated_heap_size: int


class KeyRefreshMetrics(_Answer, frozen=True):
    """How often the keys of token issuers were refreshed, or could not be."""

    attempts: int
    successes: int
    failures: int


class NodeAddress(_Answer, frozen=True):
    """Where a node listens for others."""

    address: str


class NodeServiceConfiguration(_Answer, frozen=True):
    """Settings that govern the service, as /node tells them."""

    recovery_threshold: int
    maximum_node_certificate_validity_days: int = 365
    maximum_service_certificate_validity_days: int = 365
    recent_cose_proposals_window_size: int = 100


# -- /gov ----------------------------------------------------------------------------------------


class Failure(_GovAnswer, frozen=True):
    """Why a vote or a proposal failed."""

    reason: str
    trace: str | None = None


class Proposal(_GovAnswer, frozen=True):
    """A proposal and how it stands."""

    proposal_id: ProposalId
    proposer_id: MemberId
    proposal_state: str
    ballot_count: int = 0
    final_votes: dict[str, bool] | None = None
    vote_failures: dict[str, Failure] | None = None
    failure: Failure | None = None


class Member(_GovAnswer, frozen=True):
    """A member of the consortium."""

    member_id: MemberId
    status: str
    member_data: object = None
    certificate: str | None = None
    public_encryption_key: str | None = None
    recovery_role: str | None = None


class User(_GovAnswer, frozen=True):
    """A user of the service. `user_data` is the stored record: {"user_data": value} or None."""

    user_id: UserId
    certificate: str | None = None
    user_data: object = None


class ServiceNode(_GovAnswer, frozen=True):
    """A node as governance knows it."""

    node_id: NodeId
    status: str
    node_data: object = None
    certificate: str | None = None
    retired_committed: bool = False
    quote_info: dict[str, object] = {}
    rpc_interfaces: dict[str, dict[str, object]] = {}


class ServiceConfiguration(_GovAnswer, frozen=True):
    """Settings that govern the service."""

    recovery_threshold: int
    maximum_node_certificate_validity_days: int = 365
    maximum_service_certificate_validity_days: int = 365
    recent_cose_proposals_window_size: int = 100


class ServiceInfo(_GovAnswer, frozen=True):
    """The service as governance knows it."""

    status: str
    certificate: str
    recovery_count: int = 0
    creation_transaction_id: str | None = None
    previous_service_creation_transaction_id: str | None = None
    service_data: object = None
    configuration: ServiceConfiguration | None = None


class GovTransaction(_GovAnswer, frozen=True):
    """A transaction and how it stands."""

    transaction_id: str
    status: str


class TokenIssuer(_GovAnswer, frozen=True):
    """An issuer of bearer tokens."""

    auto_refresh: bool = False
    ca_cert_bundle_name: str | None = None


class TokenKey(_GovAnswer, frozen=True):
    """A key that tokens are verified with, PEM, and what their issuer claim must be."""

    public_key: str
    issuer: str
    constraint: str | None = None


class TokenIssuers(_GovAnswer, frozen=True):
    """Issuers, their keys by key id, and the authorities of their servers by name."""

    issuers: dict[str, TokenIssuer]
    keys: dict[str, list[TokenKey]]
    ca_cert_bundles: dict[str, str] = {}


class StateDigest(_GovAnswer, frozen=True):
    """The state a member is asked to acknowledge, a hex Merkle root ("" before the first)."""

    member_id: MemberId
    state_digest: str


class EncryptedShare(_GovAnswer, frozen=True):
    """A member's recovery share, encrypted for its key, base64."""

    member_id: MemberId
    encrypted_share: str


class ShareSubmitted(_GovAnswer, frozen=True):
    """How far the collection of recovery shares has come."""

    message: str
    submitted_count: int
    recovery_threshold: int
    full_key_submitted: bool = False


# -- what is asked -------------------------------------------------------------------------------


class Action(msgspec.Struct, frozen=True):
    """One action of a proposal: a name the constitution knows and its arguments."""

    name: str
    args: object = None
