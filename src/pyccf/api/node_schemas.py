"""Shapes of what the /node endpoints answer, as their OpenAPI document names them."""

from __future__ import annotations

from pyccf.apps.schemas import Fields, structures
from pyccf.types import Json

_EVIDENCE: Fields = {
    "endorsements": "base64string",
    "format": "QuoteFormat",
    "measurement?": "string",
    "node_id": "NodeId",
    "raw": "base64string",
    "uvm_endorsements?": "base64string",
}

_STRUCTURES: dict[str, Fields] = {
    # attestation
    "Attestation": _EVIDENCE,
    "Quote": _EVIDENCE,
    "GetAttestations__Out": {"attestations": "Attestation_array"},
    "GetQuotes__Out": {"quotes": "Quote_array"},
    # consensus
    "ConsensusConfigDetails": {"details": "ConsensusDetails"},
    "ConsensusDetails": {
        "acks": "NodeId_to_ConsensusDetails__Ack",
        "configs": "Configuration_array",
        "current_view": "uint64",
        "leadership_state?": "LeadershipState",
        "learners?": "NodeId_to_uint64",
        "membership_state": "MembershipState",
        "primary_id": "NodeId",
        "reconfiguration_type?": "ReconfigurationType",
        "retirement_phase?": "RetirementPhase",
        "ticking": "boolean",
    },
    "ConsensusDetails__Ack": {"last_received_ms": "uint64", "seqno": "uint64"},
    "Configuration": {
        "idx": "uint64",
        "nodes": "NodeId_to_Configuration__NodeInfo",
        "rid": "uint64",
    },
    "Configuration__NodeInfo": {"address": "string"},
    "ConsensusNodeConfig": {"address": "string"},
    # the service
    "GetNetworkInfo__Out": {
        "current_service_create_txid": "TransactionId",
        "current_view": "uint64",
        "primary_id": "NodeId",
        "recovery_count": "uint64",
        "service_certificate": "Pem",
        "service_data": "json",
        "service_status": "ServiceStatus",
    },
    "GetServicePreviousIdentity__Out": {"previous_service_identity": "Pem"},
    "ServiceConfiguration": {
        "consensus?": "ConsensusType",
        "maximum_node_certificate_validity_days?": "uint64",
        "maximum_service_certificate_validity_days?": "uint64",
        "recent_cose_proposals_window_size?": "uint64",
        "reconfiguration_type?": "ReconfigurationType",
        "recovery_threshold": "uint64",
    },
    # nodes
    "GetNodes__Out": {"nodes": "GetNode__NodeInfo_array"},
    "GetNode__NodeInfo": {
        "last_written": "uint64",
        "node_data": "json",
        "node_id": "NodeId",
        "primary": "boolean",
        "rpc_interfaces": "string_to_NodeInfoNetwork_v2__NetInterface",
        "status": "NodeStatus",
    },
    "NodeInfoNetwork_v2__NetInterface": {
        "accepted_endpoints?": "string_array",
        "app_protocol?": "string",
        "bind_address": "string",
        "endorsement?": "Endorsement",
        "forwarding_timeout_ms?": "uint64",
        "http_configuration?": "ParserConfiguration",
        "max_open_sessions_hard?": "uint64",
        "max_open_sessions_soft?": "uint64",
        "protocol?": "string",
        "published_address?": "string",
        "redirections?": "NodeInfoNetwork_v2__NetInterface__Redirections",
    },
    "NodeInfoNetwork_v2__NetInterface__Redirections": {
        "to_backup?": "RedirectionResolverConfig",
        "to_primary?": "RedirectionResolverConfig",
    },
    "RedirectionResolverConfig": {"kind": "RedirectionResolutionKind", "target?": "json"},
    "Endorsement": {"authority": "Authority"},
    "ParserConfiguration": {
        "initial_window_size?": "TimeString",
        "max_body_size?": "TimeString",
        "max_concurrent_streams_count?": "uint64",
        "max_frame_size?": "TimeString",
        "max_header_size?": "TimeString",
        "max_headers_count?": "uint32",
    },
    # this node
    "GetState__Out": {
        "last_recovered_seqno?": "uint64",
        "last_signed_seqno": "uint64",
        "node_id": "NodeId",
        "recovery_target_seqno?": "uint64",
        "startup_seqno": "uint64",
        "state": "ccf__NodeStartupState",
        "stop_notice": "boolean",
    },
    "GetVersion__Out": {
        "ccf_version": "string",
        "quickjs_version": "string",
        "unsafe": "boolean",
    },
    "SelfSignedNodeCertificateInfo": {"self_signed_certificate": "Pem"},
    # what it counts
    "JWTRefreshMetrics": {"attempts": "uint64", "failures": "uint64", "successes": "uint64"},
    "JavaScriptMetrics": {
        "bytecode_size": "uint64",
        "bytecode_used": "boolean",
        "max_cached_interpreters": "uint64",
        "max_execution_time": "uint64",
        "max_heap_size": "uint64",
        "max_stack_size": "uint64",
    },
    "MemoryUsage__Out": {
        "current_allocated_heap_size": "uint64",
        "max_total_heap_size": "uint64",
        "peak_allocated_heap_size": "uint64",
    },
    "NodeMetrics": {"sessions": "SessionMetrics"},
    "SessionMetrics": {
        "active": "uint64",
        "interfaces": "string_to_SessionMetrics__PerInterface",
        "peak": "uint64",
    },
    "SessionMetrics__PerInterface": {
        "active": "uint64",
        "errors": "SessionMetrics__Errors",
        "hard_cap": "uint64",
        "peak": "uint64",
        "soft_cap": "uint64",
    },
    "SessionMetrics__Errors": {
        "parsing": "uint64",
        "request_header_too_large": "uint64",
        "request_payload_too_large": "uint64",
    },
}

_CHOICES: dict[str, tuple[str, ...]] = {
    "Authority": ("Node", "Service", "ACME", "Unsecured"),
    "ConsensusType": ("CFT", "BFT"),
    "LeadershipState": ("None", "Leader", "Follower", "PreVoteCandidate", "Candidate"),
    "MembershipState": ("Active", "Retired"),
    "NodeStatus": ("Pending", "Trusted", "Retired"),
    "QuoteFormat": ("OE_SGX_v1", "Insecure_Virtual", "AMD_SEV_SNP_v1"),
    "ReconfigurationType": ("OneTransaction", "TwoTransaction"),
    "RedirectionResolutionKind": ("NodeByRole", "StaticAddress"),
    "RetirementPhase": ("Ordered", "Signed", "Completed", "RetiredCommitted"),
    "ServiceStatus": ("Opening", "Open", "WaitingForRecoveryShares", "Recovering"),
    "ccf__NodeStartupState": (
        "Uninitialized",
        "Initialized",
        "Pending",
        "PartOfPublicNetwork",
        "PartOfNetwork",
        "ReadingPublicLedger",
        "ReadingPrivateLedger",
    ),
}

SCHEMAS: dict[str, Json] = {
    **structures(_STRUCTURES),
    **{name: {"type": "string", "enum": list(texts)} for name, texts in _CHOICES.items()},
}
"""Every named schema of the /node document that is not common to all frontends."""
