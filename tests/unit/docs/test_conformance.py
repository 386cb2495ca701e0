"""The conformance table is whole: every row has a test that exists, nothing served has no row."""

from __future__ import annotations

import json
import re
from functools import cache

import pytest

from conformance import evidence, table
from pyccf import constitutions
from support.node import Service
from support.transcripts import make_service
from support.vectors import vectors_dir

_REF = re.compile(r"`([\w/]+\.py)(?:::(\w+))?`")
_ROW = re.compile(r"^\| `([^`]+)` \| [^|]* \| (.*) \|$", re.MULTILINE)
_ACTION = re.compile(r'^  "(\w+)",$', re.MULTILINE)


@cache
def written() -> dict[str, list[tuple[str, str]]]:
    """Tests by row, as the document names them."""
    text = table.DOCUMENT.read_text("utf-8")
    return {name: _REF.findall(tests) for name, tests in _ROW.findall(text)}


def rows(kind: str) -> set[str]:
    return {row.name for s in table.sections() if s.kind == kind for row in s.rows}


def test_every_row_is_written_with_a_test() -> None:
    bare = [r.name for s in table.sections() for r in s.rows if not written().get(r.name)]
    assert not bare, f"`python -m conformance.table` in tests, and tests for {bare}"


def test_every_test_that_is_named_exists() -> None:
    known: dict[str, set[str]] = {}
    for name, refs in written().items():
        for module, function in refs:
            path = evidence.TESTS / module
            assert path.exists(), f"{name}: {module} is gone, write the table anew"
            if module not in known:
                known[module] = evidence.functions(path)
            assert not function or function in known[module], f"{name}: {module}::{function}"


@pytest.fixture(scope="module")
def service() -> Service:
    return make_service()


def test_every_endpoint_that_is_served_has_a_row(service: Service) -> None:
    node = service.node
    served = {
        f"{endpoint.verb} {frontend.prefix}{endpoint.path}"
        for frontend in (node.app, node.gov, node.node)
        for endpoint in frontend.templates.all()
    }
    assert not served - rows("endpoint")


def test_every_action_has_a_row() -> None:
    text = constitutions.text("default", "virtual", "roles")
    found = {name for name in _ACTION.findall(text) if "_" in name}
    assert len(found) > 30
    assert not found - rows("action")


def test_every_function_of_the_runtime_has_a_row() -> None:
    """As recorded: what an application finds under `ccf`."""
    path = vectors_dir() / "ccf" / "js" / "globals.jsonl"
    missing = set()
    for line in path.read_text("utf-8").splitlines():
        probe = json.loads(line)
        found = re.fullmatch(r"globals\.(ccf(?:\.\w+)*)\.keys\.rw", probe["name"])
        for name, told in probe["body"]["json"]["returns"].items() if found else ():
            if isinstance(told, dict) and told.get("type") == "function":
                missing.add(f"{found[1]}.{name}" if found else "")
    assert len(missing) > 35
    assert not missing - rows("function")


def test_what_is_not_tested_is_told() -> None:
    nothing = table.Evidence([], [], [])
    _, bare = table.write(nothing)
    assert len(bare) == sum(len(s.rows) for s in table.sections()) > 200
