from __future__ import annotations

from pyccf.kv.changes import UNIT, WriteSet


def test_unit_is_eight_zero_bytes() -> None:
    assert UNIT == b"\0\0\0\0\0\0\0\0"


def test_repr_shows_no_keys_and_no_values() -> None:
    shown = repr(WriteSet(7, {"salaries": {b"alice": b"1000000", b"bob": None}}))
    assert shown == "WriteSet(version=7, changes={salaries: 2})"


def test_equal_when_version_and_changes_are() -> None:
    assert WriteSet(1, {"m": {b"k": None}}) == WriteSet(1, {"m": {b"k": None}})
    assert WriteSet(1, {"m": {b"k": None}}) != WriteSet(2, {"m": {b"k": None}})
