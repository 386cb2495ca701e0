"""Chunk files and entries: round trips, and files cut at any byte."""

from __future__ import annotations

import os
import shutil
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyccf.errors import InvalidLedger
from pyccf.kv import wire
from pyccf.ledger import chunk
from pyccf.ledger.chunker import Chunker
from pyccf.ledger.entry import Z32, Entry, parse
from pyccf.ledger.history import History
from pyccf.ledger.secrets import LedgerSecret, LedgerSecrets
from pyccf.merkle.tree import Tree
from pyccf.shell.disk import LedgerDisk
from pyccf.types import TxID
from support.ledgers import Service, small_service

KEY = bytes(range(32))

rows = st.dictionaries(st.binary(max_size=12), st.none() | st.binary(max_size=40), min_size=1)
maps = st.dictionaries(
    st.sampled_from(["public:a", "public:b", "private", "other"]), rows, max_size=4
)


def history() -> History:
    return History(LedgerSecrets([LedgerSecret(1, KEY)]))


@given(
    st.lists(st.tuples(maps, st.binary(min_size=32, max_size=32)), min_size=1, max_size=6),
    st.integers(1, 2**31 - 1),
)
def test_entries_round_trip(
    written: list[tuple[dict[str, dict[bytes, bytes | None]], bytes]], view: int
) -> None:
    ours, theirs = history(), history()
    for seqno, (changes, claims) in enumerate(written, 1):
        public, private = wire.encode(changes)
        entry = ours.append(TxID(view, seqno), public, private, claims=claims)
        replayed = theirs.replay(entry.data)
        assert replayed.entry == entry
        assert replayed.maps() == changes
        parsed = parse(entry.data)
        assert (parsed.view, parsed.seqno, parsed.claims) == (view, seqno, claims)
        assert parsed.leaf == entry.leaf
        assert Tree.parse(ours.tree.serialise()).root() == ours.root()
    assert ours.root() == theirs.root()


@given(st.binary(max_size=200), st.data())
def test_no_changed_entry_is_taken_for_the_original(value: bytes, data: st.DataObject) -> None:
    made = history()
    public, private = wire.encode({"public:a": {b"k": value}, "b": {b"k": value}})
    entry = made.append(TxID(2, 1), public, private, claims=Z32)
    at = data.draw(st.integers(0, len(entry.data) - 1))
    bit = data.draw(st.integers(0, 7))
    changed = bytearray(entry.data)
    changed[at] ^= 1 << bit
    if at == 1 and bit < 2:
        # Flags are outside the encryption; only the Merkle tree covers them.
        assert parse(bytes(changed)).leaf != entry.leaf
    else:
        with pytest.raises(InvalidLedger):
            history().replay(bytes(changed))


@cache
def service() -> Service:
    return small_service(24, every=4, chunk_size=2500)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole ledger twice: its chunks only completed, and committed."""
    directory = tmp_path_factory.mktemp("ledgers")
    for name in ("completed", "committed"):
        disk = LedgerDisk(directory / name)
        disk.append(service().entries)
        if name == "committed":
            disk.commit(service().signed)
        disk.close()
    return directory


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_a_chunk_cut_at_any_byte_reopens_to_a_valid_prefix(
    place: Path, data: st.DataObject
) -> None:
    directory = place / "cut"
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(place / "completed", directory)
    chunks = sorted(os.listdir(directory), key=lambda n: chunk.parse_name(n) or ())
    which = data.draw(st.integers(0, len(chunks) - 1))
    # A crash takes the end: later chunks were not there yet.
    for later in chunks[which + 1 :]:
        os.unlink(directory / later)
    path = directory / chunks[which]
    size = path.stat().st_size
    cut = data.draw(st.integers(0, size))
    os.truncate(path, cut)

    entries = service().entries
    name = chunk.parse_name(chunks[which])
    assert name is not None
    complete, at = name.first - 1, chunk.FIRST_OFFSET
    while complete < len(entries) and at + len(entries[complete].data) <= cut:
        at += len(entries[complete].data)
        complete += 1
        if entries[complete - 1].flags & 1:
            break

    disk = LedgerDisk(directory)
    assert disk.last == complete
    assert disk.set_aside == []
    assert disk.read(1, disk.last) == [e.data for e in entries[:complete]]
    disk.append(entries[complete:])
    assert disk.read(1, len(entries)) == [e.data for e in entries]
    disk.commit(service().signed)
    disk.close()
    whole = place / "committed"
    assert sorted(os.listdir(directory)) == sorted(os.listdir(whole))
    for file in os.listdir(whole):
        assert (directory / file).read_bytes() == (whole / file).read_bytes()


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["append", "truncate", "commit", "reopen"]), max_size=25), st.data()
)
def test_any_sequence_of_calls_keeps_what_was_written(
    place: Path, calls: list[str], data: st.DataObject
) -> None:
    directory = place / "calls"
    shutil.rmtree(directory, ignore_errors=True)
    entries = service().entries
    disk = LedgerDisk(directory)
    last = committed = 0
    for call in calls:
        if call == "append":
            count = data.draw(st.integers(0, min(9, len(entries) - last)))
            disk.append(entries[last : last + count])
            last += count
        elif call == "truncate" and committed < last:
            last = data.draw(st.integers(max(committed, 1), last))
            disk.truncate(last)
        elif call == "commit":
            signed = [e.seqno for e in entries[:last] if e.committable]
            if signed:
                committed = max(committed, data.draw(st.sampled_from(signed)))
                disk.commit(committed)
        elif call == "reopen":
            disk.close()
            disk = LedgerDisk(directory)
        assert disk.last == last
        assert disk.read(1, last) == [e.data for e in entries[:last]]
    disk.close()


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=60))
def test_positions_round_trip(sizes: list[int]) -> None:
    positions = [chunk.FIRST_OFFSET]
    for size in sizes[:-1]:
        positions.append(positions[-1] + size)
    table = chunk.encode_table(positions)
    assert len(table) == 4 * len(positions)
    assert list(chunk.parse_table(table)) == positions


def reference_end(
    v: int, sizes: dict[int, int], ends: set[int], forced: set[int], threshold: int
) -> bool:
    """The rule as the specification words it (ledger.md §8)."""
    pending = [f for f in forced if f <= v]
    if pending and not any(e >= max(pending) for e in ends):
        return True
    last = max((e for e in ends if e < v), default=0)
    return sum(size for i, size in sizes.items() if last < i <= v) >= threshold


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["write", "write", "force", "sign", "commit", "rollback"]),
            st.integers(1, 60),
        ),
        max_size=60,
    )
)
def test_the_chunker_follows_the_rule(steps: list[tuple[str, int]]) -> None:
    chunker = Chunker(100)
    sizes: dict[int, int] = {}
    ends: set[int] = set()
    forced: set[int] = set()
    v = floor = 0
    signed: list[int] = []
    for step, number in steps:
        if step == "rollback" and v > floor:
            v = max(floor, v - number % 4)
            sizes = {i: s for i, s in sizes.items() if i <= v}
            ends = {e for e in ends if e <= v}
            forced = {f for f in forced if f <= v}
            signed = [s for s in signed if s <= v]
            chunker.rollback(v)
        elif step == "commit" and signed:
            floor = signed[-1]
            chunker.compact(floor)
            c = max((e for e in ends if e < floor), default=0)
            sizes = {i: s for i, s in sizes.items() if i > c}
            ends = {e for e in ends if e > c}
            forced = {f for f in forced if f > c}
        elif step in ("write", "force", "sign"):
            v += 1
            if step == "force":
                forced.add(v)
                chunker.force(v)
            if step == "sign":
                expected = reference_end(v, sizes, ends, forced, 100)
                assert chunker.end_requested(v) is expected
                if expected:
                    ends.add(v)
                signed.append(v)
            sizes[v] = number
            chunker.append(v, number)


def test_entries_are_values() -> None:
    entry = service().entries[0]
    assert entry == Entry(entry.view, entry.seqno, entry.data, entry.committable, entry.leaf)
