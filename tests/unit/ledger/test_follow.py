"""Rows of plain entries that another node ordered: how far they are taken."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pyccf.kv import wire
from pyccf.kv.changes import Changes
from pyccf.kv.store import Store
from pyccf.ledger.chunker import Chunker
from pyccf.ledger.entry import FORCE_CHUNK_BEFORE, Entry
from pyccf.ledger.follow import Follower
from pyccf.ledger.history import SIGNATURES_MAP, History
from pyccf.ledger.secrets import LedgerSecret, LedgerSecrets
from pyccf.types import SeqNo, TxID

VIEW = 2
REKEYED_AT: SeqNo = 4
"""Entries from here on are sealed with another secret."""
CHANGES: list[Changes] = [
    {"public:a": {b"k": b"1"}},
    {"private": {b"k": b"2", b"l": b"3"}},
    {"private": {b"l": None}, "public:a": {b"k": b"4"}},
    {"private": {b"k": b"5"}},
    {"public:a": {b"k": None}, "public:b": {b"": b""}},
]


def secrets() -> LedgerSecrets:
    return LedgerSecrets([LedgerSecret(1, b"1" * 32), LedgerSecret(REKEYED_AT, b"2" * 32, 3)])


def ledger(changes: list[Changes], view: int = VIEW, flags: int = 0) -> list[bytes]:
    history = History(secrets())
    return [
        history.append(
            TxID(view, i + 1), *wire.encode(one), claims=bytes([i]) * 32, flags=flags
        ).data
        for i, one in enumerate(changes)
    ]


class Backup:
    """A store, its history, and what was taken over."""

    def __init__(self, *, public_only: bool = False) -> None:
        self.store = Store(0)
        self.history = History(secrets())
        self.chunker = Chunker()
        self.public_only = public_only
        self._follower = Follower(self.store, self.history)

    def take(self, entries: list[bytes], at: int = 0, view: int = VIEW) -> list[Entry]:
        first = self.store.version + 1
        return self._follower.take(view, first, entries, at, self.chunker, self.public_only)

    def content(self) -> dict[str, dict[bytes, bytes]]:
        maps = self.store.maps.values()
        return {m.name: {k: pair.value for k, pair in m.data.items()} for m in maps}

    def state(self) -> object:
        return self.content(), self.store.version, self.history.last, self.chunker.last


def test_a_row_is_taken_as_it_was_written_under_each_secret() -> None:
    entries = ledger(CHANGES)
    backup = Backup()
    taken = backup.take(entries)
    assert [(e.view, e.seqno, e.data, e.committable) for e in taken] == [
        (VIEW, i + 1, data, False) for i, data in enumerate(entries)
    ]
    written = History(secrets())
    replayed = [written.replay(data) for data in entries]
    assert [e.leaf for e in taken] == [r.entry.leaf for r in replayed]
    assert backup.history.root() == written.root()
    assert backup.content() == {"public:a": {}, "private": {b"k": b"5"}, "public:b": {b"": b""}}
    assert backup.state() == (backup.content(), 5, 5, 5)
    assert backup.store.view == VIEW


def test_a_row_may_begin_anywhere_in_what_is_given() -> None:
    entries = ledger(CHANGES)
    backup = Backup()
    assert len(backup.take(entries[:2])) == 2
    assert [e.seqno for e in backup.take(entries, at=2)] == [3, 4, 5]
    assert backup.take(entries, at=5) == []


def test_private_parts_are_left_alone_if_only_public_ones_count() -> None:
    backup = Backup(public_only=True)
    assert len(backup.take(ledger(CHANGES))) == 5
    assert backup.content() == {"public:a": {}, "public:b": {b"": b""}}


def test_nor_are_tags_asked_then() -> None:
    backup = Backup(public_only=True)
    assert len(backup.take([e[:8] + bytes(16) + e[24:] for e in ledger(CHANGES)])) == 5


@pytest.mark.parametrize("place", [8, 23, 36, 53, 85, 117, 126, -1])
def test_an_entry_without_a_private_part_has_to_authenticate_too(place: int) -> None:
    entries = ledger([{"public:a": {b"k": b"%d" % i}} for i in range(3)])
    data = bytearray(entries[1])
    data[place] ^= 1
    whole, backup = Backup(), Backup()
    whole.take(entries[:1])
    assert len(backup.take([entries[0], bytes(data), entries[2]])) == 1
    assert backup.state() == whole.state()
    assert [e.seqno for e in backup.take(entries, at=1)] == [2, 3]


def damaged(place: int) -> Callable[[list[bytes]], list[bytes]]:
    def change(entries: list[bytes]) -> list[bytes]:
        data = bytearray(entries[2])
        data[place] ^= 1
        return [*entries[:2], bytes(data), *entries[3:]]

    return change


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(damaged(place), id=f"byte {place} flipped")
        for place in (0, 1, 2, 8, 24, 32, 36, 44, 45, 53, 85, 117, 140, -1)
    ]
    + [
        pytest.param(lambda e: [*e[:2], *e[3:]], id="one left out"),
        pytest.param(lambda e: [*e[:2], e[1], *e[3:]], id="one repeated"),
        pytest.param(lambda e: [*e[:2], e[2][:-1], *e[3:]], id="one cut"),
        pytest.param(lambda e: [*e[:2], b"", *e[3:]], id="one empty"),
        pytest.param(lambda e: [*e[:2], ledger(CHANGES, view=3)[2]], id="of another view"),
        pytest.param(
            lambda e: [*e[:2], ledger(CHANGES, flags=FORCE_CHUNK_BEFORE)[2]], id="with a flag"
        ),
    ],
)
def test_a_row_ends_before_what_is_not_right(
    change: Callable[[list[bytes]], list[bytes]],
) -> None:
    whole, backup = Backup(), Backup()
    entries = ledger(CHANGES)
    whole.take(entries[:2])
    assert len(backup.take(change(entries))) == 2
    assert backup.state() == whole.state()
    assert [e.seqno for e in backup.take(entries, at=2)] == [3, 4, 5]


@pytest.mark.parametrize(
    ("public", "private"),
    [
        ({"private": {b"k": b"v"}}, {}),
        ({}, {"public:a": {b"k": b"v"}}),
        ({}, {}),
        ({SIGNATURES_MAP: {b"k": b"v"}}, {}),
    ],
    ids=["private in public", "public in private", "nothing", "a signature"],
)
def test_a_row_ends_before_what_is_not_plain(public: Changes, private: Changes) -> None:
    parts = [b"".join(wire.encode(maps)) for maps in (public, private)]
    data = History(secrets()).append(TxID(VIEW, 1), *parts).data
    backup = Backup()
    assert backup.take([data]) == []
    assert backup.state() == Backup().state()


def test_a_row_ends_before_a_change_that_is_wanted_to_be_known_at_once() -> None:
    backup = Backup()
    seen: list[SeqNo] = []
    backup.store.on_write("public:b", lambda seqno, changes: seen.append(seqno))
    assert len(backup.take(ledger(CHANGES))) == 4
    assert seen == []


def test_a_row_ends_where_no_secret_is_known() -> None:
    backup = Backup()
    backup.history.secrets = LedgerSecrets([LedgerSecret(3, b"1" * 32)])
    assert backup.take(ledger(CHANGES)) == []
    assert backup.state() == Backup().state()
