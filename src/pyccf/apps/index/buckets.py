"""Where each key of a public map was written, mostly on disk: for more keys and writes than memory.

Seqnos are divided into buckets of `per_bucket`. For each key only the bucket of its last write is
in memory; when a write falls into a later one, the bucket goes to disk, sealed with a key that only
this process has, under a name that tells nothing. Which buckets of a key hold anything is
remembered, so those without are neither written nor read. A bucket that the disk does not take
stays in memory; when these are too many, the index fails. A bucket that cannot be read back, or
does not authenticate, makes the index begin anew from the first transaction
(spec: historical-and-indexing.md §6.2).
"""

from __future__ import annotations

import hashlib
import struct
from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from pyccf.apps.index.seqnos import check_range
from pyccf.apps.index.strategy import VisitEachEntryInMap
from pyccf.errors import LocalError
from pyccf.kv.changes import UNIT
from pyccf.types import SeqNo, TxID

if TYPE_CHECKING:
    from pyccf.apps.context import HistoricalState

PER_BUCKET = 1000
BUCKETS_MAX = 10
"""Buckets that one question may reach over, less one."""
READ_BACK_MAX = 1000
"""Buckets read back that are kept in memory: for many who ask at the same time, who would otherwise
take them from each other for ever. Eight megabytes at most, with `PER_BUCKET` seqnos each."""

UNWRITTEN_MAX = 1000
"""Buckets kept in memory that the disk did not take."""

_U64 = struct.Struct("<Q")


class Storage(Protocol):
    """Room on disk for one process: sealed, forgotten when the process ends."""

    def store(self, name: str, data: bytes, refused: Callable[[], None] | None = None) -> None:
        """Keep bytes under a name; `refused` is called, later, if that cannot be."""
        ...

    def load(self, name: str, reply: Callable[[bytes | None], None]) -> None:
        """Read them back; None if they are not there or were changed."""
        ...


class _Recent:
    """The last bucket of a key, and the numbers of those before that hold anything."""

    __slots__ = ("before", "number", "seqnos")

    def __init__(self, number: int) -> None:
        self.number = number
        self.seqnos = array("Q")
        self.before = array("Q")


class SeqnosByKeyBucketed(VisitEachEntryInMap):
    """Key to the seqnos of the transactions that wrote it, in buckets."""

    prefix = "SeqnosByKey"

    def __init__(
        self, map: str, *, per_bucket: int = PER_BUCKET, buckets_max: int = BUCKETS_MAX
    ) -> None:
        """Raises LocalError for a private map: what is on disk would tell about its keys."""
        if not map.startswith("public:"):
            raise LocalError(
                f"A bucketed index needs a public map, which {map} is not.",
                hint='Use the kind "seqnos_by_key", which keeps everything in memory.',
            )
        super().__init__(map)
        self.per_bucket = per_bucket
        self.buckets_max = buckets_max
        self._recent: dict[bytes, _Recent] = {}
        self._read: OrderedDict[str, array[int] | None] = OrderedDict()
        """Buckets read back, least recently used first; None while one is being read."""
        self._unwritten: dict[str, array[int]] = {}
        """Buckets that the disk did not take."""
        self._storage: Storage
        self._era = 0
        """Counts new beginnings: what was asked for before one is not taken."""

    def attach(self, storage: Storage) -> None:
        self._storage = storage

    def visit(self, txid: TxID, key: bytes, value: bytes) -> None:
        number = txid.seqno // self.per_bucket
        recent = self._recent.get(key)
        if recent is None:
            recent = self._recent[key] = _Recent(number)
        elif recent.number != number:
            self._spill(self._name(key, recent.number), recent.seqnos)
            recent.before.append(recent.number)
            recent.number = number
            recent.seqnos = array("Q")
        recent.seqnos.append(txid.seqno)

    def _spill(self, name: str, seqnos: array[int]) -> None:
        if len(self._unwritten) >= UNWRITTEN_MAX:
            raise LocalError(f"The disk did not take {UNWRITTEN_MAX} parts of this index.")
        era = self._era

        def refused() -> None:
            if era == self._era:
                self._unwritten[name] = seqnos

        self._storage.store(name, _encode(name, seqnos), refused)

    def get_write_txs_in_range(
        self, key: bytes, first: SeqNo, last: SeqNo, max_seqnos: int | None = None
    ) -> list[SeqNo] | None:
        """Seqnos from `first` to `last` that wrote a key, ascending.

        None when they are not indexed so far or are being read back. LocalError for a range longer
        than `buckets_max` less one bucket.
        """
        check_range(first, last)
        if last > self.watermark.seqno:
            return None
        longest = (self.buckets_max - 1) * self.per_bucket
        if last - first > longest:
            raise LocalError(
                f"A range of {last - first + 1} transactions is more than this index answers at"
                f" once ({longest})"
            )
        recent = self._recent.get(key)
        if recent is None:
            return []
        found: list[SeqNo] = []
        for seqnos in self._buckets(key, recent, first, last):
            if seqnos is None:
                return None
            found += seqnos[bisect_left(seqnos, first) : bisect_right(seqnos, last)]
        return found if max_seqnos is None else found[:max_seqnos]

    def _buckets(
        self, key: bytes, recent: _Recent, first: SeqNo, last: SeqNo
    ) -> list[array[int] | None]:
        """The buckets with seqnos of a range; all that are not here are asked for."""
        begin, end = first // self.per_bucket, last // self.per_bucket
        before = recent.before
        wanted = before[bisect_left(before, begin) : bisect_right(before, end)]
        found = [self._bucket(self._name(key, number)) for number in wanted]
        if begin <= recent.number <= end:
            found.append(recent.seqnos)
        return found

    def _bucket(self, name: str) -> array[int] | None:
        if name in self._unwritten:
            return self._unwritten[name]
        if name in self._read:
            self._read.move_to_end(name)
            return self._read[name]
        self._read[name] = None
        while len(self._read) > max(READ_BACK_MAX, self.buckets_max):
            self._read.popitem(last=False)
        era = self._era
        self._storage.load(name, lambda data: self._loaded(era, name, data))
        return self._read.get(name)

    def _loaded(self, era: int, name: str, data: bytes | None) -> None:
        if era != self._era or name not in self._read:
            return
        if name in self._unwritten:
            del self._read[name]  # asked for before the disk refused it
            return
        seqnos = None if data is None else _decode(name, data)
        if seqnos is None:
            self._begin_anew()
        else:
            self._read[name] = seqnos

    def _begin_anew(self) -> None:
        """What was on disk is gone: index everything again."""
        self._era += 1
        self.watermark = TxID(0, 0)
        self._recent.clear()
        self._unwritten.clear()
        self._read.clear()

    def _name(self, key: bytes, number: int) -> str:
        """What a bucket is called on disk (spec: historical-and-indexing.md §6.2)."""
        begin = number * self.per_bucket
        text = f"{self.name}: {begin} -> {begin + self.per_bucket} for {key.hex()}"
        return hashlib.sha256(text.encode()).hexdigest()


class SeqnosForValueBucketed(SeqnosByKeyBucketed):
    """Where a map of one value was written."""

    prefix = "SeqnosForValue"

    def handle(self, state: HistoricalState) -> None:
        value = state.rows(self.map).get(UNIT)
        if value is not None:
            self.visit(state.txid, UNIT, value)
        self.watermark = state.txid

    def get_write_txs(
        self, first: SeqNo, last: SeqNo, max_seqnos: int | None = None
    ) -> list[SeqNo] | None:
        """As `get_write_txs_in_range`, of the one value."""
        return self.get_write_txs_in_range(UNIT, first, last, max_seqnos)


def _encode(name: str, seqnos: array[int]) -> bytes:
    """lp(name) ‖ count ‖ seqnos, little-endian."""
    raw = name.encode()
    packed = struct.pack(f"<{len(seqnos)}Q", *seqnos)
    return _U64.pack(len(raw)) + raw + _U64.pack(len(seqnos)) + packed


def _decode(name: str, data: bytes) -> array[int] | None:
    """The seqnos of a bucket; None when it is not the one of this name."""
    raw = name.encode()
    head = _U64.pack(len(raw)) + raw
    at = len(head) + _U64.size
    if not data.startswith(head) or len(data) < at:
        return None
    (count,) = _U64.unpack_from(data, len(head))
    if len(data) != at + count * _U64.size:
        return None
    return array("Q", struct.unpack_from(f"<{count}Q", data, at))
