"""Rows about nodes: `nodes.info` and the certificates that the service gave them.

The JSON of a node entry is what other versions read, down to six text members of older times
(spec: kv-and-tables.md §6.2). The evidence inside is passed through as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING

import msgspec

from pyccf.service import tables
from pyccf.types import Json, NodeId, SeqNo

if TYPE_CHECKING:
    from pyccf.kv.tx import Tx


class NodeStatus(Enum):
    """Standing of a node in its service (spec: node-lifecycle.md §1.3)."""

    PENDING = "Pending"
    TRUSTED = "Trusted"
    RETIRED = "Retired"


class RpcInterface(msgspec.Struct, frozen=True, kw_only=True):
    """One listener for clients, as told to everybody in `nodes.info`."""

    bind_address: str
    published_address: str
    protocol: str = "tcp"
    app_protocol: str = "HTTP1"
    max_open_sessions_soft: int = 1000
    max_open_sessions_hard: int = 1010
    max_body_size: int = 1024 * 1024
    max_header_size: int = 16 * 1024
    max_headers_count: int = 256
    max_concurrent_streams_count: int = 100
    initial_window_size: int = 64 * 1024
    max_frame_size: int = 16 * 1024
    authority: str = "Service"
    accepted_endpoints: tuple[str, ...] | None = None
    forwarding_timeout_ms: int = 3000
    redirections: dict[str, Json] | None = None
    """`{"to_primary": {"kind", "target"}, "to_backup": {"kind", "target"}}`."""

    def to_json(self) -> dict[str, Json]:
        """Form in the table; limits of HTTP/2 appear on HTTP/2 interfaces only."""
        http: dict[str, Json] = {
            "max_body_size": str(self.max_body_size),
            "max_header_size": str(self.max_header_size),
            "max_headers_count": self.max_headers_count,
        }
        if self.app_protocol == "HTTP2":
            http["max_concurrent_streams_count"] = self.max_concurrent_streams_count
            http["initial_window_size"] = str(self.initial_window_size)
            http["max_frame_size"] = str(self.max_frame_size)
        value: dict[str, Json] = {
            "bind_address": self.bind_address,
            "published_address": self.published_address,
            "protocol": self.protocol,
            "app_protocol": self.app_protocol,
            "max_open_sessions_soft": self.max_open_sessions_soft,
            "max_open_sessions_hard": self.max_open_sessions_hard,
            "http_configuration": http,
            "endorsement": {"authority": self.authority},
            "forwarding_timeout_ms": self.forwarding_timeout_ms,
        }
        if self.accepted_endpoints is not None:
            value["accepted_endpoints"] = list(self.accepted_endpoints)
        if self.redirections is not None:
            value["redirections"] = self.redirections
        return value


class NodeEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a node when it enters the table."""

    node_to_node_bind_address: str
    node_to_node_published_address: str
    rpc_interfaces: Mapping[str, RpcInterface]
    """By name; at least one."""
    quote_info: dict[str, Json]
    encryption_pub_key: str
    public_key: str
    certificate_signing_request: str
    code_digest: str
    """Lower-case hex of the measurement."""
    status: NodeStatus
    ledger_secret_seqno: SeqNo | None = None
    """First seqno whose ledger secret the node was given; None for the node that made it."""
    node_data: Json = None

    def to_json(self) -> dict[str, Json]:
        """The row of `nodes.info`."""
        assert self.rpc_interfaces, "a node has an interface for clients"
        first = self.rpc_interfaces[min(self.rpc_interfaces)]
        value: dict[str, Json] = {
            "node_to_node_interface": {
                "bind_address": self.node_to_node_bind_address,
                "published_address": self.node_to_node_published_address,
            },
            "rpc_interfaces": {n: i.to_json() for n, i in sorted(self.rpc_interfaces.items())},
            "quote_info": self.quote_info,
            "encryption_pub_key": self.encryption_pub_key,
            "public_key": self.public_key,
            "certificate_signing_request": self.certificate_signing_request,
            "code_digest": self.code_digest,
            "status": self.status.value,
        }
        value["nodehost"], value["nodeport"] = _split(self.node_to_node_published_address)
        value["rpchost"], value["rpcport"] = _split(first.bind_address)
        value["pubhost"], value["pubport"] = _split(first.published_address)
        if self.ledger_secret_seqno is not None:
            value["ledger_secret_seqno"] = self.ledger_secret_seqno
        if self.node_data is not None:
            value["node_data"] = self.node_data
        return value


def trusted_encryption_keys(tx: Tx) -> dict[NodeId, str]:
    """Encryption keys (PEM) of all nodes that must be able to read what comes next, by node id.

    Trusted nodes, and retired ones as long as their retirement is not known to be complete.
    """
    keys: dict[NodeId, str] = {}
    for node_id, info in tables.objects(tx, tables.NODES_INFO):
        status = info.get("status")
        leaving = status == NodeStatus.RETIRED.value and not info.get("retired_committed")
        if status == NodeStatus.TRUSTED.value or leaving:
            keys[node_id] = tables.text_member(info, "encryption_pub_key", tables.NODES_INFO)
    return keys


def _split(address: str) -> tuple[str, str]:
    """Host and port of "host:port"; the last colon counts."""
    host, _, port = address.rpartition(":")
    return host, port
