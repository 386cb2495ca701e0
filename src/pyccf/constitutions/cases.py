"""Tests of a constitution as data: members, steps, and what must come of each.

A file holds a consortium and cases; a case is a list of steps on a service of its own:

    {"members": {"alice": {"data": {"is_operator": true}, "key": false}, "bob": {}},
     "cases": [{"name": "one of two is not enough", "steps": [
        {"propose": [{"name": "set_user", "args": {"cert": "${user0.cert}"}}], "by": "alice",
         "as": "p", "expect": {"state": "Open"}},
        {"vote": true, "by": "bob", "on": "p", "expect": {"state": "Accepted",
          "writes": {"public:ccf.gov.users.certs": {"${user0}": "${user0.cert}"}}}}]}]}

`${name}` is the id of a person (any name makes one) or of a proposal of that name; `${name.cert}`
and `${name.key}` are a person's certificate and encryption key; `${service.cert}` and `${node}`
are the service and its node. What a step expects is compared exactly: see `Expected`. Refused with
LocalError, naming file and place: members of objects that mean nothing here, and names of proposals
that were not made.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from pyccf.codec.text import dump_json
from pyccf.constitutions.folder import read_json
from pyccf.constitutions.trial import (
    Answer,
    MemberPlan,
    ServicePlan,
    Trial,
    encryption_key,
    node_identity,
    person,
    service_identity,
)
from pyccf.errors import LocalError, PyccfError
from pyccf.types import Json, ProposalId

BALLOTS = {
    True: "export function vote(proposal, proposerId) { return true; }",
    False: "export function vote(proposal, proposerId) { return false; }",
}

GONE = "Gone"
"""State of a proposal that is kept no more."""

BOOKKEEPING = frozenset(
    f"public:ccf.gov.{name}"
    for name in ("proposals", "proposals_info", "cose_history", "cose_recent_proposals")
)
INTERNAL = "public:ccf.internal."
"""Tables that hold what must differ from one service to the next; not compared unless named."""


Rows = dict[str, dict[str, object]]
"""Rows by table and key, as a file gives them."""


class Expected(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What must come of a step. Nothing but success is expected of what is left out."""

    state: str | None = None
    votes: dict[str, bool] | None = None
    """How the ballots of a resolved proposal came out."""
    vote_failures: dict[str, str] | None = None
    """Parts of the reasons why ballots failed."""
    error: str | None = None
    """A part of "code: message"; the step must then be refused."""
    writes: Rows | None = None
    """All rows written, by table and key (null: removed), beside the proposals themselves and the
    node's internal tables."""
    calls: list[str] | None = None
    """What the node was asked to do, e.g. triggerLedgerRekey, in order."""
    proposals: dict[str, str] | None = None
    """States of proposals by name, `Gone` for those that are kept no more."""


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"as_": "as"}):
    """One thing done: exactly one of `propose`, `vote`, `withdraw` and `write`."""

    propose: list[object] | str | None = None
    """Actions, or a file of a proposal beside the test file."""
    vote: bool | str | None = None
    """For, against, or the text of a ballot's module."""
    withdraw: str | None = None
    """Name of the proposal."""
    write: Rows | None = None
    """Rows to change by other means."""
    by: str = ""
    as_: str = ""
    """Name of the new proposal."""
    on: str = ""
    """Proposal that is voted on (the last one made)."""
    expect: Expected = Expected()


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Steps on a service of their own; members and service as the file has them, unless given."""

    name: str
    steps: list[Step]
    members: dict[str, MemberPlan] | None = None
    service: ServicePlan | None = None
    tables: Rows = {}


class Suite(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A test file."""

    members: dict[str, MemberPlan]
    cases: list[Case]
    about: str = ""
    service: ServicePlan = ServicePlan()
    tables: Rows = {}


class Result(msgspec.Struct, frozen=True):
    """What became of a case; `step` counts from 1, 0 is the beginning."""

    file: str
    case: str
    passed: bool
    step: int = 0
    problem: str = ""
    diff: str = ""
    log: list[str] = []


# --- files ------------------------------------------------------------------------------------


def read_suite(path: Path) -> Suite:
    """Read a test file."""
    try:
        return msgspec.convert(read_json(path), type=Suite)
    except msgspec.ValidationError as error:
        raise LocalError(
            f"{path}: {error}", hint="See docs/governance.md for the format."
        ) from error


# --- running --------------------------------------------------------------------------------------


class _Failed(Exception):
    def __init__(self, problem: str, diff: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.diff = diff


def run_suite(constitution: str, path: Path) -> list[Result]:
    """Run all cases of a file, each by itself."""
    suite = read_suite(path)
    return [run_case(constitution, path, suite, case) for case in suite.cases]


def run_case(constitution: str, path: Path, suite: Suite, case: Case) -> Result:
    """Run one case up to the first step that does not come out as expected."""
    run = _Run(constitution, path, suite, case)
    problem = diff = ""
    try:
        run.begin()
        for step in case.steps:
            run.taken += 1
            run.step(step)
    except _Failed as failed:
        problem, diff = failed.problem, failed.diff
    except PyccfError as error:
        problem = error.explain()
    log = run.log if problem else []
    return Result(path.name, case.name, not problem, run.taken, problem, diff, log)


class _Run:
    """One case while it runs."""

    def __init__(self, constitution: str, path: Path, suite: Suite, case: Case) -> None:
        self._constitution = constitution
        self._path = path
        self._suite = suite
        self._case = case
        self._trial: Trial | None = None
        self._proposals: dict[str, ProposalId] = {}
        self._named: dict[str, str] = {}
        """People by their names in the file, to show their ids so."""
        self._last = ""
        self.taken = 0

    @property
    def log(self) -> list[str]:
        return [] if self._trial is None else self._trial.log

    def begin(self) -> None:
        suite, case = self._suite, self._case
        members = suite.members if case.members is None else case.members
        if not members:
            raise LocalError("A consortium needs at least one member")
        self._named |= {name: person(name).id for name in members}
        filled = {
            name: msgspec.structs.replace(plan, data=self._fill(plan.data))
            for name, plan in members.items()
        }
        self._trial = Trial(self._constitution, filled, case.service or suite.service)
        for rows in (suite.tables, case.tables):
            self._trial.write(self._rows(rows))

    def step(self, step: Step) -> None:
        trial = self._trial
        assert trial is not None
        kinds = [step.propose, step.vote, step.withdraw, step.write]
        if sum(kind is not None for kind in kinds) != 1:
            raise LocalError("A step is exactly one of propose, vote, withdraw and write")
        _check_fit(step)
        if step.write is not None:
            trial.write(self._rows(step.write))
            self._compare_proposals(step.expect)
            return
        if step.propose is not None:
            answer = trial.propose(step.by, self._document(step.propose))
            name = step.as_ or f"proposal {len(self._proposals) + 1}"
            if answer.error is None and isinstance(answer.body, dict):
                self._proposals[name] = str(answer.body["proposalId"])
            self._last = name
        elif step.vote is not None:
            ballot = BALLOTS[step.vote] if isinstance(step.vote, bool) else step.vote
            answer = trial.vote(step.by, self._ident(step.on or self._last), self._text(ballot))
        else:
            answer = trial.withdraw(step.by, self._ident(step.withdraw or self._last))
        self._compare(step.expect, answer)

    # What a step expects.

    def _compare(self, expected: Expected, answer: Answer) -> None:
        said = None if answer.error is None else ": ".join(answer.error)
        if expected.error is not None:
            if said is None:
                raise _Failed(f"Expected to be refused with: {expected.error}")
            wanted = self._text(expected.error)
            if wanted not in said:
                raise _Failed("Refused with another error", _diff(wanted, said))
        elif said is not None:
            raise _Failed(f"Refused: {said}")
        body = answer.body if isinstance(answer.body, dict) else {}
        if expected.state is not None and body.get("proposalState") != expected.state:
            raise _Failed(
                "The proposal is in another state",
                _diff(expected.state, str(body.get("proposalState"))),
            )
        if expected.votes is not None:
            wanted_votes = {person(name).id: vote for name, vote in expected.votes.items()}
            self._same("The votes were counted otherwise", wanted_votes, body.get("finalVotes"))
        if expected.vote_failures is not None:
            self._compare_failures(expected.vote_failures, body.get("voteFailures"))
        if expected.calls is not None:
            self._same("The node was asked to do something else", expected.calls, answer.calls)
        if expected.writes is not None:
            wanted_rows = self._rows(expected.writes)
            self._same("Other rows were written", wanted_rows, _compared(answer, wanted_rows))
        self._compare_proposals(expected)

    def _compare_failures(self, wanted: dict[str, str], found: Json) -> None:
        shown = found if isinstance(found, dict) else {}
        ids = {person(name).id: reason for name, reason in wanted.items()}
        self._same("Other ballots failed", sorted(ids), sorted(shown))
        for ident, part in ids.items():
            failure = shown[ident]
            reason = str(failure.get("reason")) if isinstance(failure, dict) else ""
            if part not in reason:
                raise _Failed("A ballot failed otherwise", _diff(part, reason))

    def _compare_proposals(self, expected: Expected) -> None:
        if expected.proposals is None:
            return
        assert self._trial is not None
        found = {
            name: self._trial.state_of(self._ident(name)) or GONE for name in expected.proposals
        }
        self._same("Proposals are in other states", expected.proposals, found)

    def _same(self, problem: str, wanted: object, found: object) -> None:
        if wanted != found:
            raise _Failed(problem, _diff(self._shown(wanted), self._shown(found)))

    # Names.

    def _ident(self, name: str) -> ProposalId:
        if name not in self._proposals:
            known = ", ".join(self._proposals) or "none"
            raise LocalError(f"There is no proposal {name!r}", hint=f"Made so far: {known}")
        return self._proposals[name]

    def _document(self, proposed: list[object] | str) -> bytes:
        if isinstance(proposed, str):
            return dump_json(self._fill(read_json(self._path.parent / proposed)))
        return dump_json({"actions": self._fill(proposed)})

    def _rows(self, rows: Rows) -> dict[str, dict[str, Json]]:
        return {
            table: {self._text(key): self._fill(value) for key, value in values.items()}
            for table, values in rows.items()
        }

    def _fill(self, value: object) -> Json:
        """A value of a file with names replaced by what they stand for."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, list):
            return [self._fill(item) for item in value]
        if isinstance(value, dict):
            return {self._text(key): self._fill(item) for key, item in value.items()}
        assert value is None or isinstance(value, (bool, int, float)), "files hold JSON"
        return value

    def _text(self, text: str) -> str:
        return _NAME.sub(lambda match: self._meaning(match[1], match[2]), text)

    def _meaning(self, name: str, part: str | None) -> str:
        if name in self._proposals and part is None:
            return self._proposals[name]
        if (name, part) == ("service", "cert"):
            return service_identity().cert_pem
        if (name, part) == ("node", None):
            return node_identity().node_id
        self._named[name] = person(name).id
        if part == "cert":
            return person(name).cert
        if part == "key":
            return encryption_key()
        return person(name).id

    def _shown(self, value: object) -> str:
        """A value as lines, with ids as the names that they have in the file."""
        text = msgspec.json.format(msgspec.json.encode(value, order="sorted"), indent=2).decode()
        for name, ident in self._proposals.items():
            text = text.replace(ident, f"${{{name}}}")
        for name, ident in self._named.items():
            text = text.replace(ident, f"${{{name}}}")
        return text.replace(node_identity().node_id, "${node}")


def _check_fit(step: Step) -> None:
    """Refuse what would be passed over in silence, so that no expectation goes untested."""
    if step.as_ and step.propose is None:
        raise LocalError("`as` names a new proposal: it belongs to propose")
    if step.on and step.vote is None:
        raise LocalError("`on` says which proposal is voted on: it belongs to vote")
    if step.write is None:
        if not step.by:
            raise LocalError("A step must say by whom it is taken")
    elif step.by or step.expect != Expected(proposals=step.expect.proposals):
        raise LocalError("What is written is nobody's step: of it, only `proposals` are expected")


_NAME = re.compile(r"\$\{(\w+)(?:\.(cert|key))?\}")


def _compared(answer: Answer, wanted: Mapping[str, object]) -> dict[str, dict[str, Json]]:
    """What was written, without tables that are not compared."""
    return {
        table: rows
        for table, rows in answer.writes.items()
        if table in wanted or (table not in BOOKKEEPING and not table.startswith(INTERNAL))
    }


def _diff(wanted: str, found: str) -> str:
    """Both as lines: `-` expected, `+` found."""
    lines = difflib.unified_diff(
        wanted.splitlines(), found.splitlines(), "expected", "found", lineterm="", n=2
    )
    return "\n".join(lines)
