from __future__ import annotations

from itertools import islice

import pytest

from pyccf.errors import Conflict, LocalError
from pyccf.kv.store import Store
from pyccf.kv.tx import Tx
from pyccf.types import TxID

VIEW = 2


@pytest.fixture
def store() -> Store:
    """Map m: a, b, c written at 1, 2, 3 with that number as value."""
    store = Store(view=VIEW)
    for seqno, key in enumerate((b"a", b"b", b"c"), 1):
        store.apply(seqno, {"m": {key: str(seqno).encode()}})
    return store


def test_one_handle_per_map(store: Store) -> None:
    tx = store.tx()
    assert tx.map("m") is tx.map("m")
    assert tx.map("m") is not tx.map("n")


def test_the_first_handle_fixes_what_is_read(store: Store) -> None:
    tx = store.tx()
    store.apply(4, {"m": {b"a": b"4"}})
    assert tx.read_txid is None
    assert tx.map("n").get(b"a") is None
    assert tx.read_txid == TxID(VIEW, 4)
    store.apply(5, {"m": {b"a": b"5"}})
    assert tx.map("m").get(b"a") == b"4"
    assert tx.read_txid == TxID(VIEW, 4)


def test_own_writes_are_visible_and_others_see_them_after_commit(store: Store) -> None:
    tx, other = store.tx(), store.tx()
    handle = tx.map("m")
    handle.set(b"a", b"new")
    handle.delete(b"b")
    handle.set(b"d", b"")
    assert [handle.get(key) for key in (b"a", b"b", b"c", b"d")] == [b"new", None, b"3", b""]
    assert [handle.has(key) for key in (b"a", b"b", b"c", b"d")] == [True, False, True, True]
    assert other.map("m").get(b"a") == b"1"
    assert tx.writes == {"m": {b"a": b"new", b"b": None, b"d": b""}}
    store.commit(tx)
    assert other.map("m").get(b"a") == b"1"
    assert store.tx().map("m").get(b"a") == b"new"


def test_empty_keys_and_values(store: Store) -> None:
    tx = store.tx()
    tx.map("m").set(b"", b"")
    store.commit(tx)
    handle = store.tx().map("m")
    assert handle.get(b"") == b""
    assert handle.has(b"")
    assert handle.previous_version(b"") == 4


def test_last_operation_per_key_wins(store: Store) -> None:
    tx = store.tx()
    handle = tx.map("m")
    handle.set(b"x", b"1")
    handle.delete(b"x")
    handle.delete(b"a")
    handle.set(b"a", b"2")
    assert tx.writes == {"m": {b"x": None, b"a": b"2"}}


def test_previous_version_ignores_own_writes(store: Store) -> None:
    handle = store.tx().map("m")
    handle.set(b"b", b"x")
    handle.delete(b"c")
    handle.set(b"new", b"x")
    assert [handle.previous_version(key) for key in (b"a", b"b", b"c", b"new")] == [1, 2, 3, None]


def test_foreach_committed_keys_ascending_then_own_writes_ascending(store: Store) -> None:
    handle = store.tx().map("m")
    handle.set(b"z", b"own")
    handle.set(b"b", b"own")
    handle.set(b"0", b"own")
    handle.delete(b"c")
    assert list(handle.foreach()) == [(b"a", b"1"), (b"0", b"own"), (b"b", b"own"), (b"z", b"own")]


def test_foreach_is_bytewise() -> None:
    store = Store(view=VIEW)
    keys = [b"\xff", b"", b"a", b"a\0", b"\x7f", b"\x80", b"B"]
    store.apply(1, {"m": dict.fromkeys(keys, b"")})
    assert [key for key, _ in store.tx().map("m").foreach()] == sorted(keys)


def test_writing_while_iterating(store: Store) -> None:
    """Removals do not disturb the iteration, additions are not visited."""
    handle = store.tx().map("m")
    handle.set(b"own", b"o")
    seen = []
    for key, value in handle.foreach():
        seen.append((key, value))
        handle.delete(b"c")
        handle.delete(b"own")
        handle.set(b"zz" + key, b"")
    assert seen == [(b"a", b"1"), (b"b", b"2"), (b"c", b"3"), (b"own", b"o")]
    assert handle.size() == 6


def test_iteration_survives_commits_of_others(store: Store) -> None:
    walk = store.tx().map("m").foreach()
    assert next(walk) == (b"a", b"1")
    store.apply(4, {"m": {b"b": b"new", b"c": None, b"bb": b"new"}})
    assert list(store.tx().map("m").foreach()) == [(b"a", b"1"), (b"b", b"new"), (b"bb", b"new")]
    assert list(walk) == [(b"b", b"2"), (b"c", b"3")]


def test_early_exit_leaves_nothing_behind(store: Store) -> None:
    handle = store.tx().map("m")
    assert list(islice(handle.foreach(), 1)) == [(b"a", b"1")]
    assert len(list(handle.foreach())) == 3


def test_size_counts_own_writes(store: Store) -> None:
    handle = store.tx().map("m")
    assert handle.size() == 3
    handle.set(b"a", b"again")
    handle.set(b"new", b"")
    handle.delete(b"b")
    handle.delete(b"absent")
    assert handle.size() == 3
    handle.delete(b"new")
    assert handle.size() == 2


def test_clear_removes_what_is_visible(store: Store) -> None:
    tx = store.tx()
    handle = tx.map("m")
    handle.set(b"own", b"1")
    handle.delete(b"a")
    handle.clear()
    assert handle.size() == 0
    assert list(handle.foreach()) == []
    assert tx.writes == {"m": {b"own": None, b"a": None, b"b": None, b"c": None}}


def test_clearing_nothing_writes_nothing(store: Store) -> None:
    tx = store.tx()
    tx.map("absent").clear()
    assert tx.writes == {}
    assert store.commit(tx) is None


def test_range_is_half_open_and_merges_own_writes(store: Store) -> None:
    handle = store.tx().map("m")
    assert list(handle.range(b"a", b"c")) == [(b"a", b"1"), (b"b", b"2")]
    assert list(handle.range(b"c", b"a")) == []
    assert list(handle.range(b"b", b"b")) == []
    handle.set(b"aa", b"own")
    handle.set(b"c", b"own")
    handle.delete(b"b")
    assert list(handle.range(b"", b"\xff")) == [(b"a", b"1"), (b"aa", b"own"), (b"c", b"own")]


def test_state_behind_the_latest(store: Store) -> None:
    """Everything a handle can tell, after other transactions moved on."""
    tx = store.tx()
    early = tx.map("m")
    store.apply(4, {"m": {b"a": b"4", b"b": None, b"d": b"4"}})
    store.apply(5, {"m": {b"a": None, b"d": None, b"e": b"5"}, "n": {b"x": b"5"}})
    assert tx.map("n").found is None
    assert list(early.foreach()) == [(b"a", b"1"), (b"b", b"2"), (b"c", b"3")]
    assert early.size() == 3
    assert [early.get(key) for key in (b"a", b"b", b"c", b"d", b"e")] == [
        b"1", b"2", b"3", None, None,
    ]  # fmt: skip
    assert early.previous_version(b"a") == 1
    assert list(early.range(b"b", b"z")) == [(b"b", b"2"), (b"c", b"3")]
    early.set(b"d", b"own")
    early.delete(b"a")
    assert early.size() == 3
    assert list(early.foreach()) == [(b"b", b"2"), (b"c", b"3"), (b"d", b"own")]
    assert list(early.range(b"", b"z")) == [(b"b", b"2"), (b"c", b"3"), (b"d", b"own")]


def test_handle_taken_late_starts_from_the_version_read(store: Store) -> None:
    tx = store.tx()
    tx.map("out").set(b"k", b"v")
    store.apply(4, {"m": {b"a": b"4"}})
    late = tx.map("m")
    assert late.start == 3
    assert late.get(b"a") == b"1"
    with pytest.raises(Conflict):
        store.commit(tx)


def test_reading_a_state_that_was_rolled_back(store: Store) -> None:
    tx = store.tx()
    handle = tx.map("m")
    handle.set(b"own", b"1")
    store.rollback(2, VIEW)
    assert handle.get(b"own") == b"1"
    for read in (
        lambda: handle.get(b"a"),
        lambda: handle.previous_version(b"a"),
        handle.foreach,
        handle.size,
        handle.clear,
        lambda: handle.range(b"a", b"b"),
        lambda: tx.map("n"),
    ):
        with pytest.raises(Conflict, match="rolled back"):
            read()


def test_get_committed(store: Store) -> None:
    handle = store.tx().map("m")
    assert handle.get_committed(b"a") is None
    store.compact(1)
    store.apply(4, {"m": {b"a": b"4"}})
    handle.set(b"a", b"own")
    assert handle.get_committed(b"a") == b"1"
    assert handle.get_committed(b"b") is None


@pytest.mark.parametrize("bad", ["text", bytearray(b"k"), memoryview(b"k"), 1, None])
def test_only_bytes_can_be_written(store: Store, bad: object) -> None:
    tx = store.tx()
    handle = tx.map("m")
    with pytest.raises((LocalError, TypeError), match="bytes"):
        handle.set(bad, b"v")  # type: ignore[arg-type]
    with pytest.raises((LocalError, TypeError), match="bytes"):
        handle.set(b"k", bad)  # type: ignore[arg-type]
    with pytest.raises((LocalError, TypeError), match="bytes"):
        handle.delete(bad)  # type: ignore[arg-type]
    assert tx.writes == {}


def test_map_names_are_unicode_text(store: Store) -> None:
    with pytest.raises(LocalError, match="Unicode"):
        store.tx().map("\ud800")
    store.tx().map("").set(b"k", b"v")
    store.tx().map("ä\0 😀").set(b"k", b"v")


def test_read_only_transaction(store: Store) -> None:
    tx = store.tx(read_only=True)
    handle = tx.map("m")
    assert handle.get(b"a") == b"1"
    for write in (lambda: handle.set(b"a", b"2"), lambda: handle.delete(b"a"), handle.clear):
        with pytest.raises(LocalError, match="read-only"):
            write()
    assert store.commit(tx) is None


def test_over_given_maps() -> None:
    tx = Tx.over({"m": {b"b": b"2", b"a": b"1", b"gone": None}, "n": {}}, 17, 3)
    assert tx.read_txid == TxID(3, 17)
    handle = tx.map("m")
    assert list(handle.foreach()) == [(b"a", b"1"), (b"b", b"2")]
    assert handle.size() == 2
    assert handle.previous_version(b"a") == 17
    assert handle.get(b"gone") is None
    assert tx.map("n").size() == 0
    assert tx.map("absent").get(b"a") is None
    with pytest.raises(LocalError, match="read-only"):
        handle.set(b"a", b"2")


def test_version_of_a_map_is_that_of_the_state_read() -> None:
    store = Store(view=2)

    def write(name: str) -> None:
        tx = store.tx()
        tx.map(name).set(b"k", b"v")
        store.commit(tx)

    write("a")
    reading = store.tx()
    assert reading.version_of("a") == 1
    assert reading.version_of("never") == 0
    assert reading.read_txid == TxID(2, 1)
    write("a")
    assert reading.version_of("a") == 1
    assert store.tx().version_of("a") == 2


def test_a_closed_transaction_holds_nothing() -> None:
    store = Store(view=2)
    tx = store.tx()
    handle = tx.map("a")
    tx.close()
    assert tx.map("a") is not handle
    assert handle.get(b"k") is None
