"""What every map held at one committed seqno, to be read little by little while the store goes on.

Nothing is copied. What changes after that seqno is in the undo log, as the pairs that were there
before; `fold` takes those over before they are dropped, and the first of them for a key is what the
key held. A key that is not among them holds what it held. So a snapshot of a million keys costs
the transactions that run meanwhile nothing, and memory only for what they change.

The store calls `fold` when it compacts and `rewind` when it rolls back, as long as it knows of this
object (`Store.freeze`, `Store.thaw`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pyccf.types import SeqNo

if TYPE_CHECKING:
    from pyccf.kv.pairs import Pair
    from pyccf.kv.state import MapState, State


class FrozenMap:
    """One map as it was."""

    __slots__ = ("_frozen", "_old", "_state", "name", "version")

    def __init__(self, frozen: Frozen, state: MapState, version: SeqNo) -> None:
        self.name = state.name
        self.version = version
        """Last seqno, up to the frozen one, that changed the map; 0 when none did."""
        self._frozen = frozen
        self._state = state
        self._old: dict[bytes, Pair | None] = {}
        """What keys held that were changed since."""

    def keys(self) -> list[bytes]:
        """All keys of the map, and some it did not have."""
        self._frozen.fold()
        data = self._state.data
        return [*data, *(key for key in self._old if key not in data)]

    def pairs(self, keys: Sequence[bytes]) -> list[Pair | None]:
        """What these keys held, None for those that were not there."""
        self._frozen.fold()
        old, now = self._old, self._state.data
        if not old:
            return [now.get(key) for key in keys]
        return [old[key] if key in old else now.get(key) for key in keys]

    def keep(self, key: bytes, pair: Pair | None) -> None:
        """This is what a key held before it was changed; only the first time counts."""
        self._old.setdefault(key, pair)


class Frozen:
    """All maps as they were at `seqno`."""

    __slots__ = ("_by_name", "_folded", "_state", "seqno")

    def __init__(self, state: State, seqno: SeqNo) -> None:
        """`seqno` is between the compacted one and the version of the store."""
        assert state.committed <= seqno <= state.version
        self.seqno = seqno
        self._state = state
        self._folded = seqno
        """Changes up to here are taken over."""
        versions: dict[str, SeqNo] = {}
        for record in state.undone_since(seqno):
            versions.setdefault(record.map.name, record.map_version)
        self._by_name = {
            name: FrozenMap(self, found, versions.get(name, found.version))
            for name, found in sorted(state.maps.items())
            if found.created <= seqno
        }

    def maps(self) -> list[FrozenMap]:
        """All maps there were, ascending by name."""
        return list(self._by_name.values())

    def fold(self) -> None:
        """Take over what was changed since the last time."""
        state = self._state
        if self._folded == state.version:
            return
        for record in state.undone_since(self._folded):
            found = self._by_name.get(record.map.name)
            if found is not None:
                found.keep(record.key, record.pair)
        self._folded = state.version

    def rewind(self, seqno: SeqNo) -> None:
        """Transactions after `seqno` are undone: others will take their place."""
        self._folded = min(self._folded, seqno)
