"""The logging sample in Python: records that users write, read and prove.

The API is described in samples/README.md; the JavaScript and TypeScript samples offer the same.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from pyccf.apps.context import HistoricalState
from pyccf.apps.python import App, AppContext, Reply, Table
from pyccf.crypto import certs
from pyccf.errors import RpcError
from pyccf.types import SeqNo

MESSAGE_MAX = 4096
"""Longest message, in characters."""
LIST_MAX = 1000
"""Records in one listing, and by default."""
RANGE_MAX = 100
"""Transactions that one request may look at."""
EXPIRY_S = 60
"""How long the node keeps them for the next request."""

Id = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
Message = Annotated[
    str, msgspec.Meta(min_length=1, max_length=MESSAGE_MAX, pattern=r"\A[^\x00]*\Z")
]
Seqno = Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]


class Record(msgspec.Struct):
    id: Id
    msg: Message


class ById(msgspec.Struct):
    id: Id


class Listing(msgspec.Struct, rename={"start": "from"}):
    start: Id = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=LIST_MAX)] = LIST_MAX


class Range(msgspec.Struct):
    id: Id
    from_seqno: Seqno = 1
    to_seqno: Seqno | None = None


class Text(msgspec.Struct):
    msg: str


class Page(msgspec.Struct):
    records: list[Record]
    next: int | None


class Proof(msgspec.Struct):
    msg: str
    receipt: dict[str, Any]


class Write(msgspec.Struct):
    seqno: int
    id: int
    msg: str


class Writes(msgspec.Struct):
    entries: list[Write]
    next: int | None


class Identity(msgspec.Struct):
    policy: str
    id: str | None
    data: Any


app = App(
    title="Logging",
    description="Records that users write, read and prove.",
    version="1.0.0",
)
private = Table("records", key=int, value=str)
public = Table("public:records", key=int, value=str)

TABLES = {"/log/private": private, "/log/public": public}
USER = ["user_cert"]


def not_found(record_id: int) -> RpcError:
    return RpcError(404, "ResourceNotFound", f"There is no record {record_id}")


def offer(path: str, records: Table[int, str]) -> None:
    """The endpoints that private and public records have in common."""

    @app.get(path, auth=USER, summary="Read a record")
    def read(ctx: AppContext, query: ById) -> Text:
        msg = records(ctx).get(query.id)
        if msg is None:
            raise not_found(query.id)
        return Text(msg)

    @app.delete(path, auth=USER, summary="Delete a record")
    def remove(ctx: AppContext, query: ById) -> bool:
        table = records(ctx)
        if not table.has(query.id):
            raise not_found(query.id)
        table.delete(query.id)
        return True

    @app.get(f"{path}/count", auth=USER, summary="Count the records")
    def count(ctx: AppContext) -> int:
        return records(ctx).size()

    @app.get(f"{path}/all", auth=USER, summary="List records by id")
    def listing(ctx: AppContext, query: Listing) -> Page:
        rows = sorted(row for row in records(ctx).items() if row[0] >= query.start)
        more = len(rows) > query.limit
        return Page(
            [Record(record_id, msg) for record_id, msg in rows[: query.limit]],
            rows[query.limit][0] if more else None,
        )

    @app.delete(f"{path}/all", auth=USER, summary="Delete all records")
    def clear(ctx: AppContext) -> bool:
        records(ctx).clear()
        return True

    @app.get(
        f"{path}/historical",
        mode="historical",
        forwarding="never",
        auth=USER,
        summary="Read a record as the transaction named in x-ms-ccf-transaction-id wrote it",
    )
    def historical(ctx: AppContext, query: ById) -> Text:
        return Text(written(ctx.historical, query.id))

    def historical_receipt(ctx: AppContext, query: ById) -> Proof:
        return Proof(written(ctx.historical, query.id), ctx.historical.receipt)

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
    def historical_range(ctx: AppContext, query: Range) -> Reply:
        committed = ctx.services.last_committed().seqno
        to_seqno = committed if query.to_seqno is None else query.to_seqno
        if to_seqno < query.from_seqno:
            raise RpcError(400, "InvalidInput", "to_seqno must not be less than from_seqno")
        if to_seqno > committed:
            raise RpcError(400, "InvalidInput", "to_seqno must be committed")
        last = min(to_seqno, query.from_seqno + RANGE_MAX - 1)
        # Requests for different ranges must not share a handle: the node keeps one range for each.
        handle = query.from_seqno * RANGE_MAX + (last - query.from_seqno)
        states = ctx.services.historical_range(
            handle, SeqNo(query.from_seqno), SeqNo(last), EXPIRY_S
        )
        if states is None:
            text = "These transactions are being fetched, ask again."
            return Reply(202, text, {"retry-after": "1"})
        entries = []
        for state in states:
            msg = records.of(state.tx()).get(query.id)
            if msg is not None:
                entries.append(Write(state.txid.seqno, query.id, msg))
        page = Writes(entries, last + 1 if last < to_seqno else None)
        return Reply(200, msgspec.json.encode(page), {"content-type": "application/json"})

    def written(state: HistoricalState, record_id: int) -> str:
        msg = records.of(state.tx()).get(record_id)
        if msg is None:
            raise not_found(record_id)
        return msg


for prefix, table in TABLES.items():
    offer(prefix, table)


@app.post("/log/private", auth=USER)
def write_private(ctx: AppContext, body: Record) -> bool:
    """Write a private record"""
    private(ctx).set(body.id, body.msg)
    return True


@app.post("/log/public", auth=USER)
def write_public(ctx: AppContext, body: Record) -> bool:
    """Write a public record, bound to its receipt by a claims digest"""
    public(ctx).set(body.id, body.msg)
    ctx.set_claims(body.msg.encode())
    return True


@app.post("/log/private/anonymous", auth=["no_auth"])
def write_anonymously(ctx: AppContext, body: Record) -> bool:
    """Write a private record as anybody"""
    private(ctx).set(body.id, f"anonymous: {body.msg}")
    return True


@app.post("/log/private/prefix_cert", auth=["any_cert"])
def write_with_certificate(ctx: AppContext, body: Record) -> bool:
    """Write a private record marked with the fingerprint of the caller's certificate"""
    assert ctx.caller is not None, "the policy names a caller"
    assert ctx.caller.cert_pem is not None, "this policy needs a certificate"
    private(ctx).set(body.id, f"{certs.fingerprint(ctx.caller.cert_pem)}: {body.msg}")
    return True


@app.post("/log/private/admin_only", auth=USER)
def write_as_admin(ctx: AppContext, body: Record) -> bool:
    """Write a private record as a user whose data says isAdmin"""
    assert ctx.caller is not None, "the policy names a caller"
    data = ctx.caller.data
    if not isinstance(data, dict) or data.get("isAdmin") is not True:
        raise RpcError(
            403, "AuthorizationFailed", "Only users with isAdmin in their user data may do this"
        )
    private(ctx).set(body.id, body.msg)
    return True


@app.post("/log/private/raw_text/{id}", auth=USER)
def write_text(ctx: AppContext, body: bytes, path: ById) -> bool:
    """Write a private record whose message is the body"""
    kind = ctx.request.headers.get("content-type", "").partition(";")[0]
    if kind.strip().lower() != "text/plain":
        raise RpcError(415, "UnsupportedContentType", "The body must be text/plain")
    try:
        msg = msgspec.convert(body.decode(), Message)
    except (UnicodeDecodeError, msgspec.ValidationError):
        raise RpcError(
            400, "InvalidInput", f"msg must be a text of 1 to {MESSAGE_MAX} characters"
        ) from None
    private(ctx).set(path.id, msg)
    return True


@app.get("/whoami", auth=["user_cert", "member_cert", "any_cert", "no_auth"])
def whoami(ctx: AppContext) -> Identity:
    """Who the service takes the caller for"""
    assert ctx.caller is not None, "the policy names a caller"
    return Identity(ctx.caller.policy, ctx.caller.id, ctx.caller.data)
