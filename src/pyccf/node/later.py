"""Requests that need history which is not in memory: run again once it was fetched.

Promises that each is answered exactly once. A client that asks for too much, or too often for
more, is told to come back later. A mistake of ours that shows only then ends the request and its
connection, like any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyccf.apps.context import AnswerFollows, NeedsHistory
from pyccf.errors import InvalidLedger, PyccfError, Unavailable
from pyccf.node import historical as hist
from pyccf.node.answers import REFETCH_MAX
from pyccf.node.frontend import UNFORESEEN, ForPrimary, encode, refusal
from pyccf.node.outcome import Outcome

if TYPE_CHECKING:
    from pyccf.http.message import Request
    from pyccf.http.session import Deliver, Session
    from pyccf.node.node import Node
    from pyccf.node.waiting import Wish

WAIT_FOR_MAX = 2000
"""Historical transactions that a request is kept waiting for; for more it is to come back later."""


def run_later(
    node: Node,
    session: Session,
    request: Request,
    wish: Wish | None,
    deliver: Deliver,
    need: NeedsHistory,
    fetches: int = 0,
) -> None:
    """Run a request again once the history it needs is there; `fetches` times it was so before."""

    def again(trouble: PyccfError | None) -> None:
        try:
            outcome = _trouble(need, trouble) if trouble else node.execute(session, request)
        except NeedsHistory as more:
            if fetches < REFETCH_MAX:
                run_later(node, session, request, wish, deliver, more, fetches + 1)
                return
            outcome = _not_yet(more)
        except ForPrimary:
            # It was the primary when the request came.
            refused = node.forwarder.forward(session, request, wish, lambda: deliver)
            if refused is None:
                return
            outcome = refused
        except AnswerFollows:
            # Its place among the answers was taken for one message.
            outcome = refusal(501, "NotImplemented", "A feed cannot begin with a look at the past.")
        except Exception as error:
            node.report_failure(request, error)
            outcome = refusal(500, "InternalError", UNFORESEEN)
            outcome.close = True
        if outcome.close:
            session.close_after = True
        if wish is not None and outcome.txid is not None:
            node.answers.hold_outcome(deliver, wish, outcome, request)
            return
        node.respond(deliver, encode(outcome, request))

    if len(need.seqnos) > WAIT_FOR_MAX:
        node.respond(deliver, encode(_not_yet(need), request))
    else:
        node.historical.when(need.seqnos, again)


def _trouble(need: NeedsHistory, trouble: PyccfError) -> Outcome:
    """What a client is told that waited for history."""
    if isinstance(trouble, Unavailable):
        return _not_yet(need)
    if isinstance(trouble, InvalidLedger):
        return refusal(500, "InternalError", hist.DAMAGED)
    return refusal(
        500,
        "TransactionPendingOrUnknown",
        f"Historical {need.what} failed with error: {trouble.message}",
    )


def _not_yet(need: NeedsHistory) -> Outcome:
    return Outcome(
        202,
        {"content-type": "text/plain", "retry-after": "3"},
        f"Historical {need.what} is not currently available.".encode(),
    )
