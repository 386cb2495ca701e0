"""`ccf.consensus` (spec: js-runtime.md §4.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyccf.apps.js.engine import NULL, JsThrow
from pyccf.apps.js.host.row import Row, Scope
from pyccf.types import TxID

if TYPE_CHECKING:
    from pyccf.apps.js.host.host import Host


def _last_committed(host: Host) -> dict[str, int]:
    txid = host.the_request().services.last_committed()
    return {"view": txid.view, "seqno": txid.seqno}


def _status(host: Host, view: int, seqno: int) -> str:
    if view < 0 or seqno < 0:
        raise JsThrow("RangeError", "Invalid view or seqno: cannot be negative")
    if seqno == 0:
        raise JsThrow("InternalError", "Failed to get status for txid: InternalError")
    return host.the_request().services.tx_status(TxID(view, seqno)).value


def _view(host: Host, seqno: int) -> object:
    if seqno < 0:
        raise JsThrow("RangeError", "Invalid seqno: cannot be negative")
    if seqno == 0:
        return NULL
    view = host.the_request().services.view_of(seqno)
    return NULL if view is None else view


def _row(name: str, spec: str, function: object) -> Row:
    assert callable(function)
    return Row("ccf.consensus", name, spec, function, scope=Scope.APP)


ROWS: tuple[Row, ...] = (
    _row("getLastCommittedTxId", "", _last_committed),
    _row("getStatusForTxId", "ii", _status),
    _row("getViewForSeqno", "i", _view),
)
