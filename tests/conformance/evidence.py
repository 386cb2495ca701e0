"""What can exercise a row: functions of our tests, exchanges and probes that are replayed.

A test is known by the texts in it (its string constants, those of its decorators and of what it
calls in its own module), an exchange by its request and answer, a probe by its snippet. Nothing is
run here.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

TESTS = Path(__file__).resolve().parents[1]

IN_MEMORY = "vectors/test_transcripts.py"
"""Replays what was recorded from the primary."""
REPLAYED: dict[str, str] = {
    **dict.fromkeys(
        ("opening", "common", "node", "errors", "auth", "gov", "extra"),
        IN_MEMORY,
    ),
    **dict.fromkeys(("forwarding", "redirects", "failover"), "vectors/test_backup_transcripts.py"),
    "join": "vectors/test_join_transcript.py",
}
"""Which module compares the exchanges of a file."""
PROBED = "vectors/test_js_probes.py"
PROBED_ELSEWHERE = {"auth": "vectors/test_js_auth_probes.py"}
"""Which module runs the probes of a file, if it is another."""


class Test(NamedTuple):
    """One test function."""

    ref: str
    texts: frozenset[str]
    names: frozenset[str]


class Recorded(NamedTuple):
    """One exchange that a test replays."""

    ref: str
    method: str
    path: str
    payload: str
    answer: str


class Probe(NamedTuple):
    """One snippet that a test runs."""

    ref: str
    name: str
    snippet: str
    answer: str


def tests() -> list[Test]:
    """Every test function there is."""
    return [
        test
        for path in sorted(TESTS.rglob("test_*.py"))
        for test in _of_module(path.relative_to(TESTS).as_posix(), path.read_text("utf-8"))
    ]


def functions(path: Path) -> set[str]:
    """Names of the test functions of a module."""
    tree = ast.parse(path.read_text("utf-8"))
    return {f.name for f in _functions(tree) if f.name.startswith("test_")}


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            yield node


def _of_module(name: str, source: str) -> Iterator[Test]:
    tree = ast.parse(source)
    shared = {
        target.id: node
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    own = {f.name: f for f in _functions(tree)}
    for function in own.values():
        if not function.name.startswith("test_"):
            continue
        texts, names = _parts(function)
        seen, waiting = {function.name}, set(names)
        while waiting:
            # Constants, fixtures and functions of the same module that it names.
            used = waiting.pop()
            part = shared.get(used) or own.get(used)
            if part is not None and used not in seen:
                seen.add(used)
                more, called = _parts(part)
                texts |= more
                names |= called
                waiting |= called
        yield Test(f"{name}::{function.name}", frozenset(texts), frozenset(names))


def _parts(tree: ast.AST) -> tuple[set[str], set[str]]:
    texts: set[str] = set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (v.value if isinstance(v, ast.Constant) else "{}" for v in node.values)
            texts.add("".join(str(part) for part in parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.add(node.value)
        elif isinstance(node, ast.Constant) and isinstance(node.value, bytes):
            texts.add(node.value.decode("latin-1"))
        elif isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Attribute):
            names.add(node.attr)
    return texts, names


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        for line in path.read_text("utf-8").splitlines():
            yield json.loads(line)


def exchanges(vectors: Path) -> list[Recorded]:
    """Every exchange that one of our tests compares."""
    return [
        Recorded(
            f"{module} ({file}: {e['name']})",
            e["request"].get("method", ""),
            e["request"].get("path", "").partition("?")[0],
            str(e["request"].get("cose", {}).get("payload", "")),
            json.dumps(e["response"]),
        )
        for file, module in REPLAYED.items()
        for e in _lines(vectors / "ccf" / "transcripts" / f"{file}.jsonl")
        if module != IN_MEMORY or not e["node"].startswith("backup")
    ]


def probes(vectors: Path) -> list[Probe]:
    """Every JavaScript probe that one of our tests runs."""
    return [
        Probe(
            f"{PROBED_ELSEWHERE.get(path.stem, PROBED)} ({p['name']})",
            str(p["name"]),
            str(p.get("snippet", "")),
            json.dumps(p.get("body")),
        )
        for path in sorted((vectors / "ccf" / "js").glob("*.jsonl"))
        for p in _lines(path)
    ]
