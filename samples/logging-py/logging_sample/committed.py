"""Private records as far as they are committed, out of an index of this application's own.

The index is installed and removed while the node runs, on the node that is asked. It begins with
the first transaction, so it lags behind at first.
"""

from __future__ import annotations

import json

from logging_sample.model import USER_CERT, ById, Text, app, not_found, private
from pyccf.apps.context import HistoricalState
from pyccf.apps.index import VisitEachEntryInMap
from pyccf.apps.python import AppContext, Reply
from pyccf.errors import LocalError, RpcError

RECORDS_MAX = 100_000
"""Records that are kept; an index that fails is set aside, and its node goes on."""


class CommittedRecords(VisitEachEntryInMap):
    """The last committed value of each record."""

    prefix = "CommittedRecords"

    def __init__(self) -> None:
        super().__init__(private.name)
        self._values: dict[bytes, bytes] = {}

    def handle(self, state: HistoricalState) -> None:
        for key, value in state.rows(self.map).items():
            if value is None:
                self._values.pop(key, None)
            else:
                self._values[key] = value
        if len(self._values) > RECORDS_MAX:
            raise LocalError(f"There are more than {RECORDS_MAX} records.")
        self.watermark = state.txid

    def get(self, record_id: int) -> str | None:
        found = self._values.get(private.encode_key(record_id))
        return None if found is None else json.loads(found)


NAME = CommittedRecords().name


@app.post("/log/private/install_committed_index", mode="readonly", auth=USER_CERT)
def install(ctx: AppContext) -> None:
    """Have this node index the committed records"""
    ctx.indexes.install(CommittedRecords())


@app.post("/log/private/uninstall_committed_index", mode="readonly", auth=USER_CERT)
def uninstall(ctx: AppContext) -> None:
    """Have this node forget that index"""
    ctx.indexes.uninstall(NAME)


@app.get("/log/private/committed", auth=USER_CERT)
def committed(ctx: AppContext, query: ById) -> Text | Reply:
    """Read a record as it was committed"""
    index = ctx.indexes.find(NAME)
    if not isinstance(index, CommittedRecords):
        raise RpcError(
            404,
            "ResourceNotFound",
            "This node has no index of committed records: install_committed_index makes one",
        )
    if index.watermark.seqno == 0:
        return Reply(202, "The records are being indexed, ask again.", {"retry-after": "1"})
    msg = index.get(query.id)
    if msg is None:
        raise not_found(query.id)
    return Text(msg)
