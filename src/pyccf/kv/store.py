"""The store of a node: versions, conflicts, roll-back, compaction and hooks over `state.State`.

Promises
* Versions are seqnos without gaps. `commit` gives a transaction the next one or refuses it with
  `Conflict`; a refused transaction has changed nothing.
* `rollback` restores every map exactly, `compact` makes a seqno final.
* Hooks run in a fixed order, independent of hashing.
* A frozen state (`freeze`) can be read to its end however far the store has gone on.

A transaction conflicts when, for any map it touched (rules 1-3 only if it writes something):
 1. the map was rolled back since the transaction began; or
 2. it depends on the whole map, whose version is no longer the one it started from (a map whose
    version was 0, never changed, counts as no dependency: so does the original); or
 3. a key it read has been written, removed or created since; or
 4. the map did not exist at the seqno read and exists by now.

Refuses (`LocalError`): applying out of order, rolling back below or compacting above what is there.
(spec: kv-and-tables.md §3)
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import TypeAlias

from pyccf.errors import Conflict, LocalError
from pyccf.kv.changes import Changes, MapChanges, WriteSet
from pyccf.kv.changes import ViewChanged as ViewChanged
from pyccf.kv.content import MapContent
from pyccf.kv.frozen import Frozen
from pyccf.kv.pairs import Pair, Undo, undo_seqno
from pyccf.kv.state import MapState, State
from pyccf.kv.tx import SEALED, MapHandle, Tx
from pyccf.types import SeqNo, View

Hook: TypeAlias = Callable[[SeqNo, MapChanges], None]
"""Called with a seqno and what it changed in one map. Must not change the dict or the store."""


class Store(State):
    """The key-value store. One thread, no I/O; hand a write set to consensus as it comes out."""

    __slots__ = ("_frozen", "_on_commit", "_on_write", "_pending", "_reader")

    def __init__(self, view: View) -> None:
        super().__init__(view)
        self._on_write: dict[str, list[Hook]] = {}
        self._on_commit: dict[str, list[Hook]] = {}
        self._pending: dict[str, list[tuple[SeqNo, MapChanges]]] = {}
        """What global hooks have not been told yet, for maps that have such hooks."""
        self._reader: Tx | None = None
        """Serves `read_committed`; dropped when the compacted seqno moves."""
        self._frozen: list[Frozen] = []

    # -- reading --------------------------------------------------------------------------------

    def tx(self, read_only: bool = False) -> Tx:
        """A new transaction over the latest state (fixed when its first handle is taken)."""
        return Tx(self, read_only)

    def committed_tx(self) -> Tx:
        """A read-only transaction over the last compacted state."""
        return Tx(self, True, self.committed)

    def read_committed(self, map: str, key: bytes) -> bytes | None:
        """A value in the last compacted state. Cheap when called often."""
        reader = self._reader
        if reader is None:
            self._reader = reader = self.committed_tx()
        pair = reader.map(map).pair(key)
        return None if pair is None else pair.value

    def map_version(self, map: str) -> SeqNo:
        """Last seqno that changed a map; 0 when it does not exist or nothing ever did."""
        found = self.maps.get(map)
        return 0 if found is None else found.version

    def freeze(self, seqno: SeqNo) -> Frozen:
        """Everything as of `seqno`, from the compacted one on; to be thawed when it was read."""
        frozen = Frozen(self, seqno)
        self._frozen.append(frozen)
        return frozen

    def thaw(self, frozen: Frozen) -> None:
        """A frozen state is not needed any longer."""
        self._frozen.remove(frozen)

    # -- hooks ----------------------------------------------------------------------------------

    def on_write(self, map: str, hook: Hook) -> None:
        """Call `hook` right after a transaction that wrote `map` was applied.

        Once per transaction, after all its maps are up to date, maps ascending by name.
        """
        self._on_write.setdefault(map, []).append(hook)

    def on_commit(self, map: str, hook: Hook) -> None:
        """Call `hook` for each change of `map` from now on once it is compacted.

        Maps ascending by name, seqnos ascending within a map. Transactions that left the map as it
        was (removal of absent keys only) are not reported.
        """
        self._on_commit.setdefault(map, []).append(hook)
        self._pending.setdefault(map, [])

    def is_watched(self, changes: Changes) -> bool:
        """Whether any of these maps has a hook that is called as soon as it is written."""
        watched = self._on_write
        return any(name in watched for name in changes)

    # -- going forward --------------------------------------------------------------------------

    def commit(self, tx: Tx) -> WriteSet | None:
        """Apply a transaction under the next seqno; None when it wrote nothing.

        Raises Conflict (run it again from scratch) and ViewChanged. Does not itself replicate.
        """
        assert tx._state is self
        maps: Changes = {}
        handles = tx._handles
        for name, handle in handles.items():
            if handle.writes:
                maps[name] = handle.writes
        if tx.epoch != self.epoch:
            self._check(handles, tx.rollbacks if maps else None)
        if not maps:
            return None
        if tx.commit_view != self.view:
            raise ViewChanged(f"view {tx.commit_view} ended before the transaction was committed")
        if len(maps) > 1:
            maps = dict(sorted(maps.items()))
        for name in maps:
            handles[name].writes = SEALED
        self._advance(maps)
        return WriteSet(self.version, maps)

    def _check(self, handles: Mapping[str, MapHandle], rollbacks: int | None) -> None:
        """Rules 1-4, or only 4 when `rollbacks`, the count the transaction began with, is None."""
        for name, handle in handles.items():
            found = handle.found
            if found is None:
                if name in self.maps:
                    raise Conflict(f"map {name} was created meanwhile")
                continue
            if rollbacks is None:
                continue
            if found.rolled > rollbacks:
                raise Conflict(f"map {name} was rolled back meanwhile")
            if handle.whole and handle.start and found.version != handle.start:
                raise Conflict(f"map {name} was changed meanwhile")
            data = found.data
            for key, pair in handle.reads.items():
                if data.get(key) is not pair:
                    raise Conflict(f"a key read from map {name} was changed meanwhile")

    def apply(self, seqno: SeqNo, changes: Changes, *, view: View | None = None) -> WriteSet:
        """Apply what another node (or the ledger) says transaction `seqno` changed.

        `view` is the view it was ordered in, by default the store's own; the store takes it over.
        No conflict check. Hooks run as for `commit`. Raises LocalError unless `seqno` is the next.
        """
        self.follow(seqno, changes, self.view if view is None else view)
        return WriteSet(seqno, dict(sorted(changes.items())))

    def follow(self, seqno: SeqNo, changes: Changes, view: View) -> None:
        """The same without telling what was written."""
        if seqno != self.version + 1:
            raise LocalError(f"cannot apply transaction {seqno} after {self.version}")
        self.view = view
        self._advance(dict(sorted(changes.items())) if len(changes) > 1 else changes)

    def _advance(self, maps: Changes) -> None:
        """Make `maps`, ascending by name, the next transaction."""
        version = self.version + 1
        self.version = version
        self.epoch += 1
        if self.views[-1][1] != self.view:
            self.views.append((version, self.view))
        undo = self.undo
        known = self.maps
        for name, changes in maps.items():
            state = known.get(name)
            if state is None:
                known[name] = state = MapState(name, version)
                self.created.append((version, name))
            data = state.data
            before = state.version
            for key, value in changes.items():
                old = data.get(key)
                if value is not None:
                    data[key] = Pair(value, version)
                    if old is None and state.order is not None:
                        state.note_new_key(key)
                elif old is not None:
                    del data[key]
                else:
                    continue
                undo.append(Undo(version, state, before, key, old))
                state.version = version
        if self._on_write or self._pending:
            self._tell(version, maps)

    def _tell(self, version: SeqNo, maps: Changes) -> None:
        for name, changes in maps.items():
            pending = self._pending.get(name)
            if pending is not None and self.maps[name].version == version:
                pending.append((version, changes))
        for name, changes in maps.items():
            for hook in self._on_write.get(name, ()):
                hook(version, changes)

    # -- beginning in the middle ----------------------------------------------------------------

    def restore(self, seqno: SeqNo, view: View, contents: Sequence[MapContent]) -> None:
        """Begin at transaction `seqno`, in `view`, with these maps (ascending by name).

        Local hooks run at once, each with the whole content of its map and the map's version;
        global hooks are told the same when something is compacted next (spec: §3.1). Raises
        LocalError unless the store is empty.
        """
        if self.version or self.maps:
            raise LocalError("Only an empty store can be restored from a snapshot.")
        self.version = self.committed = seqno
        self.view = view
        self.views = [(seqno, view)]
        self.restore_more(contents)

    def forget(self) -> None:
        """Be empty again, to be restored from a later snapshot: all of it was final.

        Hooks stay; global ones that were not told yet are not told any more. Nobody may be in the
        middle of a transaction. Raises LocalError when something can still be rolled back.
        """
        if self.version != self.committed or self._frozen:
            raise LocalError("Only a state that is final, and that nobody reads, is forgotten.")
        self.version = self.committed = 0
        self.views = [(0, self.view)]
        self.maps = {}
        self.created = []
        for pending in self._pending.values():
            pending.clear()
        self.epoch += 1
        self._reader = None

    def restore_more(self, contents: Sequence[MapContent]) -> None:
        """Add maps of the same snapshot that could not be read before: the private ones.

        Raises LocalError when one is there already.
        """
        for content in contents:
            if content.name in self.maps:
                raise LocalError(f"Map {content.name} cannot be restored: it is there already.")
        self.epoch += 1
        self._reader = None
        for content in contents:
            state = MapState(content.name, 0)
            state.version = state.base = content.version
            state.data = content.pairs
            self.maps[content.name] = state
        for content in contents:
            name = content.name
            if content.pairs and (name in self._pending or name in self._on_write):
                changes: MapChanges = {k: pair.value for k, pair in content.pairs.items()}
                if name in self._pending:
                    self._pending[name].append((content.version, changes))
                for hook in self._on_write.get(name, ()):
                    hook(content.version, changes)

    # -- going back and making final ------------------------------------------------------------

    def rollback(self, seqno: SeqNo, view: View) -> None:
        """Forget every transaction above `seqno`; the next one will be in `view`.

        A `seqno` not below the version only changes the view. Raises LocalError below `committed`.
        """
        if seqno < self.committed:
            raise LocalError(f"cannot roll back to {seqno}, {self.committed} is compacted")
        self.view = view
        if seqno >= self.version:
            return
        for frozen in self._frozen:
            frozen.rewind(seqno)
        self.rollbacks += 1
        self.epoch += 1
        self.version = seqno
        self._reader = None
        undo = self.undo
        mark = self.rollbacks
        while undo and undo[-1].seqno > seqno:
            last = undo.pop()
            state, key, old = last.map, last.key, last.pair
            data = state.data
            if old is None:
                del data[key]
            else:
                if state.order is not None and key not in data:
                    state.note_new_key(key)
                data[key] = old
            state.version = last.map_version
            state.rolled = mark
        while self.created and self.created[-1][0] > seqno:
            self.maps.pop(self.created.pop()[1]).rolled = mark
        while self.views[-1][0] > seqno:
            self.views.pop()
        for pending in self._pending.values():
            while pending and pending[-1][0] > seqno:
                pending.pop()

    def compact(self, seqno: SeqNo) -> None:
        """Make `seqno` and everything below final, then run global hooks.

        Nothing happens when it is final already. Raises LocalError above the version.
        """
        if seqno > self.version:
            raise LocalError(f"cannot compact {seqno}, the last transaction is {self.version}")
        if seqno <= self.committed:
            return
        self.committed = seqno
        self._reader = None
        for frozen in self._frozen:
            frozen.fold()
        undo = self.undo
        done = bisect_right(undo, seqno, key=undo_seqno)
        for record in islice(undo, done):
            record.map.base = record.seqno
        del undo[:done]
        while self.created and self.created[0][0] <= seqno:
            del self.created[0]
        views = self.views
        while len(views) > 1 and views[1][0] <= seqno:
            del views[0]
        for name in sorted(self._pending):
            pending = self._pending[name]
            done = 0
            while done < len(pending) and pending[done][0] <= seqno:
                done += 1
            due = pending[:done]
            del pending[:done]
            for version, changes in due:
                for hook in self._on_commit[name]:
                    hook(version, changes)

    # -- joining two halves ---------------------------------------------------------------------

    def graft(self, other: Store) -> None:
        """Take over all maps of another store that went through the same transactions.

        For a state whose private maps could be read only later than its public ones: no map may be
        in both. `other` is of no use afterwards. Raises LocalError when the two do not fit.
        """
        if (other.version, other.committed) != (self.version, self.committed):
            raise LocalError(
                f"a state at {other.version} ({other.committed} final) does not fit one at "
                f"{self.version} ({self.committed} final)"
            )
        both = self.maps.keys() & other.maps.keys()
        if both:
            raise LocalError(f"maps are in both states: {sorted(both)}")
        self.maps.update(other.maps)
        self.undo = sorted([*self.undo, *other.undo], key=undo_seqno)
        self.created = sorted([*self.created, *other.created])
        self.epoch += 1
        self._reader = None
