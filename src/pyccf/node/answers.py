"""Answers that wait until their transaction is committed, or their receipt can be made.

What may wait, and how clients ask for it, is `waiting`. Promises that each answer held is given
exactly once: as it stands, with its receipt, or as the reason why not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyccf.apps.context import JSON_TYPE, NeedsHistory, TxStatus
from pyccf.codec.text import b64, dump_json
from pyccf.errors import PyccfError, Unavailable
from pyccf.http.message import encode_response, error_body
from pyccf.node import historical as hist
from pyccf.node.frontend import TXID_HEADER, encode
from pyccf.node.waiting import RECEIPT_HEADER, Held, WaitingRoom, Wish, with_header
from pyccf.types import Millis

if TYPE_CHECKING:
    from pyccf.http.message import Request
    from pyccf.http.session import Deliver
    from pyccf.node.node import Node
    from pyccf.node.outcome import Outcome

NEVER: Millis = 1 << 62
"""Later than any time."""
REFETCH_MAX = 4
"""How often one request may ask for more history before it is told to come back later."""


class Answers:
    """The answers one node holds back."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._room = WaitingRoom()

    def check_room(self) -> None:
        """Raises RpcError 503 TooManyPendingTransactions when no more may wait."""
        self._room.check_room()

    def hold(self, held: Held) -> None:
        """Give an answer once it is committed here, or known that it never will be, or too late."""
        self._room.hold(held)
        self.release()
        if not held.done and self._room.is_too_much(held):
            self._too_late(held, "before too many answers waited")

    def hold_outcome(
        self, deliver: Deliver, wish: Wish, outcome: Outcome, request: Request
    ) -> None:
        """The same of what a request came to, which must name a transaction."""
        assert outcome.txid is not None
        deadline = self._node.now + wish.timeout_ms
        response = encode(outcome, request)
        head = request.method == "HEAD"
        self.hold(Held(outcome.txid, wish, deadline, deliver, response, head))

    def release(self) -> None:
        """Give the answers whose transactions are now committed, or now never will be."""
        node = self._node
        for held in self._room.ripe(node.last_committed()):
            if node.tx_status(held.txid) is not TxStatus.COMMITTED:
                self._deliver_error(
                    held, 503, "TransactionReplicationFailed", "Transaction failed to replicate."
                )
            elif held.wish.receipt:
                self._give_receipt(held, 0)
            else:
                self._deliver(held, held.response)

    def tick(self, now: Millis) -> None:
        """Time passed: tell those who waited too long."""
        for held in self._room.overdue(now):
            self._too_late(held, f"within {held.wish.timeout_ms}ms")

    def dismiss(self, when: str) -> None:
        """Tell everybody who still waits: this node learns of no more commits."""
        for held in self._room.overdue(NEVER):
            self._too_late(held, when)

    def _give_receipt(self, held: Held, fetches: int) -> None:
        if held.done:
            return
        historical = self._node.historical
        seqno = held.txid.seqno
        handle = ("receipt", seqno)
        try:
            state = historical.get(handle, seqno, f"transaction {held.txid}")
        except NeedsHistory as need:
            # Given up after REFETCH_MAX: the deadline then answers.
            if fetches < REFETCH_MAX:
                historical.when(need.seqnos, lambda e: self._try_receipt(held, e, fetches))
            return
        except PyccfError as e:
            self._try_receipt(held, e, fetches)
            return
        receipt = b64(dump_json(state.receipt))
        historical.drop(handle)
        self._deliver(held, with_header(held.response, RECEIPT_HEADER, receipt))

    def _try_receipt(self, held: Held, trouble: PyccfError | None, fetches: int) -> None:
        if trouble is None or isinstance(trouble, Unavailable):
            self._give_receipt(held, fetches + 1)
        elif not held.done:
            self._deliver_error(held, 500, "InternalError", hist.DAMAGED)

    def _deliver(self, held: Held, response: bytes) -> None:
        self._room.finish(held)
        self._node.respond(held.deliver, response)

    def _too_late(self, held: Held, when: str) -> None:
        text = f"was not committed {when}. It may still commit: ask /tx for its status."
        if self._node.tx_status(held.txid) is TxStatus.COMMITTED:
            text = f"is committed, but its receipt was not there {when}: ask /receipt for it."
        self._deliver_error(held, 504, "CommitTimeout", f"Transaction {held.txid} {text}")

    def _deliver_error(self, held: Held, status: int, code: str, message: str) -> None:
        if not held.done:
            self._room.finish(held)
        headers = {"content-type": JSON_TYPE, TXID_HEADER: str(held.txid)}
        data = encode_response(status, headers, error_body(code, message), held.head)
        self._node.respond(held.deliver, data)
