"""The /node frontend: state, network, attestation and metrics of a node (spec: http-api.md §9).

It is served from the first moment on, also by a node that waits to be let in: then what it tells
of itself comes from the node and not from tables it does not have. Letting nodes in is `api/join`.
Refreshed JWT keys are taken in by
`api/jwt_refresh`. Snapshots are not offered here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Protocol

import msgspec

from pyccf import CCF_VERSION
from pyccf.api import primary
from pyccf.apps.auth import NodeCert, Policy
from pyccf.apps.context import Context
from pyccf.apps.json_adapter import json_endpoint
from pyccf.apps.router import Endpoint, Forwarding, Mode, Redirection
from pyccf.apps.schemas import ref
from pyccf.attest import policy
from pyccf.attest.evidence import QuoteInfo
from pyccf.consensus.api import Engine
from pyccf.errors import InvalidEvidence, RpcError
from pyccf.http.message import query_parameters
from pyccf.kv.tx import Tx
from pyccf.node.node import TAKES_PART, Reader
from pyccf.service import nodes as node_rows
from pyccf.service import tables
from pyccf.service.nodes import NodeEntry
from pyccf.types import Json, NodeId, SeqNo, View

NOT_FOUND = "ResourceNotFound"
STATUSES = ("Pending", "Trusted", "Retired")

PART_OF_NETWORK = "PartOfNetwork"


class NodeFacts(Protocol):
    """What these endpoints ask of the node."""

    node_id: NodeId
    state: str
    startup_seqno: SeqNo
    stop_notice: bool
    consensus: Engine
    reader: Reader | None

    @property
    def app_open(self) -> bool: ...

    @property
    def gov_open(self) -> bool: ...

    def current_view(self) -> View: ...

    @property
    def indexes(self) -> IndexFacts: ...


class IndexFacts(Protocol):
    """What is told of a node's indexes."""

    def describe(self) -> list[Json]: ...


class ShellFacts(msgspec.Struct, frozen=True):
    """What only the shell knows, asked when a request wants it."""

    sessions: Callable[[], dict[str, Json]]
    """The `sessions` object of /node/metrics."""
    memory: Callable[[], dict[str, Json]]
    """The object of /node/memory."""
    self_signed_certificate: Callable[[], str]
    """PEM of the node's own certificate."""
    engine_version: str
    """Version of the JavaScript engine."""
    js_metrics: Callable[[Tx], dict[str, Json]]
    """The object of /node/js_metrics."""
    entry: NodeEntry
    """What this node tells of itself before the tables do."""


def _row(tx: Tx, node_id: str) -> dict[str, Json] | None:
    return tables.get_object(tx, tables.NODES_INFO, node_id)


def _quote(ctx: Context, node_id: str, row: dict[str, Json]) -> dict[str, Json]:
    """Evidence of a node as it is shown; `measurement` is missing if it cannot be told."""
    quote = row.get("quote_info")
    if not isinstance(quote, dict) or not {"format", "quote"} <= quote.keys():
        # Only a constitution of the members' own writes such a row.
        raise RpcError(500, "InternalError", f"Node {node_id} is recorded without evidence.")
    out: dict[str, Json] = {
        "endorsements": quote.get("endorsements", ""),
        "format": quote["format"],
        "node_id": node_id,
        "raw": quote["quote"],
    }
    if row.get("code_digest"):
        out["measurement"] = row["code_digest"]
    else:
        # Rows written by early versions do not tell.
        with contextlib.suppress(InvalidEvidence):
            claims, _ = policy.verify(QuoteInfo.from_json(quote), ctx.services.unix_time())
            out["measurement"] = claims.measurement.hex()
    if quote.get("uvm_endorsements"):
        out["uvm_endorsements"] = quote["uvm_endorsements"]
    return out


def _rows(tx: Tx) -> list[tuple[str, dict[str, Json]]]:
    found: list[tuple[str, dict[str, Json]]] = []
    for key, raw in tx.map(tables.NODES_INFO).foreach():
        row = tables.decode_row(tables.NODES_INFO, raw)
        if isinstance(row, dict):
            found.append((key.decode(), row))
    return found


def endpoints(node: NodeFacts, shell: ShellFacts) -> list[Endpoint]:
    """All of /node but the four common endpoints."""

    def describe(tx: Tx, node_id: str, row: dict[str, Json]) -> dict[str, Json]:
        written = tx.map(tables.NODES_INFO).previous_version(node_id.encode())
        return {
            "last_written": written or 0,
            "node_data": row.get("node_data"),
            "node_id": node_id,
            "primary": node_id == node.consensus.primary,
            "rpc_interfaces": row.get("rpc_interfaces", {}),
            "status": row.get("status"),
        }

    def state(ctx: Context, body: Json) -> Json:
        # The KV is asked, not the node: the answer belongs to the state this request sees.
        signed = tables.get_object(ctx.tx, tables.SIGNATURES)
        answer: dict[str, Json] = {
            "last_signed_seqno": signed["seqno"] if signed else 0,
            "node_id": node.node_id,
            "startup_seqno": node.startup_seqno,
            "state": node.state,
            "stop_notice": node.stop_notice,
        }
        progress = node.reader.progress() if node.reader is not None else None
        if progress is not None:
            answer["last_recovered_seqno"], answer["recovery_target_seqno"] = progress
        return answer

    def network(ctx: Context, body: Json) -> Json:
        info = tables.get_object(ctx.tx, tables.SERVICE_INFO)
        if info is None:
            raise RpcError(404, NOT_FOUND, "Service state not available.")
        return {
            "current_service_create_txid": info.get("current_service_create_txid"),
            "current_view": node.current_view(),
            "primary_id": node.consensus.primary,
            "recovery_count": info.get("recovery_count", 0),
            "service_certificate": info["cert"],
            "service_data": info.get("service_data"),
            "service_status": info["status"],
        }

    def nodes(ctx: Context, body: Json) -> Json:
        query = query_parameters(ctx.request.query)
        host, port, status = query.get("host"), query.get("port"), query.get("status")
        if status is not None and status not in STATUSES:
            raise RpcError(
                400,
                "InvalidQueryParameterValue",
                f"Query parameter '{status}' is not a valid node status",
            )
        listed: list[Json] = []
        for node_id, row in _rows(ctx.tx):
            if status is not None and row.get("status") != status:
                continue
            interfaces = row.get("rpc_interfaces")
            if not isinstance(interfaces, dict) or not any(
                _at(interface, host, port) for interface in interfaces.values()
            ):
                continue
            listed.append(describe(ctx.tx, node_id, row))
        return {"nodes": listed}

    def removable(ctx: Context, body: Json) -> Json:
        return {
            "nodes": [
                {**describe(ctx.tx, node_id, row), "primary": False}
                for node_id, row in node_rows.removable(ctx.tx)
            ]
        }

    def delete_node(ctx: Context, body: Json) -> Json:
        node_id = ctx.params["node_id"]
        if _row(ctx.tx, node_id) is None:
            raise RpcError(404, NOT_FOUND, "No such node")
        row = node_rows.committed_info(ctx.tx, node_id)
        if row is None or not node_rows.is_removable(row):
            raise RpcError(400, "NodeNotRetiredCommitted", "Node is not completely retired")
        node_rows.delete(ctx.tx, node_id)
        return True

    def set_retired_committed(ctx: Context, body: Json) -> Json:
        node_rows.record_retired_committed(ctx.tx)
        return None

    def create(ctx: Context, body: Json) -> Json:
        # The first transaction is made by the node itself and never by a request.
        raise RpcError(403, "InternalError", "Node is not in initial state.")

    def one_node(ctx: Context, body: Json) -> Json:
        node_id = ctx.params["node_id"]
        row = _row(ctx.tx, node_id)
        if row is None:
            raise RpcError(404, NOT_FOUND, "Node not found")
        return describe(ctx.tx, node_id, row)

    def self_node(ctx: Context, body: Json) -> Json:
        row = _row(ctx.tx, node.node_id)
        return describe(ctx.tx, node.node_id, shell.entry.to_json() if row is None else row)

    def primary_node(ctx: Context, body: Json) -> Json:
        require_consensus()
        node_id = node.consensus.primary
        if node_id is None:
            raise RpcError(500, "InternalError", "Primary unknown")
        row = _row(ctx.tx, node_id)
        if row is None:
            raise RpcError(404, NOT_FOUND, "Node not found")
        return describe(ctx.tx, node_id, row)

    def own_quote(ctx: Context, body: Json) -> Json:
        row = _row(ctx.tx, node.node_id)
        quote = _quote(ctx, node.node_id, shell.entry.to_json() if row is None else row)
        if "measurement" not in quote:
            raise RpcError(500, "InvalidQuote", "Failed to extract code id from node quote.")
        return quote

    def trusted_quotes(ctx: Context) -> list[Json]:
        return [
            _quote(ctx, node_id, row)
            for node_id, row in _rows(ctx.tx)
            if row.get("status") == "Trusted"
        ]

    def quotes(ctx: Context, body: Json) -> Json:
        return {"quotes": trusted_quotes(ctx)}

    def attestations(ctx: Context, body: Json) -> Json:
        return {"attestations": trusted_quotes(ctx)}

    def previous_identity(ctx: Context, body: Json) -> Json:
        pem = tables.get_text(ctx.tx, tables.PREVIOUS_SERVICE_IDENTITY)
        if pem is None:
            raise RpcError(404, NOT_FOUND, "This service is not a recovery of a previous service.")
        return {"previous_service_identity": pem}

    def configuration(ctx: Context, body: Json) -> Json:
        return tables.get_object(ctx.tx, tables.SERVICE_CONFIG)

    def require_consensus() -> None:
        if node.state not in TAKES_PART:
            raise RpcError(404, NOT_FOUND, "No configured consensus")

    def consensus(ctx: Context, body: Json) -> Json:
        require_consensus()
        return {"details": node.consensus.details()}

    def config(ctx: Context, body: Json) -> Json:
        require_consensus()
        return {n: {"address": a} for n, a in node.consensus.nodes().items()}

    def version(ctx: Context, body: Json) -> Json:
        return {
            "ccf_version": CCF_VERSION,
            "quickjs_version": shell.engine_version,
            "unsafe": False,
        }

    def certificate(ctx: Context, body: Json) -> Json:
        return {"self_signed_certificate": shell.self_signed_certificate()}

    def strategies(ctx: Context, body: Json) -> Json:
        return node.indexes.describe()

    def js_metrics(ctx: Context, body: Json) -> Json:
        return shell.js_metrics(ctx.tx)

    def memory(ctx: Context) -> None:
        ctx.json(shell.memory())

    def metrics(ctx: Context) -> None:
        ctx.json({"sessions": shell.sessions()})

    def is_primary(ctx: Context) -> None:
        if not node.consensus.can_replicate:
            raise RpcError(404, NOT_FOUND, "Node is not primary")

    def is_backup(ctx: Context) -> None:
        if node.consensus.can_replicate:
            raise RpcError(404, NOT_FOUND, "Node is not backup")

    def head_primary(ctx: Context) -> None:
        if not node.consensus.can_replicate:
            ctx.headers["location"] = primary.location(node, ctx, "/node/primary")
            ctx.empty(308)

    def ready_app(ctx: Context) -> None:
        ready = not node.stop_notice and node.state == PART_OF_NETWORK and node.app_open
        ctx.empty(204 if ready else 503)

    def ready_gov(ctx: Context) -> None:
        ready = not node.stop_notice and node.state in TAKES_PART and node.gov_open
        ctx.empty(204 if ready else 503)

    def get(
        path: str,
        execute: Callable[[Context], None],
        *,
        mode: Mode = Mode.READONLY,
        forwarding: Forwarding = Forwarding.SOMETIMES,
        verb: str = "GET",
        response: str | None = None,
        status: int = 200,
        parameters: tuple[str, ...] = (),
    ) -> Endpoint:
        openapi: dict[str, Json] = {"status": status}
        if response is not None:
            openapi["response"] = response
        if parameters:
            openapi["parameters"] = [_text_parameter(name) for name in parameters]
        return Endpoint(
            verb=verb,
            path=path,
            execute=execute,
            mode=mode,
            forwarding=forwarding,
            redirection=Redirection.NONE,
            openapi=openapi,
        )

    def change(
        verb: str,
        path: str,
        execute: Callable[[Context], None],
        *,
        auth: tuple[Policy, ...] = (),
        hidden: bool = True,
    ) -> Endpoint:
        return Endpoint(
            verb=verb,
            path=path,
            execute=execute,
            redirection=Redirection.TO_PRIMARY,
            auth=auth,
            hidden=hidden,
            openapi=None if hidden else {"status": 200, "response": "boolean"},
        )

    never = Forwarding.NEVER
    command = Mode.COMMAND
    return [
        change("POST", "/create", json_endpoint(create)),
        change(
            "POST",
            "/network/nodes/set_retired_committed",
            json_endpoint(set_retired_committed),
            auth=(NodeCert(),),
        ),
        change("DELETE", "/network/nodes/{node_id}", json_endpoint(delete_node), hidden=False),
        get("/state", json_endpoint(state), response="GetState__Out", forwarding=never),
        get("/quotes/self", json_endpoint(own_quote), response="Quote", forwarding=never),
        get(
            "/attestations/self", json_endpoint(own_quote), response="Attestation", forwarding=never
        ),
        get("/quotes", json_endpoint(quotes), response="GetQuotes__Out"),
        get("/attestations", json_endpoint(attestations), response="GetAttestations__Out"),
        get("/network", json_endpoint(network), response="GetNetworkInfo__Out"),
        get(
            "/service/previous_identity",
            json_endpoint(previous_identity),
            response="GetServicePreviousIdentity__Out",
        ),
        get(
            "/service/configuration",
            json_endpoint(configuration),
            response="ServiceConfiguration",
            forwarding=never,
        ),
        get(
            "/network/nodes",
            json_endpoint(nodes),
            response="GetNodes__Out",
            parameters=("host", "port", "status"),
        ),
        get("/network/removable_nodes", json_endpoint(removable), response="GetNodes__Out"),
        get("/network/nodes/{node_id}", json_endpoint(one_node), response="GetNode__NodeInfo"),
        get(
            "/network/nodes/self",
            json_endpoint(self_node),
            response="GetNode__NodeInfo",
            forwarding=never,
        ),
        get("/network/nodes/primary", json_endpoint(primary_node), response="GetNode__NodeInfo"),
        get(
            "/self_signed_certificate",
            json_endpoint(certificate),
            response="SelfSignedNodeCertificateInfo",
            mode=command,
            forwarding=never,
        ),
        get("/primary", head_primary, verb="HEAD", forwarding=never),
        get("/primary", is_primary, forwarding=never),
        get("/backup", is_backup, forwarding=never),
        get(
            "/config",
            json_endpoint(config),
            response="string_to_ConsensusNodeConfig",
            mode=command,
            forwarding=never,
        ),
        get(
            "/consensus",
            json_endpoint(consensus),
            response="ConsensusConfigDetails",
            mode=command,
            forwarding=never,
        ),
        get("/memory", memory, response="MemoryUsage__Out", mode=command, forwarding=never),
        get("/metrics", metrics, response="NodeMetrics", mode=command, forwarding=never),
        get("/js_metrics", json_endpoint(js_metrics), response="JavaScriptMetrics"),
        get(
            "/version",
            json_endpoint(version),
            response="GetVersion__Out",
            mode=command,
            forwarding=never,
        ),
        get("/index/strategies", json_endpoint(strategies), response="json", forwarding=never),
        get("/ready/app", ready_app, forwarding=never, status=204),
        get("/ready/gov", ready_gov, forwarding=never, status=204),
    ]


def _text_parameter(name: str) -> Json:
    return {"in": "query", "name": name, "required": False, "schema": ref("string")}


def _at(interface: Json, host: str | None, port: str | None) -> bool:
    """Whether an interface is published at this host and port (None: any)."""
    if not isinstance(interface, dict):
        return False
    address = interface.get("published_address") or interface.get("bind_address")
    here, _, its_port = str(address).rpartition(":")
    return (host is None or host == here) and (port is None or port == its_port)
