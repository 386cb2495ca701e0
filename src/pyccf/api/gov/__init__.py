"""The governance API under /gov: the members' side of a service.

From outside: `endpoints(node, operations)` gives all versioned routes, `with_versions` makes the
common `api` endpoint serve their description. The rules of proposals stand in `service.proposals`,
those of the scripts in the constitution; here are paths, versions, checks of requests, and answers
(spec: gov-api.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pyccf.api.gov import routes
from pyccf.api.gov.documents import with_versions
from pyccf.api.gov.scripts import Scripts
from pyccf.apps.router import Endpoint

if TYPE_CHECKING:
    from pyccf.apps.context import Context
    from pyccf.kv.tx import Tx
    from pyccf.service.operations import Operations
    from pyccf.service.proposals import ScriptRunner

__all__ = ["endpoints", "with_versions"]


class GovNode(Protocol):
    """What the routes ask of the node itself."""

    def root_at(self, tx: Tx) -> bytes | None:
        """Merkle root of the state the transaction reads; None when it cannot be told."""
        ...


class _Deps:
    def __init__(self, node: GovNode, operations: Operations) -> None:
        self._operations = operations
        self.root_at = node.root_at
        self.refresh_shares = operations.refresh_shares
        self.shares = operations

    def scripts(self, ctx: Context) -> ScriptRunner:
        return Scripts(ctx.services, self._operations)


def endpoints(node: GovNode, operations: Operations) -> list[Endpoint]:
    """Every versioned governance route."""
    return routes.build(_Deps(node, operations))
