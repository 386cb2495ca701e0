"""The conformance table: every row of `rows.toml` with tests that exercise it.

    python -m conformance.table        writes docs/conformance.md

`tests/unit/docs/test_conformance.py` proves that the written table is complete and names tests that
exist.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from conformance.evidence import Probe, Recorded, Test, exchanges, probes, tests
from support.vectors import find_vectors

ROWS = Path(__file__).with_name("rows.toml")
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "conformance.md"
OWN_MAX = 3
"""Tests of ours named for a row. Of recorded ones, one is named and the others are counted."""
HEAD = """# Conformance: which test exercises what

Rows are what CCF's interfaces consist of. Recorded exchanges and probes stand after the test that
replays them. Written by `python -m conformance.table` in `tests`;
`tests/unit/docs/test_conformance.py` proves that no row is without a test.
"""


class Row(NamedTuple):
    """One thing that CCF offers."""

    name: str
    words: str


class Section(NamedTuple):
    """Rows that are recognised in the same way."""

    title: str
    kind: str
    rows: list[Row]


class Evidence(NamedTuple):
    """Everything that can exercise rows."""

    tests: list[Test]
    exchanges: list[Recorded]
    probes: list[Probe]


Finder = Callable[[str, Evidence], list[list[str]]]


def sections() -> list[Section]:
    """The rows, as the data file holds them."""
    told = tomllib.loads(ROWS.read_text("utf-8"))["section"]
    return [
        Section(s["title"], s["kind"], [Row(name, words) for name, words in s["rows"]])
        for s in told
    ]


def _endpoint(name: str, found: Evidence) -> list[list[str]]:
    verb, _, path = name.partition(" ")
    parts = (re.escape(p) if not p.startswith("{") else r"[^/?:]+" for p in _split(path))
    pattern = re.compile("".join(parts))
    mine = re.compile(rf"^(?:{verb} )?(?:https://[^/]*|\{{\}})?{pattern.pattern}(?:\?.*)?$")
    without = re.compile(rf"^{pattern.pattern}$")
    return [
        [t.ref for t in found.tests if any(mine.match(x) for x in t.texts)],
        [e.ref for e in found.exchanges if e.method == verb and without.match(e.path)],
    ]


def _split(path: str) -> list[str]:
    return [part for part in re.split(r"(\{[^}]*\})", path) if part]


def _text(name: str, found: Evidence) -> list[list[str]]:
    word = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)") if name.isidentifier() else None

    def holds(text: str) -> bool:
        return name in text if word is None else word.search(text) is not None

    return [
        [t.ref for t in found.tests if any(holds(x) for x in t.texts)],
        [e.ref for e in found.exchanges if holds(e.answer)]
        + [p.ref for p in found.probes if holds(p.answer)],
    ]


def _code(name: str, found: Evidence) -> list[list[str]]:
    told = f'"code\\":\\"{name}\\"'.replace("\\\\", "\\")
    return [
        [t.ref for t in found.tests if name in t.texts or any(f'"{name}"' in x for x in t.texts)],
        [e.ref for e in found.exchanges if told in e.answer or f'code\\":\\"{name}' in e.answer],
    ]


def _action(name: str, found: Evidence) -> list[list[str]]:
    asked = re.compile(rf'"name": ?"{name}"')
    return [
        [t.ref for t in found.tests if name in t.texts],
        [e.ref for e in found.exchanges if asked.search(e.payload)],
    ]


def _function(name: str, found: Evidence) -> list[list[str]]:
    short = name.rpartition(".")[2]
    whole = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")
    method = re.compile(rf"(?:\.|\b){re.escape(short)}(?!\w)")
    pattern = method if name.startswith("ccf.kv.") else whole
    return [
        [t.ref for t in found.tests if any(pattern.search(x) for x in t.texts)],
        [p.ref for p in found.probes if pattern.search(p.snippet)],
    ]


def _request(name: str, found: Evidence) -> list[list[str]]:
    short = name.rpartition(".")[2]
    return [
        [t.ref for t in found.tests if any(name in x for x in t.texts)],
        [p.ref for p in found.probes if name in p.snippet or f'"{short}"' in p.answer],
    ]


def _snippet(name: str, found: Evidence) -> list[list[str]]:
    return [
        [t.ref for t in found.tests if any(name in x for x in t.texts)],
        [p.ref for p in found.probes if name in p.snippet],
    ]


FINDERS: dict[str, Finder] = {
    "endpoint": _endpoint,
    "text": _text,
    "code": _code,
    "action": _action,
    "function": _function,
    "request": _request,
    "snippet": _snippet,
}


def named(groups: list[list[str]]) -> list[str]:
    """The tests to name in the table, of all that were found."""
    own, recorded = groups
    out = [f"`{ref}`" for ref in _spread(own, OWN_MAX)]
    by_module: dict[str, list[str]] = {}
    for ref in recorded:
        by_module.setdefault(ref.partition(" ")[0], []).append(ref)
    for module, refs in by_module.items():
        what = refs[0].partition(" ")[2].replace("|", "\\|")
        more = f" and {len(refs) - 1} more" if len(refs) > 1 else ""
        out.append(f"`{module}` {what[:-1]}{more})")
    return out


def _spread(refs: list[str], most: int) -> list[str]:
    """So many of them, of different modules first."""
    first: dict[str, str] = {}
    for ref in refs:
        first.setdefault(ref.partition("::")[0], ref)
    chosen = list(first.values())[:most]
    return chosen + [ref for ref in refs if ref not in chosen][: most - len(chosen)]


def write(found: Evidence) -> tuple[str, list[str]]:
    """The table, and the rows for which no test was found."""
    lines, bare = [HEAD], []
    for section in sections():
        lines += [f"## {section.title}", "", "| row | what | tests |", "| --- | --- | --- |"]
        for row in section.rows:
            tests_of = named(FINDERS[section.kind](row.name, found))
            if not tests_of:
                bare.append(f"{section.title}: {row.name}")
            lines.append(f"| `{row.name}` | {row.words} | {'<br>'.join(tests_of)} |")
        lines.append("")
    return "\n".join(lines), bare


def main() -> int:
    vectors = find_vectors()
    if vectors is None:
        print("The recordings are not here (PYCCF_VECTORS): the table would be poorer.")
        return 2
    text, bare = write(Evidence(tests(), exchanges(vectors), probes(vectors)))
    for row in bare:
        print(f"no test: {row}")
    DOCUMENT.write_text(text, encoding="utf-8")
    return 1 if bare else 0


if __name__ == "__main__":
    sys.exit(main())
