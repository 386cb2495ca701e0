"""Private records written by others than users, or in other ways than as JSON."""

from __future__ import annotations

import msgspec

from logging_sample.model import (
    MESSAGE_MAX,
    USER,
    USER_CERT,
    Id,
    Message,
    Record,
    Scoped,
    app,
    private,
    scoped,
)
from pyccf.apps.python import AppContext
from pyccf.crypto import certs
from pyccf.errors import RpcError
from pyccf.types import TxID


class OfText(msgspec.Struct):
    id: Id


class Put(msgspec.Struct):
    """What became of a write."""

    success: bool
    tx_id: str


@app.post("/log/private/anonymous")
def write_anonymously(ctx: AppContext, query: Scoped, body: Record) -> bool:
    """Write a private record as anybody"""
    scoped(private, query.scope)(ctx).set(body.id, f"Anonymous: {body.msg}")
    return True


@app.post("/log/private/anonymous/v2")
def write_and_tell(ctx: AppContext, query: Scoped, body: Record) -> Put:
    """Write a private record as anybody, and be told the transaction in the body"""
    scoped(private, query.scope)(ctx).set(body.id, f"Anonymous: {body.msg}")

    def ordered(txid: TxID) -> Put:
        return Put(True, str(txid))

    ctx.when_ordered(ordered)
    return Put(False, "")  # `ordered` has the last word, unless there is nothing to commit.


@app.post("/log/private/prefix_cert", auth=["any_cert"])
def write_with_certificate(ctx: AppContext, query: Scoped, body: Record) -> bool:
    """Write a private record marked with the fingerprint of the caller's certificate"""
    assert ctx.caller is not None, "the policy names a caller"
    assert ctx.caller.cert_pem is not None, "this policy needs a certificate"
    scoped(private, query.scope)(ctx).set(
        body.id, f"{certs.fingerprint(ctx.caller.cert_pem)}: {body.msg}"
    )
    return True


@app.post("/log/private/admin_only", auth=USER_CERT)
def write_as_admin(ctx: AppContext, query: Scoped, body: Record) -> bool:
    """Write a private record as a user whose data says isAdmin"""
    assert ctx.caller is not None, "the policy names a caller"
    data = ctx.caller.data
    if not isinstance(data, dict) or data.get("isAdmin") is not True:
        raise RpcError(
            403, "AuthorizationFailed", "Only users with isAdmin in their user data may do this"
        )
    scoped(private, query.scope)(ctx).set(body.id, body.msg)
    return True


@app.post("/log/private/raw_text/{id}", auth=USER, consumes="text/plain")
def write_text(ctx: AppContext, query: Scoped, body: bytes, path: OfText) -> bool:
    """Write a private record whose message is the body"""
    try:
        msg = msgspec.convert(body.decode(), Message)
    except (UnicodeDecodeError, msgspec.ValidationError):
        raise RpcError(
            400, "InvalidInput", f"msg must be a text of 1 to {MESSAGE_MAX} characters"
        ) from None
    scoped(private, query.scope)(ctx).set(path.id, msg)
    return True
