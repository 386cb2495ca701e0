"""A transaction: a consistent view of all maps at one seqno, plus writes not yet applied.

The first handle fixes the seqno read. From then on every handle shows the maps exactly as they were
there, whatever commits in the meantime (opacity), overlaid with the transaction's own writes. What
was read is remembered, so that `Store.commit` can tell whether it still holds.

Recorded as read: a key looked up without an own pending write (also by `previous_version`); the
whole map for `foreach`, `size`, `clear` and `range`. Nothing is recorded for keys this transaction
wrote, for `set` and `delete`, and for what is asked of the committed state.

Iteration order of `foreach`: committed keys ascending bytewise, leaving out what this transaction
wrote or removed, then its own writes ascending. The original's first part follows its hash trie and
is documented as unspecified; ours is the same on every node. `range` merges both, ascending.

Refuses: writing through a read-only transaction or one that is over (`LocalError`), reading a state
that was compacted (`CompactedVersion`) or rolled back (`Conflict`) meanwhile; both mean: run again.
(spec: kv-and-tables.md §3)
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import NoReturn

from pyccf.errors import CompactedVersion, Conflict, LocalError
from pyccf.kv.changes import Changes, MapChanges
from pyccf.kv.pairs import Pair
from pyccf.kv.state import MapState, State
from pyccf.types import SeqNo, TxID, View, new_tuple

_STALE = -1
"""An epoch no state ever has."""

ROW_BYTES = 128
"""What a pending write takes beside its key and value."""

_NO_DATA: dict[bytes, Pair] = {}
"""Content of a map that does not exist. Never written."""


def new_txid(view: View, seqno: SeqNo) -> TxID:
    """`TxID(view, seqno)` for hot paths: the constructor of a named tuple is Python code."""
    return new_tuple(TxID, (view, seqno))


class Tx:
    """A transaction in the making. Not to be used again once it was committed or refused."""

    __slots__ = (
        "_handles",
        "_state",
        "commit_view",
        "epoch",
        "read_only",
        "read_view",
        "rollbacks",
        "version",
    )

    def __init__(self, state: State, read_only: bool = False, version: SeqNo = -1) -> None:
        """Over `state`; `version` reads at a seqno in the past instead of the latest."""
        self._state = state
        self._handles: dict[str, MapHandle] = {}
        self.read_only = read_only
        self.epoch = _STALE
        self.version = -1
        if version >= 0:
            self._fix(version)

    def _fix(self, version: SeqNo) -> None:
        state = self._state
        self.version = version
        self.rollbacks = state.rollbacks
        self.commit_view = state.view
        if version == state.version:
            self.epoch = state.epoch
            self.read_view = state.views[-1][1]
        else:
            self.read_view = state.view_of(version)

    @classmethod
    def over(
        cls, maps: Mapping[str, Mapping[bytes, bytes | None]], seqno: SeqNo, view: View = 0
    ) -> Tx:
        """A read-only transaction over exactly these maps, all written at `seqno`.

        For historical states: what one past transaction wrote. None stands for a removed key and
        is left out.
        """
        state = State(view, seqno)
        for name, content in maps.items():
            made = MapState(name, seqno)
            made.version = made.base = seqno
            made.data = {k: Pair(v, seqno) for k, v in content.items() if v is not None}
            state.maps[name] = made
        return cls(state, True, seqno)

    @property
    def read_txid(self) -> TxID | None:
        """The transaction whose state is read; None until the first handle is taken."""
        return None if self.version < 0 else new_txid(self.read_view, self.version)

    def close(self) -> None:
        """The transaction is over: let go of its handles.

        They refer to the transaction and it to them; without this only the garbage collector
        would free them, which a busy node feels. Handles still held elsewhere remain readable.
        """
        self._handles.clear()

    @property
    def writes(self) -> Changes:
        """Pending writes of every map that has some. The inner dicts are live, do not change."""
        return {name: h.writes for name, h in self._handles.items() if h.writes}

    @property
    def held(self) -> int:
        """Bytes of the names of maps used, the keys looked up and what is to be written."""
        total = 0
        for name, handle in self._handles.items():
            total += len(name) + sum(map(len, handle.reads)) + ROW_BYTES * len(handle.writes)
            for key, value in handle.writes.items():
                total += len(key) + (0 if value is None else len(value))
        return total

    def map(self, name: str) -> MapHandle:
        """The handle of a map, always the same for one name. The map need not exist.

        Raises LocalError for a name that is not Unicode text, CompactedVersion and Conflict when
        the state this transaction reads is gone.
        """
        handle = self._handles.get(name)
        if handle is not None:
            return handle
        state = self._state
        if self.version < 0:
            self.version = state.version
            self.epoch = state.epoch
            self.rollbacks = state.rollbacks
            self.commit_view = state.view
            self.read_view = state.views[-1][1]
        found = state.maps.get(name)
        if found is None:
            _check_name(name)
        make = ReadOnlyHandle if self.read_only else MapHandle
        self._handles[name] = handle = make(self, name, state, found)
        return handle

    def version_of(self, name: str) -> SeqNo:
        """Seqno that last changed a map, in the state read; 0 when it never was.

        Fixes the state read as a handle does, but records no dependency and costs less. For what
        is made of a map and kept between transactions: it is made anew when the version differs.
        """
        state = self._state
        if self.version < 0:
            self.version = state.version
            self.epoch = state.epoch
            self.rollbacks = state.rollbacks
            self.commit_view = state.view
            self.read_view = state.views[-1][1]
        elif self.epoch != state.epoch:
            return self.map(name).start
        found = state.maps.get(name)
        return 0 if found is None else found.version


def _check_name(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise LocalError("map name is not valid Unicode text") from None


class MapHandle:
    """Read-write access of one transaction to one map."""

    __slots__ = (
        "_data",
        "_epoch",
        "_old",
        "_seen",
        "_state",
        "_tx",
        "exists",
        "found",
        "name",
        "reads",
        "start",
        "whole",
        "writes",
    )

    def __init__(self, tx: Tx, name: str, state: State, found: MapState | None) -> None:
        self._tx = tx
        self._state = state
        self._epoch = tx.epoch
        self.name = name
        self.writes: MapChanges = {}
        """Pending: key to new value, None for a removal."""
        self.reads: dict[bytes, Pair | None] = {}
        """Keys depended on, with the pair that was seen."""
        self.whole = False
        """Whether the whole map is depended on."""
        if found is not None and (self._epoch == state.epoch or found.created <= tx.version):
            self.found: MapState | None = found
            """The map, None when it does not exist at the seqno read."""
            self._data = found.data
            self.start = found.version
            """Version of the map at the seqno read."""
        else:
            self.found = None
            self._data = _NO_DATA
            self.start = 0
        if self._epoch != state.epoch:
            self._rewind()

    # -- the state at the seqno read ------------------------------------------------------------

    def _rewind(self) -> None:
        """Open on a state that is behind the latest one."""
        if self._tx.rollbacks != self._state.rollbacks:
            raise Conflict("the state this transaction reads was rolled back")
        self._old: dict[bytes, Pair | None] = {}
        """Pairs at the seqno read, for every key changed from there up to `_seen`."""
        self._seen = self._tx.version
        found = self.found
        if found is None or found.version <= self._seen:
            return
        self._check(found)
        for undo in self._state.undone_since(self._seen):
            if undo.map is found:
                self.start = undo.map_version
                break

    def _check(self, found: MapState) -> None:
        """Whether the state read can still be rebuilt."""
        if self._tx.rollbacks != self._state.rollbacks:
            raise Conflict("the state this transaction reads was rolled back")
        if found.base > self._tx.version:
            raise CompactedVersion("the state this transaction reads was compacted")

    def _catch_up(self) -> dict[bytes, Pair | None]:
        """Pairs as they were, for every key changed since the seqno read."""
        state = self._state
        if self._epoch != _STALE:
            self._epoch = _STALE
            self._old = {}
            self._seen = self._tx.version
        found = self.found
        if found is not None:
            self._check(found)
            if self._seen != state.version:
                old = self._old
                for undo in state.undone_since(self._seen):
                    if undo.map is found and undo.key not in old:
                        old[undo.key] = undo.pair
                self._seen = state.version
        return self._old

    def _past(self, key: bytes) -> Pair | None:
        old = self._catch_up()
        return old[key] if key in old else self._data.get(key)

    def pair(self, key: bytes) -> Pair | None:
        """Value and seqno at the seqno read, without own writes and without recording."""
        if self._epoch == self._state.epoch:
            return self._data.get(key)
        return self._past(key)

    # -- single keys ----------------------------------------------------------------------------

    def get(self, key: bytes) -> bytes | None:
        """The value of a key, None when it is not there."""
        if key in self.writes:
            return self.writes[key]
        if self._epoch == self._state.epoch:
            pair = self._data.get(key)
        else:
            pair = self._past(key)
        self.reads[key] = pair
        return None if pair is None else pair.value

    def has(self, key: bytes) -> bool:
        """Whether a key is there."""
        return self.get(key) is not None

    def previous_version(self, key: bytes) -> SeqNo | None:
        """Seqno that last wrote the key; own pending writes do not count."""
        pair = self.reads[key] = self.pair(key)
        return None if pair is None else pair.version

    def get_committed(self, key: bytes) -> bytes | None:
        """The value in the last compacted state, whatever this transaction reads or wrote."""
        pair = self._committed(key)
        return None if pair is None else pair.value

    def committed_version(self, key: bytes) -> SeqNo | None:
        """Seqno that wrote that value."""
        pair = self._committed(key)
        return None if pair is None else pair.version

    def _committed(self, key: bytes) -> Pair | None:
        state = self._state
        past = Tx(state, True, state.committed)
        return past.map(self.name).pair(key)

    def set(self, key: bytes, value: bytes) -> None:
        """Write a key; visible to this transaction at once, to others after commit.

        Raises LocalError unless both are exactly `bytes`; or TypeError, where this is compiled.
        """
        if key.__class__ is not bytes or value.__class__ is not bytes:
            raise LocalError(f"keys and values must be bytes (map {self.name})")
        self.writes[key] = value

    def delete(self, key: bytes) -> None:
        """Remove a key. Also recorded, and given a seqno, when the key is not there.

        Raises LocalError unless the key is exactly `bytes`; or TypeError, where this is compiled.
        """
        if key.__class__ is not bytes:
            raise LocalError(f"keys must be bytes (map {self.name})")
        self.writes[key] = None

    # -- the whole map --------------------------------------------------------------------------

    def _keys(self) -> list[bytes]:
        """Keys at the seqno read, ascending, possibly with some that are not there. Read only."""
        found = self.found
        if found is None:
            return []
        if self._epoch == self._state.epoch:
            return found.sorted_keys()
        old = self._catch_up()
        gone = [key for key, pair in old.items() if pair is not None and key not in self._data]
        return sorted({*found.sorted_keys(), *gone}) if gone else found.sorted_keys()

    def foreach(self) -> Iterator[tuple[bytes, bytes]]:
        """All (key, value); for the order see the module. Writing meanwhile does not disturb it."""
        self.whole = True
        own = self.writes.copy()
        return self._walk(self._keys(), own, sorted(own))

    def _walk(
        self, keys: list[bytes], own: MapChanges, own_keys: list[bytes]
    ) -> Iterator[tuple[bytes, bytes]]:
        state, data, epoch = self._state, self._data, self._epoch
        for key in keys:
            if key in own:
                continue
            pair = data.get(key) if state.epoch == epoch else self._past(key)
            if pair is not None:
                yield key, pair.value
        for key in own_keys:
            value = own[key]
            if value is not None:
                yield key, value

    def size(self) -> int:
        """Number of keys. Costs no more for many keys, only for own writes."""
        self.whole = True
        if self._epoch == self._state.epoch:
            data = self._data
            count = len(data)
            for key, value in self.writes.items():
                if (key in data) != (value is not None):
                    count += -1 if value is None else 1
            return count
        old = self._catch_up()
        data = self._data
        count = len(data)
        for key, pair in old.items():
            if (key in data) != (pair is not None):
                count += -1 if pair is None else 1
        for key, value in self.writes.items():
            there = old[key] is not None if key in old else key in data
            if there != (value is not None):
                count += -1 if value is None else 1
        return count

    def clear(self) -> None:
        """Remove every key visible now, own pending writes included."""
        for key, _ in self.foreach():
            self.delete(key)

    def range(self, first: bytes, last: bytes) -> Iterator[tuple[bytes, bytes]]:
        """(key, value) with first <= key < last, ascending; nothing when first >= last."""
        self.whole = True
        own = {k: v for k, v in self.writes.items() if first <= k < last}
        keys = self._keys()
        keys = keys[bisect_left(keys, first) : bisect_left(keys, last)]
        return self._merge(keys, own)

    def _merge(self, keys: list[bytes], own: MapChanges) -> Iterator[tuple[bytes, bytes]]:
        for key in sorted({*keys, *own}) if own else keys:
            if key in own:
                value = own[key]
            else:
                pair = self.pair(key)
                value = None if pair is None else pair.value
            if value is not None:
                yield key, value


class ReadOnlyHandle(MapHandle):
    """A handle that refuses to write."""

    __slots__ = ()

    def _refuse(self) -> NoReturn:
        raise LocalError(f"transaction is read-only: cannot write to {self.name}")

    def set(self, key: bytes, value: bytes) -> None:
        """Refused."""
        self._refuse()

    def delete(self, key: bytes) -> None:
        """Refused."""
        self._refuse()

    def clear(self) -> None:
        """Refused."""
        self._refuse()


class Sealed(MapChanges):
    """Takes the place of a handle's writes once they are committed; nothing can be added."""

    __slots__ = ()

    def __setitem__(self, key: bytes, value: bytes | None) -> None:
        raise LocalError("the transaction is over")


SEALED = Sealed()
