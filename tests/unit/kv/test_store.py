from __future__ import annotations

import pytest

from pyccf.errors import CompactedVersion, Conflict, LocalError
from pyccf.kv.changes import Changes, MapChanges, WriteSet
from pyccf.kv.content import MapContent
from pyccf.kv.pairs import Pair
from pyccf.kv.store import Store, ViewChanged
from pyccf.types import SeqNo, TxID

VIEW = 2


def put(store: Store, name: str, **pairs: str | None) -> WriteSet:
    """Commit one transaction that writes (or, for None, removes) these keys."""
    tx = store.tx()
    handle = tx.map(name)
    for key, value in pairs.items():
        if value is None:
            handle.delete(key.encode())
        else:
            handle.set(key.encode(), value.encode())
    written = store.commit(tx)
    assert written is not None
    return written


def content(store: Store, name: str) -> dict[bytes, bytes]:
    return dict(store.tx().map(name).foreach())


# -- commit ---------------------------------------------------------------------------------------


def test_versions_count_up_from_one() -> None:
    store = Store(view=VIEW)
    assert (store.version, store.committed, store.view) == (0, 0, VIEW)
    assert put(store, "m", a="1") == WriteSet(1, {"m": {b"a": b"1"}})
    assert put(store, "m", a=None) == WriteSet(2, {"m": {b"a": None}})
    assert store.version == 2


def test_nothing_written_takes_no_version() -> None:
    store = Store(view=VIEW)
    assert store.commit(store.tx()) is None
    tx = store.tx()
    assert tx.map("m").get(b"a") is None
    assert store.commit(tx) is None
    assert store.version == 0
    assert "m" not in store.maps


def test_write_set_has_maps_in_order_and_only_written_ones() -> None:
    store = Store(view=VIEW)
    tx = store.tx()
    tx.map("read").get(b"k")
    for name in ("public:z", "b", "public:a"):
        tx.map(name).set(b"k", b"v")
    written = store.commit(tx)
    assert written is not None
    assert list(written.maps) == ["b", "public:a", "public:z"]


def test_removing_an_absent_key_takes_a_version_but_changes_no_map() -> None:
    store = Store(view=VIEW)
    put(store, "m", a="1")
    assert put(store, "m", b=None) == WriteSet(2, {"m": {b"b": None}})
    assert store.version == 2
    assert store.map_version("m") == 1
    assert put(store, "n", b=None).version == 3
    assert store.map_version("n") == 0
    assert "n" in store.maps


def test_emptied_map_stays() -> None:
    store = Store(view=VIEW)
    put(store, "m", a="1")
    put(store, "m", a=None)
    assert "m" in store.maps
    assert store.map_version("m") == 2
    assert store.map_version("never") == 0


def test_writes_of_a_finished_transaction_cannot_grow() -> None:
    store = Store(view=VIEW)
    tx = store.tx()
    handle = tx.map("m")
    handle.set(b"a", b"1")
    written = store.commit(tx)
    with pytest.raises(LocalError, match="over"):
        handle.set(b"b", b"2")
    with pytest.raises(LocalError, match="over"):
        handle.delete(b"b")
    assert written == WriteSet(1, {"m": {b"a": b"1"}})


# -- conflicts, kv-and-tables.md §3 rules 1-4 ----------------------------------------------------


def test_rule_1_rolled_back_map_conflicts_even_when_only_read() -> None:
    store = Store(view=VIEW)
    put(store, "m", a="1")
    put(store, "other", a="1")
    put(store, "m", a="2")
    tx = store.tx()
    tx.map("m")
    tx.map("other").set(b"k", b"v")
    store.rollback(2, VIEW)
    with pytest.raises(Conflict, match="rolled back"):
        store.commit(tx)


def test_rule_1_other_maps_do_not_conflict() -> None:
    store = Store(view=VIEW)
    put(store, "m", a="1")
    put(store, "other", a="1")
    tx = store.tx()
    handle = tx.map("m")
    assert handle.get(b"a") == b"1"
    handle.set(b"a", b"2")
    store.rollback(1, VIEW)
    assert store.commit(tx) == WriteSet(2, {"m": {b"a": b"2"}})


def test_rule_1_map_that_disappeared() -> None:
    store = Store(view=VIEW)
    put(store, "m", a="1")
    tx = store.tx()
    tx.map("m").set(b"a", b"2")
    store.rollback(0, VIEW)
    assert store.maps == {}
    with pytest.raises(Conflict):
        store.commit(tx)
    put(store, "m", a="1")
    with pytest.raises(Conflict):
        store.commit(tx)


def test_rule_1_map_that_never_held_anything_disappeared() -> None:
    store = Store(view=VIEW)
    put(store, "m", absent=None)
    tx = store.tx()
    tx.map("m").set(b"a", b"1")
    store.rollback(0, VIEW)
    with pytest.raises(Conflict, match="rolled back"):
        store.commit(tx)


def test_rule_1_same_seqno_again_is_not_the_same_state() -> None:
    store = Store(view=VIEW)
    put(store, "m", a="1")
    put(store, "m", a="2")
    tx = store.tx()
    handle = tx.map("m")
    assert handle.get(b"a") == b"2"
    handle.set(b"b", b"seen 2")
    store.rollback(1, VIEW)
    put(store, "m", a="3")
    assert store.version == tx.version
    with pytest.raises(Conflict):
        store.commit(tx)


def test_rolling_back_nothing_conflicts_with_nothing() -> None:
    store = Store(view=VIEW)
    put(store, "m", a="1")
    tx = store.tx()
    tx.map("m").set(b"a", b"2")
    store.rollback(1, VIEW)
    store.rollback(9, VIEW)
    assert store.commit(tx) is not None


@pytest.mark.parametrize("read", ["foreach", "size", "clear", "range"])
def test_rule_2_whole_map(read: str) -> None:
    store = Store(view=VIEW)
    put(store, "m", a="1")
    tx = store.tx()
    handle = tx.map("m")
    match read:
        case "foreach":
            handle.foreach()
        case "size":
            assert handle.size() == 1
        case "clear":
            handle.clear()
        case _:
            handle.range(b"x", b"y")
    tx.map("out").set(b"k", b"v")
    put(store, "m", b="2")
    with pytest.raises(Conflict, match="changed"):
        store.commit(tx)


def test_rule_2_quirk_of_version_zero() -> None:
    """Iterating a map nothing ever changed is no dependency."""
    store = Store(view=VIEW)
    put(store, "m", absent=None)
    tx = store.tx()
    assert tx.map("m").size() == 0
    tx.map("out").set(b"k", b"v")
    put(store, "m", a="1")
    assert store.commit(tx) is not None


def test_rule_2_absent_removals_do_not_count() -> None:
    store = Store(view=VIEW)
    put(store, "m", a="1")
    tx = store.tx()
    assert tx.map("m").size() == 1
    tx.map("out").set(b"k", b"v")
    put(store, "m", absent=None)
    assert store.commit(tx) is not None


@pytest.mark.parametrize(
    ("key", "change"), [("a", {"a": "2"}), ("a", {"a": "1"}), ("a", {"a": None}), ("b", {"b": "1"})]
)
@pytest.mark.parametrize("how", ["get", "has", "previous_version"])
def test_rule_3_read_key(how: str, key: str, change: dict[str, str | None]) -> None:
    """Written (also the same value), removed, or created since it was read."""
    store = Store(view=VIEW)
    put(store, "m", a="1")
    tx = store.tx()
    getattr(tx.map("m"), how)(key.encode())
    tx.map("m").set(b"out", b"v")
    put(store, "m", **change)
    with pytest.raises(Conflict, match="key read"):
        store.commit(tx)


def test_rule_3_removed_and_put_back() -> None:
    store = Store(view=VIEW)
    put(store, "m", a="1")
    tx = store.tx()
    assert tx.map("m").get(b"a") == b"1"
    tx.map("m").set(b"out", b"v")
    put(store, "m", a=None)
    put(store, "m", a="1")
    with pytest.raises(Conflict):
        store.commit(tx)


def test_rule_3_created_and_removed_again_is_as_before() -> None:
    store = Store(view=VIEW)
    put(store, "m", a="1")
    tx = store.tx()
    assert tx.map("m").get(b"b") is None
    tx.map("m").set(b"out", b"v")
    put(store, "m", b="1")
    put(store, "m", b=None)
    assert store.commit(tx) is not None


def test_what_records_nothing() -> None:
    store = Store(view=VIEW)
    put(store, "m", a="1", b="1", c="1")
    store.compact(1)
    tx = store.tx()
    handle = tx.map("m")
    handle.set(b"a", b"2")
    assert handle.get(b"a") == b"2"
    assert handle.has(b"a")
    handle.delete(b"b")
    assert not handle.has(b"b")
    assert handle.get_committed(b"c") == b"1"
    put(store, "m", a="9", b="9", c="9")
    assert store.commit(tx) == WriteSet(3, {"m": {b"a": b"2", b"b": None}})


def test_previous_version_of_an_own_write_is_a_dependency() -> None:
    store = Store(view=VIEW)
    put(store, "m", a="1")
    tx = store.tx()
    handle = tx.map("m")
    handle.set(b"a", b"2")
    assert handle.previous_version(b"a") == 1
    put(store, "m", a="9")
    with pytest.raises(Conflict):
        store.commit(tx)


@pytest.mark.parametrize("write", [True, False])
def test_rule_4_map_created_meanwhile(write: bool) -> None:
    store = Store(view=VIEW)
    put(store, "m", a="1")
    tx = store.tx()
    tx.map("new")
    if write:
        tx.map("m").set(b"k", b"v")
    put(store, "new", x="1")
    with pytest.raises(Conflict, match="created"):
        store.commit(tx)


def test_rule_4_handle_taken_after_the_map_was_created() -> None:
    store = Store(view=VIEW)
    put(store, "m", a="1")
    tx = store.tx()
    tx.map("m")
    put(store, "new", x="1")
    late = tx.map("new")
    assert late.get(b"x") is None
    assert late.size() == 0
    assert list(late.foreach()) == []
    with pytest.raises(Conflict):
        store.commit(tx)


def test_reading_only_never_conflicts_otherwise() -> None:
    store = Store(view=VIEW)
    put(store, "m", a="1")
    tx = store.tx()
    assert tx.map("m").get(b"a") == b"1"
    assert tx.map("m").size() == 1
    put(store, "m", a="2", b="2")
    assert store.commit(tx) is None
    store.rollback(0, VIEW)
    assert store.commit(tx) is None


def test_refused_transaction_changes_nothing() -> None:
    store = Store(view=VIEW)
    put(store, "m", a="1")
    seen: list[SeqNo] = []
    store.on_write("m", lambda version, _: seen.append(version))
    tx = store.tx()
    handle = tx.map("m")
    handle.get(b"a")
    handle.set(b"a", b"3")
    put(store, "m", a="2")
    with pytest.raises(Conflict):
        store.commit(tx)
    assert store.version == 2
    assert content(store, "m") == {b"a": b"2"}
    assert seen == [2]


# -- views ----------------------------------------------------------------------------------------


def test_view_changed_meanwhile() -> None:
    store = Store(view=VIEW)
    put(store, "m", a="1")
    tx = store.tx()
    tx.map("m").set(b"a", b"2")
    reading = store.tx()
    reading.map("m")
    store.rollback(1, VIEW + 1)
    with pytest.raises(ViewChanged) as refused:
        store.commit(tx)
    assert refused.value.code == "TransactionReplicationFailed"
    assert store.version == 1
    assert store.commit(reading) is None


def test_read_txid_names_the_view_of_the_last_version() -> None:
    store = Store(view=VIEW)
    assert store.tx().read_txid is None
    put(store, "m", a="1")
    store.rollback(1, 5)
    tx = store.tx()
    tx.map("m")
    assert tx.read_txid == TxID(VIEW, 1)
    assert tx.commit_view == 5
    put(store, "m", a="2")
    put(store, "m", a="3")
    store.rollback(2, 6)
    put(store, "m", a="4")
    assert [store.view_of(seqno) for seqno in range(4)] == [2, 2, 5, 6]
    store.compact(2)
    assert [store.view_of(seqno) for seqno in (2, 3)] == [5, 6]
    store.rollback(2, 9)
    tx = store.tx()
    tx.map("m")
    assert tx.read_txid == TxID(5, 2)


# -- apply ----------------------------------------------------------------------------------------


def test_apply_gives_the_same_store_as_commit() -> None:
    primary, backup = Store(view=VIEW), Store(view=VIEW)
    for pairs in ({"a": "1", "b": "1"}, {"a": None, "c": "3"}, {"absent": None}):
        written = put(primary, "m", **pairs)
        assert backup.apply(written.version, written.maps) == written
    assert content(backup, "m") == content(primary, "m")
    assert backup.map_version("m") == primary.map_version("m") == 2


def test_apply_takes_the_view_over() -> None:
    store = Store(view=VIEW)
    store.apply(1, {"m": {b"a": b"1"}}, view=4)
    assert store.view == 4
    tx = store.tx()
    tx.map("m")
    assert tx.read_txid == TxID(4, 1)


def test_apply_of_a_transaction_without_visible_changes() -> None:
    """When only the public part of an entry is known, there may be none."""
    store = Store(view=VIEW)
    store.apply(1, {})
    assert store.version == 1
    assert put(store, "m", a="1").version == 2


@pytest.mark.parametrize("seqno", [0, 1, 3])
def test_apply_out_of_order(seqno: SeqNo) -> None:
    store = Store(view=VIEW)
    store.apply(1, {"m": {b"a": b"1"}})
    with pytest.raises(LocalError, match="cannot apply"):
        store.apply(seqno, {"m": {b"a": b"2"}})
    assert content(store, "m") == {b"a": b"1"}


# -- roll-back and compaction ---------------------------------------------------------------------


def test_rollback_restores_everything() -> None:
    store = Store(view=VIEW)
    put(store, "m", a="1", b="1")
    put(store, "m", a="2", b=None, c="2")
    put(store, "n", x="1")
    put(store, "m", a=None)
    store.rollback(1, VIEW + 1)
    assert (store.version, store.view) == (1, VIEW + 1)
    assert content(store, "m") == {b"a": b"1", b"b": b"1"}
    assert store.map_version("m") == 1
    assert list(store.maps) == ["m"]
    assert store.tx().map("m").previous_version(b"a") == 1
    assert put(store, "n", x="2").version == 2


def test_rollback_below_the_compacted_seqno() -> None:
    store = Store(view=VIEW)
    put(store, "m", a="1")
    put(store, "m", a="2")
    store.compact(2)
    with pytest.raises(LocalError, match="roll back"):
        store.rollback(1, VIEW)
    store.rollback(2, VIEW + 1)
    assert content(store, "m") == {b"a": b"2"}


def test_compact_beyond_the_end() -> None:
    store = Store(view=VIEW)
    with pytest.raises(LocalError, match="compact"):
        store.compact(1)


def test_compact_again_or_backwards_is_nothing() -> None:
    store = Store(view=VIEW)
    put(store, "m", a="1")
    put(store, "m", a="2")
    store.compact(2)
    store.compact(1)
    assert store.committed == 2


def test_compaction_leaves_no_undo_behind() -> None:
    store = Store(view=VIEW)
    for n in range(100):
        put(store, f"m{n % 7}", a=str(n))
        if n % 10 == 9:
            store.rollback(store.version, VIEW + n)
    store.compact(60)
    assert all(undo.seqno > 60 for undo in store.undo)
    assert len(store.undo) == 40
    store.compact(100)
    assert store.undo == []
    assert store.created == []
    assert len(store.views) == 1


def test_committed_state() -> None:
    store = Store(view=VIEW)
    assert store.read_committed("m", b"a") is None
    put(store, "m", a="1", b="1")
    assert store.read_committed("m", b"a") is None
    store.compact(1)
    assert store.read_committed("m", b"a") == b"1"
    put(store, "m", a="2", b=None, c="2")
    put(store, "n", x="2")
    assert store.read_committed("m", b"a") == b"1"
    assert store.read_committed("m", b"b") == b"1"
    assert store.read_committed("m", b"c") is None
    assert store.read_committed("n", b"x") is None
    put(store, "m", c="3")
    assert store.read_committed("m", b"c") is None
    tx = store.committed_tx()
    assert list(tx.map("m").foreach()) == [(b"a", b"1"), (b"b", b"1")]
    assert tx.map("m").size() == 2
    assert tx.read_txid == TxID(VIEW, 1)
    store.rollback(1, VIEW)
    put(store, "m", a="4")
    assert store.read_committed("m", b"a") == b"1"
    store.compact(2)
    assert store.read_committed("m", b"a") == b"4"


def test_committed_transaction_cannot_write() -> None:
    with pytest.raises(LocalError, match="read-only"):
        Store(view=VIEW).committed_tx().map("m").set(b"a", b"1")


def test_compacted_under_a_transaction() -> None:
    store = Store(view=VIEW)
    put(store, "old", a="1")
    put(store, "m", a="1")
    tx = store.tx()
    handle = tx.map("m")
    put(store, "m", a="2")
    put(store, "m", a="3")
    assert handle.get(b"a") == b"1"
    store.compact(3)
    with pytest.raises(CompactedVersion):
        handle.get(b"a")
    late = store.tx()
    late.map("old")
    store.compact(4)
    assert tx.map("old").get(b"a") == b"1"
    assert late.map("m").get(b"a") == b"3"
    # What was read before still decides, compacted or not.
    handle.set(b"b", b"1")
    with pytest.raises(Conflict):
        store.commit(tx)


def test_handle_on_a_compacted_map_is_refused_when_taken() -> None:
    store = Store(view=VIEW)
    put(store, "m", a="1")
    tx = store.tx()
    tx.map("other")
    put(store, "m", a="2")
    store.compact(2)
    with pytest.raises(CompactedVersion):
        tx.map("m")


# -- hooks ----------------------------------------------------------------------------------------


class Log:
    """Remembers calls of hooks as (name, seqno, changes)."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, SeqNo, MapChanges]] = []

    def hook(self, name: str):  # type: ignore[no-untyped-def]
        return lambda version, changes: self.calls.append((name, version, dict(changes)))

    def take(self) -> list[tuple[str, SeqNo, MapChanges]]:
        calls, self.calls = self.calls, []
        return calls


def test_local_hooks_run_in_name_order_after_everything_is_applied() -> None:
    store = Store(view=VIEW)
    log = Log()
    for name in ("b", "a", "unwritten"):
        store.on_write(name, log.hook(name))
    seen: list[bytes | None] = []
    store.on_write("a", lambda version, changes: seen.append(store.tx().map("b").get(b"k")))
    tx = store.tx()
    tx.map("unwritten").get(b"k")
    tx.map("b").set(b"k", b"1")
    tx.map("a").set(b"k", b"2")
    tx.map("a").delete(b"gone")
    store.commit(tx)
    changed: MapChanges = {b"k": b"2", b"gone": None}
    assert log.take() == [("a", 1, changed), ("b", 1, {b"k": b"1"})]
    assert seen == [b"1"]
    backup: Changes = {"b": {b"k": None}, "a": {b"k": None}}
    store.apply(2, backup)
    assert log.take() == [("a", 2, {b"k": None}), ("b", 2, {b"k": None})]


def test_local_hook_sees_removal_of_an_absent_key() -> None:
    store = Store(view=VIEW)
    log = Log()
    store.on_write("m", log.hook("m"))
    put(store, "m", absent=None)
    assert log.take() == [("m", 1, {b"absent": None})]


def test_global_hooks_report_on_compaction_each_change_once() -> None:
    store = Store(view=VIEW)
    log = Log()
    for name in ("b", "a"):
        store.on_commit(name, log.hook(name))
    put(store, "b", k="1")
    put(store, "a", k="2")
    put(store, "a", k="3")
    put(store, "other", k="4")
    put(store, "a", absent=None)
    put(store, "b", k=None)
    assert log.take() == []
    store.compact(4)
    assert log.take() == [("a", 2, {b"k": b"2"}), ("a", 3, {b"k": b"3"}), ("b", 1, {b"k": b"1"})]
    store.compact(4)
    assert log.take() == []
    store.compact(6)
    assert log.take() == [("b", 6, {b"k": None})]


def test_rolled_back_changes_are_never_reported() -> None:
    store = Store(view=VIEW)
    log = Log()
    store.on_commit("m", log.hook("m"))
    put(store, "m", k="1")
    put(store, "m", k="2")
    store.rollback(1, VIEW + 1)
    put(store, "m", k="3")
    store.compact(2)
    assert log.take() == [("m", 1, {b"k": b"1"}), ("m", 2, {b"k": b"3"})]


def test_hooks_outlive_their_map() -> None:
    store = Store(view=VIEW)
    log = Log()
    store.on_write("m", log.hook("m"))
    put(store, "m", k="1")
    store.rollback(0, VIEW)
    put(store, "m", k="2")
    assert [version for _, version, _ in log.take()] == [1, 1]


def test_global_hook_may_read_the_committed_state() -> None:
    store = Store(view=VIEW)
    seen: list[bytes | None] = []
    store.on_commit("m", lambda version, changes: seen.append(store.read_committed("m", b"k")))
    put(store, "m", k="1")
    put(store, "m", k="2")
    put(store, "m", k="3")
    store.compact(2)
    assert seen == [b"2", b"2"]


# -- beginning anew -------------------------------------------------------------------------------


def test_what_is_final_is_forgotten_for_a_snapshot() -> None:
    store = Store(view=VIEW)
    told: list[tuple[SeqNo, MapChanges]] = []
    store.on_write("m", lambda seqno, changes: told.append((seqno, changes)))
    put(store, "m", a="1")
    put(store, "gone", a="1")
    store.compact(2)
    store.forget()
    assert (store.version, store.committed, dict(store.maps)) == (0, 0, {})
    assert store.read_committed("m", b"a") is None
    told.clear()
    store.restore(9, 4, [MapContent("m", 7, {b"b": Pair(b"2", 7)})])
    assert told == [(7, {b"b": b"2"})]
    assert (content(store, "m"), content(store, "gone")) == ({b"b": b"2"}, {})
    assert put(store, "m", c="3").version == 10
    store.rollback(9, 5)
    assert content(store, "m") == {b"b": b"2"}


def test_what_can_still_be_undone_is_not_forgotten() -> None:
    store = Store(view=VIEW)
    put(store, "m", a="1")
    with pytest.raises(LocalError, match="final"):
        store.forget()
    store.compact(1)
    frozen = store.freeze(1)
    with pytest.raises(LocalError, match="nobody reads"):
        store.forget()
    store.thaw(frozen)
    store.forget()
