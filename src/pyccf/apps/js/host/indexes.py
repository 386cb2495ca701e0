"""`pyccf.index`: the indexes that an endpoint's metadata names. CCF has no such thing; an endpoint
that names none does not see it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyccf.apps.index import SeqnosByKey, SeqnosByKeyBucketed
from pyccf.apps.js.engine import NULL, UNDEFINED, JsThrow
from pyccf.apps.js.host.row import Row, Scope
from pyccf.errors import LocalError

if TYPE_CHECKING:
    from pyccf.apps.js.host.host import Host


def _found(host: Host, name: str) -> SeqnosByKey | SeqnosByKeyBucketed | None:
    """The index an endpoint calls `name`; None before the node has made it."""
    declared = host.indexes.get(name)
    if declared is None:
        known = ", ".join(host.indexes)
        raise JsThrow("RangeError", f"No index {name} in the metadata of this endpoint: {known}")
    found = host.the_request().services.indexes.find(declared.name)
    return found if isinstance(found, SeqnosByKey | SeqnosByKeyBucketed) else None


def _seqnos(
    host: Host, name: str, key: bytes, first: int, last: int, most: object = UNDEFINED
) -> object:
    if first < 0 or last < 0:
        raise JsThrow("RangeError", "Invalid seqno: cannot be negative")
    limit: int | None = None
    if isinstance(most, int | float) and not isinstance(most, bool) and most == most // 1 > 0:
        limit = int(most)
    elif most is not UNDEFINED:
        raise JsThrow("RangeError", "Invalid maximum: must be a positive integer")
    index = _found(host, name)
    if index is None:
        return NULL
    try:
        seqnos = index.get_write_txs_in_range(key, first, last, limit)
    except LocalError as e:
        raise JsThrow("RangeError", e.message) from None
    return NULL if seqnos is None else seqnos


def _watermark(host: Host, name: str) -> int:
    index = _found(host, name)
    return 0 if index is None else index.watermark.seqno


ROWS: tuple[Row, ...] = (
    Row("pyccf.index", "seqnosOfKey", "sbiiv", _seqnos, scope=Scope.INDEXED, minimum=4),
    Row("pyccf.index", "watermark", "s", _watermark, scope=Scope.INDEXED),
)
