"""`pyccf constitution`: listing, writing and testing constitutions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pyccf import constitutions
from support.cli import Run


def test_listing_and_printing(run: Run) -> None:
    listed = run("constitution", "show")
    assert all(name in listed.out for name in constitutions.SAMPLES)
    names = [one["name"] for one in run("constitution", "show", "--json").json]
    assert names == [*constitutions.SAMPLES]
    assert run("constitution", "show", "veto").out == constitutions.text("veto") + "\n"
    told = run("constitution", "show", "default", "--with", "roles", "--json").json
    assert told["files"][1] == "roles/set_role_definition.js"
    ran = run("constitution", "show", "nonsense")
    assert (ran.code, "Known: default" in ran.err) == (1, True)


@pytest.mark.parametrize("name", constitutions.SAMPLES)
def test_what_is_written_passes_its_tests(run: Run, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "mine"
    extras = ("--with", "roles", "--with", "virtual")
    assert run("constitution", "show", name, "--out", folder, *extras).code == 0
    tests = {path.name for path in (folder / "tests").iterdir()}
    more = set() if name == constitutions.AT_ONCE else {"roles.json", "virtual.json"}
    assert tests == {f"{name}.json"} | more
    ran = run("constitution", "test", folder)
    assert ran.code == 0
    assert ran.out.endswith(" passed, 0 failed.\n")
    again = run("constitution", "show", name, "--out", folder)
    assert (again.code, "exists already" in again.err) == (1, True)


def test_a_change_that_breaks_it_is_shown(run: Run, tmp_path: Path) -> None:
    run("constitution", "show", "veto", "--out", tmp_path)
    changed = tmp_path / "veto_resolve.js"
    changed.write_text(changed.read_text().replace('return "Rejected"', 'return "Open"'))
    ran = run("constitution", "test", tmp_path)
    assert ran.code == 1
    assert "FAIL  veto.json: one vote against rejects" in ran.out
    assert "step 3: The proposal is in another state" in ran.out
    assert "        -Rejected\n        +Open\n" in ran.out
    assert ran.out.endswith("1 passed, 2 failed.\n")
    told = run("constitution", "test", tmp_path, "--json")
    assert told.code == 1
    assert (told.json["passed"], told.json["failed"]) == (1, 2)
    failed = [one for one in told.json["cases"] if not one["passed"]]
    assert [(one["file"], one["step"]) for one in failed] == [("veto.json", 3), ("veto.json", 2)]
    only = run("constitution", "test", tmp_path, "--only", "two votes for")
    assert (only.code, "1 passed, 0 failed." in only.out) == (0, True)
    none = run("constitution", "test", tmp_path, "--only", "nonsense")
    assert (none.code, "No case was run" in none.err) == (1, True)


def test_a_constitution_that_does_not_compile(run: Run, tmp_path: Path) -> None:
    run("constitution", "show", "sandbox", "--out", tmp_path)
    resolve = tmp_path / "sandbox_resolve.js"
    text = resolve.read_text()
    for wrong, problem in (
        (f"{text}export function (", f"{resolve}:{text.count(chr(10)) + 1}: SyntaxError: "),
        # Only beside the others: named where it stands.
        (f"{text}const actions = 1;", f"{resolve}:{text.count(chr(10)) + 1}: SyntaxError: "),
        # Not closed: of the whole, the next file would be blamed.
        ("export function resolve( {", f"{resolve}:1: SyntaxError: "),
    ):
        resolve.write_text(wrong)
        ran = run("constitution", "test", tmp_path)
        assert (ran.code, ran.out) == (1, "")
        assert ran.err.startswith(f"Error: {problem}"), ran.err


def test_traces_name_files(run: Run, tmp_path: Path) -> None:
    run("constitution", "show", "sandbox", "--out", tmp_path)
    resolve = tmp_path / "sandbox_resolve.js"
    resolve.write_text("\nexport function resolve() {\n  throw new Error('boo');\n}\n")
    ran = run("constitution", "test", tmp_path, "--json")
    failed = next(case for case in ran.json["cases"] if not case["passed"])
    assert f"Error: boo\nTrace:     at resolve ({resolve}:3)" in failed["problem"]


def test_logs_and_beginnings_are_shown(run: Run, tmp_path: Path) -> None:
    (tmp_path / "c.js").write_text(
        "export function validate(p) { console.log('hello'); return {valid: false}; }\n"
        "export function resolve(p, by, votes) {}\nexport function apply(p, id) {}\n"
    )
    steps = [{"propose": [], "by": "a"}]
    cases = [
        {"name": "logs", "steps": steps},
        {"name": "begins", "service": {"status": "x"}, "steps": steps},
    ]
    suite = {"members": {"a": {}}, "cases": cases}
    (tmp_path / "c.test.json").write_text(json.dumps(suite))
    ran = run("constitution", "test", tmp_path)
    assert "step 1: Refused: ProposalFailedToValidate" in ran.out
    assert "        log info: hello\n" in ran.out
    assert "      the beginning: x is no status of a service\n      Known: Opening" in ran.out


def test_wrong_folders(run: Run, tmp_path: Path) -> None:
    ran = run("constitution", "test", tmp_path)
    assert (ran.code, "There is no constitution" in ran.err) == (1, True)
    (tmp_path / "c.js").write_text("")
    ran = run("constitution", "test", tmp_path)
    assert (ran.code, "There are no tests" in ran.err) == (1, True)
    ran = run("constitution", "show", "veto", "--out", tmp_path / "c.js")
    assert (ran.code, "Could not write" in ran.err) == (1, True)
