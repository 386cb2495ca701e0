"""Records as they were: one transaction, some, or a range of them found by an index."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from logging_sample.model import TABLES, USER, ById, Id, Text, app, not_found, private, scoped
from pyccf.apps.past import PastState
from pyccf.apps.python import AppContext, Reply, Table
from pyccf.errors import RpcError

WRITES_MAX = 100
"""Writes in one page, and transactions that a sparse query may name."""
SPAN_MAX = 2000
"""Seqnos that one page looks through."""
RETRY = Reply(202, "These transactions are being fetched, ask again.", {"retry-after": "1"})

Seqno = Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]


class Range(ById, kw_only=True):
    from_seqno: Seqno = 1
    to_seqno: Seqno | None = None


class Sparse(msgspec.Struct):
    id: Id
    seqnos: str


class Handle(msgspec.Struct):
    handle: Id
    seqno: Seqno


class Write(msgspec.Struct):
    seqno: int
    id: int
    msg: str


class Writes(msgspec.Struct, omit_defaults=True, rename={"next_link": "@nextLink"}):
    """Writes of a record; `@nextLink` is where the rest is."""

    entries: list[Write]
    next_link: str | msgspec.UnsetType = msgspec.UNSET


class Proof(msgspec.Struct):
    msg: str
    receipt: Any


def written(records: Table[int, str], state: PastState, record_id: int) -> str:
    msg = records.of(state).get(record_id)
    if msg is None:
        raise not_found(record_id)
    return msg


def writes_of(records: Table[int, str], states: list[PastState], record_id: int) -> list[Write]:
    """What some transactions made of a record; those that deleted it tell nothing."""
    found = ((state.txid.seqno, records.of(state).get(record_id)) for state in states)
    return [Write(seqno, record_id, msg) for seqno, msg in found if msg is not None]


def offer(path: str, records: Table[int, str], kind: str) -> None:
    """The endpoints of one table; `kind` is how its index is kept."""
    by_id = app.index(records, kind)

    @app.get(
        f"{path}/historical",
        mode="historical",
        forwarding="never",
        auth=USER,
        summary="Read a record as the transaction named in x-ms-ccf-transaction-id wrote it",
    )
    def historical(ctx: AppContext, query: ById) -> Text:
        return Text(written(scoped(records, query.scope), ctx.historical, query.id))

    def historical_receipt(ctx: AppContext, query: ById) -> Proof:
        msg = written(scoped(records, query.scope), ctx.historical, query.id)
        return Proof(msg, ctx.historical.receipt)

    for name in ("receipt", "historical_receipt"):
        app.get(
            f"{path}/{name}",
            mode="historical",
            forwarding="never",
            auth=USER,
            summary="Read a record as a transaction wrote it, with the receipt of that transaction",
        )(historical_receipt)

    @app.get(
        f"{path}/historical/range",
        forwarding="never",
        auth=USER,
        summary="Every write of a record in a range of transactions",
    )
    def historical_range(ctx: AppContext, query: Range) -> Writes | Reply:
        if query.scope is not None:
            raise RpcError(400, "InvalidInput", "Writes of a scope are not indexed")
        committed = ctx.services.last_committed().seqno
        index = by_id(ctx)
        to_seqno = index.watermark.seqno if query.to_seqno is None else query.to_seqno
        if query.to_seqno is None and to_seqno < query.from_seqno <= committed:
            return RETRY  # Committed, but not indexed so far.
        if to_seqno < query.from_seqno:
            raise RpcError(400, "InvalidInput", "to_seqno must not be less than from_seqno")
        if to_seqno > committed:
            raise RpcError(400, "InvalidInput", "to_seqno must be committed")
        last = min(to_seqno, query.from_seqno + SPAN_MAX - 1)
        seqnos = index.writes(query.id, query.from_seqno, last)
        if seqnos is None:
            return RETRY
        if len(seqnos) > WRITES_MAX:
            seqnos = seqnos[:WRITES_MAX]
            last = seqnos[-1]
        states = ctx.historical_states(seqnos)
        if states is None:
            return RETRY
        page = Writes(writes_of(records, states, query.id))
        if last < to_seqno:
            page.next_link = (
                f"/app{path}/historical/range"
                f"?from_seqno={last + 1}&to_seqno={to_seqno}&id={query.id}"
            )
        return page


for (prefix, table), index_kind in zip(
    TABLES.items(), ("seqnos_by_key", "seqnos_by_key_bucketed"), strict=True
):
    offer(prefix, table, index_kind)


@app.get("/log/private/historical/sparse", forwarding="never", auth=USER)
def sparse(ctx: AppContext, query: Sparse) -> Writes | Reply:
    """What a record was in each of some transactions, named by seqnos separated by commas"""
    texts = query.seqnos.split(",")
    if len(texts) > WRITES_MAX or not all(t.isascii() and t.isdigit() for t in texts):
        raise RpcError(
            400, "InvalidInput", f"seqnos must be up to {WRITES_MAX} numbers separated by commas"
        )
    seqnos = sorted({int(text) for text in texts if len(text) < len(str(2**53))})
    if len(seqnos) < len(set(texts)) or seqnos[0] < 1:
        raise RpcError(400, "InvalidInput", "seqnos must be different numbers from 1 to 2^53 - 1")
    if seqnos[-1] > ctx.services.last_committed().seqno:
        raise RpcError(400, "InvalidInput", "seqnos must be committed")
    states = ctx.historical_states(seqnos)
    return RETRY if states is None else Writes(writes_of(private, states, query.id))


@app.get("/log/private/historical/handle", forwarding="never", auth=USER)
def by_handle(ctx: AppContext, query: Handle) -> Any:
    """What a transaction wrote to private records, fetched under a handle of the caller's

    Requests that share a handle and name different transactions drop each other's states.
    """
    if query.seqno > ctx.services.last_committed().seqno:
        raise RpcError(400, "InvalidInput", "seqno must be committed")
    states = ctx.historical_range(query.seqno, query.seqno, handle=query.handle, wait=False)
    if states is None:
        return RETRY
    (state,) = states
    rows = private.of(state).items()
    return {
        "transaction_id": str(state.txid),
        "entries": [Write(state.txid.seqno, record_id, msg) for record_id, msg in rows],
    }
