"""Schemas of the governance API's answers and of what members sign, under their published names.

Where the published schemas and the original's answers part, these follow the answers
(spec: gov-api.md §7).
"""

from __future__ import annotations

from pyccf.apps.schemas import Fields, ref, structures
from pyccf.types import Json

HEX_ID: Json = {"type": "string", "pattern": "^[a-f0-9]{64}$"}
COUNT: Json = {"type": "integer", "format": "int64", "minimum": 0}


def _one_of(*names: str) -> Json:
    return {"type": "string", "enum": list(names)}


_PLAIN: dict[str, Json] = {
    "Proposals.ProposalState": _one_of(
        "Open", "Accepted", "Withdrawn", "Rejected", "Failed", "Dropped"
    ),
    "ServiceState.MemberStatus": _one_of("Accepted", "Active"),
    "ServiceState.RecoveryRole": _one_of("NonParticipant", "Participant", "Owner"),
    "ServiceState.NodeStatus": _one_of("Pending", "Trusted", "Retired"),
    "ServiceState.ServiceStatus": _one_of(
        "Opening", "Open", "WaitingForRecoveryShares", "Recovering"
    ),
    "ServiceState.ForwardingRequired": _one_of("sometimes", "always", "never"),
    "ServiceState.RedirectionStrategy": _one_of("none", "to_primary", "to_backup"),
    "ServiceState.JsExecMode": _one_of("readwrite", "readonly", "historical"),
    "ServiceState.AuthnPolicy": {
        "oneOf": [
            {"type": "string"},
            {
                "type": "object",
                "required": ["all_of"],
                "properties": {"all_of": {"type": "array", "items": {"type": "string"}}},
            },
        ]
    },
    # As it was installed, if `case=original` asks for it.
    "ServiceState.JsEndpoint": {
        "anyOf": [
            ref("ServiceState.JsEndpointInfo"),
            ref("ServiceState.JsEndpointOriginal"),
        ]
    },
    "ServiceState.pem": {"type": "string"},
    "ServiceState.caCertBundle": {"type": "string"},
    "ServiceState.QuoteInfo": {
        "oneOf": [
            ref(f"ServiceState.{platform}QuoteInfo") for platform in ("Sgx", "Snp", "Virtual")
        ]
    },
    "ServiceState.SgxFormat": _one_of("OE_SGX_v1"),
    "ServiceState.SnpFormat": _one_of("AMD_SEV_SNP_v1"),
    "ServiceState.VirtualFormat": _one_of("Insecure_Virtual"),
    "Transactions.TransactionStatus": _one_of("Unknown", "Pending", "Committed", "Invalid"),
    "memberId": HEX_ID,
    "nodeId": HEX_ID,
    "proposalId": HEX_ID,
    "userId": HEX_ID,
    # Empty before the first signature of a new service.
    "stateDigest": {"type": "string", "pattern": "^([a-f0-9]{64})?$"},
    "safeuint": COUNT,
    "transactionId": {"type": "string", "pattern": "^[0-9]+\\.[0-9]+$"},
    "base64": {"type": "string", "format": "byte"},
    "number": {"type": "integer"},
    "nullableString": {"type": "string", "nullable": True},
}

_TABLES: dict[str, Fields] = {
    "Acks.StateDigest": {"memberId": "memberId", "stateDigest": "stateDigest"},
    "Proposals.Action": {"name": "string", "args?": "json"},
    "Proposals.ProposalActions": {"actions": "Proposals.Action_array"},
    "Proposals.FailureInfo": {"reason": "string", "trace?": "string"},
    "Proposals.Proposal": {
        "proposalId": "proposalId",
        "proposerId": "memberId",
        "proposalState": "Proposals.ProposalState",
        "ballotCount": "safeuint",
        "finalVotes?": "memberId_to_boolean",
        "voteFailures?": "memberId_to_Proposals.FailureInfo",
        "failure?": "Proposals.FailureInfo",
    },
    "PagedProposal": {"value": "Proposals.Proposal_array"},
    "Recovery.EncryptedRecoveryShare": {"memberId": "memberId", "encryptedShare": "base64"},
    "Recovery.RecoveryResponse": {
        "message": "string",
        "submittedCount": "safeuint",
        "recoveryThreshold": "safeuint",
        "fullKeySubmitted": "boolean",
    },
    "ServiceState.ServiceConfiguration": {
        "recoveryThreshold": "safeuint",
        "maximumNodeCertificateValidityDays": "safeuint",
        "maximumServiceCertificateValidityDays": "safeuint",
        "recentCoseProposalsWindowSize": "safeuint",
    },
    "ServiceState.ServiceInfo": {
        "status": "ServiceState.ServiceStatus",
        "certificate": "ServiceState.pem",
        "recoveryCount": "safeuint",
        "creationTransactionId?": "transactionId",
        "previousServiceCreationTransactionId?": "transactionId",
        "serviceData": "json",
        "configuration?": "ServiceState.ServiceConfiguration",
    },
    "ServiceState.JsEndpointInfo": {
        "jsModule": "string",
        "jsFunction": "string",
        "forwardingRequired": "ServiceState.ForwardingRequired",
        "redirectionStrategy": "ServiceState.RedirectionStrategy",
        "authnPolicies": "ServiceState.AuthnPolicy_array",
        "mode": "ServiceState.JsExecMode",
        "openApi": "json",
    },
    "ServiceState.JsEndpointOriginal": {"js_module": "string", "js_function": "string"},
    "ServiceState.JsApp": {"endpoints": "path_to_verb_to_ServiceState.JsEndpoint"},
    "ServiceState.JsModuleNames": {"moduleName": "string"},
    "PagedJsModuleNames": {"value": "ServiceState.JsModuleNames_array"},
    "ServiceState.JoinPolicies": {
        "sgx": "ServiceState.JoinPolicy",
        "virtual": "ServiceState.VirtualJoinPolicy",
        "snp": "ServiceState.SnpJoinPolicy",
    },
    "ServiceState.JoinPolicy": {"measurements": "string_array"},
    "ServiceState.VirtualJoinPolicy": {"measurements": "string_array", "hostData": "string_array"},
    "ServiceState.SnpJoinPolicy": {
        "measurements": "string_array",
        "hostData": "digest_to_string",
        "uvmEndorsements": "did_to_ServiceState.UvmEndorsementFeeds",
        "tcbVersions": "cpuid_to_ServiceState.TcbVersion",
    },
    "ServiceState.FeedInfo": {"svn": "string"},
    "ServiceState.TcbVersion": {
        "hexstring?": "string",
        "boot_loader?": "number",
        "tee?": "number",
        "snp?": "number",
        "microcode?": "number",
        "fmc?": "number",
    },
    "ServiceState.JwkInfo": {
        "issuers": "issuer_to_ServiceState.JwtIssuer",
        "keys": "kid_to_ServiceState.Jwks",
        "caCertBundles": "name_to_ServiceState.caCertBundle",
    },
    "ServiceState.JwtIssuer": {"autoRefresh": "boolean", "caCertBundleName?": "string"},
    "ServiceState.Jwk": {
        "publicKey": "ServiceState.pem",
        "issuer": "string",
        "constraint": "nullableString",
    },
    "ServiceState.Member": {
        "memberId": "memberId",
        "status": "ServiceState.MemberStatus",
        "memberData": "json",
        "certificate?": "ServiceState.pem",
        "publicEncryptionKey?": "ServiceState.pem",
        "recoveryRole": "ServiceState.RecoveryRole",
    },
    "PagedMember": {"value": "ServiceState.Member_array"},
    "ServiceState.User": {
        "userId": "userId",
        "certificate": "ServiceState.pem",
        "userData": "json",
    },
    "PagedUser": {"value": "ServiceState.User_array"},
    "ServiceState.NetworkInterface": {"publishedAddress": "string", "protocol?": "string"},
    "ServiceState.SgxQuoteInfo": {
        "format": "ServiceState.SgxFormat",
        "quote": "base64",
        "endorsements": "base64",
    },
    "ServiceState.SnpQuoteInfo": {
        "format": "ServiceState.SnpFormat",
        "uvmEndorsements?": "base64",
        "endorsedTcb?": "base64",
    },
    "ServiceState.VirtualDetails": {
        "measurement": "string",
        "reportData": "base64",
        "hostData": "string",
    },
    "ServiceState.VirtualQuoteInfo": {
        "format": "ServiceState.VirtualFormat",
        "rawQuote": "base64",
        "details": "ServiceState.VirtualDetails",
    },
    "ServiceState.Node": {
        "nodeId": "nodeId",
        "status": "ServiceState.NodeStatus",
        "nodeData": "json",
        "certificate?": "ServiceState.pem",
        "retiredCommitted": "boolean",
        "quoteInfo": "ServiceState.QuoteInfo",
        "rpcInterfaces": "name_to_ServiceState.NetworkInterface",
    },
    "PagedNode": {"value": "ServiceState.Node_array"},
    "Transactions.Transaction": {
        "status": "Transactions.TransactionStatus",
        "transactionId": "transactionId",
    },
}

SCHEMAS: dict[str, Json] = {
    **_PLAIN,
    **structures(_TABLES),
    "ServiceState.Jwks": {"type": "array", "items": ref("ServiceState.Jwk")},
    "ServiceState.UvmEndorsementFeeds": {
        "type": "object",
        "additionalProperties": ref("ServiceState.FeedInfo"),
    },
}
"""All of them; a document carries those it refers to."""

MESSAGES: dict[str, Json] = {
    "proposal": ref("Proposals.ProposalActions"),
    "ballot": {
        "type": "object",
        "required": ["ballot"],
        "properties": {"ballot": {"type": "string"}},
    },
    "ack": {
        "type": "object",
        "required": ["stateDigest"],
        "properties": {"stateDigest": ref("stateDigest")},
    },
    "recovery_share": {
        "type": "object",
        "required": ["share"],
        "properties": {"share": ref("base64")},
    },
}
"""What the payload of a signed message holds, by its type; the others have none."""
