"""One request to a JavaScript application, from path to answer, over a given transaction."""

from __future__ import annotations

import msgspec

from pyccf.apps.auth import authenticate
from pyccf.apps.context import JSON_TYPE, Caller, Context, Services
from pyccf.apps.js.registry import JsApp
from pyccf.apps.router import AmbiguousPath, Endpoint, Mode, allow_header
from pyccf.errors import RpcError
from pyccf.http.message import Request, error_body
from pyccf.http.session import Session
from pyccf.kv.tx import Tx
from pyccf.types import TxID

APP_PREFIX = "/app"
TXID_HEADER = "x-ms-ccf-transaction-id"
INVALID_CALLER = "InvalidAuthenticationInfo"


class Executed(msgspec.Struct, frozen=True):
    """An answer, and whether what the handler wrote counts."""

    status: int
    headers: dict[str, str]
    body: bytes
    applied: bool = False
    claims_digest: bytes | None = None


def execute(
    app: JsApp,
    request: Request,
    tx: Tx,
    services: Services,
    session: Session,
    caller: Caller | None,
) -> Executed:
    """Run one request to /app/... like the frontend of a node does.

    `caller` must satisfy a policy of the endpoint; without one the policies look for it.
    """
    try:
        ctx = _run(app, request, tx, services, session, caller)
    except RpcError as e:
        headers = {**e.headers, "content-type": JSON_TYPE}
        return Executed(e.status, headers, error_body(e.code, e.message, e.details))
    applied = ctx.apply_writes if ctx.apply_writes is not None else 200 <= ctx.status < 300
    return Executed(ctx.status, ctx.headers, ctx.body, applied, ctx.claims_digest)


def _run(
    app: JsApp,
    request: Request,
    tx: Tx,
    services: Services,
    session: Session,
    caller: Caller | None,
) -> Context:
    path = request.path.removeprefix(APP_PREFIX)
    try:
        found = app.lookup(tx, request.method, path)
    except (AmbiguousPath, ValueError) as e:
        raise RpcError(500, "InternalError", f"Exception: {e}") from None
    if found is None:
        raise _unknown(app, tx, path)
    endpoint, params = found
    ctx = Context(request, session, tx, services, endpoint)
    ctx.params = params
    ctx.route = APP_PREFIX + endpoint.path
    if endpoint.auth:
        ctx.caller = authenticate(ctx, endpoint.auth) if caller is None else caller
        if caller is not None:
            _check_caller(endpoint, caller)
    if endpoint.mode is Mode.HISTORICAL:
        txid = TxID.parse(request.headers.get(TXID_HEADER, ""))
        if txid is None:
            raise RpcError(404, "TransactionInvalid", "Could not extract Transaction Id")
        ctx.historical = services.historical_state(ctx, txid)
    endpoint.execute(ctx)
    return ctx


def _unknown(app: JsApp, tx: Tx, path: str) -> RpcError:
    verbs = app.verbs(tx, path)
    if not verbs:
        return RpcError(404, "ResourceNotFound", f"Unknown path: {path}.")
    allow = allow_header(verbs)
    return RpcError(
        405,
        "UnsupportedHttpVerb",
        f"Allowed methods for '{path}' are: {allow}.",
        headers={"allow": allow},
    )


def _check_caller(endpoint: Endpoint, caller: Caller) -> None:
    offered = [policy.name for policy in endpoint.auth]
    if caller.policy not in offered:
        raise RpcError(
            401,
            INVALID_CALLER,
            "Invalid authentication credentials.",
            details=[
                {
                    "auth_policy": name,
                    "code": INVALID_CALLER,
                    "message": f"The caller given here has the policy {caller.policy}",
                }
                for name in offered
            ],
        )
