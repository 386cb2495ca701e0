"""Execution of one request: find the endpoint, judge the caller, run the handler, commit.

The order of the steps is the contract (spec: http-api.md §2). A transaction that conflicts is run
again from the start, at most ATTEMPTS_MAX times. What a handler wrote is applied only when the
answer is a success, unless the handler said otherwise; a discarded transaction leaves no trace and
its answer names no transaction. What the primary (or a backup) must execute and this node is not is
redirected or passed on before anybody asks who calls (spec: http-api.md §5).

This is the hot path: one request walks straight down `Frontend.execute`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pyccf.apps.auth import authenticate
from pyccf.apps.context import JSON_TYPE, AnswerFollows, Context, NeedsHistory
from pyccf.apps.feed import OpenFeed
from pyccf.apps.handlers import HandlerFailed, headers_of
from pyccf.apps.js.text import sendable
from pyccf.apps.router import (
    AmbiguousPath,
    Endpoint,
    Forwarding,
    Mode,
    Templates,
    allow_header,
    compile_template,
)
from pyccf.errors import CompactedVersion, Conflict, PyccfError, RpcError, StorageError
from pyccf.http.message import FINAL_STATUSES, encode_response, error_body
from pyccf.kv.store import ViewChanged
from pyccf.node import redirect
from pyccf.node.interface import InterfaceRules as InterfaceRules
from pyccf.node.outcome import Outcome as Outcome

if TYPE_CHECKING:
    from pyccf.http.message import Request
    from pyccf.http.session import Session
    from pyccf.kv.tx import Tx
    from pyccf.node.node import Node
    from pyccf.types import TxID

ATTEMPTS_MAX = 30
"""How often a conflicting transaction is tried (spec: http-api.md §2)."""

TXID_HEADER = "x-ms-ccf-transaction-id"

UNFORESEEN = "Internal error."
"""All that a client is told of a failure which nobody foresaw."""


class App(Protocol):
    """Endpoints that are looked up anew for each request, in the state it sees."""

    def lookup(self, tx: Tx, verb: str, path: str) -> tuple[Endpoint, dict[str, str]] | None:
        """The endpoint and its raw path parameters."""
        ...

    def verbs(self, tx: Tx, path: str) -> set[str]:
        """Verbs under which the path is known."""
        ...


class ForPrimary(Exception):
    """The primary must execute this request, and this node is not it."""


class Frontend:
    """One of the three doors: /app, /gov or /node."""

    def __init__(self, node: Node, prefix: str, *, limits_pending: bool, app: App | None) -> None:
        self._node = node
        self.prefix = prefix
        self.templates = Templates()
        self.app = app
        self.open = False
        self._limits_pending = limits_pending

    def add(self, endpoint: Endpoint) -> None:
        """Install a built-in endpoint. Raises ValueError for a malformed template."""
        compile_template(endpoint.path)
        self.templates.add(endpoint)

    def endpoint(self, verb: str, path: str) -> Endpoint | None:
        """Which endpoint a request is for by now; None for none, or several."""
        tx = self._node.store.tx()
        try:
            found = self.app.lookup(tx, verb, path) if self.app is not None else None
            if found is None:
                found = self.templates.find(verb, path)
        except (AmbiguousPath, ValueError):
            return None
        finally:
            tx.close()
        return None if found is None else found[0]

    def execute(
        self, session: Session, request: Request, path: str, rules: InterfaceRules
    ) -> Outcome:
        """Run one request; never raises for what the client did.

        NeedsHistory and ForPrimary pass through: the node fetches and runs the request again, or
        has the primary run it.
        """
        node = self._node
        for _ in range(ATTEMPTS_MAX):
            if self._limits_pending:
                if node.too_many_pending():
                    return refusal(
                        503,
                        "TooManyPendingTransactions",
                        "Too many transactions pending commit on the service.",
                    )
                if node.membership.retired:
                    return retired()
            try:
                return self._attempt(session, request, path, rules)
            except ViewChanged:
                return refusal(
                    503, "TransactionReplicationFailed", "Transaction failed to replicate."
                )
            except (Conflict, CompactedVersion):
                continue
            except RpcError as e:
                return self._refused(request, e)
        return Outcome(
            503,
            {"retry-after": "3", "content-type": JSON_TYPE},
            error_body(
                "TransactionCommitAttemptsExceedLimit",
                f"Transaction continued to conflict after {ATTEMPTS_MAX} attempts. Retry later.",
            ),
        )

    def _refused(self, request: Request, error: RpcError) -> Outcome:
        """The answer to a refused request; an application may refuse with what cannot be sent."""
        try:
            if error.status not in FINAL_STATUSES:
                raise HandlerFailed(f"a refusal with status {error.status!r}")
            headers = headers_of(error.headers)
            headers["content-type"] = JSON_TYPE
            body = error_body(error.code, error.message, error.details)
        except (HandlerFailed, ValueError, TypeError, AttributeError, RecursionError) as e:
            self._node.report_failure(request, e)
            return refusal(500, "InternalError", UNFORESEEN)
        return Outcome(error.status, headers, body)

    def _attempt(
        self, session: Session, request: Request, path: str, rules: InterfaceRules
    ) -> Outcome:
        node = self._node
        if not self.open:
            return refusal(404, "FrontendNotOpen", "Frontend is not open.")
        tx = node.store.tx()
        try:
            return self._run(session, request, path, rules, tx)
        finally:
            tx.close()

    def _run(
        self, session: Session, request: Request, path: str, rules: InterfaceRules, tx: Tx
    ) -> Outcome:
        node = self._node
        verb = request.method
        try:
            found = self.app.lookup(tx, verb, path) if self.app is not None else None
            if found is None:
                found = self.templates.find(verb, path)
        except (AmbiguousPath, ValueError) as e:
            # Outside any handler: the connection goes too (spec: http-api.md §2.1, last row).
            broken = refusal(500, "InternalError", f"Exception: {e}")
            broken.close = True
            return broken
        if found is None:
            return self._not_found(tx, verb, path)
        endpoint, params = found
        route = self.prefix + endpoint.path
        if rules.accepted is not None and not rules.accepts(route):
            return Outcome(503, {}, b"")
        if rules.redirects is not None:
            target = redirect.location(
                node, tx, rules.redirects, endpoint.redirection, session.interface
            )
            if target is not None:
                return Outcome(307, {"location": f"https://{target}{request.target}"}, b"")
        elif _is_for_primary(session, endpoint) and not node.consensus.can_replicate:
            raise ForPrimary
        ctx = Context(request, session, tx, node, endpoint)
        ctx.params = params
        ctx.route = route
        try:
            if endpoint.auth:
                ctx.caller = authenticate(ctx, endpoint.auth)
            if endpoint.mode is Mode.HISTORICAL:
                node.bring_back(ctx, request.headers.get(TXID_HEADER))
            endpoint.execute(ctx)
        except OpenFeed as wanted:
            wanted.caller = ctx.caller
            raise
        except (
            RpcError,
            Conflict,
            CompactedVersion,
            NeedsHistory,
            AnswerFollows,
            AssertionError,
        ):
            raise
        except Exception as e:
            node.report_failure(request, e)
            return refusal(500, "InternalError", _told(e))
        if session.view != node.consensus.view or session.rollbacks != node.store.rollbacks:
            lost = check_view(session, node)
            if lost is not None:
                return lost
        status = ctx.status
        apply = ctx.apply_writes
        if apply is None:
            apply = 200 <= status < 300
        headers = ctx.headers
        if not apply:
            return Outcome(status, headers, ctx.body)
        txid = node.commit(tx, ctx.claims_digest)
        if txid is not None:
            if ctx.locally_committed is not None:
                failed = self._tell_committed(ctx, txid)
                if failed is not None:
                    return failed
            headers[TXID_HEADER] = f"{txid[0]}.{txid[1]}"
        return Outcome(ctx.status, headers, ctx.body, txid)

    def _tell_committed(self, ctx: Context, txid: TxID) -> Outcome | None:
        """Let the handler finish its answer now that it has an id; None if that went well."""
        assert ctx.locally_committed is not None
        try:
            ctx.locally_committed(ctx, txid)
        except (AssertionError, NeedsHistory):
            raise
        except Exception as e:
            # The writes are ordered and stay: only the answer failed (spec: http-api.md §2).
            self._node.report_failure(ctx.request, e)
            failed = refusal(
                500, "InternalError", f"Failed to execute local commit handler func: {_told(e)}"
            )
            failed.headers[TXID_HEADER] = str(txid)
            failed.txid = txid
            return failed
        return None

    def _not_found(self, tx: Tx, verb: str, path: str) -> Outcome:
        verbs = self.templates.verbs(path)
        if self.app is not None:
            verbs |= self.app.verbs(tx, path)
        if not verbs:
            return refusal(404, "ResourceNotFound", f"Unknown path: {path}.")
        allow = allow_header(verbs)
        if verb == "OPTIONS":
            return Outcome(204, {"allow": allow}, b"")
        refused = refusal(405, "UnsupportedHttpVerb", f"Allowed methods for '{path}' are: {allow}.")
        refused.headers["allow"] = allow
        if verb == "HEAD":
            refused.body = b""
        return refused


def _is_for_primary(session: Session, endpoint: Endpoint) -> bool:
    """Whether a node that is not primary leaves this to the primary (spec: http-api.md §5.3)."""
    forwarding = endpoint.forwarding
    return forwarding is Forwarding.ALWAYS or (
        forwarding is Forwarding.SOMETIMES and session.is_forwarding
    )


def check_view(session: Session, node: Node) -> Outcome | None:
    """Note the view of a session's first execution, or say that it is no longer that one.

    The session's earlier answers may be undone then: it ends (spec: http-api.md §5.4). They may be
    undone within a view, too, when a primary steps down because nobody answers it: of a session of
    another node it is known only that this node did not do so if it still leads.
    """
    view, rollbacks = node.consensus.view, node.store.rollbacks
    kept = session.forwarded and session.view == view and node.consensus.can_replicate
    if session.view is None or kept:
        session.view = view
        session.rollbacks = rollbacks
    if session.view == view and session.rollbacks == rollbacks:
        return None
    lost = refusal(
        500,
        "SessionConsistencyLost",
        f"Potential loss of session consistency on session {session.id}. Started in view"
        f" {session.view}, now in view {view}. Closing session.",
    )
    lost.close = True
    return lost


def retired() -> Outcome:
    """What a node says that left the network for good."""
    return refusal(
        503,
        "NodeRetired",
        "This node was retired from the network and serves no requests any more. Use another node"
        " of the service.",
    )


def _told(error: Exception) -> str:
    """What a client may know of a failure: our own errors speak for themselves, others do not.

    Those of the disk name files, which is for the operator alone.
    """
    if isinstance(error, PyccfError) and not isinstance(error, StorageError):
        try:
            return sendable(error.message)
        except (TypeError, AttributeError):
            pass  # An application gave it another message than a text.
    return UNFORESEEN


def refusal(status: int, code: str, message: str) -> Outcome:
    """An answer in CCF's error format."""
    return Outcome(status, {"content-type": JSON_TYPE}, error_body(code, message))


def encode(outcome: Outcome, request: Request) -> bytes:
    """The bytes of an answer."""
    return encode_response(outcome.status, outcome.headers, outcome.body, request.method == "HEAD")
