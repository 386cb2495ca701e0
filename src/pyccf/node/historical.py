"""Committed transactions brought back from the ledger, with their receipts.

A state is an entry, the signature entry that covers it, and what both prove. It is verified before
anybody sees it: the entry's leaf must be in the tree that the signature signed, and the signature
must verify. States are kept in least-recently-used order up to a bound in bytes; a request for one
that is not here says which entries it needs and is run again when the shell has read them
(spec: historical-and-indexing.md, http-api.md §8.4).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pyccf.apps.context import Context, TxStatus
from pyccf.errors import InvalidLedger, InvalidReceipt, LocalError, RpcError
from pyccf.kv.tx import Tx
from pyccf.ledger import receipt as receipts
from pyccf.ledger.entry import ParsedEntry, parse
from pyccf.ledger.history import History
from pyccf.node.frontend import NeedsHistory
from pyccf.service import tables
from pyccf.types import Json, Millis, SeqNo, TxID

if TYPE_CHECKING:
    from pyccf.node.node import Node

CACHE_BYTES_MAX = 512 * 1024 * 1024
"""Default bound of the cache (spec: config-and-cli.md, historical_cache_soft_limit)."""

RANGE_MAX = 10_000
"""States one range may ask for at once."""


class State:
    """One committed transaction, verified."""

    __slots__ = ("_history", "data", "is_signature", "parsed", "receipt", "txid")

    def __init__(
        self,
        txid: TxID,
        parsed: ParsedEntry,
        receipt: dict[str, Json],
        is_signature: bool,
        history: History,
    ) -> None:
        self.txid = txid
        self.data = parsed.data
        self.parsed = parsed
        self.receipt = receipt
        """As served at /receipt (spec: merkle-and-receipts.md §5.1)."""
        self.is_signature = is_signature
        self._history = history

    def tx(self) -> Tx:
        """What this transaction wrote, to be read."""
        maps = {**self.parsed.public_maps(), **self._history.private_maps(self.parsed)}
        return Tx.over(maps, self.txid.seqno, self.txid.view)


class Historical:
    """The cache and what it still waits for."""

    def __init__(
        self,
        history: History,
        service_cert: Callable[[], str],
        bytes_max: int = CACHE_BYTES_MAX,
    ) -> None:
        self._history = history
        self._service_cert = service_cert
        self._bytes_max = bytes_max
        self._bytes = 0
        self._states: OrderedDict[SeqNo, State] = OrderedDict()
        self._signatures: list[SeqNo] = []
        self._handles: dict[int, tuple[SeqNo, SeqNo, Millis]] = {}

    def signed(self, seqno: SeqNo) -> None:
        """A signature transaction was ordered at `seqno`."""
        assert not self._signatures or seqno > self._signatures[-1]
        self._signatures.append(seqno)

    def rollback(self, seqno: SeqNo) -> None:
        """Entries after `seqno` are gone."""
        while self._signatures and self._signatures[-1] > seqno:
            self._signatures.pop()

    @property
    def last_signed(self) -> SeqNo:
        """Seqno of the last signature transaction, 0 before the first."""
        return self._signatures[-1] if self._signatures else 0

    def covering(self, seqno: SeqNo) -> SeqNo | None:
        """Seqno of the first signature at or after `seqno`."""
        i = bisect_left(self._signatures, seqno)
        return self._signatures[i] if i < len(self._signatures) else None

    def get(self, seqno: SeqNo) -> State:
        """The state of a committed transaction. Raises NeedsHistory when it must be fetched."""
        state = self._states.get(seqno)
        if state is None:
            covering = self.covering(seqno)
            assert covering is not None, "committed transactions are covered by a signature"
            raise NeedsHistory(seqno, covering)
        self._states.move_to_end(seqno)
        return state

    def states(self, first: SeqNo, last: SeqNo) -> list[State] | None:
        """States first..last if all are here."""
        found: list[State] = []
        for seqno in range(first, last + 1):
            state = self._states.get(seqno)
            if state is None:
                return None
            found.append(state)
        return found

    def hold(self, handle: int, first: SeqNo, last: SeqNo, until: Millis) -> None:
        """Remember that somebody wants this range under this handle."""
        self._handles[handle] = (first, last, until)

    def drop(self, handle: int) -> bool:
        """Forget a handle; True if it was known."""
        return self._handles.pop(handle, None) is not None

    def expire(self, now: Millis) -> None:
        """Forget handles whose time is up."""
        for handle in [h for h, (_, _, until) in self._handles.items() if until <= now]:
            del self._handles[handle]

    def offer(self, first: SeqNo, entries: Sequence[bytes]) -> None:
        """Take in consecutive entries read from the ledger, `first` onwards.

        States that have their covering signature among them are verified and kept. Raises
        InvalidLedger when an entry is not what was signed.
        """
        by_seqno = {first + i: data for i, data in enumerate(entries)}
        parsed: dict[SeqNo, ParsedEntry] = {}
        for seqno, data in by_seqno.items():
            if seqno in self._states:
                continue
            covering = self.covering(seqno)
            if covering is None or covering not in by_seqno:
                continue
            signature = parsed.get(covering)
            if signature is None:
                signature = parsed[covering] = parse(by_seqno[covering])
            self._keep(self._verified(seqno, data, signature))

    def _verified(self, seqno: SeqNo, data: bytes, signature: ParsedEntry) -> State:
        """The state of an entry, once its own receipt has been checked."""
        entry = parse(data)
        if entry.seqno != seqno:
            raise InvalidLedger(
                f"The entry read for seqno {seqno} says it is {entry.seqno}.", seqno=seqno
            )
        txid = TxID(entry.view, seqno)
        try:
            receipt = receipts.json_receipt(entry, signature, self._history.evidence(txid))
            receipts.verify_json_receipt(receipt, self._service_cert())
        except (LocalError, InvalidReceipt) as e:
            raise InvalidLedger(
                f"Entry {seqno} read from the ledger is not what was signed: {e.message}",
                seqno=seqno,
                hint="The ledger files were changed or damaged; restore them.",
            ) from None
        return State(txid, entry, receipt, signature.seqno == seqno, self._history)

    def _keep(self, state: State) -> None:
        self._states[state.txid.seqno] = state
        self._bytes += len(state.data)
        while self._bytes > self._bytes_max and len(self._states) > 1:
            _, old = self._states.popitem(last=False)
            self._bytes -= len(old.data)


def adapt(node: Node, ctx: Context, text: str | None) -> None:
    """Bring back the transaction named by `text` into `ctx.historical`.

    Raises RpcError as the historical adapter does (spec: http-api.md §8.4), or NeedsHistory.
    """
    txid = TxID.parse(text) if text is not None else None
    if txid is None:
        raise RpcError(404, "TransactionInvalid", "Could not extract Transaction Id")
    status = node.tx_status(txid)
    if status is not TxStatus.COMMITTED:
        pending = status in (TxStatus.UNKNOWN, TxStatus.PENDING)
        raise RpcError(
            404,
            "TransactionPendingOrUnknown" if pending else "TransactionInvalid",
            f"Only committed transactions can be queried. Transaction {txid} is {status.value}",
            headers={"cache-control": "no-cache"} if pending else None,
        )
    # A receipt counts for the service identity of the state that the request reads, which the
    # answer therefore names.
    ctx.tx.map(tables.SERVICE_INFO)
    ctx.historical = node.historical.get(txid.seqno)
