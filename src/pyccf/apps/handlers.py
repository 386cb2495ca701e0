"""Running an application's Python code for one request: arguments in, an answer out.

Nothing the code throws, returns or says in headers gets further than its own request: what is no
answer is a `HandlerFailed`, whose words are for the node's log.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from pyccf.apps.context import AnswerFollows, Context, NeedsHistory
from pyccf.errors import PyccfError, RpcError
from pyccf.http.accept import check_accept
from pyccf.http.message import FINAL_STATUSES, Request, query_parameters

Handler = Callable[..., object]

_OURS = __file__.rpartition("apps")[0]
"""What the names of this package's files begin with."""
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
_MISSING = re.compile(r"Object missing required field `([^`]+)`").fullmatch
_PLACE = re.compile(r"(.+) - at `\$\.(.+)`").fullmatch
"""How a conversion says which field is missing, and where what is wrong stands."""


class Reply(msgspec.Struct):
    """An answer of which the handler decides everything. `body` is sent as it is if bytes."""

    status: int = 200
    body: bytes | str | None = None
    headers: dict[str, str] = msgspec.field(default_factory=dict)


class HandlerFailed(Exception):
    """What an application's code did wrong, in words for the node's log."""

    def __init__(self, words: str, kind: str = "") -> None:
        super().__init__(words)
        self.kind = kind
        """The class of what was thrown, "" if nothing was."""


class TookTooLong(BaseException):
    """Raised in an application's code that does not come to an end, by who looks at the clock.

    No Exception, so that code which goes on after all errors does not go on after this.
    """


def run(code: Callable[..., object], /, *args: object, **named: object) -> object:
    """Run application code: nothing it throws gets further than its own request.

    Errors of this package pass: a refusal, or a conflict that runs the request again. So do
    assertions of this package's own, which nobody may catch.
    """
    try:
        return code(*args, **named)
    except (PyccfError, NeedsHistory, AnswerFollows):
        raise
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) or _is_ours(error):
            raise
        raise HandlerFailed(_told(error), type(error).__name__) from None


def _is_ours(error: BaseException) -> bool:
    """Whether this is an assertion of this package, not of the application."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return (
        isinstance(error, AssertionError)
        and trace is not None
        and str(trace.tb_frame.f_globals.get("__name__")).startswith("pyccf.")
    )


def _told(error: BaseException) -> str:
    """Kind, words and place of an error, whose words may throw as well."""
    try:
        words = str(error)
    except KeyboardInterrupt:
        raise
    except BaseException:
        words = "(an error that cannot be put into words)"
    place = ""
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if not code.co_filename.startswith(_OURS):
            place = f" ({code.co_filename}:{trace.tb_lineno})"
        trace = trace.tb_next
    return f"{type(error).__name__}: {words}{place}"


def headers_of(given: Mapping[str, str]) -> dict[str, str]:
    """Headers as they go out. Raises HandlerFailed for what is none."""
    for name, value in given.items():
        if not (isinstance(name, str) and _TOKEN(name) and isinstance(value, str)):
            raise HandlerFailed(f"a reply with the header {name!r}: {value!r}")
    return {name.lower(): value for name, value in given.items()}


def answer(ctx: Context, result: object, produces: str | None = None) -> None:
    """Make the answer of what a handler returned. Raises HandlerFailed for what is none."""
    if isinstance(result, Reply):
        if isinstance(result.status, bool) or result.status not in FINAL_STATUSES:
            raise HandlerFailed(f"a reply with status {result.status!r}")
        if not isinstance(result.body, (bytes, str, type(None))):
            raise HandlerFailed(f"a reply whose body is a {type(result.body).__name__}")
        ctx.status = result.status
        ctx.headers.update(headers_of(result.headers))
        if isinstance(result.body, str):
            ctx.body = result.body.encode()
            ctx.headers.setdefault("content-type", "text/plain")
        elif result.body is not None:
            ctx.body = result.body
            ctx.headers.setdefault("content-type", "application/octet-stream")
        else:
            ctx.body = b""
        return
    if produces is not None:
        if not isinstance(result, (bytes, str)):
            raise HandlerFailed(f"{type(result).__name__} for an answer that is {produces}")
        ctx.body = result.encode() if isinstance(result, str) else result
        ctx.headers["content-type"] = produces
        return
    if result is None:
        ctx.empty()
        return
    ctx.body = msgspec.json.encode(result)
    ctx.headers["content-type"] = "application/json"


class Plan(msgspec.Struct, frozen=True):
    """How the arguments of a handler are made."""

    body: msgspec.json.Decoder[Any] | None
    raw_body: bool
    query: Any
    path: Any
    accepts_json: bool
    consumes: str | None
    produces: str | None


def executor(
    handler: Handler, plan: Plan, wrap: Callable[[Context], object]
) -> Callable[[Context], None]:
    """What an endpoint does: make the arguments, run the handler on `wrap` of its context."""

    def execute(ctx: Context) -> None:
        request = ctx.request
        if plan.accepts_json:
            accept = request.headers.get("accept")
            if accept is not None:
                check_accept(accept)
        if plan.consumes is not None:
            _check_type(request, plan.consumes)
        given: dict[str, object] = {}
        if plan.body is not None or plan.query is not None or plan.path is not None:
            run(fill, given, plan, ctx)
        elif plan.raw_body:
            given["body"] = request.body
        answer(ctx, run(handler, wrap(ctx), **given), plan.produces)

    return execute


def fill(given: dict[str, object], plan: Plan, ctx: Context) -> None:
    """Put what the request holds for a handler's parameters into `given`.

    An application's code, too: its types may have patterns, and code of their own. Raises RpcError
    400 for what does not fit.
    """
    request = ctx.request
    try:
        if plan.body is not None:
            given["body"] = plan.body.decode(_signed(ctx) or b"{}")
        elif plan.raw_body:
            given["body"] = request.body
        if plan.query is not None:
            given["query"] = typed_query(request, plan.query)
        if plan.path is not None:
            given["path"] = msgspec.convert(ctx.params, plan.path, strict=False)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise RpcError(400, "InvalidInput", str(e)) from None


def typed_query(request: Request, wanted: Any) -> object:
    """The query as the type a handler wants. Raises RpcError 400, naming the parameter."""
    given = query_parameters(request.query)
    try:
        return msgspec.convert(given, wanted, strict=False)
    except (msgspec.MsgspecError, RecursionError) as e:
        reason = str(e)
    missing = _MISSING(reason)
    if missing is not None:
        reason = f"Missing query parameter '{missing[1]}'"
    place = _PLACE(reason)
    if place is not None and place[2] in given:
        name = place[2]
        reason = f"Unable to parse value '{given[name]}' in parameter '{name}': {place[1]}"
    raise RpcError(400, "InvalidQueryParameterValue", reason)


def _signed(ctx: Context) -> bytes:
    """What the body says: if the caller signed it, what was signed."""
    caller = ctx.caller
    if caller is None:
        return ctx.request.body
    signed = caller.cose or next((c.cose for c in caller.all_of if c.cose is not None), None)
    return ctx.request.body if signed is None else signed.content


def _check_type(request: Request, wanted: str) -> None:
    given = request.headers.get("content-type", "")
    if given.partition(";")[0].strip().lower() != wanted:
        raise RpcError(
            415,
            "UnsupportedContentType",
            f"The body must be {wanted}" + (f", not {given}" if given else ""),
        )
