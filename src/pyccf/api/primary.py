"""Where the primary is: the answer of a node that cannot do itself what only the primary may.

(spec: http-api.md §9.2)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pyccf.errors import RpcError
from pyccf.node.node import TAKES_PART
from pyccf.service import nodes

if TYPE_CHECKING:
    from pyccf.apps.context import Context
    from pyccf.consensus.api import Engine


class HasConsensus(Protocol):
    """A node as far as this module asks."""

    state: str
    consensus: Engine


def location(node: HasConsensus, ctx: Context, path: str) -> str:
    """URL of `path` on the primary, at the interface of the name the request came in by.

    Raises RpcError 500 when it cannot be known.
    """
    if node.state not in TAKES_PART:
        raise RpcError(500, "InternalError", "Consensus not initialised")
    primary = node.consensus.primary
    if primary is None:
        raise RpcError(500, "InternalError", "Primary unknown")
    interface = ctx.session.interface
    if not interface:
        raise RpcError(500, "InternalError", "Cannot redirect non-RPC request")
    if not nodes.is_known(ctx.tx, primary):
        raise RpcError(
            500,
            "InternalError",
            f"Cannot find node info to produce redirect response for node {primary}",
        )
    address = nodes.published_address(ctx.tx, primary, interface)
    if address is None:
        raise RpcError(
            500,
            "InternalError",
            f"Cannot redirect request. Received on RPC interface {interface}, which is not present"
            f" on target node {primary}",
        )
    return f"https://{address}{path}"
