"""`ccf.historical` and the states it brings (spec: js-runtime.md §4.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyccf.apps.js.engine import NULL, JsThrow
from pyccf.apps.js.host.host import HistoricalKv
from pyccf.apps.js.host.row import Row, Scope
from pyccf.errors import PyccfError

if TYPE_CHECKING:
    from pyccf.apps.context import HistoricalState
    from pyccf.apps.js.host.host import Host
    from pyccf.types import Json


def state_object(state: HistoricalState) -> dict[str, object]:
    """A historical state as scripts see it."""
    return {
        "transactionId": str(state.txid),
        "receipt": _receipt(state),
        "kv": HistoricalKv(state),
    }


def _receipt(state: HistoricalState) -> dict[str, object]:
    receipt = state.receipt
    shown: dict[str, object] = {
        "signature": receipt.get("signature"),
        "cert": receipt.get("cert"),
        "node_id": receipt.get("node_id"),
        "is_signature_transaction": state.is_signature,
    }
    if state.is_signature:
        shown["root_hex"] = _root(receipt)
    else:
        shown["leaf_components"] = receipt.get("leaf_components")
        shown["proof"] = receipt.get("proof")
    return shown


def _root(receipt: dict[str, Json]) -> Json:
    return receipt.get("root", receipt.get("leaf"))


def _state_range(host: Host, handle: int, first: int, last: int, expiry_s: int) -> object:
    if min(handle, first, last, expiry_s) < 0:
        raise JsThrow("RangeError", "Invalid handle or seqno or expiry: cannot be negative")
    if last < first:
        raise JsThrow(
            "InternalError",
            "Failed to get state range: Invalid range for historical query:"
            f" end {last} is before start {first}",
        )
    try:
        states = host.the_request().services.historical_range(handle, first, last, expiry_s)
    except PyccfError as e:
        raise JsThrow("InternalError", f"Failed to get state range: {e.message}") from None
    return NULL if states is None else [state_object(state) for state in states]


def _drop(host: Host, handle: int) -> bool:
    if handle < 0:
        raise JsThrow("RangeError", "Invalid handle: cannot be negative")
    return host.the_request().services.historical_drop(handle)


ROWS: tuple[Row, ...] = (
    Row("ccf.historical", "getStateRange", "iiii", _state_range, scope=Scope.APP),
    Row("ccf.historical", "dropCachedStates", "i", _drop, scope=Scope.APP),
)
