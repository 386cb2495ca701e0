"""When a request may be sent once more, and how long to wait before that.

A read may be sent again whatever happened to it. Anything else only if it is certain that it was
not executed: no connection came about, or the service refused it with one of the codes below and
named no transaction (spec: http-api.md §2, §5). A 503 of an application, or without CCF's body, is
an answer like any other.
"""

from __future__ import annotations

from collections.abc import Callable

POLL_FIRST_S = 0.005
POLL_LAST_S = 0.2
"""Repeated questions start this far apart and double up to this."""

READS = frozenset({"GET", "HEAD"})

SESSION_LOST = "SessionConsistencyLost"
"""Error code of a session that ended with its view: nothing of the request was executed."""

_TRY_AGAIN = frozenset(
    {
        "BackupNotFound",
        "PrimaryNotFound",
        "RequestAlreadyForwarded",
        "SessionCapExhausted",
        "TooManyPendingTransactions",
        "TransactionCommitAttemptsExceedLimit",
        "TransactionReplicationFailed",
    }
)
_NOT_FORWARDED = (
    "RPC could not be forwarded to unknown primary.",
    "Unable to establish channel to forward to primary.",
)


def may_try_again(status: int, code: str, message: str, executed: bool) -> bool:
    """Whether an answer says: not now, and nothing was done.

    `executed` is whether the answer names a transaction.
    """
    if status != 503 or executed:
        return False
    return code in _TRY_AGAIN or (code == "InternalError" and message in _NOT_FORWARDED)


class Pause:
    """Times between repeated questions, longer each time, until time is up."""

    def __init__(self, monotonic: Callable[[], float], timeout_s: float) -> None:
        self._monotonic = monotonic
        self._deadline = monotonic() + timeout_s
        self._next = POLL_FIRST_S

    def next_s(self) -> float | None:
        """How long to wait before asking again, or None when there is no time left."""
        left = self._deadline - self._monotonic()
        if left <= 0:
            return None
        seconds = min(self._next, left)
        self._next = min(self._next * 2, POLL_LAST_S)
        return seconds
