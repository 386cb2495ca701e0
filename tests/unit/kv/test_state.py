from __future__ import annotations

import gc
from random import Random

import pytest

from pyccf.kv.pairs import Pair, Undo
from pyccf.kv.state import ADDED_MAX, INSERT_SINGLY_MAX, MapState
from pyccf.kv.store import Store


def keys(store: Store) -> list[bytes]:
    return [key for key, _ in store.tx().map("m").foreach()]


@pytest.mark.parametrize("step", [1, INSERT_SINGLY_MAX, 3 * INSERT_SINGLY_MAX])
def test_iteration_stays_sorted_while_keys_come_and_go(step: int) -> None:
    """The kept order agrees with sorting anew, through additions, removals and roll-backs."""
    random = Random(step)
    store = Store(view=2)
    store.apply(1, {"m": {bytes([i]): b"" for i in range(256)}})
    store.compact(1)
    assert keys(store) == sorted(store.maps["m"].data)
    for _ in range(60):
        for _ in range(step):
            key = random.randbytes(2)
            there = key in store.maps["m"].data
            removed = random.choice(sorted(store.maps["m"].data)) if there else None
            value = None if removed else b"v"
            store.apply(store.version + 1, {"m": {removed or key: value}})
        if random.random() < 0.3:
            store.rollback(max(store.committed, store.version - 2 * step), 2)
        assert keys(store) == sorted(store.maps["m"].data)
        if random.random() < 0.2:
            store.compact(store.version)


def test_order_kept_is_reused_and_not_changed_in_place() -> None:
    store = Store(view=2)
    store.apply(1, {"m": {b"b": b"", b"d": b""}})
    first = store.maps["m"].sorted_keys()
    assert store.maps["m"].sorted_keys() is first
    store.apply(2, {"m": {b"b": b"again"}})
    assert store.maps["m"].sorted_keys() is first
    store.apply(3, {"m": {b"c": b""}})
    assert store.maps["m"].sorted_keys() == [b"b", b"c", b"d"]
    assert first == [b"b", b"d"]


def test_order_is_given_up_when_nobody_iterates_any_more() -> None:
    state = MapState("m", 1)
    state.sorted_keys()
    for n in range(ADDED_MAX + 1):
        assert state.order is not None
        state.note_new_key(n.to_bytes(4, "big"))
    assert state.order is None
    assert state.added == []


def test_removed_keys_do_not_pile_up_in_the_order() -> None:
    store = Store(view=2)
    store.apply(1, {"m": {n.to_bytes(2, "big"): b"" for n in range(1000)}})
    assert len(store.maps["m"].sorted_keys()) == 1000
    store.apply(2, {"m": {n.to_bytes(2, "big"): None for n in range(990)}})
    assert len(store.maps["m"].sorted_keys()) == 10


def test_content_is_unknown_to_the_garbage_collector() -> None:
    """Else every full collection would take longer with every key."""
    store = Store(view=2)
    store.apply(1, {"m": {b"k": b"v"}})
    store.apply(2, {"m": {b"k": b"w"}})
    assert not gc.is_tracked(store.maps["m"].data)
    assert not any(gc.is_tracked(undo) for undo in store.undo)


def test_reprs_show_no_content() -> None:
    undo = Undo(3, MapState("salaries", 1), 2, b"alice", Pair(b"1000000", 2))
    assert repr(undo) == "Undo(seqno=3, map=salaries)"
    assert repr(undo.pair) == "Pair(7 bytes, version=2)"


def test_pairs_are_equal_only_to_themselves() -> None:
    """Conflicts are told by identity: writing the same value again is a change."""
    assert Pair(b"v", 1) != Pair(b"v", 1)
