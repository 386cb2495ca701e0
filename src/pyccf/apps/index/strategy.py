"""What every index is: a name, how far it is, and what it does with a committed transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pyccf.types import Json, SeqNo, TxID

if TYPE_CHECKING:
    from pyccf.apps.context import HistoricalState
    from pyccf.apps.index.buckets import Storage

START = 1
"""Where every index begins."""


class Strategy(Protocol):
    """One index. The node calls it in between requests, so it must be quick."""

    @property
    def name(self) -> str:
        """What it is called; no two indexes of a node have the same name."""
        ...

    def next_requested(self) -> SeqNo | None:
        """The transaction it wants to be shown next; None for none at present."""
        ...

    def handle(self, state: HistoricalState) -> None:
        """Take in the committed transaction that was requested."""
        ...

    def tick(self) -> None:
        """Time passed."""
        ...

    def attach(self, storage: Storage) -> None:
        """The node offers room on its disk. Called once, before anything else."""
        ...

    def describe(self) -> dict[str, Json]:
        """What /node/index/strategies shows of it."""
        ...


class Indexes(Protocol):
    """The indexes of a node, as handlers see them."""

    def install(self, strategy: Strategy) -> bool:
        """Have an index kept from now on; False if one of this name is there already."""
        ...

    def uninstall(self, name: str) -> bool:
        """Forget an index; False if there is none of this name."""
        ...

    def find(self, name: str) -> Strategy | None:
        """The index of this name."""
        ...


class VisitEachEntryInMap:
    """Base of indexes over one map: `visit` is called for each key that a transaction wrote.

    Removals are not seen (spec: historical-and-indexing.md §6.2). What a subclass keeps in memory
    it must bound itself.
    """

    prefix = "VisitEachEntryIn"

    def __init__(self, map: str, prefix: str | None = None) -> None:
        self.map = map
        self.watermark = TxID(0, 0)
        """The last transaction that was taken in."""
        if prefix is not None:
            self.prefix = prefix

    @property
    def name(self) -> str:
        return f"{self.prefix} {self.map}"

    def next_requested(self) -> SeqNo | None:
        return self.watermark.seqno + START

    def handle(self, state: HistoricalState) -> None:
        txid = state.txid
        for key, value in state.rows(self.map).items():
            if value is not None:
                self.visit(txid, key, value)
        self.watermark = txid

    def visit(self, txid: TxID, key: bytes, value: bytes) -> None:
        """One key was written."""
        raise NotImplementedError

    def tick(self) -> None:
        """Nothing to do."""

    def attach(self, storage: Storage) -> None:
        """Everything is kept in memory."""

    def describe(self) -> dict[str, Json]:
        return {
            "name": self.name,
            "next_requested_seqno": self.watermark.seqno + START,
            "target_map": self.map,
            "indexed_watermark": str(self.watermark),
        }


class Lazy:
    """An index that goes no further than somebody asked for."""

    def __init__(self, base: Strategy) -> None:
        self.base = base
        self._upto: SeqNo = 0

    @property
    def name(self) -> str:
        return self.base.name

    def extend_index_to(self, seqno: SeqNo) -> None:
        """Index transactions up to this one."""
        self._upto = max(self._upto, seqno)

    def next_requested(self) -> SeqNo | None:
        following = self.base.next_requested()
        return following if following is not None and following <= self._upto else None

    def handle(self, state: HistoricalState) -> None:
        self.base.handle(state)

    def tick(self) -> None:
        self.base.tick()

    def attach(self, storage: Storage) -> None:
        self.base.attach(storage)

    def describe(self) -> dict[str, Json]:
        described = self.base.describe()
        if self.next_requested() is None:
            described.pop("next_requested_seqno", None)
        return described
