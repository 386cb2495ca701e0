"""What a node knows of a transaction id (spec: http-api.md §8.2)."""

from __future__ import annotations

from pyccf.apps.context import TxStatus
from pyccf.consensus.api import Engine
from pyccf.types import TxID


def tx_status(consensus: Engine, txid: TxID) -> TxStatus:
    """Committed and Invalid are final; Pending and Unknown are not."""
    local = consensus.view_of(txid.seqno) or 0
    committed = consensus.committed
    if committed >= txid.seqno:
        return TxStatus.COMMITTED if local == txid.view else TxStatus.INVALID
    if local == txid.view:
        return TxStatus.PENDING
    if (consensus.view_of(committed) or 0) > txid.view:
        return TxStatus.INVALID
    return TxStatus.UNKNOWN
