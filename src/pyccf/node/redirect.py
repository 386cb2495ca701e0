"""Where a client is sent on interfaces that redirect instead of forwarding.

An endpoint says that it wants the primary or a backup; if this node is not that, its interface's
configuration says which node, or which fixed address, the client is to ask instead. Addresses of
nodes are those that they publish in the nodes table, for the interface of the same name unless the
configuration names another (spec: http-api.md §5.1-5.2).

A target that cannot be found is refused with 503, never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, TypeAlias, assert_never

import msgspec

from pyccf.apps.router import Redirection
from pyccf.errors import LocalError, RpcError
from pyccf.service import tables
from pyccf.service.nodes import NodeStatus
from pyccf.types import Json, NodeId

if TYPE_CHECKING:
    from pyccf.consensus.api import Engine
    from pyccf.kv.tx import Tx

PRIMARY = "primary"
BACKUP = "backup"


class NodeByRole(msgspec.Struct, frozen=True):
    """A node that has this role now; a role that does not exist is nobody's."""

    role: str = PRIMARY
    interface: str | None = None
    """Whose address is given; None: the interface of the same name as the asked one."""


class StaticAddress(msgspec.Struct, frozen=True):
    """Always the same "host:port"."""

    address: str


Resolver: TypeAlias = NodeByRole | StaticAddress


class Redirects(msgspec.Struct, frozen=True):
    """How one interface finds the targets of its redirects.

    What is not configured resolves the primary, for `to_backup` too (spec: http-api.md §5.2).
    """

    to_primary: Resolver = NodeByRole()
    to_backup: Resolver = NodeByRole()

    @classmethod
    def parse(cls, given: Mapping[str, Json]) -> Redirects:
        """Out of the member `redirections` of an interface. Raises LocalError."""
        return cls(_resolver(given.get("to_primary")), _resolver(given.get("to_backup")))


def _resolver(given: Json) -> Resolver:
    if given is None:
        return NodeByRole()
    if isinstance(given, dict):
        target = given.get("target")
        named = target if isinstance(target, dict) else {}
        match given.get("kind"):
            case "NodeByRole":
                interface = named.get("interface")
                return NodeByRole(
                    str(named.get("role", PRIMARY)), None if interface is None else str(interface)
                )
            case "StaticAddress" if isinstance(address := named.get("address"), str):
                return StaticAddress(address)
    raise LocalError(f"{given} does not say where to redirect to.")


class Asked(Protocol):
    """What is asked of the node that redirects."""

    node_id: NodeId
    consensus: Engine

    def random(self, n: int) -> bytes: ...


def location(
    node: Asked, tx: Tx, redirects: Redirects, strategy: Redirection, interface: str
) -> str | None:
    """Address ("host:port") of the node to ask instead of this one; None: this one.

    Raises RpcError 503 PrimaryNotFound or BackupNotFound.
    """
    leads = node.consensus.can_replicate
    match strategy:
        case Redirection.NONE:
            return None
        case Redirection.TO_PRIMARY:
            found = None if leads else _resolve(node, tx, redirects.to_primary, interface)
            if found is None and not leads:
                raise RpcError(
                    503,
                    "PrimaryNotFound",
                    "Request should be redirected to primary, but receiving node does not know"
                    " current primary address",
                )
            return found
        case Redirection.TO_BACKUP:
            found = _resolve(node, tx, redirects.to_backup, interface) if leads else None
            if found is None and leads:
                raise RpcError(
                    503,
                    "BackupNotFound",
                    "Request should be redirected to backup, but receiving node does not know any"
                    " current backup address",
                )
            return found
        case _:
            assert_never(strategy)


def _resolve(node: Asked, tx: Tx, resolver: Resolver, interface: str) -> str | None:
    if isinstance(resolver, StaticAddress):
        return resolver.address
    target: NodeId | None = None
    if resolver.role == PRIMARY:
        target = node.consensus.primary
    elif resolver.role == BACKUP:
        target = _any_backup(node, tx)
    if target is None:
        return None
    return published_address(tx, target, resolver.interface or interface)


def _any_backup(node: Asked, tx: Tx) -> NodeId | None:
    """A node other than the primary, each with the same chance.

    Nodes whose retirement is not complete yet still serve.
    """
    primary = node.consensus.primary
    backups: list[NodeId] = []
    for node_id, row in tables.objects(tx, tables.NODES_INFO):
        status = row.get("status")
        leaving = status == NodeStatus.RETIRED.value and not row.get("retired_committed")
        if node_id != primary and (status == NodeStatus.TRUSTED.value or leaving):
            backups.append(node_id)
    if not backups:
        return None
    return backups[int.from_bytes(node.random(8), "big") % len(backups)]


def published_address(tx: Tx, node_id: NodeId, interface: str) -> str | None:
    """Where a node says its interface of this name can be reached; None if it says nothing."""
    row = tables.get_object(tx, tables.NODES_INFO, node_id)
    interfaces = row.get("rpc_interfaces") if row is not None else None
    found = interfaces.get(interface) if isinstance(interfaces, dict) else None
    address = found.get("published_address") if isinstance(found, dict) else None
    return address if isinstance(address, str) else None
