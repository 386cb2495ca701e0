"""POST /node/join: letting a node into the network, or telling it that it has been let in.

The caller is known by the key of its TLS client certificate, which its evidence must be bound to.
As long as a service is not open, a node whose program is trusted is let in at once; afterwards it
waits, Pending, until the members trust it. A trusted node is handed the service's key and the
ledger secrets: confidentiality rests on TLS to that key. The order of the checks and the words of
the refusals are CCF's (spec: node-lifecycle.md §6.3, http-api.md §9.5). Each refusal is logged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pyccf.api import primary
from pyccf.api.logged import one_line
from pyccf.api.trust import TableTrust
from pyccf.apps.json_adapter import json_endpoint
from pyccf.apps.router import Endpoint, Forwarding, Redirection
from pyccf.attest import policy
from pyccf.attest.evidence import Format, QuoteInfo
from pyccf.codec.text import NESTING_MAX, b64, dump_json, is_deep, unb64
from pyccf.crypto import certs
from pyccf.crypto.keys import PublicKey
from pyccf.errors import InvalidEvidence, LocalError, RpcError
from pyccf.node.create import Parts
from pyccf.node.states import PART_OF_PUBLIC_NETWORK, TAKES_PART
from pyccf.service import info, nodes, recovery, tables
from pyccf.service.info import ServiceStatus
from pyccf.service.nodes import NodeNetwork, NodeStatus
from pyccf.types import Json, NodeId, SeqNo

if TYPE_CHECKING:
    from pyccf.apps.context import Context
    from pyccf.kv.tx import Tx

PATH = "/node/join"
TRUSTS_AT_ONCE = (ServiceStatus.OPENING, ServiceStatus.RECOVERING)


class JoinRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request that has the right form; nothing in it is believed yet."""

    network: NodeNetwork
    evidence: QuoteInfo
    encryption_key: str
    startup_seqno: SeqNo | None
    csr: str | None
    node_data: Json


class Caller(msgspec.Struct, frozen=True):
    """Who asks: the certificate (DER) of the connection and its key."""

    certificate: bytes
    key: PublicKey

    @property
    def id(self) -> NodeId:
        return self.key.id


def endpoint(parts: Parts) -> Endpoint:
    """The endpoint of one node."""

    def join(ctx: Context, body: Json) -> Json:
        try:
            return _join(parts, ctx, body)
        except RpcError as e:
            if not _is_redirect(e):
                ctx.services.log("info", "", f"Join request refused: {one_line(e.message)}")
            raise

    return Endpoint(
        verb="POST",
        path="/join",
        execute=json_endpoint(join),
        forwarding=Forwarding.NEVER,
        redirection=Redirection.NONE,
        hidden=True,
    )


def _is_redirect(error: RpcError) -> bool:
    return 300 <= error.status < 400


def _join(parts: Parts, ctx: Context, body: Json) -> Json:
    node, tx = parts.node, ctx.tx
    request = _parse(body)
    caller = _caller(ctx)
    if node.state not in TAKES_PART:
        raise RpcError(
            500,
            "InternalError",
            "Target node should be part of network to accept new nodes.",
        )
    begin = request.startup_seqno
    if begin is not None and not _may_begin(parts, begin):
        raise RpcError(
            400,
            "StartupSeqnoIsOld",
            f"Node requested to join from seqno {request.startup_seqno} which is older than this"
            f" node startup seqno {node.startup_seqno}. A snapshot at least as recent as"
            f" {node.startup_seqno} must be used instead.",
        )
    service = info.read(tx)
    if service is None:
        raise RpcError(500, "InternalError", "No service is available to accept new node.")
    status = info.status_of(service)
    known = tables.get_object(tx, tables.NODES_INFO, caller.id)
    at_once = status in TRUSTS_AT_ONCE
    if known is not None:
        standing = tables.enum_member(known, "status", NodeStatus, tables.NODES_INFO)
        if standing is NodeStatus.RETIRED and _left(tx, caller.id):
            # An id never comes back, whatever the status of the service.
            raise RpcError(
                400, "InvalidNodeState", "Joining node is not in expected state (RETIRED)."
            )
        if standing is not NodeStatus.PENDING:
            if not _has_caught_up(parts, tx):
                raise _elsewhere(parts, ctx)
            # Also while its removal is not committed: it was trusted before, and a configuration
            # that is not over yet may need its vote to commit anything, the removal included.
            answer = _answer(NodeStatus.TRUSTED, None if at_once else caller.id)
            answer["network_info"] = _network_info(parts, tx, caller.id, status)
            return answer
        if not at_once and node.can_replicate:
            return _answer(NodeStatus.PENDING, caller.id)
    if not node.can_replicate:
        raise _elsewhere(parts, ctx)
    standing = NodeStatus.TRUSTED if at_once else NodeStatus.PENDING
    _add(parts, ctx, request, caller, standing)
    answer = _answer(standing, caller.id)
    if standing is NodeStatus.TRUSTED:
        answer["network_info"] = _network_info(parts, tx, caller.id, status)
    return answer


def _elsewhere(parts: Parts, ctx: Context) -> RpcError:
    return RpcError(
        308,
        "NodeCannotHandleRequest",
        "Node is not primary; cannot handle write",
        headers={"location": primary.location(parts.node, ctx, PATH)},
    )


def _may_begin(parts: Parts, seqno: SeqNo) -> bool:
    """Whether a node that has nothing after `seqno` can be given what comes then, and read it.

    Who recovered from a snapshot may have the entries before that, but not their secrets: only
    while nobody has any can others begin there, and find them as they go.
    """
    node, first = parts.node, parts.secrets.earliest()
    if seqno >= node.startup_seqno:
        return True
    readable = first is not None and first.version <= seqno + 1
    return parts.whole_ledger and (node.state == PART_OF_PUBLIC_NETWORK or readable)


def _has_caught_up(parts: Parts, tx: Tx) -> bool:
    """Whether what this node tells is no newer than what it knows of who may be told.

    It was handed secrets when it was trusted, maybe of another service than the one whose ledger it
    then reads from the start: a node that left long ago would still be trusted there.
    """
    own = tables.get_object(tx, tables.NODES_INFO, parts.identity.node_id)
    return own is not None and own.get("status") != NodeStatus.PENDING.value


def _left(tx: Tx, node_id: NodeId) -> bool:
    """Whether it is committed that a node was removed."""
    row = nodes.committed_info(tx, node_id)
    return row is not None and row.get("status") == NodeStatus.RETIRED.value


def _answer(standing: NodeStatus, node_id: NodeId | None) -> dict[str, Json]:
    answer: dict[str, Json] = {"node_status": standing.value}
    if node_id is not None:
        answer["node_id"] = node_id
    return answer


# --- the request ----------------------------------------------------------------------------------


def _parse(body: Json) -> JoinRequest:
    """The request, read in CCF's order. Raises RpcError 400, or 500 for what should be PEM."""
    if not isinstance(body, dict):
        raise _invalid("#/", "Expected object, found: " + dump_json(body).decode())
    if is_deep(body):
        # All nodes read its row, now and later.
        raise _invalid("#/", f"Nested more than {NESTING_MAX} deep")
    network = _member(body, "#/", "node_info_network")
    quote = _member(body, "#/", "quote_info")
    encryption_key = _member(body, "#/", "public_encryption_key")
    startup_seqno = _member(body, "#/", "startup_seqno")
    if startup_seqno is not None and (
        not isinstance(startup_seqno, int) or isinstance(startup_seqno, bool) or startup_seqno < 0
    ):
        raise _invalid("#/startup_seqno", "Expected unsigned integer")
    csr = body.get("certificate_signing_request")
    return JoinRequest(
        network=_network(network),
        evidence=_evidence(quote),
        encryption_key=_encryption_key(encryption_key),
        startup_seqno=startup_seqno,
        csr=None if csr is None else _pem(csr, "#/certificate_signing_request"),
        node_data=body.get("node_data"),
    )


def _network(value: Json) -> NodeNetwork:
    try:
        return NodeNetwork.from_json(value)
    except LocalError as e:
        raise _invalid("#/node_info_network", e.message) from None


def _evidence(value: Json) -> QuoteInfo:
    where = "#/quote_info"
    if not isinstance(value, dict):
        raise _invalid(where, "Expected object, found: " + dump_json(value).decode())
    platform = _member(value, where, "format")
    if platform not in [f.value for f in Format]:
        raise _invalid(
            f"{where}/format", f"{dump_json(platform).decode()} is not convertible to QuoteFormat"
        )
    for name in ("quote", "endorsements"):
        _check_base64(_member(value, where, name), f"{where}/{name}")
    try:
        return QuoteInfo.from_json(value)
    except InvalidEvidence as e:
        raise _invalid(where, e.message) from None


def _check_base64(value: Json, where: str) -> None:
    try:
        unb64(value if isinstance(value, str) else "!")
    except ValueError:
        raise _invalid(
            where, f'Vector of bytes object "{dump_json(value).decode()}" is not valid base64'
        ) from None


def _encryption_key(value: Json) -> str:
    pem = _pem(value, "#/public_encryption_key")
    try:
        nodes.check_encryption_key(pem)
    except ValueError as e:
        raise _invalid("#/public_encryption_key", str(e)) from None
    return pem


def _pem(value: Json, where: str) -> str:
    if not isinstance(value, str):
        raise _invalid(where, "Expected string, found: " + dump_json(value).decode())
    if "-----BEGIN" not in value:
        raise RpcError(500, "InternalError", f"PEM constructed with non-PEM data: {value}")
    return value


def _member(value: dict[str, Json], where: str, name: str) -> Json:
    if name not in value:
        raise _invalid(
            where, f"Missing required field '{name}' in object: {dump_json(value).decode()}"
        )
    return value[name]


def _invalid(where: str, reason: str) -> RpcError:
    return RpcError(400, "InvalidInput", f"At {where}: {reason}")


def _caller(ctx: Context) -> Caller:
    der = ctx.session.peer_cert
    if der is None:
        raise RpcError(500, "InternalError", "OpenSSL error: missing object")
    try:
        return Caller(der, PublicKey.from_certificate(der))
    except ValueError as e:
        raise RpcError(400, "InvalidInput", f"Client certificate of a joining node: {e}") from None


# --- adding a node --------------------------------------------------------------------------------


def _add(
    parts: Parts, ctx: Context, request: JoinRequest, caller: Caller, standing: NodeStatus
) -> None:
    """Write the node into the tables. Raises RpcError when it may not join."""
    tx = ctx.tx
    address = request.network.node_address
    holder = nodes.find_by_address(tx, address, caller.id)
    if holder is not None:
        raise RpcError(
            400,
            "NodeAlreadyExists",
            f"A node with the same published node address {address} already exists"
            f" (node id: n[{holder}]).",
        )
    try:
        now = ctx.services.unix_time()
        claims = policy.judge(request.evidence, TableTrust(tx), caller.key.der, now)
    except InvalidEvidence as e:
        if e.hint:
            ctx.services.log("info", "", f"Evidence of node {caller.id}: {one_line(e.hint)}")
        status = 500 if e.message == policy.TCB_REFUSED else 401
        raise RpcError(status, "InvalidQuote", e.message) from None
    if request.csr is not None and not _csr_is_for(request.csr, caller.key):
        raise RpcError(
            400,
            "CSRPublicKeyInvalid",
            "Public key in CSR does not match TLS client identity.",
        )
    row = request.network.to_json()
    row["quote_info"] = request.evidence.to_json()
    row["encryption_pub_key"] = request.encryption_key
    row["public_key"] = caller.key.pem()
    row["code_digest"] = claims.measurement.hex()
    row["status"] = standing.value
    if request.csr is not None:
        row["certificate_signing_request"] = request.csr
    if request.node_data is not None:
        row["node_data"] = request.node_data
    if standing is NodeStatus.TRUSTED:
        row["ledger_secret_seqno"] = recovery.latest_secret(tx, parts.secrets).version
        if request.csr is not None:
            endorsed = _endorse(parts, request.csr, caller)
            tables.put_raw(tx, tables.NODES_ENDORSED_CERTIFICATES, caller.id, endorsed)
    tables.put_json(tx, tables.NODES_INFO, caller.id, row)


def _endorse(parts: Parts, csr: str, caller: Caller) -> str:
    """The node's certificate by the service, valid as long as the one it made itself."""
    try:
        return parts.service.endorse_as(csr, caller.certificate, parts.entropy)
    except ValueError as e:
        raise RpcError(400, "InvalidInput", f"Cannot endorse the node's certificate: {e}") from None


def _csr_is_for(csr: str, key: PublicKey) -> bool:
    try:
        return certs.csr_public_key(csr) == key
    except ValueError:
        return False


# --- what a trusted node gets ---------------------------------------------------------------------


def _recovered(parts: Parts, tx: Tx) -> SeqNo:
    """Where the service before ends, as long as this one is not open; 0 without such a service."""
    created = info.created_at(tx)
    return created - 1 if parts.node.recovering and created is not None else 0


def _network_info(parts: Parts, tx: Tx, node_id: NodeId, status: ServiceStatus) -> dict[str, Json]:
    """Everything a node needs to take part, the secret parts included."""
    row = tables.get_object(tx, tables.NODES_INFO, node_id)
    assert row is not None
    # Later secrets reach it as any other node, in the transactions that change them.
    upto = tables.int_member(row, "ledger_secret_seqno", 1 << 63)
    secrets: list[Json] = []
    for secret in parts.secrets.all():
        if secret.version > upto:
            break
        value: dict[str, Json] = {"raw_key": b64(secret.key)}
        if secret.previous_stored_version is not None:
            value["previous_secret_stored_version"] = secret.previous_stored_version
        secrets.append([secret.version, value])
    network: dict[str, Json] = {
        "cose_signatures_config": {
            "issuer": parts.signer.issuer,
            "subject": parts.signer.subject,
        },
        "identity": {"cert": parts.service.cert_pem, "priv_key": parts.service.key.pem()},
        "last_recovered_signed_idx": _recovered(parts, tx),
        "ledger_secrets": secrets,
        "public_only": parts.node.state == PART_OF_PUBLIC_NETWORK,
        "service_status": status.value,
    }
    endorsed = tables.get_raw(tx, tables.NODES_ENDORSED_CERTIFICATES, node_id)
    if endorsed is not None:
        network["endorsed_certificate"] = endorsed
    return network


__all__ = ["PATH", "endpoint"]
