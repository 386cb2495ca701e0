"""Entries that follow a message."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pyccf.consensus.raft.split import HEADER_SIZE, split


def entry(body: bytes) -> bytes:
    return b"\x01\x00" + len(body).to_bytes(6, "little") + body


@given(st.lists(st.binary(max_size=40)), st.binary(max_size=3), st.integers(0, 3))
def test_what_was_joined_is_split(bodies: list[bytes], before: bytes, more: int) -> None:
    entries = [entry(body) for body in bodies]
    data = before + b"".join(entries)
    assert split(data, len(before), len(entries)) == entries
    assert split(data, len(before), len(entries) + more) == entries


@given(st.lists(st.binary(max_size=40), min_size=1), st.data())
def test_bytes_that_are_missing_or_left_over_make_another_number(
    bodies: list[bytes], data: st.DataObject
) -> None:
    entries = [entry(body) for body in bodies]
    whole = b"".join(entries)
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert len(split(whole[:cut], 0, len(entries))) < len(entries)
    assert len(split(whole + b"\x01", 0, len(entries))) == len(entries) + 1


def test_long_entries_and_impossible_sizes() -> None:
    for size in (0xFF, 0x100, 0xFFFF, 0x10000, 0x123456):
        assert split(entry(bytes(size)), 0, 1) == [entry(bytes(size))]
    assert split(b"\x01\x00" + b"\xff" * 6 + bytes(10), 0, 1) == []
    assert split(bytes(HEADER_SIZE - 1), 0, 1) == []
