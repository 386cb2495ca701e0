"""The requests of `app-js` as a Python application."""

from __future__ import annotations

import msgspec

from pyccf.apps.python import App, AppContext
from pyccf.errors import RpcError

TABLE = "records"
ANYBODY = ["no_auth"]


class Record(msgspec.Struct):
    id: str
    msg: str


class ById(msgspec.Struct):
    id: str


class Filling(msgspec.Struct):
    first: int
    count: int
    msg: str


class Text(msgspec.Struct):
    msg: str


app = App(title="Benchmark")


@app.post("/records", auth=ANYBODY)
def write(ctx: AppContext, body: Record) -> bool:
    """Write one private key"""
    ctx.kv(TABLE).set(body.id.encode(), body.msg.encode())
    return True


@app.get("/records", auth=ANYBODY)
def read(ctx: AppContext, query: ById) -> Text:
    """Read one private key"""
    found = ctx.kv(TABLE).get(query.id.encode())
    if found is None:
        raise RpcError(404, "ResourceNotFound", "No such record")
    return Text(found.decode())


@app.post("/fill", auth=ANYBODY)
def fill(ctx: AppContext, body: Filling) -> int:
    """Write many keys with the same message"""
    table = ctx.kv(TABLE)
    value = body.msg.encode()
    for number in range(body.first, body.first + body.count):
        table.set(b"%08d" % number, value)
    return table.size()
