from __future__ import annotations

from pyccf.kv.frozen import Frozen
from pyccf.kv.store import Store


def put(store: Store, **rows: bytes | None) -> int:
    written = store.apply(
        store.version + 1, {"m": {k.encode(): value for k, value in rows.items()}}
    )
    return written.version


def read(frozen: Frozen, name: str = "m") -> dict[bytes, tuple[bytes, int]]:
    found = next(m for m in frozen.maps() if m.name == name)
    keys = found.keys()
    pairs = zip(keys, found.pairs(keys), strict=True)
    return {k: (pair.value, pair.version) for k, pair in pairs if pair is not None}


def test_it_holds_what_was_there_whatever_comes() -> None:
    store = Store(view=1)
    put(store, a=b"1", b=b"1", gone=b"1")
    at = put(store, b=b"2", gone=None)
    frozen = store.freeze(at)
    expected = {b"a": (b"1", 1), b"b": (b"2", 2)}
    assert read(frozen) == expected
    put(store, a=b"3", c=b"3")
    assert read(frozen) == expected
    put(store, a=None, b=None, gone=b"again")
    store.compact(store.version)
    assert read(frozen) == expected
    put(store, a=b"9")
    store.rollback(store.committed, 2)
    put(store, b=b"other")
    store.compact(store.version)
    assert read(frozen) == expected


def test_what_is_not_compacted_yet_can_be_frozen() -> None:
    store = Store(view=1)
    put(store, a=b"1")
    put(store, a=b"2", b=b"2")
    put(store, b=None, c=b"3")
    assert read(store.freeze(1)) == {b"a": (b"1", 1)}
    assert read(store.freeze(2)) == {b"a": (b"2", 2), b"b": (b"2", 2)}


def test_versions_of_maps_and_maps_that_came_later() -> None:
    store = Store(view=1)
    store.apply(1, {"m": {b"k": b"1"}, "empty": {b"k": None}})
    store.apply(2, {"other": {b"k": b"1"}})
    frozen = store.freeze(2)
    store.apply(3, {"m": {b"k": b"2"}, "late": {b"k": b"2"}})
    store.compact(3)
    assert [(m.name, m.version) for m in frozen.maps()] == [("empty", 0), ("m", 1), ("other", 2)]


def test_reading_in_parts_while_the_map_changes() -> None:
    store = Store(view=1)
    store.apply(1, {"m": {b"%d" % i: b"old" for i in range(10)}})
    frozen = store.freeze(1)
    one = frozen.maps()[0]
    keys = one.keys()
    seen = one.pairs(keys[:5])
    store.apply(2, {"m": {b"%d" % i: None if i % 2 else b"new" for i in range(12)}})
    store.compact(2)
    seen += one.pairs(keys[5:])
    assert [pair.value for pair in seen if pair is not None] == [b"old"] * 10


def test_a_thawed_state_is_not_kept() -> None:
    store = Store(view=1)
    put(store, a=b"1")
    frozen = store.freeze(1)
    store.thaw(frozen)
    put(store, a=b"2")
    store.compact(2)
    assert store._frozen == []
