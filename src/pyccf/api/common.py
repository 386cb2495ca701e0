"""Endpoints every frontend has: commit, tx, receipts and api (spec: http-api.md §8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pyccf.apps.context import Context
from pyccf.apps.json_adapter import json_endpoint, required_parameter
from pyccf.apps.router import Endpoint, Forwarding, Mode, Redirection
from pyccf.errors import RpcError
from pyccf.http.message import query_parameters
from pyccf.types import Json, TxID, View

CODE = "InvalidQueryParameterValue"
_UINT64_MAX = (1 << 64) - 1


class CommonFacts(Protocol):
    """What these endpoints ask of the node."""

    def last_committed(self) -> TxID: ...
    def current_view(self) -> View: ...
    def view_history(self, since: View) -> list[TxID]: ...
    def bring_back(self, ctx: Context, txid_text: str | None) -> None:
        """Set ctx.historical to a committed transaction, or refuse (historical adapter)."""
        ...


def get_commit(facts: CommonFacts) -> Callable[[Context, Json], Json]:
    """The last committed transaction, and where views began if asked."""

    def handler(ctx: Context, body: Json) -> Json:
        query = query_parameters(ctx.request.query)
        wanted = query.get("view_history")
        if wanted not in (None, "true", "false"):
            raise RpcError(
                400,
                CODE,
                "Invalid value for view_history, must be one of [true, false] when present",
            )
        history: list[TxID] | None = None
        since = _uint64(query.get("view_history_since", ""))
        if since is not None:
            if since < 1 or since > facts.current_view():
                raise RpcError(
                    400 if since < 1 else 404,
                    CODE,
                    "Invalid value for view_history_since, must be in range [1, current_term]",
                )
            history = facts.view_history(since)
        if wanted == "true":
            history = facts.view_history(1)
        elif wanted == "false":
            history = None
        out: dict[str, Json] = {"transaction_id": str(facts.last_committed())}
        if history:
            out["view_history"] = [str(txid) for txid in history]
        return out

    return handler


def _uint64(text: str) -> int | None:
    """An unsigned number of 64 bits out of decimal digits; None for anything else."""
    digits = text.lstrip("0")
    if not (text.isascii() and text.isdigit() and len(digits) <= len(str(_UINT64_MAX))):
        return None
    number = int(digits or "0")
    return number if number <= _UINT64_MAX else None


def parse_txid(text: str) -> TxID:
    """A transaction id from a query parameter. Raises RpcError 400."""
    txid = TxID.parse(text)
    if txid is None:
        raise RpcError(
            400,
            CODE,
            f"The value '{text}' passed as query parameter 'transaction_id' could not be converted"
            " to a valid Transaction ID.",
        )
    return txid


def _get_tx(ctx: Context, body: Json) -> Json:
    txid = parse_txid(required_parameter(ctx, "transaction_id"))
    return {"status": ctx.services.tx_status(txid).value, "transaction_id": str(txid)}


def get_receipt(facts: CommonFacts) -> Callable[[Context, Json], Json]:
    """The receipt of a committed transaction."""

    def handler(ctx: Context, body: Json) -> Json:
        facts.bring_back(ctx, query_parameters(ctx.request.query).get("transaction_id"))
        assert ctx.historical is not None
        return ctx.historical.receipt

    return handler


def get_cose_receipt(facts: CommonFacts) -> Callable[[Context], None]:
    """The same proof as COSE Sign1, which the service and not one of its nodes signs."""

    def handler(ctx: Context) -> None:
        txid = query_parameters(ctx.request.query).get("transaction_id")
        facts.bring_back(ctx, txid)
        assert ctx.historical is not None
        made = ctx.historical.cose_receipt
        if made is None:
            raise RpcError(
                404, "ResourceNotFound", f"No COSE receipt available for transaction {txid}."
            )
        ctx.body = made
        ctx.headers["content-type"] = "application/cose"

    return handler


_TXID_PARAMETER: Json = {
    "in": "query",
    "name": "transaction_id",
    "required": True,
    "schema": {"$ref": "#/components/schemas/TransactionId"},
}


def endpoints(facts: CommonFacts, document: Callable[[Context], Json]) -> list[Endpoint]:
    """These endpoints; `document` makes the frontend's OpenAPI document."""

    def reading(
        path: str, handler: Callable[[Context, Json], Json], mode: Mode, operation: dict[str, Json]
    ) -> Endpoint:
        return Endpoint(
            verb="GET",
            path=path,
            execute=json_endpoint(handler),
            mode=mode,
            forwarding=Forwarding.SOMETIMES,
            redirection=Redirection.NONE,
            openapi=operation,
        )

    def get_api(ctx: Context) -> None:
        ctx.json(document(ctx))

    return [
        reading(
            "/commit",
            get_commit(facts),
            Mode.COMMAND,
            {
                "summary": "Last transaction that is committed for good",
                "parameters": [
                    {
                        "in": "query",
                        "name": "view_history",
                        "required": False,
                        "schema": {"$ref": "#/components/schemas/boolean"},
                    },
                    {
                        "in": "query",
                        "name": "view_history_since",
                        "required": False,
                        "schema": {"$ref": "#/components/schemas/uint64"},
                    },
                ],
                "response": "GetCommit__Out",
            },
        ),
        reading(
            "/tx",
            _get_tx,
            Mode.COMMAND,
            {
                "summary": "What is known of a transaction id",
                "parameters": [_TXID_PARAMETER],
                "response": "GetTxStatus__Out",
            },
        ),
        reading(
            "/receipt",
            get_receipt(facts),
            Mode.READONLY,
            {
                "summary": "Receipt of a committed transaction",
                "parameters": [_TXID_PARAMETER],
                "response": "json",
            },
        ),
        Endpoint(
            verb="GET",
            path="/receipt/cose",
            execute=get_cose_receipt(facts),
            mode=Mode.READONLY,
            forwarding=Forwarding.SOMETIMES,
            redirection=Redirection.NONE,
            hidden=True,
        ),
        Endpoint(
            verb="GET",
            path="/api",
            execute=get_api,
            mode=Mode.READONLY,
            forwarding=Forwarding.SOMETIMES,
            redirection=Redirection.NONE,
            openapi={
                "summary": "This document",
                "response": "json",
            },
        ),
    ]
