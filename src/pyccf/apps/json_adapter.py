"""Handlers that take and give JSON: content negotiation, body parsing, query parameters.

Wraps a function of (context, body) that returns a JSON value into an endpoint's `execute`
(spec: http-api.md §6). None becomes 204 without a body.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pyccf.codec.text import load_json
from pyccf.errors import RpcError
from pyccf.http.accept import check_accept
from pyccf.http.message import query_parameters

if TYPE_CHECKING:
    from pyccf.apps.context import Context
    from pyccf.types import Json

JsonHandler = Callable[["Context", "Json"], "Json"]


def body_json(ctx: Context) -> Json:
    """The request's body as JSON; an empty body is an empty object.

    Raises RpcError 400 InvalidInput.
    """
    raw = ctx.request.body
    if not raw:
        return {}
    try:
        return load_json(raw)
    except ValueError as e:
        raise RpcError(400, "InvalidInput", str(e)) from None


def json_endpoint(handler: JsonHandler) -> Callable[[Context], None]:
    """Make an endpoint's `execute` of a JSON handler."""

    def execute(ctx: Context) -> None:
        check_accept(ctx.request.headers.get("accept"))
        body = None if ctx.request.method == "GET" else body_json(ctx)
        result = handler(ctx, body)
        if result is None:
            ctx.empty()
        else:
            ctx.json(result)

    return execute


def required_parameter(ctx: Context, name: str) -> str:
    """A query parameter that must be there. Raises RpcError 400 InvalidQueryParameterValue."""
    value = query_parameters(ctx.request.query).get(name)
    if value is None:
        raise RpcError(400, "InvalidQueryParameterValue", f"Missing query parameter '{name}'")
    return value
