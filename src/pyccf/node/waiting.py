"""Answers that a client wants only once they are committed, or with their receipt.

A request with the header `x-pyccf-wait: commit` or `x-pyccf-wait: receipt` is executed as any
other; its answer is held until the transaction it names is committed (and its receipt can be made).
After `x-pyccf-wait-timeout-ms` (default 10 s) the client gets 504 `CommitTimeout` with the
transaction id: nothing is lost, it can ask /tx later. A transaction that can no longer commit gets
503 `TransactionReplicationFailed`. The rules are docs/wait-for-commit.md.

That a transaction was rolled back on this node does not mean that it can no longer commit: another
node may still have it and lead next. So nothing is decided here but by what is committed. Once a
transaction of a later view is, those of earlier views that are not committed before it never will.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush

import msgspec

from pyccf.errors import RpcError
from pyccf.http.message import Request
from pyccf.types import Millis, SeqNo, TxID, View

WAIT_HEADER = "x-pyccf-wait"
WAIT_HEADER_RAW = WAIT_HEADER.encode()
TIMEOUT_HEADER = "x-pyccf-wait-timeout-ms"
RECEIPT_HEADER = "x-pyccf-receipt"

TIMEOUT_MS_DEFAULT = 10_000
TIMEOUT_MS_MAX = 60_000
WAITING_MAX = 10_000
"""Answers held at once; more are refused with 503 before they are executed."""
WAITING_BYTES_MAX = 64 * 1024 * 1024
"""Bytes of them from which on it is the same."""
GIVEN_KEPT_MAX = 100
"""Answers that were given and are still listed, beyond as many as are held."""


class Wish(msgspec.Struct, frozen=True):
    """What a client asked to wait for."""

    receipt: bool
    timeout_ms: Millis


class Held(msgspec.Struct):
    """One answer being held."""

    txid: TxID
    wish: Wish
    deadline: Millis
    deliver: Callable[[bytes], None]
    response: bytes
    """Complete, but for its receipt."""
    head: bool
    """It answers a HEAD request: there is no body."""
    done: bool = False


def parse_wish(request: Request) -> Wish:
    """What a request that has WAIT_HEADER wants to wait for.

    Raises RpcError 400 InvalidHeaderValue.
    """
    kind = request.headers[WAIT_HEADER]
    if kind not in ("commit", "receipt"):
        raise RpcError(
            400,
            "InvalidHeaderValue",
            f"Invalid value for header {WAIT_HEADER}, must be one of [commit, receipt]",
        )
    timeout = request.headers.get(TIMEOUT_HEADER, str(TIMEOUT_MS_DEFAULT))
    if not (
        timeout.isascii()
        and timeout.isdigit()
        and len(timeout) <= 9
        and 0 < int(timeout) <= TIMEOUT_MS_MAX
    ):
        raise RpcError(
            400,
            "InvalidHeaderValue",
            f"Invalid value for header {TIMEOUT_HEADER}, must be in range [1, {TIMEOUT_MS_MAX}]",
        )
    return Wish(kind == "receipt", int(timeout))


def with_header(response: bytes, name: str, value: str) -> bytes:
    """A complete response with one more header, in its place by name."""
    head, end, body = response.partition(b"\r\n\r\n")
    line, *headers = head.split(b"\r\n")
    headers.append(f"{name}: {value}".encode())
    headers.sort(key=lambda header: header.partition(b":")[0])
    return b"\r\n".join([line, *headers]) + end + body


class WaitingRoom:
    """All held answers, by seqno and by deadline."""

    def __init__(self) -> None:
        self._by_seqno: list[tuple[SeqNo, int, Held]] = []
        self._by_deadline: list[tuple[Millis, int, Held]] = []
        self._number = 0
        self._count = 0
        self._size = 0
        self._view: View = 0
        """View of the last committed transaction."""

    def __len__(self) -> int:
        return self._count

    def check_room(self) -> None:
        """Raises RpcError 503 TooManyPendingTransactions when full."""
        if self._count >= WAITING_MAX or self._size >= WAITING_BYTES_MAX:
            raise RpcError(
                503,
                "TooManyPendingTransactions",
                "Too many requests are waiting for their transactions to commit.",
            )

    def is_too_much(self, held: Held) -> bool:
        """Whether there was no room any more when an answer came that was asked for in time."""
        return self._size - len(held.response) >= WAITING_BYTES_MAX

    def hold(self, held: Held) -> None:
        """Keep an answer until `ripe` or `overdue` gives it back."""
        self._number += 1
        self._count += 1
        self._size += len(held.response)
        view, seqno = held.txid
        # Of a view that is over: whether it is committed is known already.
        heappush(self._by_seqno, (0 if view < self._view else seqno, self._number, held))
        heappush(self._by_deadline, (held.deadline, self._number, held))

    def ripe(self, committed: TxID) -> list[Held]:
        """Answers whose transactions are committed, or never will be, now that `committed` is.

        They stay counted until `finish`.
        """
        rows: list[tuple[SeqNo, int, Held]] = []
        waiting = self._by_seqno
        while waiting and waiting[0][0] <= committed.seqno:
            rows.append(heappop(waiting))
        if committed.view > self._view:
            self._view = committed.view
            rows += sorted(row for row in waiting if row[2].txid.view < committed.view)
            waiting[:] = [row for row in waiting if row[2].txid.view >= committed.view]
            heapify(waiting)
        return [held for _, _, held in rows if not held.done]

    def overdue(self, now: Millis) -> list[Held]:
        """Answers whose time is up; each is finished."""
        out: list[Held] = []
        while self._by_deadline and self._by_deadline[0][0] <= now:
            held = heappop(self._by_deadline)[2]
            if not held.done:
                self.finish(held)
                out.append(held)
        return out

    def finish(self, held: Held) -> None:
        """An answer was given."""
        assert not held.done
        held.done = True
        self._count -= 1
        self._size -= len(held.response)
        held.response = b""
        for rows in (self._by_seqno, self._by_deadline):
            if len(rows) > 2 * self._count + GIVEN_KEPT_MAX:
                rows[:] = [row for row in rows if not row[2].done]
                heapify(rows)
