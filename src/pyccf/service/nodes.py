"""Rows about nodes: `nodes.info` and the certificates that the service gave them.

The JSON of a node entry is what other versions read, down to six text members of older times
(spec: kv-and-tables.md §6.2). The evidence inside is passed through as it is. What a node tells of
itself when it joins is checked down to the types of what others read of it; the rest is not kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING

import msgspec

from pyccf.crypto.keys import RsaPublicKey
from pyccf.errors import LocalError
from pyccf.ledger.secrets import KEY_SIZE
from pyccf.service import info, tables
from pyccf.types import Json, NodeId, SeqNo

if TYPE_CHECKING:
    from pyccf.kv.tx import Tx

RSA_BITS_MIN = 2048
RSA_BITS_MAX = 8192
"""Size of a node's encryption key."""


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


_INTERFACE_MEMBERS: dict[str, type] = {
    "bind_address": str,
    "published_address": str,
    "protocol": str,
    "app_protocol": str,
    "max_open_sessions_soft": int,
    "max_open_sessions_hard": int,
    "http_configuration": dict,
    "endorsement": dict,
    "accepted_endpoints": list,
    "forwarding_timeout_ms": int,
    "redirections": dict,
}
"""Members of an interface and their JSON types."""


class NodeNetwork(msgspec.Struct, frozen=True):
    """Where a node can be reached, as it told us itself."""

    node_to_node_interface: dict[str, Json]
    rpc_interfaces: dict[str, Json]
    seals: bool = False
    """Whether its machine keeps the ledger secrets, sealed, for a restart without shares."""

    @property
    def node_address(self) -> str:
        """Where other nodes reach it."""
        node = self.node_to_node_interface
        return str(node.get("published_address") or node["bind_address"])

    @classmethod
    def from_json(cls, value: Json) -> NodeNetwork:
        """Out of `node_info_network`, in its present or its legacy form.

        Raises LocalError naming what is wrong.
        """
        if not isinstance(value, dict):
            raise LocalError("node_info_network is not an object")
        node, interfaces = value.get("node_to_node_interface"), value.get("rpc_interfaces")
        if node is None and interfaces is None and "nodehost" in value:
            return cls._legacy(value)
        if not isinstance(node, dict):
            raise LocalError("node_info_network has no object node_to_node_interface")
        if not isinstance(interfaces, dict):
            raise LocalError("node_info_network has no object rpc_interfaces")
        seals = value.get(SEALS, False)
        if not isinstance(seals, bool):
            raise LocalError(f"{SEALS} of node_info_network is not a boolean")
        return cls(
            _addresses(node, "node_to_node_interface"),
            {name: _interface(i, name) for name, i in sorted(interfaces.items())},
            seals,
        )

    @classmethod
    def _legacy(cls, value: dict[str, Json]) -> NodeNetwork:
        texts = {name: value.get(name) for name in _LEGACY}
        if not all(isinstance(text, str) for text in texts.values()):
            raise LocalError(f"node_info_network must have the texts {', '.join(_LEGACY)}")
        node = f"{texts['nodehost']}:{texts['nodeport']}"
        return cls(
            {"bind_address": node, "published_address": node},
            {
                LEGACY_INTERFACE: {
                    "bind_address": f"{texts['rpchost']}:{texts['rpcport']}",
                    "published_address": f"{texts['pubhost']}:{texts['pubport']}",
                }
            },
        )

    def to_json(self) -> dict[str, Json]:
        """Members of the row, the six of older times included."""
        value: dict[str, Json] = {
            "node_to_node_interface": self.node_to_node_interface,
            "rpc_interfaces": self.rpc_interfaces,
        }
        value["nodehost"], value["nodeport"] = _split(self.node_address)
        for name in sorted(self.rpc_interfaces)[:1]:
            first = self.rpc_interfaces[name]
            assert isinstance(first, dict)
            bind = str(first["bind_address"])
            value["rpchost"], value["rpcport"] = _split(bind)
            value["pubhost"], value["pubport"] = _split(str(first.get("published_address") or bind))
        if self.seals:
            value[SEALS] = True
        return value


SEALS = "will_locally_seal_ledger_secrets"
"""Member of a row; absent where it is false (spec: kv-and-tables.md §6.2)."""
LEGACY_INTERFACE = "primary_rpc_interface"
_LEGACY = ("rpchost", "rpcport", "pubhost", "pubport", "nodehost", "nodeport")


def _addresses(value: dict[str, Json], name: str) -> dict[str, Json]:
    """The two addresses of an interface."""
    bind, published = value.get("bind_address"), value.get("published_address")
    if not isinstance(bind, str) or not bind:
        raise LocalError(f"{name} has no text bind_address")
    if published is None or published == "":
        return {"bind_address": bind}
    if not isinstance(published, str):
        raise LocalError(f"published_address of {name} is not a text")
    return {"bind_address": bind, "published_address": published}


def _interface(value: Json, name: str) -> Json:
    if not isinstance(value, dict):
        raise LocalError(f"RPC interface {name} is not an object")
    kept = _addresses(value, f"RPC interface {name}")
    for member, kind in _INTERFACE_MEMBERS.items():
        found = value.get(member)
        if found is None or member in kept:
            continue
        if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
            raise LocalError(f"{member} of RPC interface {name} has a wrong type")
        kept[member] = found
    return kept


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
    seals: bool = False

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
        if self.seals:
            value[SEALS] = True
        return value


def check_encryption_key(pem: str) -> None:
    """See that secrets can be sealed to this key of a node. Raises ValueError."""
    try:
        key = RsaPublicKey.from_pem(pem)
        usable = RSA_BITS_MIN <= key.bits <= RSA_BITS_MAX
        if usable:
            # Numbers that are no key can be read, and fail only here.
            key.encrypt_oaep(bytes(KEY_SIZE))
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(f"Not an RSA public key of {RSA_BITS_MIN} to {RSA_BITS_MAX} bits")


def trusted_encryption_keys(tx: Tx) -> dict[NodeId, str]:
    """Encryption keys (PEM) of all nodes that must be able to read what comes next, by node id.

    Trusted nodes, and retired ones until it is committed that their retirement is complete: till
    then such a node may even be the primary and seal what comes next.
    """
    keys: dict[NodeId, str] = {}
    for node_id, row in tables.objects(tx, tables.NODES_INFO):
        status = row.get("status")
        leaving = (
            status == NodeStatus.RETIRED.value
            and not is_removable(committed_info(tx, node_id) or {})
            and not _is_of_former_service(tx, node_id)
        )
        if status == NodeStatus.TRUSTED.value or leaving:
            keys[node_id] = tables.text_member(row, "encryption_pub_key", tables.NODES_INFO)
    return keys


def _is_of_former_service(tx: Tx, node_id: NodeId) -> bool:
    """Whether a node was retired by the recovery that made the present service, or before it.

    Such a node must learn nothing of this service, even if it still runs somewhere, nor while it is
    being noted that its retirement is committed: only what is committed counts.
    """
    created = info.created_at(tx)
    if created is None:
        return False
    handle, key = tx.map(tables.NODES_INFO), node_id.encode()
    retired = (committed_info(tx, node_id) or {}).get("status") == NodeStatus.RETIRED.value
    written = handle.committed_version(key) if retired else handle.previous_version(key)
    return written is not None and written <= created


def join_request(entry: NodeEntry, startup_seqno: SeqNo) -> dict[str, Json]:
    """What a node sends to be let in (spec: http-api.md §9.5)."""
    row = entry.to_json()
    network = ("node_to_node_interface", "rpc_interfaces", SEALS, *_LEGACY)
    return {
        "certificate_signing_request": entry.certificate_signing_request,
        "node_data": entry.node_data,
        "node_info_network": {name: row[name] for name in network if name in row},
        "public_encryption_key": entry.encryption_pub_key,
        "quote_info": entry.quote_info,
        "startup_seqno": startup_seqno,
    }


def find_by_address(tx: Tx, address: str, but: NodeId) -> NodeId | None:
    """The first node, not retired and not `but`, that other nodes reach at this address."""
    for node_id, row in sorted(tables.objects(tx, tables.NODES_INFO)):
        if node_id == but or row.get("status") == NodeStatus.RETIRED.value:
            continue
        interface = row.get("node_to_node_interface")
        if not isinstance(interface, dict):
            continue
        if (interface.get("published_address") or interface.get("bind_address")) == address:
            return node_id
    return None


def is_known(tx: Tx, node_id: NodeId) -> bool:
    """Whether a node is in the table."""
    return tx.map(tables.NODES_INFO).has(node_id.encode())


def published_address(tx: Tx, node_id: NodeId, interface: str) -> str | None:
    """Where a node is reached at its interface of this name; None if there is no such thing."""
    row = tables.get_object(tx, tables.NODES_INFO, node_id)
    interfaces = row.get("rpc_interfaces") if row is not None else None
    found = interfaces.get(interface) if isinstance(interfaces, dict) else None
    if not isinstance(found, dict):
        return None
    address = found.get("published_address") or found.get("bind_address")
    return address if isinstance(address, str) else None


def committed_info(tx: Tx, node_id: NodeId) -> dict[str, Json] | None:
    """The row of a node in the last committed state; None if there is none."""
    raw = tx.map(tables.NODES_INFO).get_committed(node_id.encode())
    row = None if raw is None else tables.decode_row(tables.NODES_INFO, raw)
    return row if isinstance(row, dict) else None


def removable(tx: Tx) -> list[tuple[NodeId, dict[str, Json]]]:
    """Nodes whose retirement is complete for good, with their committed rows, by id."""
    found: list[tuple[NodeId, dict[str, Json]]] = []
    for node_id, _ in sorted(tables.objects(tx, tables.NODES_INFO)):
        row = committed_info(tx, node_id)
        if row is not None and is_removable(row):
            found.append((node_id, row))
    return found


def is_removable(row: dict[str, Json]) -> bool:
    """Whether a (committed) row is of a node that the network needs no more."""
    return row.get("status") == NodeStatus.RETIRED.value and row.get("retired_committed") is True


def record_retired_committed(tx: Tx) -> list[NodeId]:
    """Note which retirements are committed; the nodes of which that was not known, by id.

    Nothing is written when there is none (spec: http-api.md §9.7).
    """
    done: list[NodeId] = []
    for node_id, row in sorted(tables.objects(tx, tables.NODES_INFO)):
        retired = NodeStatus.RETIRED.value
        if row.get("status") != retired or row.get("retired_committed") is True:
            continue
        before = committed_info(tx, node_id)
        if before is not None and before.get("status") == retired:
            tables.put_json(tx, tables.NODES_INFO, node_id, {**row, "retired_committed": True})
            done.append(node_id)
    return done


def delete(tx: Tx, node_id: NodeId) -> None:
    """Forget a node and its certificate."""
    tx.map(tables.NODES_INFO).delete(node_id.encode())
    tx.map(tables.NODES_ENDORSED_CERTIFICATES).delete(node_id.encode())


def _split(address: str) -> tuple[str, str]:
    """Host and port of "host:port"; the last colon counts."""
    host, _, port = address.rpartition(":")
    return host, port
