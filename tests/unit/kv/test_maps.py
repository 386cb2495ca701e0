from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from pyccf.errors import LocalError
from pyccf.kv import maps
from pyccf.kv.maps import (
    CACHED_NAME_MAX,
    READ_METHODS,
    WRITE_METHODS,
    Access,
    AccessContext,
    Category,
    access,
    allows,
    category,
    is_public,
    refusal,
)
from support.vectors import vectors_dir

A, B, C, D = (
    AccessContext.APP_RW,
    AccessContext.APP_RO,
    AccessContext.GOV_RW,
    AccessContext.GOV_RO,
)
RW, R, W, NO = Access.READ_WRITE, Access.READ, Access.WRITE, Access.ILLEGAL


@pytest.mark.parametrize(
    ("name", "public", "kind"),
    [
        ("records", False, Category.APPLICATION),
        ("", False, Category.APPLICATION),
        ("public:", True, Category.APPLICATION),
        ("public:records", True, Category.APPLICATION),
        ("Public:records", False, Category.APPLICATION),
        ("public:CCF.gov.x", True, Category.APPLICATION),
        ("ccf", False, Category.APPLICATION),
        ("public:ccf", True, Category.APPLICATION),
        ("public:public:ccf.gov.x", True, Category.APPLICATION),
        ("ccf.gov.x", False, Category.GOVERNANCE),
        ("public:ccf.gov.users.certs", True, Category.GOVERNANCE),
        ("ccf.internal.x", False, Category.INTERNAL),
        ("public:ccf.internal.tree", True, Category.INTERNAL),
        ("ccf.", False, Category.RESERVED),
        ("ccf.gov", False, Category.RESERVED),
        ("public:ccf.internal", True, Category.RESERVED),
        ("public:ccf.x", True, Category.RESERVED),
    ],
)
def test_what_a_name_says(name: str, public: bool, kind: Category) -> None:
    assert is_public(name) is public
    assert category(name) is kind


@pytest.mark.parametrize(
    ("name", "granted"),
    [
        ("records", {A: RW, B: R, C: NO, D: NO}),
        ("ccf.gov.x", {A: NO, B: NO, C: NO, D: NO}),
        ("ccf.internal.x", {A: NO, B: NO, C: NO, D: NO}),
        ("public:ccf.internal.x", {A: R, B: R, C: R, D: R}),
        ("public:ccf.gov.x", {A: R, B: R, C: RW, D: R}),
        ("public:records", {A: RW, B: R, C: W, D: NO}),
    ],
)
def test_access_table(name: str, granted: dict[AccessContext, Access]) -> None:
    assert {context: access(name, context) for context in AccessContext} == granted


@pytest.mark.parametrize("name", ["ccf.x", "public:ccf.x"])
def test_reserved_names_cannot_be_mentioned(name: str) -> None:
    with pytest.raises(LocalError) as refused:
        access(name, A)
    assert refused.value.message == "Map name 'ccf.x' includes disallowed reserved prefix 'ccf.'"


def test_write_only_tables_can_be_cleared_but_not_read() -> None:
    assert [m for m in sorted(READ_METHODS | WRITE_METHODS) if allows(W, m)] == [
        "clear",
        "delete",
        "set",
    ]


def _recorded() -> Iterator[str]:
    for file in sorted((vectors_dir() / "ccf" / "js").glob("*.jsonl")):
        for line in file.read_text().splitlines():
            yield from _messages(json.loads(line))


def _messages(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _messages(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _messages(inner)
    elif isinstance(value, str) and value.startswith('Cannot call "'):
        yield value


def test_recorded_refusals() -> None:
    """Every refusal recorded from the original is one of ours, word for word."""
    seen = 0
    for message in set(_recorded()):
        parts = re.match(r'Cannot call "(\w+)" on table named (.*?)\. (.*)$', message)
        assert parts, message
        method, name, reason = parts.groups()
        historical = reason.startswith("All tables")
        named = re.search(r"in current \((.*?)\) execution", reason)
        context = AccessContext(named.group(1)) if named else AccessContext.APP_RO
        assert refusal(method, name, context, historical=historical) == message
        if named:
            assert not allows(access(name, context), method)
        seen += 1
    assert seen > 50


def test_refusals() -> None:
    assert refusal("get", "public:t", C) == (
        'Cannot call "get" on table named public:t. This table is write-only in current '
        "(read-write governance) execution context. See "
        "https://microsoft.github.io/CCF/main/audit/read_write_restrictions.html for more detail."
    )
    assert refusal("size", "public:t", C) == 'Cannot call "size" on table named public:t. '
    assert refusal("set", "t", A, historical=True) == (
        'Cannot call "set" on table named t. '
        "All tables are read-only during historical transaction."
    )


def test_long_names_are_not_remembered() -> None:
    """A script may ask for names of any length, a different one each time."""
    assert maps.rights("n" * CACHED_NAME_MAX, A) == RW.value
    remembered = maps._rights.cache_info().currsize
    assert maps.rights("n" * (CACHED_NAME_MAX + 1), A) == RW.value
    assert maps._rights.cache_info().currsize == remembered
