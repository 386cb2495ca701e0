"""The historical adapter: the transaction that a request names, or a refusal.

(spec: http-api.md §8.4, historical-and-indexing.md §3)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyccf.apps.context import Context, TxStatus
from pyccf.errors import InvalidLedger, LocalError, RpcError
from pyccf.service import info
from pyccf.types import TxID

if TYPE_CHECKING:
    from pyccf.node.historical.state import State
    from pyccf.node.node import Node

DAMAGED = "The historical transaction cannot be served: its ledger entry is damaged."
"""What a client is told; the log says which entry and why."""

PENDING = "TransactionPendingOrUnknown"


def adapt(node: Node, ctx: Context, text: str | None) -> None:
    """Bring back the transaction named by `text` into `ctx.historical`.

    Raises RpcError as the historical adapter does, or NeedsHistory.
    """
    txid = TxID.parse(text) if text is not None else None
    if txid is None:
        raise RpcError(404, "TransactionInvalid", "Could not extract Transaction Id")
    ctx.historical = bring_back(node, ctx, txid)


def bring_back(node: Node, ctx: Context, txid: TxID) -> State:
    """The state of one transaction. Raises RpcError if it is not committed, or NeedsHistory."""
    status = node.tx_status(txid)
    if status is not TxStatus.COMMITTED:
        pending = status in (TxStatus.UNKNOWN, TxStatus.PENDING)
        raise RpcError(
            404,
            PENDING if pending else "TransactionInvalid",
            f"Only committed transactions can be queried. Transaction {txid} is {status.value}",
            headers={"cache-control": "no-cache"} if pending else None,
        )
    # A receipt counts for the service identity of the state that the request reads, which the
    # answer therefore names.
    row = info.read(ctx.tx)
    if row is not None and info.status_of(row) is not info.ServiceStatus.OPEN:
        created = TxID.parse(str(row.get("current_service_create_txid")))
        if created is not None and txid.view < created.view:
            raise RpcError(
                404,
                "TransactionInvalid",
                f"Historical transaction {txid} is not signed by the current service identity key"
                " and cannot be retrieved until recovery is complete.",
            )
    try:
        return node.historical.get(("app", txid.seqno), txid.seqno, f"transaction {txid}")
    except InvalidLedger:
        # The log says which entry and why.
        raise RpcError(500, "InternalError", DAMAGED) from None
    except LocalError as e:
        raise RpcError(
            500, PENDING, f"Historical transaction {txid} failed with error: {e.message}"
        ) from None
