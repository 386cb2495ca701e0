"""Indexes as handlers of Python applications see them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from pyccf.apps.index import Declared, SeqnosByKey, SeqnosByKeyBucketed
from pyccf.errors import LocalError
from pyccf.types import SeqNo, TxID

if TYPE_CHECKING:
    from pyccf.apps.python import AppContext

K = TypeVar("K")


class AppIndex(Generic[K]):
    """An index of where the keys of a table were written; call it with a request's context."""

    def __init__(self, declared: Declared, encode_key: Callable[[K], bytes]) -> None:
        self.declared = declared
        self._encode_key = encode_key

    @property
    def name(self) -> str:
        """What the index is called at /node/index/strategies."""
        return self.declared.name

    def __call__(self, ctx: AppContext) -> BoundIndex[K]:
        """This index on the node that serves a request."""
        found = ctx.services.indexes.find(self.name)
        if not isinstance(found, SeqnosByKey | SeqnosByKeyBucketed):
            raise LocalError(
                f"This node keeps no index {self.name}.",
                hint="An application's indexes are installed when the node loads it.",
            )
        return BoundIndex(found, self._encode_key)


class BoundIndex(Generic[K]):
    """An index on one node."""

    __slots__ = ("_encode_key", "_index")

    def __init__(
        self, index: SeqnosByKey | SeqnosByKeyBucketed, encode_key: Callable[[K], bytes]
    ) -> None:
        self._index = index
        self._encode_key = encode_key

    @property
    def watermark(self) -> TxID:
        """The last transaction that this node has indexed; 0.0 before the first."""
        return self._index.watermark

    def writes(
        self, key: K, first: int, last: int, *, max_seqnos: int | None = None
    ) -> list[SeqNo] | None:
        """Seqnos from `first` to `last` of the transactions that wrote a key, ascending.

        None while this node has not indexed as far as `last`, or reads back what it indexed. With
        `max_seqnos` and more than that, the first so many. LocalError when `last` is before
        `first`, and for a bucketed index for ranges longer than it answers at once.
        """
        return self._index.get_write_txs_in_range(self._encode_key(key), first, last, max_seqnos)
