"""Indexes by themselves: what they remember, spill and answer; what they refuse."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyccf.apps.index import (
    Kind,
    Lazy,
    SeqnosByKey,
    SeqnosByKeyBucketed,
    SeqnosForValueBucketed,
    VisitEachEntryInMap,
    buckets,
)
from pyccf.apps.index.declared import DECLARED_MAX, parse
from pyccf.errors import LocalError
from pyccf.kv.changes import UNIT
from pyccf.types import Json, TxID


class Written:
    """A committed transaction with one map."""

    def __init__(self, seqno: int, rows: dict[bytes, bytes | None], map: str = "public:m") -> None:
        self.txid = TxID(2, seqno)
        self._rows = {map: rows}

    def rows(self, name: str) -> dict[bytes, bytes | None]:
        return self._rows.get(name, {})


class Shelf:
    """Storage that answers when told to, or that has lost or changed something."""

    def __init__(self) -> None:
        self.full = False
        self.kept: dict[str, bytes] = {}
        self.asked: list[tuple[str, Callable[[bytes | None], None]]] = []

    def store(self, name: str, data: bytes, refused: Callable[[], None] | None = None) -> None:
        if not self.full:
            self.kept[name] = data
        elif refused is not None:
            refused()

    def load(self, name: str, reply: Callable[[bytes | None], None]) -> None:
        self.asked.append((name, reply))

    def answer(self) -> None:
        asked, self.asked = self.asked, []
        for name, reply in asked:
            reply(self.kept.get(name))


def feed(index: object, *writes: tuple[int, bytes]) -> None:
    for seqno, key in writes:
        index.handle(Written(seqno, {key: b"v"}))  # type: ignore[attr-defined]


def test_seqnos_of_keys_in_memory() -> None:
    index = SeqnosByKey("public:m")
    assert index.name == "SeqnosByKey public:m"
    assert index.next_requested() == 1
    feed(index, (1, b"a"), (2, b"b"), (3, b"a"), (4, b"a"))
    assert index.next_requested() == 5
    assert index.get_write_txs_in_range(b"a", 1, 4) == [1, 3, 4]
    assert index.get_write_txs_in_range(b"a", 2, 3) == [3]
    assert index.get_write_txs_in_range(b"c", 1, 4) == []
    assert index.get_write_txs_in_range(b"a", 1, 5) is None
    assert index.get_all_write_txs(b"a") == [1, 3, 4]
    with pytest.raises(LocalError, match="end 1 is before start 2"):
        index.get_write_txs_in_range(b"a", 2, 1)


def test_a_maximum_may_reach_beyond_the_range() -> None:
    index = SeqnosByKey("public:m")
    feed(index, *((s, b"a") for s in range(1, 10)))
    assert index.get_write_txs_in_range(b"a", 2, 3, 4) == [2, 3, 4, 5]
    assert index.get_write_txs_in_range(b"a", 7, 8, 4) == [7, 8]


def test_removals_and_other_maps_are_not_seen() -> None:
    index = SeqnosByKey("public:m")
    index.handle(Written(1, {b"a": None}))
    index.handle(Written(2, {b"a": b"v"}, "public:other"))
    assert index.get_write_txs_in_range(b"a", 1, 2) == []
    assert index.describe() == {
        "name": "SeqnosByKey public:m",
        "next_requested_seqno": 3,
        "target_map": "public:m",
        "indexed_watermark": "2.2",
    }


def test_an_index_of_ones_own() -> None:
    seen: list[tuple[TxID, bytes, bytes]] = []

    class Own(VisitEachEntryInMap):
        def visit(self, txid: TxID, key: bytes, value: bytes) -> None:
            seen.append((txid, key, value))

    index = Own("public:m")
    assert index.name == "VisitEachEntryIn public:m"
    feed(index, (1, b"a"))
    assert seen == [(TxID(2, 1), b"a", b"v")]


def test_a_lazy_index_waits_until_it_is_asked() -> None:
    index = Lazy(SeqnosByKey("public:m"))
    assert index.next_requested() is None
    assert "next_requested_seqno" not in index.describe()
    index.extend_index_to(2)
    index.extend_index_to(1)
    assert index.next_requested() == 1
    feed(index, (1, b"a"), (2, b"a"))
    assert index.next_requested() is None


def test_the_name_of_a_bucket() -> None:
    index = SeqnosByKeyBucketed("public:m")
    assert index._name(bytes.fromhex("2a00"), 0) == (
        "8adff36e0c33ecfb146040bd2d24e6528a029968c378ebcb3f2edaa54340f8bc"
    )


def bucketed(**options: int) -> tuple[SeqnosByKeyBucketed, Shelf]:
    index, shelf = SeqnosByKeyBucketed("public:m", **options), Shelf()
    index.attach(shelf)
    return index, shelf


def test_buckets_are_spilled_and_read_back() -> None:
    index, shelf = bucketed(per_bucket=10, buckets_max=4)
    feed(index, (1, b"a"), (5, b"b"), (12, b"a"), (35, b"a"), (36, b"a"))
    assert len(shelf.kept) == 2
    assert index.get_write_txs_in_range(b"a", 30, 36) == [35, 36]
    assert index.get_write_txs_in_range(b"b", 1, 30) == [5]
    assert index.get_write_txs_in_range(b"a", 10, 36) is None
    shelf.answer()
    assert index.get_write_txs_in_range(b"a", 10, 36) == [12, 35, 36]
    assert index.get_write_txs_in_range(b"a", 12, 35) == [12, 35]
    assert index.get_write_txs_in_range(b"a", 13, 29) is not None
    with pytest.raises(LocalError, match="more than this index answers"):
        index.get_write_txs_in_range(b"a", 1, 36)


def test_readers_of_many_keys_do_not_take_buckets_from_each_other() -> None:
    index, shelf = bucketed(per_bucket=10, buckets_max=4)
    keys = [b"a", b"b", b"c", b"d"]
    feed(index, *((seqno, key) for seqno in range(1, 40, 10) for key in keys))
    for key in keys:
        assert index.get_write_txs_in_range(key, 1, 31) is None
    shelf.answer()
    for key in keys:
        assert index.get_write_txs_in_range(key, 1, 31) == [1, 11, 21, 31]


@pytest.mark.parametrize("spoil", [None, b"", b"x" * 90])
def test_a_bucket_that_is_lost_makes_the_index_begin_anew(spoil: bytes | None) -> None:
    index, shelf = bucketed(per_bucket=10)
    feed(index, (1, b"a"), (12, b"a"))
    (name,) = shelf.kept
    if spoil is None:
        del shelf.kept[name]
    else:
        shelf.kept[name] = spoil
    assert index.get_write_txs_in_range(b"a", 1, 12) is None
    shelf.answer()
    assert index.next_requested() == 1
    assert index.get_write_txs_in_range(b"a", 1, 12) is None
    feed(index, (1, b"a"), (12, b"a"))
    assert index.get_write_txs_in_range(b"a", 1, 12) is None
    shelf.answer()
    assert index.get_write_txs_in_range(b"a", 1, 12) == [1, 12]


def test_what_a_full_disk_does_not_take_stays_in_memory() -> None:
    index, shelf = bucketed(per_bucket=10)
    shelf.full = True
    feed(index, (1, b"a"), (12, b"a"), (23, b"a"))
    shelf.full = False
    feed(index, (34, b"a"))
    assert index.get_write_txs_in_range(b"a", 1, 34) is None
    shelf.answer()
    assert index.get_write_txs_in_range(b"a", 1, 34) == [1, 12, 23, 34]
    assert index.next_requested() == 35


def test_a_bucket_may_be_asked_for_before_the_disk_refuses_it() -> None:
    index, shelf = bucketed(per_bucket=10)
    late: list[Callable[[], None]] = []
    shelf.store = lambda name, data, refused: late.append(refused)  # type: ignore[assignment, misc]
    feed(index, (1, b"a"), (12, b"a"))
    assert index.get_write_txs_in_range(b"a", 1, 12) is None
    late[0]()
    shelf.answer()
    assert index.get_write_txs_in_range(b"a", 1, 12) == [1, 12]
    assert index.next_requested() == 13


def test_an_index_for_which_there_is_no_room_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "UNWRITTEN_MAX", 2)
    index, shelf = bucketed(per_bucket=10)
    shelf.full = True
    feed(index, (1, b"a"), (12, b"a"), (23, b"a"))
    with pytest.raises(LocalError, match="The disk did not take 2 parts of this index"):
        feed(index, (34, b"a"))


def test_a_bucket_of_another_key_is_refused() -> None:
    index, shelf = bucketed(per_bucket=10)
    feed(index, (1, b"a"), (2, b"b"), (12, b"a"), (13, b"b"))
    one, other = shelf.kept
    shelf.kept[one] = shelf.kept[other]
    assert index.get_write_txs_in_range(b"a", 1, 12) is None
    shelf.answer()
    assert index.next_requested() == 1


def test_a_private_map_is_not_spilled() -> None:
    with pytest.raises(LocalError, match="needs a public map"):
        SeqnosByKeyBucketed("m")


def test_a_map_of_one_value() -> None:
    index, shelf = SeqnosForValueBucketed("public:m", per_bucket=10), Shelf()
    index.attach(shelf)
    for seqno in (1, 3, 4):
        index.handle(Written(seqno, {UNIT: b"v"} if seqno != 3 else {}))
    assert index.name == "SeqnosForValue public:m"
    assert index.get_write_txs(1, 4) == [1, 4]


@settings(deadline=None)
@given(
    writes=st.lists(st.tuples(st.integers(1, 200), st.sampled_from([b"a", b"b", b"c"]))),
    first=st.integers(1, 200),
    length=st.integers(0, 60),
)
def test_both_kinds_agree(writes: list[tuple[int, bytes]], first: int, length: int) -> None:
    memory = SeqnosByKey("public:m")
    index, shelf = bucketed(per_bucket=16, buckets_max=8)
    by_seqno: dict[int, dict[bytes, bytes | None]] = {seqno: {} for seqno in range(1, 262)}
    for seqno, key in writes:
        by_seqno[seqno][key] = b"v"
    for seqno, rows in by_seqno.items():
        memory.handle(Written(seqno, rows))
        index.handle(Written(seqno, rows))
    for key in (b"a", b"b", b"c"):
        expected = memory.get_write_txs_in_range(key, first, first + length)
        got = index.get_write_txs_in_range(key, first, first + length)
        if got is None:
            shelf.answer()
            got = index.get_write_txs_in_range(key, first, first + length)
        assert got == expected


def test_declarations() -> None:
    assert parse(None) == {}
    found = parse({"a": {"map": "m"}, "b": {"map": "public:m", "kind": "seqnos_for_value"}})
    assert found["a"].kind is Kind.SEQNOS_BY_KEY
    assert found["b"].name == "SeqnosForValue public:m"


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        {"a": 1},
        {"a": {}},
        {"a": {"map": ""}},
        {"a": {"map": 3}},
        {"a": {"map": "m", "kind": "x"}},
        {"a": {"map": "m", "kind": []}},
        {"a": {"map": "m", "kind": "seqnos_by_key_bucketed"}},
        {"a": {"map": "m", "more": 1}},
        {str(i): {"map": "m"} for i in range(DECLARED_MAX + 1)},
    ],
)
def test_declarations_that_cannot_be_understood(wrong: Json) -> None:
    with pytest.raises(ValueError, match="index"):
        parse(wrong)
