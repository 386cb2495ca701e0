"""The JavaScript application that members installed, as endpoints of the node.

Endpoints, modules and runtime options are rows of governance tables (spec: js-runtime.md §1.3); a
request sees them in the state its transaction reads. What was made of them is kept as long as the
tables stay at the same version. A handler's failures become error answers here (§3, §6); it is the
frontend that decides whether the handler's writes are applied.

Deviations to the safe side, beside those of `engine`: a status unknown to HTTP and header names
that are no tokens are refused with 500 like other unusable results.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, TypeVar

from pyccf.apps import feed
from pyccf.apps.auth import js_policy
from pyccf.apps.context import JSON_TYPE, about_request
from pyccf.apps.feed import FeedSpec, OpenFeed
from pyccf.apps.index import declared
from pyccf.apps.js import recording
from pyccf.apps.js.bytecode import bytecode_in_use, bytecode_size
from pyccf.apps.js.engine import (
    THREW,
    TIMED_OUT,
    VERSION_TEXT,
    BadResult,
    Interpreter,
    JsError,
    JsSetupError,
)
from pyccf.apps.js.host.console import SAID_MAX
from pyccf.apps.js.host.historical import state_object
from pyccf.apps.js.host.host import Host
from pyccf.apps.js.metadata import Metadata
from pyccf.apps.js.modules import evaluate_module, loader
from pyccf.apps.js.options import DEFAULT, RuntimeOptions, runtime_options
from pyccf.apps.js.pool import Pool
from pyccf.apps.js.tables import GOVERNED, JsTables
from pyccf.apps.js.text import sendable
from pyccf.apps.js.traces import Traces
from pyccf.apps.router import (
    AmbiguousPath,
    Endpoint,
    Forwarding,
    Mode,
    Redirection,
    compile_template,
    template_names,
)
from pyccf.codec.text import dump_json, load_json
from pyccf.http.message import FINAL_STATUSES, error_body
from pyccf.kv.maps import AccessContext

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyccf.apps.context import Context
    from pyccf.kv.tx import Tx
    from pyccf.types import Json

BAD_STATUS: Final = "Invalid endpoint function return value (status code type)."
BAD_HEADER: Final = "Invalid endpoint function return value (header type)."
TXID_HEADER: Final = "x-ms-ccf-transaction-id"

T = TypeVar("T")

Served: TypeAlias = tuple[int, dict[str, str], bytes]
"""Status, headers, body."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_MODES = {mode.value: mode for mode in (Mode.READWRITE, Mode.READONLY, Mode.HISTORICAL)}
_FORWARDINGS = {forwarding.value: forwarding for forwarding in Forwarding}
_REDIRECTIONS = {redirection.value: redirection for redirection in Redirection}


class BadMetadata(ValueError):
    """An endpoint's row cannot be used; the text is shown to the client after "Exception: "."""


def parse_metadata(raw: bytes) -> Metadata:
    """Read an endpoint's row. Raises BadMetadata."""
    try:
        value = load_json(raw)
    except ValueError as e:
        raise BadMetadata(str(e)) from None
    if not isinstance(value, dict):
        raise BadMetadata(f"Expected object, found: {_shown(value)}")
    reuse = value.get("interpreter_reuse")
    if reuse is not None and (not isinstance(reuse, dict) or not isinstance(reuse.get("key"), str)):
        raise BadMetadata(f"Missing required field 'key' in object: {_shown(reuse)}")
    openapi = value.get("openapi")
    policies = _required(value, "authn_policies")
    if not isinstance(policies, list):
        raise BadMetadata(f'Vector object "{_shown(policies)}" is not an array')
    try:
        auth = tuple(js_policy(policy) for policy in policies)
        indexes = declared.parse(value.get("indexes"))
        listens = feed.parse(value.get("feed"))
    except ValueError as e:
        raise BadMetadata(str(e)) from None
    return Metadata(
        module=_text(value, "js_module"),
        function=_text(value, "js_function"),
        mode=_one_of(_MODES, value.get("mode", "readwrite"), "Mode"),
        forwarding=_one_of(
            _FORWARDINGS, _required(value, "forwarding_required"), "ForwardingRequired"
        ),
        redirection=_one_of(
            _REDIRECTIONS, value.get("redirection_strategy", "to_primary"), "RedirectionStrategy"
        ),
        auth=auth,
        openapi=openapi if isinstance(openapi, dict) else None,
        hidden=value.get("openapi_hidden") is True,
        reuse_key=str(reuse["key"]) if isinstance(reuse, dict) else None,
        record=_recorded(value),
        indexes=indexes,
        feed=_as_feed(listens, value),
    )


def _as_feed(spec: FeedSpec | None, value: dict[str, Json]) -> FeedSpec | None:
    """A feed writes nothing, and is served where the client is."""
    if spec is not None and (value.get("mode"), value.get("forwarding_required")) != (
        Mode.READONLY.value,
        Forwarding.NEVER.value,
    ):
        raise BadMetadata('A feed needs "mode": "readonly" and "forwarding_required": "never"')
    return spec


def _shown(value: Json) -> str:
    return dump_json(value).decode()


def _required(value: dict[str, Json], name: str) -> Json:
    # The original looks at the fields in this order.
    for field in ("forwarding_required", "authn_policies"):
        if field not in value:
            raise BadMetadata(f"Missing required field '{field}' in object: {_shown(value)}")
    return value[name]


def _recorded(value: dict[str, Json]) -> bool:
    found = value.get(recording.FIELD, False)
    if not isinstance(found, bool):
        raise BadMetadata(f"{recording.FIELD} is not a boolean: {_shown(found)}")
    return found


def _text(value: dict[str, Json], name: str) -> str:
    found = value.get(name, "")
    if not isinstance(found, str):
        raise BadMetadata(f"{name} is not a string: {_shown(found)}")
    return found


def _one_of(table: dict[str, T], value: Json, what: str) -> T:
    found = table.get(value) if isinstance(value, str) else None
    if found is None:
        raise BadMetadata(f"{_shown(value)} is not convertible to {what}")
    return found


class _Entry:
    """One row of the endpoints table; read when a request first needs it."""

    __slots__ = ("_app", "_made", "_raw", "names", "path", "pattern", "verb")

    def __init__(self, app: JsApp, verb: str, path: str, raw: bytes) -> None:
        self._app = app
        self._raw = raw
        self._made: Endpoint | None = None
        self.verb = verb
        self.path = path
        self.pattern = None if "{" not in path else compile_template(path)
        self.names = template_names(path)

    def endpoint(self) -> Endpoint:
        """The endpoint. Raises BadMetadata."""
        made = self._made
        if made is None:
            metadata = parse_metadata(self._raw)
            execute = Handler(self._app, metadata).execute
            self._made = made = Endpoint(
                verb=self.verb,
                path=self.path,
                execute=recording.recorded(execute) if metadata.record else execute,
                mode=metadata.mode,
                forwarding=metadata.forwarding,
                redirection=metadata.redirection,
                auth=metadata.auth,
                hidden=metadata.hidden,
                openapi=metadata.openapi,
            )
        return made


class JsApp:
    """Looks up and runs the endpoints of the installed application."""

    engine_version: Final = VERSION_TEXT

    def __init__(
        self,
        *,
        log_calls: bool = False,
        log_exceptions: bool = False,
        make_host: Callable[[AccessContext], Host] = Host,
        names: JsTables = GOVERNED,
    ) -> None:
        """`log_calls` writes a line per successful call.

        `log_exceptions` tells the log of every exception, whatever the runtime options say.
        `make_host` gives interpreters another host than the usual one: for tools that look on, or
        to see less. `names` are the tables that hold the application.
        """
        self.log_calls = log_calls
        self.log_exceptions = log_exceptions
        self.tables = names
        self._endpoints = names.endpoints
        self._runtime_options = names.runtime_options
        self.pool = Pool(make_host, names)
        self.traces = Traces()
        self._stamp: object = None
        self._exact: dict[tuple[str, str], _Entry] = {}
        self._templated: dict[str, list[_Entry]] = {}
        self._broken: dict[str, str] = {}
        """Verbs among whose templates one cannot be used, with the reason."""
        self._options_stamp: object = None
        self._options = DEFAULT

    # -- lookup ---------------------------------------------------------------------------------

    def lookup(self, tx: Tx, verb: str, path: str) -> tuple[Endpoint, dict[str, str]] | None:
        """The endpoint and its raw path parameters; None if the application has none.

        Raises AmbiguousPath, and BadMetadata for a row that cannot be used (spec: js-runtime.md
        §2). The transaction's read id is set afterwards.
        """
        stamp = (tx.version_of(self._endpoints), tx.rollbacks)
        if stamp != self._stamp:
            self._read(tx, stamp)
        entry = self._exact.get((verb, path))
        if entry is not None:
            return entry.endpoint(), {}
        hits = []
        if verb in self._broken:
            raise BadMetadata(self._broken[verb])
        for row in self._templated.get(verb, ()):
            assert row.pattern is not None
            match = row.pattern.fullmatch(path)
            if match is not None:
                hits.append((row, match))
        if not hits:
            return None
        if len(hits) > 1:
            raise AmbiguousPath(path, [row.path for row, _ in hits])
        row, match = hits[0]
        return row.endpoint(), dict(zip(row.names, match.groups(), strict=True))

    def verbs(self, tx: Tx, path: str) -> set[str]:
        """All verbs under which the application knows a path."""
        stamp = (tx.version_of(self._endpoints), tx.rollbacks)
        if stamp != self._stamp:
            self._read(tx, stamp)
        found = {verb for verb, p in self._exact if p == path}
        for verb, entries in self._templated.items():
            if any(row.pattern is not None and row.pattern.fullmatch(path) for row in entries):
                found.add(verb)
        return found

    def _read(self, tx: Tx, stamp: object) -> None:
        self._exact.clear()
        self._templated.clear()
        self._broken.clear()
        for key, raw in tx.map(self._endpoints).foreach():
            verb, blank, path = key.decode("utf-8", "replace").partition(" ")
            if not blank:
                continue
            try:
                entry = _Entry(self, verb, path, raw)
            except (ValueError, re.error) as e:
                self._broken.setdefault(verb, str(e))
                continue
            self._exact[verb, path] = entry
            if entry.pattern is not None:
                self._templated.setdefault(verb, []).append(entry)
        self._stamp = stamp

    # -- what calls need ---------------------------------------------------------------------------

    def options(self, tx: Tx) -> RuntimeOptions:
        """Runtime options in force. Raises RpcError 400 when they cannot be read."""
        stamp = (tx.version_of(self._runtime_options), tx.rollbacks)
        if stamp != self._options_stamp:
            self._options = runtime_options(tx, self._runtime_options)
            self._options_stamp = stamp
        return self._options

    def metrics(self, tx: Tx) -> dict[str, Json]:
        """The document of /node/js_metrics."""
        options = self.options(tx)
        return {
            "bytecode_size": bytecode_size(tx),
            "bytecode_used": bytecode_in_use(tx, self.tables.modules_version),
            "max_cached_interpreters": options.max_cached_interpreters,
            "max_execution_time": options.limits.time_ms,
            "max_heap_size": options.limits.heap_bytes,
            "max_stack_size": options.limits.stack_bytes,
        }

    def refill(self) -> None:
        """The node has time: put interpreters back into their initial state ahead of requests."""
        self.pool.restore()


class Handler:
    """One exported function as an endpoint."""

    __slots__ = ("_access", "_app", "_feed", "_function", "_indexes", "_module", "_reuse_key")

    def __init__(self, app: JsApp, metadata: Metadata) -> None:
        self._app = app
        self._module = metadata.module
        self._function = metadata.function
        self._indexes = metadata.indexes
        self._feed = metadata.feed
        writes = metadata.mode is Mode.READWRITE
        self._access = AccessContext.APP_RW if writes else AccessContext.APP_RO
        self._reuse_key = (
            None
            if metadata.reuse_key is None
            else f"{metadata.reuse_key} ({'rw' if writes else 'ro'}"
            f"{', indexed' if metadata.indexes else ''})"
        )

    def execute(self, ctx: Context) -> None:
        """Run the function and fill in the response. What the script does wrong is answered."""
        options = self._app.options(ctx.tx)
        try:
            if self._reuse_key is None:
                served = self._serve_fresh(ctx, options)
            else:
                served = self._serve_shared(ctx, options, self._reuse_key)
        except JsSetupError as e:
            _fail(ctx, e.text, ())
            return
        except JsError as e:
            self._threw(ctx, options, e)
            return
        except BadResult as e:
            self._bad_result(ctx, options, e)
            return
        status, headers, body = served
        if status not in FINAL_STATUSES:
            _fail(ctx, BAD_STATUS, ())
            return
        if len(headers) > 1 or (headers and "content-type" not in headers):
            checked = _checked(headers)
            if checked is None:
                _fail(ctx, BAD_HEADER, ())
                return
            headers = checked
        if self._feed is not None and 200 <= status < 300:
            raise OpenFeed(self._feed)
        ctx.status = status
        ctx.headers = headers
        ctx.body = body

    def _serve_fresh(self, ctx: Context, options: RuntimeOptions) -> Served:
        tx = ctx.tx
        historical = ctx.historical
        names = self._app.tables
        template = self._app.pool.template(
            (
                tx.version_of(names.modules),
                tx.version_of(names.modules_version),
                tx.rollbacks,
                options.limits,
            ),
            self._module,
            historical is not None,
            bool(self._indexes),
            tx,
            options.limits,
        )
        interpreter = template.interpreter
        if interpreter.limits is not options.limits:
            interpreter.limit(options.limits)
        host = interpreter.host
        host.access = self._access
        host.ctx = ctx
        host.tx = tx
        host.machine = ctx.services
        host.metrics = True
        host.said = 0
        host.indexes = self._indexes
        body = ctx.request.body
        try:
            if template.evaluated:
                served = interpreter.vm.serve(template.module, self._function, ctx, body, True)
            else:
                interpreter.vm.restore()
                shown = None if historical is None else state_object(historical)
                interpreter.vm.prepare(body, shown)
                evaluate_module(interpreter, template.module, self._module)
                served = interpreter.vm.serve(template.module, self._function, ctx, body, False)
            return self._result(ctx, interpreter, served)
        finally:
            host.ctx = host.tx = host.machine = None

    def _serve_shared(self, ctx: Context, options: RuntimeOptions, key: str) -> Served:
        tx = ctx.tx
        pool = self._app.pool
        shared = pool.shared(
            (tx.version_of(self._app.tables.interpreter_flush), tx.rollbacks),
            key,
            self._access,
            bool(self._indexes),
            options.max_cached_interpreters,
        )
        interpreter = shared.interpreter
        if interpreter.limits is not options.limits:
            interpreter.limit(options.limits)
        host = interpreter.host
        host.said = 0
        host.ctx = ctx
        host.tx = tx
        host.machine = ctx.services
        host.indexes = self._indexes
        body = ctx.request.body
        try:
            historical = ctx.historical
            shown = None if historical is None else state_object(historical)
            interpreter.vm.prepare(body, shown)
            number = shared.evaluated.get(self._module)
            if number is None:
                number = shared.load(self._module, tx, self._app.tables)
            served = interpreter.vm.serve(number, self._function, ctx, body, False)
            return self._result(ctx, interpreter, served)
        finally:
            host.ctx = host.tx = host.machine = None
            if options.max_cached_interpreters == 0 or interpreter.vm.broken or shared.stopped:
                pool.forget(key)

    def _result(
        self, ctx: Context, interpreter: Interpreter, served: Served | Literal[-1] | None
    ) -> Served:
        if served is None:
            raise JsSetupError(
                f"Failed to find export '{self._function}' in module '{self._module}'"
            )
        if isinstance(served, int):
            raise JsSetupError(
                f"Export '{self._function}' of module '{self._module}' is not a function"
            )
        if self._app.log_calls and interpreter.host.metrics:
            ctx.services.log(
                "info",
                "js",
                f"JS execution complete: Method={ctx.request.method}, Path={ctx.route},"
                f" Status={served[0]}, ExecMilliseconds={int(interpreter.vm.call_ms)}",
            )
        return served

    # -- failures ---------------------------------------------------------------------------------

    def _threw(self, ctx: Context, options: RuntimeOptions, error: JsError) -> None:
        if error.timed_out:
            ctx.services.log(
                "info",
                "js",
                f"JS execution has timed out after {error.call_ms}ms"
                f" (max is {options.limits.time_ms}ms)",
                about_request(ctx, ctx.tx),
            )
        details: tuple[Json, ...] = ()
        logged = options.log_exception_details or self._app.log_exceptions
        if logged or options.return_exception_details:
            load = loader(ctx.tx, self._app.tables.modules)
            if logged:
                trace = self._app.traces.of(error, load, every_line=True)
                text = f"{error.message}\n{trace or ''}"[:SAID_MAX]
                ctx.services.log("fail", "app", text, about_request(ctx, ctx.tx))
            if options.return_exception_details:
                details = _details(error, self._app.traces.of(error, load))
        _fail(ctx, TIMED_OUT if error.timed_out else THREW, details)

    def _bad_result(self, ctx: Context, options: RuntimeOptions, bad: BadResult) -> None:
        text = bad.text
        headers = _checked(bad.headers) or {}
        headers.pop("content-type", None)
        if bad.cause is not None and options.return_exception_details:
            trace = self._app.traces.of(bad.cause, loader(ctx.tx, self._app.tables.modules))
            _fail(ctx, text.removesuffix("."), _details(bad.cause, trace), headers)
        else:
            _fail(ctx, text, (), headers)


def _details(error: JsError, trace: str | None) -> tuple[Json, ...]:
    detail: dict[str, Json] = {"code": "JSException", "message": sendable(error.message)}
    if trace is not None:
        detail["trace"] = sendable(trace)
    return (detail,)


def _fail(
    ctx: Context, message: str, details: tuple[Json, ...], headers: dict[str, str] | None = None
) -> None:
    """A 500 answer that leaves the decision about writes to the frontend."""
    ctx.status = 500
    ctx.headers = {**(headers or {}), "content-type": JSON_TYPE}
    ctx.body = error_body("InternalError", message, details)


def _checked(headers: dict[str, str]) -> dict[str, str] | None:
    """Headers as they go out: lower case, where a name already in lower case wins; None if bad."""
    out: dict[str, str] = {}
    for name, value in headers.items():
        if _TOKEN.fullmatch(name) is None:
            return None
        lower = name.lower()
        if lower == name or lower not in headers:
            out[lower] = value
    out.pop(TXID_HEADER, None)
    return out
