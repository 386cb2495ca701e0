"""Records as they are now: written, read, listed, counted and deleted.

A record's entity tag is the SHA-256 of its message; `if-match` and `if-none-match` are honoured.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Annotated

import msgspec

from logging_sample.model import (
    TABLES,
    USER,
    ById,
    Id,
    Record,
    Scoped,
    Text,
    app,
    not_found,
    private,
    public,
    scoped,
)
from pyccf.apps.python import AppContext, Reply, Table

LIST_MAX = 1000
"""Records in one listing, and by default."""


class Listing(Scoped, rename={"start": "from"}):
    start: Id = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=LIST_MAX)] = LIST_MAX


class Listed(msgspec.Struct):
    id: int
    msg: str


class Page(msgspec.Struct):
    """Records by id; `next` is the `from` of the next page."""

    records: list[Listed]
    next: int | None


def tag(msg: str) -> str:
    return sha256(msg.encode()).hexdigest()


def write(ctx: AppContext, records: Table[int, str], record: Record, scope: str | None) -> None:
    """Keep a record, if the client's conditions hold."""
    table = scoped(records, scope)(ctx)
    before = table.get(record.id)
    ctx.is_unchanged(None if before is None else tag(before))
    table.set(record.id, record.msg)
    ctx.set_etag(tag(record.msg))


def offer(path: str, records: Table[int, str]) -> None:
    """The endpoints that private and public records have in common."""

    @app.get(path, auth=USER, summary="Read a record")
    def read(ctx: AppContext, query: ById) -> Text | Reply:
        msg = scoped(records, query.scope)(ctx).get(query.id)
        if msg is None:
            raise not_found(query.id)
        ctx.set_etag(tag(msg))
        return Reply(304) if ctx.is_unchanged(tag(msg)) else Text(msg)

    app.get(
        f"{path}/backup",
        auth=USER,
        redirection="to_backup",
        summary="Read a record on a backup, where the service redirects",
    )(read)

    @app.delete(path, auth=USER, summary="Delete a record")
    def remove(ctx: AppContext, query: ById) -> bool:
        table = scoped(records, query.scope)(ctx)
        msg = table.get(query.id)
        if msg is None:
            raise not_found(query.id)
        ctx.is_unchanged(tag(msg))
        table.delete(query.id)
        return True

    @app.get(f"{path}/count", auth=USER, forwarding="always", summary="Count the records")
    def count(ctx: AppContext, query: Scoped) -> int:
        return scoped(records, query.scope)(ctx).size()

    @app.get(f"{path}/all", auth=USER, summary="List records by id")
    def listing(ctx: AppContext, query: Listing) -> Page:
        table = scoped(records, query.scope)(ctx)
        rows = sorted(row for row in table.items() if row[0] >= query.start)
        more = len(rows) > query.limit
        return Page(
            [Listed(record_id, msg) for record_id, msg in rows[: query.limit]],
            rows[query.limit][0] if more else None,
        )

    @app.delete(f"{path}/all", auth=USER, summary="Delete all records")
    def clear(ctx: AppContext, query: Scoped) -> bool:
        scoped(records, query.scope)(ctx).clear()
        return True


for prefix, table in TABLES.items():
    offer(prefix, table)


@app.post("/log/private", auth=USER)
def write_private(ctx: AppContext, query: Scoped, body: Record) -> bool:
    """Write a private record"""
    write(ctx, private, body, query.scope)
    if body.record_claim:
        ctx.set_claims(body.msg.encode())
    return True


@app.post("/log/public", auth=USER)
def write_public(ctx: AppContext, query: Scoped, body: Record) -> bool:
    """Write a public record, bound to its receipt by a claims digest"""
    write(ctx, public, body, query.scope)
    if body.record_claim is not False:
        ctx.set_claims(body.msg.encode())
    return True
