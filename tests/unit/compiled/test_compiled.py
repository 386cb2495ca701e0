"""What mypyc would silently change is not in the modules that are compiled (docs/adr/0007)."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

import conftest

ROOT = Path(__file__).parents[3]
STRUCTURES = {"Struct", "NamedTuple", "Flag"}
"""Bases whose classes would lose their options."""


def hot() -> tuple[str, ...]:
    """The list in setup.py."""
    for node in ast.parse((ROOT / "setup.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "HOT":
            return tuple(ast.literal_eval(node.value))
    raise AssertionError("setup.py lists the hot modules")


def troubles(source: str) -> list[str]:
    """What must not be in a compiled module."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr == "__new__":
            found.append("cls.__new__() crashes")
        if not isinstance(node, ast.ClassDef):
            continue
        if node.keywords:
            found.append(f"{node.name}: class options are lost")
        if any(ast.unparse(base).rpartition(".")[2] in STRUCTURES for base in node.bases):
            found.append(f"{node.name}: structures belong into a module of their own")
        if any(
            isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "code"
            for line in node.body
        ):
            found.append(f"{node.name}: the code of an error is lost")
    return found


@pytest.mark.parametrize("path", hot())
def test_hot_modules_can_be_compiled(path: str) -> None:
    assert troubles((ROOT / path).read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "class A(msgspec.Struct, frozen=True): ...",
        "class A(NamedTuple): ...",
        "class A(X, metaclass=M): ...",
        "class A(LocalError):\n    code = 'A'",
        "def f(cls): return cls.__new__(cls)",
    ],
)
def test_what_is_lost_is_found(source: str) -> None:
    assert troubles(source)


def test_stale_modules_are_found(tmp_path: Path) -> None:
    source, compiled = tmp_path / "tx.py", tmp_path / "tx.cpython-311-x86_64-linux-gnu.so"
    source.touch()
    compiled.touch()
    (tmp_path / "other.abi3.so").touch()
    os.utime(compiled, ns=(0, 2_000))
    os.utime(source, ns=(0, 1_000))
    assert conftest.stale(tmp_path) == []
    os.utime(source, ns=(0, 3_000))
    assert conftest.stale(tmp_path) == [source]
