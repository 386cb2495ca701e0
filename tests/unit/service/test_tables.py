"""Rows of the built-in tables."""

from __future__ import annotations

import re

import pytest

from pyccf.errors import InvalidLedger
from pyccf.kv import changes
from pyccf.kv.store import Store
from pyccf.service import tables
from pyccf.service.info import ServiceStatus

NAMES = {
    name: value
    for name, value in vars(tables).items()
    if name[0] != "_" and isinstance(value, str) and value.startswith("public:")
}


def test_names_are_unique_and_of_the_built_in_kind() -> None:
    assert len(set(NAMES.values())) == len(NAMES) > 40
    for value in NAMES.values():
        assert re.fullmatch(r"public:ccf\.(gov|internal)\.[a-z0-9_.]+", value)


def test_unit_is_that_of_the_store() -> None:
    assert tables.UNIT == changes.UNIT


def test_json_rows_are_sorted_and_compact() -> None:
    tx = Store(view=2).tx()
    tables.put_json(tx, "public:ccf.gov.t", "k", {"b": [1, None], "a": "ä/"})
    assert tx.map("public:ccf.gov.t").get(b"k") == '{"a":"ä/","b":[1,null]}'.encode()
    assert tables.get_object(tx, "public:ccf.gov.t", "k") == {"b": [1, None], "a": "ä/"}
    assert tables.get_object(tx, "public:ccf.gov.t", "other") is None


def test_sets_and_clearing() -> None:
    tx = Store(view=2).tx()
    tables.add_to_set(tx, tables.VIRTUAL_HOST_DATA, "aa")
    tables.add_to_set(tx, tables.VIRTUAL_HOST_DATA, "bb")
    assert tx.map(tables.VIRTUAL_HOST_DATA).get(b"aa") == bytes(8)
    tables.clear_rows(tx, tables.VIRTUAL_HOST_DATA)
    assert tx.map(tables.VIRTUAL_HOST_DATA).size() == 0


@pytest.mark.parametrize("raw", [b"null", b"[]", b"5"])
def test_a_table_of_objects_with_another_row_is_an_invalid_ledger(raw: bytes) -> None:
    tx = Store(view=2).tx()
    tx.map("public:ccf.gov.t").set(b"k", raw)
    with pytest.raises(InvalidLedger, match="not a JSON object"):
        list(tables.objects(tx, "public:ccf.gov.t"))


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        (b"{", tables.get_json),
        (b"[]", tables.get_object),
        (b"5", tables.get_text),
    ],
)
def test_rows_of_another_kind_are_an_invalid_ledger(raw: bytes, read: object) -> None:
    tx = Store(view=2).tx()
    tx.map(tables.CONSTITUTION).set(tables.UNIT, raw)
    assert callable(read)
    with pytest.raises(InvalidLedger, match=re.escape(tables.CONSTITUTION)):
        read(tx, tables.CONSTITUTION)


def test_members_of_rows() -> None:
    assert tables.int_member({"n": 3}, "n", 1) == 3
    assert tables.int_member({"n": None}, "n", 1) == 1
    assert tables.int_member({"n": True}, "n", 1) == 1
    with pytest.raises(InvalidLedger, match="without the text x"):
        tables.text_member({"x": 1}, "x", "t")


def test_values_of_enumerations() -> None:
    assert tables.enum_member({"s": "Open"}, "s", ServiceStatus, "t") is ServiceStatus.OPEN
    for row in ({}, {"s": None}, {"s": "open"}, {"s": 5}, {"s": []}):
        with pytest.raises(InvalidLedger, match="no ServiceStatus"):
            tables.enum_member(dict(row), "s", ServiceStatus, "t")
