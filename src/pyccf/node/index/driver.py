"""Shows committed transactions to the indexes, each once and in order.

On each tick of a node that is part of the network: the index that is furthest behind decides where
the next batch begins; each index gets the transactions it asked for. Only what is committed is
read, through the historical queries, so every transaction is verified before an index sees it and
none is ever undone. An index whose code fails is set aside with the reason and shown no more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pyccf.apps.handlers import HandlerFailed, run
from pyccf.apps.index import Storage, Strategy
from pyccf.errors import InvalidLedger, LocalError, PyccfError
from pyccf.node.historical import Historical, State
from pyccf.node.historical.batch import Batch
from pyccf.types import Json, Millis, SeqNo

BATCH_MAX = 501
"""Transactions in one batch (spec: historical-and-indexing.md §6.1)."""
INDEXES_MAX = 64
"""Indexes of one node."""
AGAIN_MS: Millis = 10_000
"""How long nothing is read after the ledger could not be read."""

_HANDLE = ("index", 0)


class Indexer:
    """All indexes of a node."""

    def __init__(
        self,
        historical: Historical,
        committed: Callable[[], SeqNo],
        storage: Storage,
        log: Callable[[str, str, str], None],
    ) -> None:
        self._historical = historical
        self._committed = committed
        self._storage = storage
        self._log = log
        self._indexes: dict[str, Strategy] = {}
        self._failed: dict[str, str] = {}
        self._waits_until: Millis = 0
        self._batch = Batch(BATCH_MAX)
        self._told = ""
        """The last trouble that was logged."""

    # --- which there are ------------------------------------------------------------------------

    def install(self, strategy: Strategy) -> bool:
        """Have an index kept from now on; False if one of this name is there already.

        Raises LocalError when there are too many.
        """
        if strategy.name in self._indexes:
            return False
        if len(self._indexes) >= INDEXES_MAX:
            raise LocalError(f"A node keeps at most {INDEXES_MAX} indexes.")
        strategy.attach(self._storage)
        self._indexes[strategy.name] = strategy
        return True

    def uninstall(self, name: str) -> bool:
        """Forget an index; False if there is none of this name."""
        self._failed.pop(name, None)
        return self._indexes.pop(name, None) is not None

    def find(self, name: str) -> Strategy | None:
        """The index of this name."""
        return self._indexes.get(name)

    def describe(self) -> list[Json]:
        """What /node/index/strategies shows, by name."""
        shown: list[Json] = []
        for name in sorted(self._indexes):
            try:
                described = self._indexes[name].describe()
            except Exception as e:
                described = {"name": name}
                self._set_aside(name, e)
            if name in self._failed:
                described["failed"] = self._failed[name]
            shown.append(described)
        return shown

    # --- how far they are -----------------------------------------------------------------------

    def __len__(self) -> int:
        """How many there are."""
        return len(self._indexes)

    def tick(self, now: Millis) -> None:
        """Time passed: show the next batch to whoever wants it."""
        if not self._indexes or now < self._waits_until:
            return
        wanted: list[SeqNo] = []
        for name, strategy in list(self._indexes.items()):
            if name in self._failed:
                continue
            try:
                run(strategy.tick)
                following = _asked(strategy)
            except Exception as e:
                self._set_aside(name, e)
                continue
            if following is not None:
                wanted.append(following)
        committed = self._committed()
        if not wanted or min(wanted) > committed:
            return
        first = min(wanted)
        count = self._batch.asks(self._historical.holds(_HANDLE))
        try:
            states = self._historical.request(
                _HANDLE, range(first, min(first + count - 1, committed) + 1)
            )
        except (LocalError, InvalidLedger) as e:
            self._wait(now, first, e)
            return
        if states is not None:
            self._show(states)
            return
        trouble = self._historical.missing(first)
        if trouble is not None:
            self._wait(now, first, trouble)

    def _wait(self, now: Millis, first: SeqNo, trouble: PyccfError) -> None:
        """The ledger cannot be read on: try again later, perhaps somebody brings the files."""
        self._historical.drop(_HANDLE)
        self._batch.ends(taken=False)
        self._waits_until = now + AGAIN_MS
        self._tell(f"Indexing waits at transaction {first}: {trouble.message}")

    def _show(self, states: Sequence[State]) -> None:
        for name, strategy in list(self._indexes.items()):
            if name in self._failed:
                continue
            try:
                for state in states:
                    if _asked(strategy) == state.txid.seqno:
                        run(strategy.handle, state)
            except Exception as e:
                self._set_aside(name, e)
        self._historical.drop(_HANDLE)
        self._batch.ends(taken=True)

    def _set_aside(self, name: str, error: Exception) -> None:
        """An index failed: it is asked for nothing more, and the node goes on."""
        kind = error.kind if isinstance(error, HandlerFailed) else type(error).__name__
        words = str(error) if isinstance(error, HandlerFailed) else f"{kind}: {error}"
        self._failed[name] = kind
        self._tell(f"Index {name} is set aside: {words}")

    def _tell(self, text: str) -> None:
        if text != self._told:
            self._told = text
            self._log("fail", "index", text)


def _asked(strategy: Strategy) -> SeqNo | None:
    """Which transaction an index wants next. Raises HandlerFailed for what names none."""
    following = run(strategy.next_requested)
    if following is not None and not isinstance(following, int):
        raise HandlerFailed(f"next_requested gave a {type(following).__name__}", "HandlerFailed")
    return following
