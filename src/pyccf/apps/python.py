"""Applications written in Python: a decorator per endpoint, typed requests and responses.

    app = App(title="Records", version="1.0.0")
    records = Table("records", key=int, value=str)

    class Entry(msgspec.Struct):
        id: int
        msg: str

    @app.post("/log/private", auth=["user_cert"])
    def record(ctx: AppContext, body: Entry) -> bool:
        records(ctx).set(body.id, body.msg)
        return True

A handler takes the context and, if it names them, `body`, `query` and `path`, each converted to its
annotated type and refused with 400 when it does not fit (`InvalidInput`; the query with
`InvalidQueryParameterValue`). A body that its caller signed (COSE) is what was signed. What a
handler returns becomes JSON (None: 204 without a body; `Reply`: as it says; text or bytes of
another kind where the endpoint says `produces`). It may run several times for one request, so it
must do nothing but read and write tables. Tables of governance and of the node are read-only to it,
reserved names are refused. An exception other than RpcError (SystemExit and an AssertionError
included) answers 500 without its text: that goes to the node's log, as does what is no answer.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Any, Protocol, TypeVar

import msgspec

from pyccf.apps.auth import PolicySpec, python_policy
from pyccf.apps.context import Caller, Context, NeedsHistory, Services
from pyccf.apps.described import describe, parameter
from pyccf.apps.feed import FeedSpec, Format, OpenFeed, check_map
from pyccf.apps.handlers import Handler as Handler
from pyccf.apps.handlers import HandlerFailed as HandlerFailed
from pyccf.apps.handlers import Plan, answer, executor, headers_of, run
from pyccf.apps.handlers import Reply as Reply
from pyccf.apps.index import Declared, Indexes, Kind, Strategy
from pyccf.apps.indexed import AppIndex
from pyccf.apps.past import PastState
from pyccf.apps.router import Endpoint, Forwarding, Mode, Redirection, Templates
from pyccf.apps.schemas import ref as named
from pyccf.apps.typed import RawTable as RawTable
from pyccf.apps.typed import Table as Table
from pyccf.apps.typed import TypedTable as TypedTable
from pyccf.errors import LocalError
from pyccf.http import etag
from pyccf.http.message import Request
from pyccf.kv.tx import Tx
from pyccf.types import Json, TxID

K = TypeVar("K")
V = TypeVar("V")
S = TypeVar("S", bound=Strategy)

EXECUTION_MS = 5000
"""How long a handler may run when the application does not say."""
HISTORICAL_EXPIRY_S = 1800
"""How long states of the past are kept unused when a handler does not say."""


class AppContext:
    """What a Python handler sees of its request and may do in its transaction."""

    __slots__ = ("_ctx",)

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    @property
    def request(self) -> Request:
        """Method, raw path, headers and body as they came."""
        return self._ctx.request

    @property
    def caller(self) -> Caller | None:
        """Who calls, by the policy that succeeded; None if none was asked for."""
        return self._ctx.caller

    @property
    def params(self) -> dict[str, str]:
        """Path parameters, raw."""
        return self._ctx.params

    @property
    def services(self) -> Services:
        """What the node knows: commit, status of transactions, history, time."""
        return self._ctx.services

    @property
    def historical(self) -> PastState:
        """The transaction brought back for an endpoint in historical mode."""
        if self._ctx.historical is None:
            raise LocalError("Only endpoints in historical mode have a historical state.")
        return PastState(self._ctx.historical)

    def historical_state(self, txid: TxID) -> PastState:
        """A committed transaction, read from the ledger if need be.

        The request waits meanwhile and runs again; it is refused as in historical mode when the
        transaction is not committed.
        """
        return PastState(self._ctx.services.historical_state(self._ctx, txid))

    def historical_range(
        self,
        first: int,
        last: int,
        *,
        handle: int | None = None,
        expiry_s: int = HISTORICAL_EXPIRY_S,
        wait: bool = True,
    ) -> list[PastState] | None:
        """The committed transactions first..last inclusive; see `historical_states`."""
        return self._past(handle, range(first, last + 1), expiry_s, wait)

    def historical_states(
        self,
        seqnos: Iterable[int],
        *,
        handle: int | None = None,
        expiry_s: int = HISTORICAL_EXPIRY_S,
        wait: bool = True,
    ) -> list[PastState] | None:
        """Some committed transactions, in order; None when one of them is not committed.

        What is not in memory is read from the ledger: the request waits meanwhile and runs again,
        or is answered 202 when that takes long or it is much. Without `wait` the answer is None
        then, and the application says what it likes. States are kept under `handle` for `expiry_s`
        seconds after the last use; handles are shared by all requests to this node, so different
        sets should have different ones. Without a handle one is made of the seqnos.
        """
        return self._past(handle, tuple(sorted(set(seqnos))), expiry_s, wait)

    def drop_historical(self, handle: int) -> bool:
        """Forget the states under a handle; whether there were any."""
        return self._ctx.services.historical_drop(handle)

    def _past(
        self, handle: int | None, seqnos: Sequence[int], expiry_s: int, wait: bool
    ) -> list[PastState] | None:
        if not seqnos:
            return []
        services = self._ctx.services
        name = _handle_of(seqnos) if handle is None else handle
        states = services.historical_states(name, seqnos, expiry_s)
        if states is not None:
            return [PastState(state) for state in states]
        if not wait or seqnos[-1] > services.last_committed().seqno:
            return None
        raise NeedsHistory(seqnos, f"query of transactions {seqnos[0]} to {seqnos[-1]}")

    @property
    def indexes(self) -> Indexes:
        """The indexes of this node, to install and remove some while it runs."""
        return self._ctx.services.indexes

    @property
    def read_txid(self) -> TxID | None:
        """Id of the state this transaction reads; None before the first table is opened."""
        return self._ctx.tx.read_txid

    def kv(self, name: str) -> RawTable:
        """A table of bytes. Names without "public:" are encrypted in the ledger."""
        return RawTable(self._ctx.tx, name, self._ctx.endpoint.mode is Mode.READWRITE)

    def set_claims_digest(self, digest: bytes) -> None:
        """Bind 32 bytes into the receipt of this transaction."""
        if len(digest) != 32:
            raise LocalError(f"A claims digest has 32 bytes, not {len(digest)}.")
        self._ctx.claims_digest = bytes(digest)

    def set_claims(self, claims: bytes) -> None:
        """Bind the SHA-256 of these bytes into the receipt of this transaction."""
        self._ctx.claims_digest = sha256(claims).digest()

    def set_apply_writes(self, apply: bool) -> None:
        """Decide whether writes are applied, whatever the status of the answer."""
        self._ctx.apply_writes = apply

    def set_header(self, name: str, value: str) -> None:
        """Add a response header."""
        self._ctx.headers.update(headers_of({name: value}))

    def is_unchanged(self, tag: str | None) -> bool:
        """Judge `if-match` and `if-none-match` against the tag a resource has now (None: no such).

        Raises RpcError 412 when a condition does not hold; True if the answer is to be 304.
        """
        return etag.is_unchanged(self._ctx.request, tag)

    def set_etag(self, tag: str) -> None:
        """Tell the client the tag of what it gets, for conditions of later requests."""
        self.set_header("etag", etag.quoted(tag))

    def when_ordered(self, finish: Callable[[TxID], object]) -> None:
        """Have the answer made by `finish` once the transaction has its id."""

        def call(ctx: Context, txid: TxID) -> None:
            if ctx.status == 204:
                ctx.status = 200  # The handler had nothing to say.
            answer(ctx, run(finish, txid))

        self._ctx.locally_committed = call


def _key_filter(
    table: Table[Any, Any] | str, keys: Callable[[Any], bool] | None
) -> Callable[[bytes], bool] | None:
    """What a feed's handler returned, as a question about keys as they stand in the ledger.

    It raises nothing but HandlerFailed, as handlers do.
    """
    if keys is None:
        return None
    decode = (lambda key: key) if isinstance(table, str) else table.decode_key
    return lambda key: run(lambda: bool(keys(decode(key)))) is True


def _handle_of(seqnos: Sequence[int]) -> int:
    """A handle that other sets of seqnos hardly have."""
    return int.from_bytes(sha256(repr(seqnos).encode()).digest()[:8], "big")


class Dynamic(Protocol):
    """Endpoints looked up anew for each request, in the state it sees."""

    def lookup(self, tx: Tx, verb: str, path: str) -> tuple[Endpoint, dict[str, str]] | None:
        """The endpoint and its raw path parameters."""
        ...

    def verbs(self, tx: Tx, path: str) -> set[str]:
        """Verbs under which the path is known."""
        ...


class App:
    """A Python application: its endpoints and how they describe themselves."""

    def __init__(
        self,
        *,
        title: str = "pyccf application",
        description: str = "",
        version: str = "0.0.1",
        max_execution_time_ms: int = EXECUTION_MS,
    ) -> None:
        """A call of its code that takes longer than `max_execution_time_ms` is ended with 500."""
        self.max_execution_time_ms = max_execution_time_ms
        self.title = title
        self.description = description
        self.version = version
        self.schemas: dict[str, Json] = {}
        self.indexes: list[Callable[[], Strategy]] = []
        """How the indexes are made that each node keeps for this application."""
        self._templates = Templates()
        self._dynamic: list[Dynamic] = []

    def endpoint(
        self,
        verb: str,
        path: str,
        *,
        mode: str | Mode = Mode.READWRITE,
        auth: Sequence[PolicySpec] = (),
        forwarding: str | Forwarding | None = None,
        redirection: str | Redirection | None = None,
        consumes: str | None = None,
        produces: str | None = None,
        summary: str | None = None,
        description: str | None = None,
        deprecated: bool = False,
        hidden: bool = False,
    ) -> Callable[[Handler], Handler]:
        """Register a handler for a verb on a path template.

        `consumes` is the media type a body must have, for handlers that take `bytes`; `produces`
        that of the text or bytes a handler returns.

        Raises LocalError when the same verb and path are already taken or the template or handler
        cannot be understood; ValueError for an unknown policy, mode, forwarding or redirection.
        """
        mode = Mode(mode)
        reads = mode is not Mode.READWRITE
        forward = Forwarding(forwarding or (Forwarding.SOMETIMES if reads else Forwarding.ALWAYS))
        if redirection is None:
            # What is said of forwarding is said of redirection (spec: http-api.md §3.1).
            stays = reads if forwarding is None else forward is Forwarding.NEVER
            redirection = Redirection.NONE if stays else Redirection.TO_PRIMARY
        redirect = Redirection(redirection)
        policies = tuple(python_policy(p) for p in auth)
        verb = verb.upper()
        if any(e.verb == verb and e.path == path for e in self._templates.all()):
            raise LocalError(f"{verb} {path} is registered twice.")

        def register(handler: Handler) -> Handler:
            plan, operation = self._understand(handler, f"{verb} {path}", consumes, produces)
            words = summary or (inspect.getdoc(handler) or "").partition("\n")[0]
            if words:
                operation["summary"] = words
            if description is not None:
                operation["description"] = description
            if deprecated:
                operation["deprecated"] = True
            try:
                self._templates.add(
                    Endpoint(
                        verb=verb,
                        path=path,
                        execute=executor(handler, plan, AppContext),
                        mode=mode,
                        forwarding=forward,
                        redirection=redirect,
                        auth=policies,
                        hidden=hidden,
                        openapi=operation,
                    )
                )
            except ValueError as e:
                raise LocalError(str(e)) from None
            return handler

        return register

    def get(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        """`endpoint` for GET, read-only unless a mode is given."""
        return self.endpoint("GET", path, **{"mode": Mode.READONLY, **options})

    def post(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        """`endpoint` for POST."""
        return self.endpoint("POST", path, **options)

    def put(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        """`endpoint` for PUT."""
        return self.endpoint("PUT", path, **options)

    def delete(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        """`endpoint` for DELETE."""
        return self.endpoint("DELETE", path, **options)

    def feed(
        self,
        path: str,
        table: Table[Any, Any] | str,
        *,
        format: str | Format | None = None,
        **options: Any,
    ) -> Callable[[Handler], Handler]:
        """Register a change feed: committed writes to a table, as server-sent events.

        The handler decides who may listen: it returns None for all keys, or a function that tells
        for each key whether it is told; it refuses by raising RpcError. It is asked again from time
        to time. The rows of a `Table` are told as JSON, those of a table by its name as base64
        unless `format` says "json" or "text". Further options are those of `endpoint`.
        """
        typed = isinstance(table, Table)
        name = table.name if isinstance(table, Table) else table
        check_map(name)
        form = Format(format or (Format.JSON if typed else Format.BASE64))

        def register(handler: Handler) -> Handler:
            @functools.wraps(handler)
            def listen(ctx: AppContext, **arguments: object) -> Reply:
                keys = handler(ctx, **arguments)
                if keys is not None and not callable(keys):
                    raise HandlerFailed(f"a feed with {type(keys).__name__} in place of a function")
                raise OpenFeed(FeedSpec(name, form, _key_filter(table, keys)))

            listen.__annotations__ = {**handler.__annotations__, "return": Reply}
            self.endpoint(
                "GET",
                path,
                **{"mode": Mode.READONLY, "forwarding": Forwarding.NEVER, **options},
            )(listen)
            return handler

        return register

    @typing.overload
    def index(self, table: Table[K, V], kind: str | Kind = ...) -> AppIndex[K]: ...
    @typing.overload
    def index(self, table: str, kind: str | Kind = ...) -> AppIndex[bytes]: ...
    def index(
        self, table: Table[Any, Any] | str, kind: str | Kind = Kind.SEQNOS_BY_KEY
    ) -> AppIndex[Any]:
        """Have every node remember which transactions wrote each key of a table.

        A table by its name is indexed by bytes, a `Table` by its keys. Kinds are "seqnos_by_key",
        and for public tables "seqnos_by_key_bucketed", which keeps most of it on disk. Raises
        LocalError for a table that this kind cannot index; ValueError for an unknown kind.
        """
        named = table if isinstance(table, str) else table.name
        declared = Declared(named, Kind(kind))
        declared.make()
        self.indexes.append(declared.make)
        return AppIndex(declared, bytes if isinstance(table, str) else table.encode_key)

    def own_index(self, name: str, make: Callable[[], S]) -> Callable[[AppContext], S]:
        """Have every node keep an index of the application's own.

        `make` makes one for a node, called `name`; the result finds it in a request's node.
        """
        self.indexes.append(make)

        def find(ctx: AppContext) -> S:
            found = ctx.services.indexes.find(name)
            if found is None:
                raise LocalError(f"This node keeps no index {name}.")
            return typing.cast("S", found)

        return find

    def endpoints(self) -> list[Endpoint]:
        """Everything registered."""
        return self._templates.all()

    def dynamic(self, more: Dynamic) -> None:
        """Serve endpoints that come and go with rows of tables, after those registered here."""
        self._dynamic.append(more)

    # The frontend asks these for each request.

    def lookup(self, tx: Tx, verb: str, path: str) -> tuple[Endpoint, dict[str, str]] | None:
        """The endpoint of a request. Raises AmbiguousPath."""
        found = self._templates.find(verb, path)
        for more in self._dynamic if found is None else ():
            found = more.lookup(tx, verb, path)
            if found is not None:
                break
        return found

    def verbs(self, tx: Tx, path: str) -> set[str]:
        """Verbs under which a path is known."""
        found = self._templates.verbs(path)
        for more in self._dynamic:
            found |= more.verbs(tx, path)
        return found

    def _understand(
        self, handler: Handler, where: str, consumes: str | None, produces: str | None
    ) -> tuple[Plan, dict[str, Json]]:
        hints = typing.get_type_hints(handler)
        names = list(inspect.signature(handler).parameters)
        unknown = set(names[1:]) - {"body", "query", "path"}
        if not names or unknown:
            raise LocalError(
                f"The handler of {where} takes (ctx[, body][, query][, path]),"
                f" not ({', '.join(names)})."
            )
        operation: dict[str, Json] = {}
        body = hints.get("body", Any) if "body" in names else None
        raw_body = body is bytes
        if consumes is not None and not raw_body:
            raise LocalError(f"The handler of {where} must take body: bytes for {consumes}.")
        if body is not None and not raw_body:
            operation["request"] = describe(body, self.schemas)
        elif consumes is not None:
            operation["consumes"] = consumes
        returned, replies = _without_reply(hints.get("return", Any))
        if produces is not None:
            if returned not in (str, bytes, Reply):
                raise LocalError(f"The handler of {where} must return str or bytes for {produces}.")
            operation["produces"] = produces
            operation["response"] = named("string" if returned is str else "binary")
        elif returned is not Reply and returned is not type(None):
            operation["response"] = describe(returned, self.schemas)
        elif returned is type(None):
            operation["status"] = 204
        query = hints.get("query", dict[str, str]) if "query" in names else None
        if query is not None and isinstance(query, type) and issubclass(query, msgspec.Struct):
            operation["parameters"] = [
                parameter(field, self.schemas) for field in msgspec.structs.fields(query)
            ]
        path = hints.get("path", dict[str, str]) if "path" in names else None
        try:
            decoder = None if body is None or raw_body else msgspec.json.Decoder(body)
        except TypeError as e:
            raise LocalError(
                f"The body of {where} has a type that cannot be decoded: {e}",
                hint="Use typing.Any for any JSON.",
            ) from None
        accepts_json = not replies and produces is None
        return Plan(decoder, raw_body, query, path, accepts_json, consumes, produces), operation


def _without_reply(annotation: Any) -> tuple[Any, bool]:
    """What a handler returns but for `Reply`, and whether it may return that."""
    if annotation is Reply:
        return Reply, True
    parts = typing.get_args(annotation)
    if typing.get_origin(annotation) not in (typing.Union, types.UnionType) or Reply not in parts:
        return annotation, False
    rest = tuple(part for part in parts if part is not Reply)
    return typing.Union[rest], True  # noqa: UP007 - made at run time
