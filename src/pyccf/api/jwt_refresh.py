"""Refreshed keys of token issuers: taking them from the primary, and counting how it went.

`POST /node/jwt_keys/refresh` is for the primary itself; members set keys by proposal. What came of
every request that got here, refused ones included, is counted on this node
(spec: http-api.md §9.2, §9.8).
"""

from __future__ import annotations

from typing import Protocol

from pyccf.apps.auth import AuthFailure, NodeCert
from pyccf.apps.context import Caller, Context
from pyccf.apps.json_adapter import json_endpoint
from pyccf.apps.router import Endpoint, Forwarding, Mode, Redirection
from pyccf.consensus.api import Engine
from pyccf.errors import LocalError, RpcError
from pyccf.service import jwt, tables
from pyccf.types import Json, TxID


class NodeFacts(Protocol):
    """What these endpoints ask of the node."""

    consensus: Engine


class Metrics:
    """How often keys were refreshed, or could not be."""

    def __init__(self) -> None:
        self.successes = 0
        self.failures = 0

    def to_json(self) -> dict[str, Json]:
        return {
            "attempts": self.successes + self.failures,
            "failures": self.failures,
            "successes": self.successes,
        }


class _CountedNodeCert(NodeCert):
    """The policy for nodes, counting whom it refuses."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def authenticate(self, ctx: Context) -> Caller:
        try:
            return super().authenticate(ctx)
        except AuthFailure:
            self._metrics.failures += 1
            raise


def endpoints(node: NodeFacts) -> list[Endpoint]:
    """The request by which the primary submits keys, and its metrics."""
    counted = Metrics()

    def succeeded(ctx: Context, txid: TxID) -> None:
        counted.successes += 1

    def refresh(ctx: Context, body: Json) -> Json:
        try:
            _store(ctx, node.consensus.primary, body)
        except RpcError:
            counted.failures += 1
            raise
        # Only now that it cannot conflict any more.
        ctx.locally_committed = succeeded
        return True

    def metrics(ctx: Context, body: Json) -> Json:
        return counted.to_json()

    return [
        Endpoint(
            verb="POST",
            path="/jwt_keys/refresh",
            execute=json_endpoint(refresh),
            redirection=Redirection.TO_PRIMARY,
            auth=(_CountedNodeCert(counted),),
            hidden=True,
            openapi=None,
        ),
        Endpoint(
            verb="GET",
            path="/jwt_keys/refresh/metrics",
            execute=json_endpoint(metrics),
            mode=Mode.READONLY,
            forwarding=Forwarding.SOMETIMES,
            redirection=Redirection.NONE,
            openapi={"status": 200, "response": "JWTRefreshMetrics"},
        ),
    ]


def _store(ctx: Context, primary: str | None, body: Json) -> None:
    """Make the keys of the body those of its issuer; raises RpcError."""
    if primary is None:
        raise _error("Primary is unknown")
    assert ctx.caller is not None, "the endpoint demands a node"
    if ctx.caller.id != primary:
        raise _error("Request does not originate from primary.")
    issuer, keys = _parsed(body)
    row = tables.get_object(ctx.tx, tables.JWT_ISSUERS, issuer)
    if row is None:
        raise _error(f"{issuer} is not a valid issuer.")
    if row.get("auto_refresh") is not True:
        raise _error(f"{issuer} does not have auto_refresh enabled.")
    try:
        jwt.set_keys(ctx.tx, issuer, keys)
    except LocalError:
        raise _error(f"Error while storing signing keys for issuer {issuer}.") from None


def _parsed(body: Json) -> tuple[str, list[Json]]:
    if isinstance(body, dict):
        issuer, jwks = body.get("issuer"), body.get("jwks")
        keys = jwks.get("keys") if isinstance(jwks, dict) else None
        if isinstance(issuer, str) and isinstance(keys, list):
            return issuer, keys
    raise _error("Unable to parse body.")


def _error(message: str) -> RpcError:
    return RpcError(500, "InternalError", message)
