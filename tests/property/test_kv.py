"""The store against a model that keeps a full copy of every state there ever was.

Transactions overlap, other nodes' transactions are applied, roll-backs and compactions happen at
any time. The model knows nothing of undo logs: it answers from copies, and decides conflicts by
comparing the copy a transaction began with to the latest one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
)

from pyccf.errors import CompactedVersion, Conflict
from pyccf.kv.changes import Changes
from pyccf.kv.frozen import Frozen
from pyccf.kv.store import Hook, Store, ViewChanged
from pyccf.kv.tx import Tx

T = TypeVar("T")
Data = dict[bytes, tuple[bytes, int]]

MAPS = ["a", "public:b"]
KEYS = [b"", b"k", b"k\0"]
names = st.sampled_from(MAPS)
keys = st.sampled_from(KEYS)
values = st.sampled_from([b"", b"1", b"2"])
changes = st.dictionaries(
    names,
    st.dictionaries(keys, st.none() | values, min_size=1, max_size=3),
    max_size=2,
)
SINGLE = ["get", "get", "get", "has", "previous_version", "set", "set", "set", "delete"]
WHOLE = ["foreach", "size", "range", "clear"]
steps = st.lists(
    st.tuples(
        st.sampled_from([*SINGLE, *WHOLE]),
        names,
        keys,
        keys,
        values,
    ),
    min_size=1,
    max_size=5,
)


class Copy:
    """A whole state: content and version of each existing map, and the view of its seqno."""

    def __init__(self, view: int) -> None:
        self.view = view
        self.data: dict[str, Data] = {}
        self.versions: dict[str, int] = {}

    def next(self, seqno: int, view: int, written: Changes) -> Copy:
        made = deepcopy(self)
        made.view = view
        for name, content in written.items():
            data = made.data.setdefault(name, {})
            made.versions.setdefault(name, 0)
            for key, value in content.items():
                if value is not None:
                    data[key] = (value, seqno)
                    made.versions[name] = seqno
                elif data.pop(key, None) is not None:
                    made.versions[name] = seqno
        return made


class Open:
    """A transaction under way, and what the model knows of it."""

    def __init__(self, tx: Tx) -> None:
        self.tx = tx
        self.seqno = -1
        self.copy: Copy | None = None
        self.commit_view = 0
        self.rollbacks = 0
        self.map_rollbacks: dict[str, int] = {}
        self.opened: set[str] = set()
        self.own: Changes = {}
        self.reads: set[tuple[str, bytes]] = set()
        self.whole: set[str] = set()

    def data(self, name: str) -> Data:
        assert self.copy is not None
        return self.copy.data.get(name, {})

    def view(self, name: str) -> dict[bytes, bytes]:
        """What the transaction sees of a map, own writes included."""
        seen = {key: value for key, (value, _) in self.data(name).items()}
        for key, value in self.own.get(name, {}).items():
            if value is None:
                seen.pop(key, None)
            else:
                seen[key] = value
        return seen


class StoreAgainstModel(RuleBasedStateMachine):
    txs = Bundle("txs")

    def __init__(self) -> None:
        super().__init__()
        self.store = Store(view=2)
        self.view = 2
        self.history = [Copy(2)]
        self.written: list[Changes] = [{}]
        self.committed = 0
        self.rollbacks = 0
        self.map_rollbacks = dict.fromkeys(MAPS, 0)
        self.reported: list[tuple[str, str, int, dict[bytes, bytes | None]]] = []
        self.frozen: list[tuple[Frozen, Copy]] = []
        for name in MAPS[::-1]:
            self.store.on_write(name, self._hook("local", name))
            self.store.on_commit(name, self._hook("global", name))

    def _hook(self, kind: str, name: str) -> Hook:
        def hook(version: int, content: dict[bytes, bytes | None]) -> None:
            self.reported.append((kind, name, version, dict(content)))

        return hook

    # -- the model ------------------------------------------------------------------------------

    @property
    def seqno(self) -> int:
        return len(self.history) - 1

    def advance(self, written: Changes) -> None:
        """Model side of a new transaction, and what the local hooks must have said."""
        seqno = self.seqno + 1
        self.history.append(self.history[-1].next(seqno, self.view, written))
        self.written.append(deepcopy(written))
        self.expect([("local", name, seqno, written[name]) for name in sorted(written)])

    def expect(self, reported: list[tuple[str, str, int, dict[bytes, bytes | None]]]) -> None:
        assert self.reported == reported
        self.reported = []

    def readable(self, open_: Open, name: str) -> type[Exception] | None:
        """Why a map, as the transaction began with it, cannot be read any more."""
        assert open_.copy is not None
        if name not in open_.copy.data:
            return None
        if open_.rollbacks != self.rollbacks:
            return Conflict
        if self.history[self.committed].versions.get(name, 0) > open_.seqno:
            return CompactedVersion
        return None

    def ask(self, open_: Open, name: str, question: Callable[[], T]) -> T | None:
        """Ask the store; None if it refused, which is checked to be right."""
        expected = self.readable(open_, name)
        if expected is None:
            return question()
        try:
            question()
        except expected:
            return None
        raise AssertionError(f"{expected.__name__} expected")

    def conflicts(self, open_: Open) -> bool:
        """kv-and-tables.md §3, rules 1-4."""
        then, now = open_.copy, self.history[-1]
        writes = any(open_.own.values())
        for name in open_.opened:
            assert then is not None
            if name not in then.data:
                if name in now.data:
                    return True
                continue
            if not writes:
                continue
            if self.map_rollbacks[name] != open_.map_rollbacks[name]:
                return True
            started = then.versions[name]
            if name in open_.whole and started and now.versions[name] != started:
                return True
            for where, key in open_.reads:
                if where == name and then.data[name].get(key) != now.data[name].get(key):
                    return True
        return False

    # -- transactions ---------------------------------------------------------------------------

    @initialize(exist=st.booleans())
    def start(self, exist: bool) -> None:
        """Often the maps exist from the start, or most transactions would conflict over that."""
        if exist:
            self.apply({name: {KEYS[0]: b"0"} for name in MAPS}, new_view=False)

    @rule(target=txs, steps=steps)
    def begin(self, steps: list[tuple[str, str, bytes, bytes, bytes]]) -> Open:
        open_ = Open(self.store.tx())
        self.work(open_, steps)
        return open_

    @rule(open_=txs, steps=steps)
    def work(self, open_: Open, steps: list[tuple[str, str, bytes, bytes, bytes]]) -> None:
        """Let a transaction do a few things, each checked."""
        for what, name, key, other, value in steps:
            self.take_handle(open_, name)
            if name not in open_.opened:
                continue
            match what:
                case "get" | "has" | "previous_version":
                    self.read(open_, name, key, what)
                case "set":
                    self.write(open_, name, key, value)
                case "delete":
                    self.write(open_, name, key, None)
                case "foreach":
                    self.iterate(open_, name)
                case "size":
                    self.size(open_, name)
                case "range":
                    self.range(open_, name, key, other)
                case _:
                    self.clear(open_, name)

    def take_handle(self, open_: Open, name: str) -> None:
        if name in open_.opened:
            assert open_.tx.map(name) is open_.tx.map(name)
            return
        if open_.copy is None:
            open_.seqno = self.seqno
            open_.copy = deepcopy(self.history[-1])
            open_.commit_view = self.view
            open_.rollbacks = self.rollbacks
            open_.map_rollbacks = dict(self.map_rollbacks)
            open_.tx.map(name)
            assert open_.tx.read_txid == (open_.copy.view, open_.seqno)
        elif open_.rollbacks != self.rollbacks:
            try:
                open_.tx.map(name)
            except Conflict:
                return
            raise AssertionError("Conflict expected")
        else:
            taken = self.ask(open_, name, lambda: open_.tx.map(name))
            if taken is None:
                return
        open_.opened.add(name)

    def read(self, open_: Open, name: str, key: bytes, how: str) -> None:
        handle = open_.tx.map(name)
        own = open_.own.get(name, {})
        if key in own and how != "previous_version":
            assert handle.get(key) == own[key]
            assert handle.has(key) == (own[key] is not None)
            return
        then = open_.data(name).get(key)
        answer = self.ask(open_, name, lambda: [getattr(handle, how)(key)])
        if answer is None:
            return
        expected = {
            "get": then and then[0],
            "has": then is not None,
            "previous_version": then and then[1],
        }
        assert answer == [expected[how]]
        open_.reads.add((name, key))

    def write(self, open_: Open, name: str, key: bytes, value: bytes | None) -> None:
        if value is None:
            open_.tx.map(name).delete(key)
        else:
            open_.tx.map(name).set(key, value)
        open_.own.setdefault(name, {})[key] = value

    def iterate(self, open_: Open, name: str) -> None:
        handle = open_.tx.map(name)
        found = self.ask(open_, name, lambda: list(handle.foreach()))
        open_.whole.add(name)
        if found is None:
            return
        own = open_.own.get(name, {})
        seen = open_.view(name)
        order = sorted(k for k in seen if k not in own) + sorted(k for k in seen if k in own)
        assert found == [(key, seen[key]) for key in order]

    def size(self, open_: Open, name: str) -> None:
        found = self.ask(open_, name, lambda: [open_.tx.map(name).size()])
        open_.whole.add(name)
        assert found is None or found == [len(open_.view(name))]

    def range(self, open_: Open, name: str, first: bytes, last: bytes) -> None:
        found = self.ask(open_, name, lambda: list(open_.tx.map(name).range(first, last)))
        open_.whole.add(name)
        seen = sorted(item for item in open_.view(name).items() if first <= item[0] < last)
        assert found is None or found == seen

    def clear(self, open_: Open, name: str) -> None:
        done = self.ask(open_, name, lambda: [open_.tx.map(name).clear()])
        open_.whole.add(name)
        if done is not None:
            seen = open_.view(name)
            open_.own.setdefault(name, {}).update(dict.fromkeys(seen))

    @rule(open_=consumes(txs))
    def commit(self, open_: Open) -> None:
        own = {name: content for name, content in open_.own.items() if content}
        assert open_.tx.writes == own
        conflict = self.conflicts(open_)
        try:
            written = self.store.commit(open_.tx)
        except Conflict:
            assert conflict
            self.expect([])
            return
        except ViewChanged:
            assert not conflict
            assert own
            assert open_.commit_view != self.view
            self.expect([])
            return
        assert not conflict
        if written is None:
            assert not own
            self.expect([])
            return
        assert open_.commit_view == self.view
        assert (written.version, written.maps) == (self.seqno + 1, own)
        assert list(written.maps) == sorted(own)
        self.advance(own)

    # -- what consensus does --------------------------------------------------------------------

    @rule(
        what=st.sampled_from(["apply"] * 4 + ["compact", "rollback"]),
        written=changes,
        distance=st.integers(0, 4),
        new_view=st.sampled_from([False, False, True]),
    )
    def consensus(self, what: str, written: Changes, distance: int, new_view: bool) -> None:
        match what:
            case "apply":
                self.apply(written, new_view)
            case "compact":
                self.compact(distance)
            case _:
                self.rollback(distance, new_view)

    def apply(self, written: Changes, new_view: bool) -> None:
        if new_view:
            self.view += 1
        self.store.apply(self.seqno + 1, written, view=self.view)
        self.advance(written)

    def rollback(self, back: int, new_view: bool) -> None:
        target = max(self.committed, self.seqno - back)
        self.view += new_view
        if target < self.seqno:
            self.rollbacks += 1
            before, after = self.history[-1], self.history[target]
            for name in MAPS:
                created = name in before.data and name not in after.data
                changed = any(
                    copy.versions.get(name, 0) > target for copy in self.history[target + 1 :]
                )
                if created or changed:
                    self.map_rollbacks[name] += 1
            del self.history[target + 1 :]
            del self.written[target + 1 :]
        self.store.rollback(target, self.view)
        self.expect([])

    def compact(self, ahead: int) -> None:
        target = min(self.committed + ahead, self.seqno)
        self.store.compact(target)
        self.expect(
            [
                ("global", name, seqno, self.written[seqno][name])
                for name in sorted(MAPS)
                for seqno in range_(self.committed + 1, target)
                if self.history[seqno].versions.get(name) == seqno
            ]
        )
        self.committed = target

    @rule(ahead=st.integers(0, 4), reads=st.integers(0, 2))
    def freeze(self, ahead: int, reads: int) -> None:
        """What is about to be final is frozen, as a snapshot is; some keys are read already."""
        target = min(self.committed + ahead, self.seqno)
        frozen = self.store.freeze(target)
        then = self.history[target]
        self.compact(ahead)
        maps = frozen.maps()
        for one in maps[:reads]:
            one.keys()
        self.frozen.append((frozen, then))

    @rule(data=st.data())
    def thaw(self, data: st.DataObject) -> None:
        """A frozen state holds what was there, whatever happened since."""
        if not self.frozen:
            return
        at = data.draw(st.integers(0, len(self.frozen) - 1))
        frozen, then = self.frozen.pop(at)
        assert {m.name: m.version for m in frozen.maps()} == then.versions
        for one in frozen.maps():
            keys = one.keys()
            found = {
                key: (pair.value, pair.version)
                for key, pair in zip(keys, one.pairs(keys), strict=True)
                if pair is not None
            }
            assert found == then.data[one.name]
        self.store.thaw(frozen)

    @invariant()
    def read_at_committed(self) -> None:
        """A read-only transaction over the compacted state, checked at once."""
        tx = self.store.committed_tx()
        then = self.history[self.committed]
        assert tx.read_txid == (then.view, self.committed)
        for name in MAPS:
            handle = tx.map(name)
            expected = {key: value for key, (value, _) in then.data.get(name, {}).items()}
            assert handle.size() == len(expected)
            assert list(handle.foreach()) == sorted(expected.items())

    # -- always ---------------------------------------------------------------------------------

    @invariant()
    def same_state(self) -> None:
        store, now = self.store, self.history[-1]
        assert (store.version, store.view, store.committed) == (
            self.seqno,
            self.view,
            self.committed,
        )
        found = {
            name: {key: (pair.value, pair.version) for key, pair in state.data.items()}
            for name, state in store.maps.items()
        }
        assert found == now.data
        assert {name: store.map_version(name) for name in MAPS} == {
            name: now.versions.get(name, 0) for name in MAPS
        }

    @invariant()
    def same_committed_state(self) -> None:
        final = self.history[self.committed]
        for name in MAPS:
            for key in KEYS:
                pair = final.data.get(name, {}).get(key)
                assert self.store.read_committed(name, key) == (pair and pair[0])

    @invariant()
    def same_views(self) -> None:
        for seqno in range_(self.committed, self.seqno):
            assert self.store.view_of(seqno) == self.history[seqno].view


def range_(first: int, last: int) -> Iterator[int]:
    """first to last, both included."""
    return iter(range(first, last + 1))


StoreAgainstModel.TestCase.settings = settings(
    max_examples=200, stateful_step_count=40, deadline=None
)
test_store_against_model = StoreAgainstModel.TestCase
