"""Requests kept in the ledger, for who wants to run them again.

An endpoint whose metadata says `"record_request": true` (a field of ours, which the original keeps
and ignores) has each request that writes kept with what it wrote: in one row of a private table,
overwritten by the next one, so that it is encrypted in the ledger and the state stays small. The
request's token (`authorization`) and cookies are left out; who called is kept as the handler saw
it. Requests that write nothing are not kept and make no transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from pyccf.apps.js.text import sendable
from pyccf.codec.text import b64, dump_json
from pyccf.kv.changes import UNIT

if TYPE_CHECKING:
    from pyccf.apps.context import Caller, Context
    from pyccf.types import Json

FIELD: Final = "record_request"
"""Of an endpoint's metadata."""
TABLE: Final = "pyccf.requests"
KEY: Final = UNIT
LEFT_OUT: Final = frozenset({"authorization", "cookie"})
"""Headers that let their reader act for the caller."""


def recorded(execute: Callable[[Context], None]) -> Callable[[Context], None]:
    """A handler that keeps requests that write."""

    def run(ctx: Context) -> None:
        execute(ctx)
        applied = ctx.apply_writes
        if applied is None:
            applied = 200 <= ctx.status < 300
        if applied and ctx.tx.writes:
            ctx.tx.map(TABLE).set(KEY, dump_json(request_json(ctx)))

    return run


def request_json(ctx: Context) -> dict[str, Json]:
    """The request as it is kept, and as replays take it."""
    request = ctx.request
    headers = request.headers
    return {
        "method": request.method,
        "path": sendable(request.target),
        "headers": {k: sendable(v) for k, v in headers.items() if k not in LEFT_OUT},
        "body_base64": b64(request.body),
        "caller": None if ctx.caller is None else caller_json(ctx.caller),
    }


def caller_json(caller: Caller) -> dict[str, Json]:
    """A caller in the form of `request.caller`; what was signed is in the body."""
    if caller.all_of:
        told: dict[str, Json] = {"policy": [part.policy for part in caller.all_of]}
        for part in caller.all_of:
            told[part.policy] = caller_json(part)
        return told
    shown: dict[str, Json] = {"policy": caller.policy}
    if caller.id is not None:
        shown["id"] = caller.id
        shown["data"] = caller.data
    if caller.cert_pem is not None:
        shown["cert"] = caller.cert_pem
    if caller.jwt is not None:
        shown["jwt"] = {
            "keyIssuer": caller.jwt.key_issuer,
            "header": caller.jwt.header,
            "payload": caller.jwt.payload,
        }
    return shown
