"""Proposals and ballots with the real engine: texts of failures, truth of votes, opening."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from pyccf.api.gov.scripts import BALLOT_MS_MIN, FAILURE_MAX, Scripts
from pyccf.apps.context import Services
from pyccf.apps.js import governance
from pyccf.apps.js.engine import JsResult
from pyccf.service import tables
from support.constitution import Constitution
from support.gov import Answer, Gov, NodeFacts
from support.service import node_identity, person, service_identity

FOR = "export function vote (rawProposal, proposerId) { return true }"
AGAINST = "export function vote (rawProposal, proposerId) { return false }"


def governed(name: str = "test", *, opened: bool = True) -> Gov:
    c = Constitution(name, "virtual", opened=opened)
    return Gov(c.world, c.scripts)


def returning(expression: str) -> str:
    return f"export function vote (p, i) {{ return {expression} }}"


@pytest.mark.parametrize(
    ("expression", "counts_for"),
    [
        ("1", True),
        ("'false'", True),
        ("[]", True),
        ("({})", True),
        ("2n", True),
        ("Promise.resolve(false)", True),
        ("0", False),
        ("''", False),
        ("null", False),
        ("NaN", False),
        ("undefined", False),
        ("0n", False),
    ],
)
def test_truth_of_votes(expression: str, counts_for: bool) -> None:
    gov = governed()
    ident = gov.propose("member0", "always_accept_with_one_vote").json["proposalId"]
    made = gov.vote("member0", ident, returning(expression))
    assert made.json["proposalState"] == ("Accepted" if counts_for else "Open")


def test_async_ballots_count_as_for() -> None:
    gov = governed()
    ident = gov.propose("member0", "always_accept_with_one_vote").json["proposalId"]
    made = gov.vote("member0", ident, "export async function vote (p, i) { return false }")
    assert made.json["proposalState"] == "Accepted"


@pytest.mark.parametrize(("among", "within_ms"), [(1, 5000), (4, 1250), (1000, BALLOT_MS_MIN)])
def test_ballots_share_one_time_limit(among: int, within_ms: int) -> None:
    given: list[Any] = []

    def call(*args: Any, **named: Any) -> JsResult:
        given.append(named["within_ms"])
        return governance.run(*args, **named)

    c = Constitution("test", "virtual")
    tx = c.world.store.tx()
    runner = Scripts(cast(Services, NodeFacts()), c.world.operations, call=call)
    assert runner.vote(tx, FOR, "b", "{}", "m", among)
    assert given == [within_ms]


def test_a_ballot_that_cannot_be_run_any_more_does_not_keep_others_from_voting() -> None:
    gov = governed()
    ident = gov.propose("member0", "always_accept_with_two_votes").json["proposalId"]
    ballot = """
        let seen = 0;
        ccf.kv["public:ccf.gov.proposals_info"].forEach((row) => {
            seen = Object.keys(ccf.bufToJsonCompatible(row).ballots).length;
        });
        export const vote = seen > 1 ? "not any more" : () => false;"""
    assert gov.vote("member1", ident, ballot).status == 200
    gov.vote("member0", ident, FOR)
    made = gov.vote("member2", ident, FOR)
    assert made.json["proposalState"] == "Accepted"
    reason = made.json["voteFailures"][person("member1").id]["reason"]
    assert reason.startswith("Export 'vote' of module 'public:ccf.gov.proposals_info[")
    assert reason.endswith("' is not a function")


def test_ballots_see_proposal_and_proposer() -> None:
    gov = governed()
    ident = gov.propose("member1", "always_accept_with_one_vote").json["proposalId"]
    me = person("member1").id
    ballot = returning(f"JSON.parse(p).actions.length === 1 && i === '{me}'")
    assert gov.vote("member0", ident, ballot).json["proposalState"] == "Accepted"


@pytest.mark.parametrize(
    ("ballot", "text"),
    [
        ("export function {", "Failed to compile {}"),
        ("export function other () {}", "Failed to find export 'vote' in module '{}'"),
        ("export const vote = 5", "Export 'vote' of module '{}' is not a function"),
    ],
)
def test_unusable_ballots(ballot: str, text: str) -> None:
    gov = governed()
    ident = gov.propose("member0", "always_accept_with_one_vote").json["proposalId"]
    name = f"public:ccf.gov.proposals_info[{ident}].ballots[m[{person('member0').id}]]"
    assert gov.vote("member0", ident, ballot).error == (500, "InternalError", text.format(name))
    assert gov.get(f"/members/proposals/{ident}").json["ballotCount"] == 0


def test_ballots_that_throw() -> None:
    gov = governed()
    ident = gov.propose("member0", "always_accept_with_two_votes").json["proposalId"]
    gov.vote("member0", ident, "export function vote (p, i) { throw new Error('ballot error') }")
    gov.vote("member1", ident, FOR)
    made = gov.vote("member2", ident, FOR)
    me = person("member0").id
    name = f"public:ccf.gov.proposals_info[{ident}].ballots[m[{me}]]"
    assert made.json["proposalState"] == "Accepted"
    assert set(made.json["voteFailures"]) == {me}
    failure = made.json["voteFailures"][me]
    assert failure["reason"] == "Error: ballot error"
    # Whether a line number follows the name is the engine's business.
    assert failure["trace"].startswith(f"    at vote ({name}")


def test_a_ballot_that_throws_much_does_not_make_its_proposal_too_large() -> None:
    gov = governed()
    ident = gov.propose("member0", "always_accept_with_one_vote").json["proposalId"]
    ballot = """export function vote (p, i) {
        const e = new Error("x".repeat(1e6)); e.stack = "y".repeat(1e6); throw e;
    }"""
    gov.vote("member0", ident, ballot)
    made = gov.vote("member1", ident, FOR)
    assert made.json["proposalState"] == "Accepted"
    (failure,) = made.json["voteFailures"].values()
    assert failure["reason"] == "Error: " + "x" * (FAILURE_MAX - 7)
    assert failure["trace"] == "y" * FAILURE_MAX


def test_ballots_may_read_and_not_write() -> None:
    gov = governed()
    ident = gov.propose("member0", "always_accept_with_one_vote").json["proposalId"]
    reads = returning("ccf.kv['public:ccf.gov.members.info'].size === 3")
    assert gov.vote("member0", ident, reads).json["proposalState"] == "Accepted"
    ident = gov.propose("member0", "always_accept_with_two_votes").json["proposalId"]
    writes = "export function vote (p, i) { ccf.kv['public:ccf.gov.users.info'].clear() }"
    assert gov.vote("member0", ident, writes).json["proposalState"] == "Open"
    gov.vote("member1", ident, FOR)
    failures = gov.vote("member2", ident, FOR).json["voteFailures"]
    reason = failures[person("member0").id]["reason"]
    assert reason.startswith('TypeError: Cannot call "clear" on table named public:ccf.gov.users')


@pytest.mark.parametrize("payload", [b"{x", b"[]", b"{}", b""])
def test_proposals_that_are_none(payload: bytes) -> None:
    made = governed().post("/members/proposals:create", "member0", "proposal", payload)
    status, code, text = made.error
    assert (status, code) == (500, "InternalError")
    assert text.startswith("Failed to execute validation: ")
    assert "Error: " in text
    assert text.endswith("\n")


def test_an_empty_list_of_actions_is_a_proposal() -> None:
    made = governed().post("/members/proposals:create", "member0", "proposal", {"actions": []})
    assert made.json["proposalState"] == "Open"


def test_failures_of_resolve_and_apply() -> None:
    gov = governed()
    for name, text in (
        ("always_throw_in_apply", "Failed to apply(): Error: Error message\nTrace:     at "),
        ("always_throw_in_resolve", "Failed to resolve(): Error: Resolve message\nTrace:     at "),
    ):
        status, code, found = gov.propose("member0", name).error
        assert (status, code) == (500, "InternalError")
        assert found.startswith(text)
    assert gov.get("/members/proposals").json == {"value": []}


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        ("'Failed'", "Failed"),
        ("'Dropped'", "Dropped"),
        ("undefined", "undefined"),
        ("5", "5"),
        ("({})", "[object Object]"),
    ],
)
def test_odd_answers_of_resolve(answer: str, shown: str) -> None:
    gov = governed()
    text = (
        "export function validate(i) { return {valid: true} }"
        f" export function resolve(p, i, v) {{ return {answer} }}"
        " export function apply(p, i) {}"
    )
    tx = gov.world.store.tx()
    tables.put_json(tx, tables.CONSTITUTION, tables.UNIT, text)
    gov.world.commit(tx)
    assert gov.propose("member0", "x").error == (
        500,
        "InternalError",
        f'resolve() returned invalid status value: "{shown}"\nTrace: N/A',
    )


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("5", (500, "InternalError", "Validation failed to return an object")),
        ("undefined", (500, "InternalError", "Validation failed to return an object")),
        ("({})", (400, "ProposalFailedToValidate", "Proposal failed to validate: ")),
        (
            "({valid: 0, description: 'no'})",
            (400, "ProposalFailedToValidate", "Proposal failed to validate: no"),
        ),
    ],
)
def test_odd_answers_of_validate(answer: str, error: tuple[int, str, str]) -> None:
    gov = governed()
    text = (
        f"export function validate(i) {{ return {answer} }}"
        " export function resolve(p, i, v) { return 'Accepted' } export function apply(p, i) {}"
    )
    tx = gov.world.store.tx()
    tables.put_json(tx, tables.CONSTITUTION, tables.UNIT, text)
    gov.world.commit(tx)
    assert gov.propose("member0", "x").error == error


def test_a_service_opened_by_its_members() -> None:
    gov = governed("default", opened=False)
    actions = [
        {"name": "set_user", "args": {"cert": person("user0").cert}},
        {
            "name": "transition_service_to_open",
            "args": {"next_service_identity": service_identity().cert_pem},
        },
    ]
    made = gov.post("/members/proposals:create", "member0", "proposal", {"actions": actions})
    ident = made.json["proposalId"]
    assert gov.vote("member0", ident, FOR).json["proposalState"] == "Open"
    assert gov.vote("member2", ident, AGAINST).json["proposalState"] == "Open"
    last: Answer = gov.vote("member1", ident, FOR)
    assert last.json["proposalState"] == "Accepted"
    assert gov.get("/service/info").json["status"] == "Open"
    assert gov.get(f"/service/users/{person('user0').id}").status == 200
    for name in ("member0", "member1", "member2"):
        shares = gov.get(f"/recovery/encrypted-shares/{person(name).id}")
        assert shares.json["memberId"] == person(name).id


def test_an_accepted_proposal_that_drops_others() -> None:
    gov = governed()
    waiting = gov.propose("member0", "always_accept_with_two_votes").json["proposalId"]
    actions = [{"name": "add_virtual_measurement", "args": {"measurement": "another"}}]
    made = gov.post("/members/proposals:create", "member0", "proposal", {"actions": actions})
    ident = made.json["proposalId"]
    gov.vote("member0", ident, FOR)
    assert gov.vote("member1", ident, FOR).json["proposalState"] == "Accepted"
    dropped = gov.get(f"/members/proposals/{waiting}").json
    assert dropped == {
        "ballotCount": 0,
        "proposalId": waiting,
        "proposalState": "Dropped",
        "proposerId": person("member0").id,
    }
    assert gov.withdraw("member0", waiting).error[2] == (
        f"Proposal {waiting} is currently in state dropped and cannot be withdrawn."
    )
    assert gov.vote("member1", waiting, FOR).error[1] == "ProposalNotOpen"
    policy = gov.get("/service/join-policy").json
    assert "another" in policy["virtual"]["measurements"]
    # The next closure removes both.
    gov.propose("member0", "always_reject_noop")
    kept = [row["proposalState"] for row in gov.get("/members/proposals").json["value"]]
    assert kept == ["Rejected"]


def test_a_failed_action_undoes_the_whole_vote() -> None:
    gov = governed("default")
    actions = [
        {"name": "set_user", "args": {"cert": person("user0").cert}},
        {"name": "set_member_data", "args": {"member_id": "0" * 64, "member_data": {}}},
    ]
    made = gov.post("/members/proposals:create", "member0", "proposal", {"actions": actions})
    ident = made.json["proposalId"]
    gov.vote("member0", ident, FOR)
    version = gov.world.store.version
    failed = gov.vote("member1", ident, FOR)
    assert failed.error[2].startswith(f"Failed to apply(): Error: Member {'0' * 64} does not exist")
    assert gov.world.store.version == version
    assert gov.get(f"/members/proposals/{ident}").json["ballotCount"] == 1
    assert gov.get(f"/service/users/{person('user0').id}").status == 404
    stored = tables.get_object(gov.world.store.tx(), tables.PROPOSALS_INFO, ident)
    assert json.loads(json.dumps(stored))["state"] == "Open"


LONE = "\\ud800"
"""Half a character, as a script writes it: no answer and no table can carry it."""


def test_words_that_no_answer_can_carry() -> None:
    gov = governed()
    made = gov.post(
        "/members/proposals:create", "member0", "proposal", {"actions": [{"name": "\ud800"}]}
    )
    told = "Proposal failed to validate: \ufffd: no such action"
    assert made.error == (400, "ProposalFailedToValidate", told)
    ident = gov.propose("member0", "always_accept_with_two_votes").json["proposalId"]
    throwing = f"export function vote (p, i) {{ throw new Error('{LONE}') }}"
    assert gov.vote("member2", ident, throwing).status == 200
    gov.vote("member0", ident, FOR)
    made = gov.vote("member1", ident, FOR)
    assert made.json["proposalState"] == "Accepted"
    failure = made.json["voteFailures"][person("member2").id]
    assert failure["reason"] == "Error: \ufffd"


@pytest.mark.parametrize(
    ("action", "args"),
    [
        ("set_member_data", {"member_id": person("member0").id, "member_data": {"a": "\ud800"}}),
        ("set_node_data", {"node_id": node_identity().node_id, "node_data": "\udfff"}),
        ("set_user", {"cert": person("user0").cert, "user_data": {"a": "\ud800"}}),
    ],
)
def test_what_no_node_could_read_is_not_decided(action: str, args: object) -> None:
    gov = governed("sandbox")
    payload = {"actions": [{"name": action, "args": args}]}
    status, code, message = gov.post(
        "/members/proposals:create", "member0", "proposal", payload
    ).error
    assert (status, code) == (500, "InternalError")
    assert message.startswith("Failed to apply(): Table public:ccf.gov.")
    assert "is not JSON" in message
    assert message.endswith("\nTrace: N/A")
    assert gov.propose("member0", "trigger_snapshot").json["proposalState"] == "Accepted"


def test_keys_that_no_table_could_hold_are_refused() -> None:
    gov = governed("sandbox")
    key = {"kid": "\ud800", "kty": "RSA", "n": "AQAB", "e": "AQAB"}
    args = {"issuer": "\ud800", "jwks": {"keys": [key]}}
    payload = {"actions": [{"name": "set_jwt_issuer", "args": args}]}
    made = gov.post("/members/proposals:create", "member0", "proposal", payload)
    message = made.error[2]
    assert message.startswith("Failed to apply(): InternalError: Error setting JWT public signing")
    payload["actions"][0]["args"] = {"issuer": "\ud800"}
    made = gov.post("/members/proposals:create", "member0", "proposal", payload)
    assert made.error[2].startswith("Failed to apply(): Table public:ccf.gov.jwt.issuers")
    assert gov.get("/service/jwk").json["issuers"] == {}


def test_options_that_cannot_be_read_stop_no_proposal() -> None:
    gov = governed("sandbox")
    options = {
        "max_heap_bytes": 1 << 30,
        "max_stack_bytes": 1 << 20,
        "max_execution_time_ms": 1000,
        "max_cached_interpreters": None,
    }
    for wanted in (options, {**options, "max_cached_interpreters": 5}):
        payload = {"actions": [{"name": "set_js_runtime_options", "args": wanted}]}
        made = gov.post("/members/proposals:create", "member0", "proposal", payload)
        assert made.json["proposalState"] == "Accepted"


SEEN = """
actions.set("see", new Action(
  function (args) {},
  function (args, proposalId) {
    const seen = ccf.kv["public:ccf.gov.proposals_info"].get(ccf.strToBuf(proposalId));
    const { state, final_votes, vote_failures } = ccf.bufToJsonCompatible(seen);
    const text = [state, Object.values(final_votes), Object.keys(vote_failures).length].join();
    ccf.kv["public:ccf.gov.seen"].set(getSingletonKvKey(), ccf.strToBuf(text));
  },
));
"""


def test_a_decision_sees_how_it_was_decided() -> None:
    c = Constitution("default")
    c.put(tables.CONSTITUTION, tables.UNIT, c.text + SEEN)
    gov = Gov(c.world, c.scripts)
    ident = gov.propose("member0", "see").json["proposalId"]
    gov.vote("member0", ident, FOR)
    gov.vote("member2", ident, "export function vote (p, i) { throw new Error('no') }")
    assert gov.vote("member1", ident, FOR).json["proposalState"] == "Accepted"
    seen = c.world.store.tx().map("public:ccf.gov.seen").get(tables.UNIT)
    assert seen == b"Accepted,true,true,1"
