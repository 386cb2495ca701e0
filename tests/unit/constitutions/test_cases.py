"""Tests of constitutions as data: the samples' own, and what a test that must fail says."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from pyccf import constitutions
from pyccf.constitutions import cases
from pyccf.constitutions.folder import load
from pyccf.constitutions.folder import test_files as files
from pyccf.errors import LocalError

ROOT = Path(str(resources.files(constitutions)))
FOLDERS = [*constitutions.SAMPLES, "roles", "virtual"]
SNAPSHOT: dict[str, Any] = {"name": "trigger_snapshot"}


@pytest.mark.parametrize("name", FOLDERS)
def test_the_samples_pass_their_own_tests(name: str) -> None:
    text = load(ROOT / name)
    results = [r for file in files(ROOT / name) for r in cases.run_suite(text, file)]
    assert results
    assert [r for r in results if not r.passed] == []


@pytest.mark.parametrize("name", FOLDERS)
def test_their_lists_of_files_are_what_the_samples_are_made_of(name: str) -> None:
    if name in constitutions.SAMPLES:
        assert load(ROOT / name) == constitutions.text(name)
    else:
        assert load(ROOT / name) == constitutions.text("default", name)


def test_every_sample_is_described_and_tested() -> None:
    assert tuple(constitutions.ABOUT) == constitutions.SAMPLES
    for name in FOLDERS:
        assert [file for file, _ in constitutions.tests(name)] == [f"{name}.json"]
    with pytest.raises(LocalError, match="No constitution named nonsense"):
        constitutions.tests("nonsense")


# --- what fails, and how it is told ---------------------------------------------------------------


def run(tmp_path: Path, *steps: dict[str, Any], **more: Any) -> cases.Result:
    """Run steps as one case under the default constitution."""
    case = {"name": "the case", "steps": steps, **more}
    suite = {"members": {"alice": {}, "bob": {}, "carol": {}}, "cases": [case]}
    path = tmp_path / "suite.json"
    path.write_text(json.dumps(suite))
    (result,) = cases.run_suite(constitutions.text("default"), path)
    return result


def propose(*actions: dict[str, Any], **expected: Any) -> dict[str, Any]:
    return {"propose": actions or [SNAPSHOT], "by": "alice", "as": "p", "expect": expected}


def vote(by: str, choice: bool | str = True, **expected: Any) -> dict[str, Any]:
    return {"vote": choice, "by": by, "expect": expected}


USER = {"name": "set_user", "args": {"cert": "${dave.cert}"}}
CERTS = "public:ccf.gov.users.certs"
INFO = "public:ccf.gov.users.info"

WRONG: list[tuple[list[dict[str, Any]], int, str, str]] = [
    ([propose(state="Accepted")], 1, "another state", "-Accepted\n+Open"),
    ([propose(error="Nonsense")], 1, "Expected to be refused with: Nonsense", ""),
    ([propose({"name": "x"})], 1, "Refused: ProposalFailedToValidate: ", ""),
    ([propose({"name": "x"}, error="Other")], 1, "another error", "-Other\n+ProposalFailed"),
    (
        [propose(), vote("alice"), vote("bob", votes={"alice": True, "bob": False})],
        3,
        "votes were counted otherwise",
        '-  "${bob}": false,\n+  "${bob}": true',
    ),
    (
        [propose(USER), vote("alice"), vote("bob", writes={CERTS: {"${dave}": None}})],
        3,
        "Other rows were written",
        "BEGIN CERTIFICATE",
    ),
    (
        [propose(USER), vote("alice", writes={INFO: {}})],
        2,
        "Other rows were written",
        INFO,
    ),
    (
        [propose(), vote("alice"), vote("bob", calls=[])],
        3,
        "asked to do something else",
        "triggerSnapshot",
    ),
    (
        [propose(), vote("alice", "export function vote() { throw 1; }"), vote("bob"),
         vote("carol", vote_failures={})],
        4,
        "Other ballots failed",
        "",
    ),
    (
        [propose(), vote("alice", "export function vote() { throw 'this'; }"), vote("bob"),
         vote("carol", vote_failures={"alice": "that"})],
        4,
        "A ballot failed otherwise",
        "-that\n+this",
    ),
    ([propose(proposals={"p": "Accepted"})], 1, "in other states", '"p": "Open"'),
    ([propose(), {"withdraw": "q", "by": "alice"}], 2, "There is no proposal 'q'", ""),
    ([{"vote": True, "by": "alice"}], 1, "There is no proposal ''", ""),
    ([{"by": "alice"}], 1, "exactly one of propose, vote", ""),
    ([{"propose": [], "vote": True, "by": "alice"}], 1, "exactly one of propose, vote", ""),
    ([{"propose": []}], 1, "must say by whom", ""),
    ([propose(), {"vote": True, "by": "bob", "as": "q"}], 2, "`as` names a new proposal", ""),
    ([{"propose": [], "by": "bob", "on": "q"}], 1, "`on` says which proposal", ""),
    ([{"write": {}, "by": "bob"}], 1, "nobody's step", ""),
    ([{"write": {}, "expect": {"state": "Open"}}], 1, "nobody's step", ""),
    ([{"propose": "none.json", "by": "alice"}], 1, "Could not read", ""),
    ([{"propose": [SNAPSHOT], "by": "stranger"}], 1, "InvalidAuthenticationInfo", ""),
]  # fmt: skip


@pytest.mark.parametrize(("steps", "number", "problem", "diff"), WRONG)
def test_what_comes_out_otherwise_is_told(
    tmp_path: Path, steps: list[dict[str, Any]], number: int, problem: str, diff: str
) -> None:
    result = run(tmp_path, *steps)
    assert not result.passed
    assert (result.case, result.step) == ("the case", number)
    assert problem in result.problem
    assert diff in result.diff


def test_beginnings_that_cannot_be(tmp_path: Path) -> None:
    for more, problem in (
        ({"members": {}}, "at least one member"),
        ({"service": {"status": "Nonsense"}}, "Nonsense is no status"),
        ({"members": {"alice": {"role": "Nonsense"}}}, "Nonsense is no recovery role"),
        ({"service": {"recovery_threshold": 9}}, "Recovery threshold"),
        ({"members": {"alice": {"key": False, "role": "Owner"}}}, "no encryption public key"),
    ):
        result = run(tmp_path, propose(), **more)
        assert (result.passed, result.step) == (False, 0)
        assert problem in result.problem


def test_steps_that_change_what_is_there(tmp_path: Path) -> None:
    table = "public:ccf.gov.members.info"
    gone = {"write": {table: {"${bob}": None, "${carol}": None}}, "expect": {"proposals": {}}}
    result = run(tmp_path, propose(), gone, vote("alice", state="Accepted"))
    assert result.passed, result
    config = {"public:ccf.gov.service.config": {"": {"recovery_threshold": 2}}}
    result = run(
        tmp_path,
        propose({"name": "set_recovery_threshold", "args": {"recovery_threshold": 3}}),
        vote("alice"),
        vote("bob", calls=["triggerRecoverySharesRefresh"], writes={
            "public:ccf.gov.service.config": {"": {"recovery_threshold": 3}}}),
        tables=config,
    )  # fmt: skip
    assert result.passed, result


def test_proposals_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(json.dumps({"actions": [USER]}))
    step = {"propose": "p.json", "by": "alice", "expect": {"state": "Open"}}
    wrote = {CERTS: {"${dave}": "${dave.cert}"}, INFO: {"${dave}": None}}
    result = run(tmp_path, step, vote("alice"), vote("bob", writes=wrote))
    assert result.passed, result


def test_what_scripts_log_is_shown_with_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "suite.json"
    case = {"name": "c", "steps": [{"propose": [], "by": "a", "expect": {"state": "Accepted"}}]}
    path.write_text(json.dumps({"members": {"a": {}}, "cases": [case]}))
    text = (
        "export function validate(p) { console.log('seen', p.length); return {valid: true}; }"
        "export function resolve(p, by, votes) { return 'Open'; }"
        "export function apply(p, id) {}"
    )
    (result,) = cases.run_suite(text, path)
    assert not result.passed
    assert result.log == ["info: seen 14"]


def test_cases_do_not_see_each_other(tmp_path: Path) -> None:
    case = {"name": "c", "steps": [propose(USER), vote("alice"), vote("bob", state="Accepted")]}
    path = tmp_path / "suite.json"
    members = {"alice": {}, "bob": {}, "carol": {}}
    path.write_text(json.dumps({"members": members, "cases": [case, case]}))
    results = cases.run_suite(constitutions.text("default"), path)
    assert [r.passed for r in results] == [True, True]


# --- files ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "is not JSON"),
        ("{}", "missing required field `members`"),
        ('{"members": {}, "cases": [], "x": 1}', "unknown field `x`"),
        ('{"members": {"a": {"x": 1}}, "cases": []}', "unknown field `x`"),
        ('{"members": {}, "cases": [{"name": "c", "steps": [{"then": 1}]}]}', "unknown field"),
    ],
)
def test_files_that_are_no_tests(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(LocalError, match=problem) as refused:
        cases.read_suite(tmp_path / "t.json")
    assert str(tmp_path / "t.json") in refused.value.message


def test_the_example_of_the_documentation(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / "governance.md").read_text(encoding="utf-8")
    example = text.partition("```json\n")[2].partition("```")[0]
    (tmp_path / "example.json").write_text(example)
    results = cases.run_suite(constitutions.text("default"), tmp_path / "example.json")
    assert [result.passed for result in results] == [True, True], results
