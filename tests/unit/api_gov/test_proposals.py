"""The life of a proposal through the API: every state, every refusal, and what is written."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest

from pyccf.api import logged
from pyccf.codec.cose import parse_sign1
from pyccf.crypto.cosesign import twin, verify1
from pyccf.http.message import Request
from pyccf.service import info, proposals, tables
from pyccf.service.genesis import ServiceConfiguration
from pyccf.service.info import ServiceStatus
from support.gov import FakeScripts, Gov
from support.service import NOW, member, person, world

NAMES = ("member0", "member1", "member2")
UNKNOWN = "0" * 64


def governed(window: int | None = None, constitution: str = "constitution") -> Gov:
    made = world(
        *(member(n) for n in NAMES),
        constitution=constitution,
        configuration=ServiceConfiguration(recent_cose_proposals_window_size=window),
    )
    made.activate(*NAMES)
    return Gov(made, FakeScripts())


def rows(gov: Gov, table: str) -> dict[str, bytes]:
    return {k.decode(): v for k, v in gov.world.store.tx().map(table).foreach()}


def test_voting_until_acceptance() -> None:
    gov = governed()
    made = gov.propose("member0", "two_votes")
    ident = made.json["proposalId"]
    assert made.status == 200
    assert made.json == {
        "ballotCount": 0,
        "proposalId": ident,
        "proposalState": "Open",
        "proposerId": person("member0").id,
    }
    assert gov.vote("member0", ident, "for").json["ballotCount"] == 1
    last = gov.vote("member2", ident, "for")
    votes = {person("member0").id: True, person("member2").id: True}
    assert last.json == {
        "ballotCount": 2,
        "finalVotes": votes,
        "proposalId": ident,
        "proposalState": "Accepted",
        "proposerId": person("member0").id,
        "voteFailures": {},
    }
    assert gov.get(f"/members/proposals/{ident}").json == last.json
    assert gov.get("/members/proposals").json == {"value": [last.json]}
    scripts = gov._scripts
    assert isinstance(scripts, FakeScripts)
    assert scripts.applied == [ident]
    assert [v.member_id for v in scripts.votes[-1]] == sorted(votes)


def test_tables_of_a_new_proposal() -> None:
    gov = governed()
    payload = {"actions": [{"name": "two_votes", "args": None}]}
    body = json.dumps(payload).encode()
    envelope = gov.sign(person("member1"), "proposal", body, {}, NOW)
    made = gov.run(
        Request(
            "POST",
            "/gov/members/proposals:create?api-version=2024-07-01",
            {"content-type": "application/cose"},
            envelope,
        )
    )
    digest = hashlib.sha256(parse_sign1(envelope).signature).digest()
    assert gov.root is not None
    ident = hashlib.sha256(gov.root + digest).hexdigest()
    assert made.json["proposalId"] == ident
    me = person("member1").id
    assert rows(gov, tables.PROPOSALS) == {ident: body}
    assert rows(gov, tables.PROPOSALS_INFO) == {
        ident: f'{{"ballots":{{}},"proposer_id":"{me}","state":"Open"}}'.encode()
    }
    kept = json.dumps(base64.b64encode(envelope).decode()).encode()
    assert rows(gov, tables.COSE_HISTORY) == {me: kept}
    assert rows(gov, tables.COSE_RECENT_PROPOSALS) == {
        f"{NOW}:{digest.hex()}": json.dumps(ident).encode()
    }


def test_recorded_proposal_id() -> None:
    root = bytes.fromhex("20ad80ae650a8f1e8256b62d4754067c590cc8af17918f5a3358f9d18be7d4c0")
    digest = bytes.fromhex("d5cb539a7d26985f95e5637124c793c866381334ac014819b1cebec31e58108e")
    expected = "0990fbc14e303911b68aab7fbb2a6e9232dba5bad708c4fee59badb6b428c1c3"
    assert hashlib.sha256(root + digest).hexdigest() == expected
    signature = b"any"
    made = hashlib.sha256(root + hashlib.sha256(signature).digest()).hexdigest()
    assert proposals.proposal_id(root, signature) == made


@pytest.mark.parametrize(("name", "state"), [("accept", "Accepted"), ("reject", "Rejected")])
def test_resolved_at_once(name: str, state: str) -> None:
    gov = governed()
    made = gov.propose("member0", name)
    assert made.json["proposalState"] == state
    assert made.json["finalVotes"] == {}
    assert made.json["voteFailures"] == {}
    stored = json.loads(rows(gov, tables.PROPOSALS_INFO)[made.json["proposalId"]])
    assert stored == {
        "ballots": {},
        "final_votes": {},
        "proposer_id": person("member0").id,
        "state": state,
        "vote_failures": {},
    }


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "throw_in_resolve",
            "Failed to resolve(): Error: Resolve message\nTrace:     at resolve\n",
        ),
        ("throw_in_apply", "Failed to apply(): Error: Error message\nTrace:     at apply\n"),
        ("throw_text_in_apply", "Failed to apply(): text\nTrace: N/A"),
        ("nonsense_state", 'resolve() returned invalid status value: "Failed"\nTrace: N/A'),
        ("validate_to_number", "Validation failed to return an object"),
        (
            "validate_loops",
            "Failed to execute validation: Operation took too long to complete. ",
        ),
    ],
)
def test_failures_keep_nothing(name: str, message: str) -> None:
    gov = governed()
    before = gov.world.store.version
    assert gov.propose("member0", name).error == (500, "InternalError", message)
    assert gov.world.store.version == before
    assert gov.get("/members/proposals").json == {"value": []}


@pytest.mark.parametrize("payload", [b"{x", b"[]", b"{}", b"", b"\xff"])
def test_payloads_the_constitution_cannot_read(payload: bytes) -> None:
    gov = governed()
    made = gov.post("/members/proposals:create", "member0", "proposal", payload)
    assert made.error == (
        500,
        "InternalError",
        "Failed to execute validation: SyntaxError: bad     at parse (native)\n",
    )


def test_proposals_that_do_not_validate() -> None:
    gov = governed()
    assert gov.propose("member0", "nonsense").error == (
        400,
        "ProposalFailedToValidate",
        "Proposal failed to validate: nonsense: no such action",
    )


def test_a_constitution_that_cannot_run() -> None:
    gov = governed(constitution="unusable")
    assert gov.propose("member0", "accept").error == (
        500,
        "InternalError",
        "Failed to compile public:ccf.gov.constitution[0]",
    )


def test_without_constitution_or_root() -> None:
    gov = governed()
    gov.root = None
    assert gov.propose("member0", "accept").error == (
        500,
        "InternalError",
        "Proposal failed to bind to state.",
    )
    gov.root = bytes(32)
    ident = gov.propose("member0", "two_votes").json["proposalId"]
    tx = gov.world.store.tx()
    tx.map(tables.CONSTITUTION).delete(tables.UNIT)
    gov.world.commit(tx)
    assert gov.propose("member0", "accept").error[2] == (
        "No constitution is set - proposals cannot be evaluated"
    )
    assert gov.vote("member0", ident, "for").error[2] == (
        "No constitution is set - ballots cannot be evaluated"
    )


# --- replay -----------------------------------------------------------------------------------


def test_replayed_envelope() -> None:
    gov = governed()
    payload = {"actions": [{"name": "reject", "args": None}]}
    body = json.dumps(payload).encode()
    envelope = gov.sign(person("member0"), "proposal", body, {}, NOW)
    request = Request(
        "POST",
        "/gov/members/proposals:create?api-version=2024-07-01",
        {"content-type": "application/cose"},
        envelope,
    )
    first = gov.run(request)
    gov.root = b"\1" * 32
    assert gov.run(request).error == (
        400,
        "ProposalReplay",
        f"Proposal submission replay, already exists as proposal {first.json['proposalId']}",
    )
    gov.root = bytes(range(32))
    assert gov.run(request).error == (500, "InternalError", "Proposal ID collision.")


def test_replayed_envelope_with_the_other_form_of_its_signature() -> None:
    gov = governed()
    payload = {"actions": [{"name": "reject", "args": None}]}
    envelope = gov.sign(person("member0"), "proposal", json.dumps(payload).encode(), {}, NOW)
    signed = parse_sign1(envelope)
    other = twin(signed.signature)
    forged = envelope.removesuffix(signed.signature) + other
    assert verify1(parse_sign1(forged), person("member0").key.public)
    assert other != signed.signature == twin(other)
    target = "/gov/members/proposals:create?api-version=2024-07-01"
    headers = {"content-type": "application/cose"}
    first = gov.run(Request("POST", target, headers, envelope))
    gov.root = b"\1" * 32
    assert gov.run(Request("POST", target, headers, forged)).error == (
        400,
        "ProposalReplay",
        f"Proposal submission replay, already exists as proposal {first.json['proposalId']}",
    )


def test_what_was_signed_in_the_same_second_is_not_forgotten() -> None:
    gov = governed(window=2)
    target = "/gov/members/proposals:create?api-version=2024-07-01"
    headers = {"content-type": "application/cose"}

    def signed(number: int, at: int) -> Request:
        payload = {"actions": [{"name": "reject", "args": number}]}
        body = json.dumps(payload).encode()
        return Request(
            "POST", target, headers, gov.sign(person("member0"), "proposal", body, {}, at)
        )

    burst = [signed(i, NOW) for i in range(6)]
    assert {gov.run(request).status for request in burst} == {200}
    gov.root = b"\1" * 32
    assert {gov.run(request).error[1] for request in burst} == {"ProposalReplay"}
    for later in (1, 2):
        assert gov.run(signed(0, NOW + later)).status == 200
    gov.root = b"\2" * 32
    assert {gov.run(request).error[1] for request in burst} == {"ProposalCreatedTooLongAgo"}
    assert len(rows(gov, tables.COSE_RECENT_PROPOSALS)) == 2


def test_outdated_proposals() -> None:
    gov = governed()
    for offset in (0, 10, 20, 30):
        assert gov.propose("member0", "reject", created_at=NOW + offset).status == 200
    # Four are known: the third decides.
    message = f"Proposal created too long ago, created_at must be greater than {NOW + 20}"
    late = gov.propose("member0", "reject", created_at=NOW + 19)
    assert late.error == (400, "ProposalCreatedTooLongAgo", message)
    assert gov.propose("member0", "reject", created_at=0).error[1] == "ProposalCreatedTooLongAgo"
    assert gov.propose("member0", "accept", created_at=NOW + 20).status == 200
    assert gov.propose("member0", "reject", created_at=9_999_999_999).status == 200
    assert gov.propose("member0", "reject", created_at=10_000_000_000).error == (
        400,
        "InvalidCreatedAt",
        "Header parameter created_at value is too large",
    )


def test_window_keeps_the_newest() -> None:
    gov = governed(window=4)
    for offset in range(8):
        assert gov.propose("member0", "reject", created_at=NOW + offset).status == 200
        kept = [int(key[:10]) - NOW for key in rows(gov, tables.COSE_RECENT_PROPOSALS)]
        # One is added, then what was there before is cut to the window less one.
        assert kept == list(range(max(0, offset - 3), offset + 1))


# --- ballots ----------------------------------------------------------------------------------


def test_ballots_that_throw_are_not_counted() -> None:
    gov = governed()
    ident = gov.propose("member0", "two_votes").json["proposalId"]
    assert gov.vote("member0", ident, "throw").json["proposalState"] == "Open"
    assert gov.vote("member1", ident, "loop").json["proposalState"] == "Open"
    tx = gov.world.store.tx()
    info = tables.get_object(tx, tables.PROPOSALS_INFO, ident)
    assert info is not None
    assert "vote_failures" not in info
    made = gov.vote("member2", ident, "for")
    assert made.json["proposalState"] == "Open"


def test_vote_failures_are_told_after_resolution() -> None:
    gov = governed()
    ident = gov.propose("member0", "two_votes").json["proposalId"]
    gov.vote("member1", ident, "throw")
    gov.vote("member0", ident, "for")
    made = gov.vote("member2", ident, "for")
    name = f"public:ccf.gov.proposals_info[{ident}].ballots[m[{person('member1').id}]]"
    assert made.json["voteFailures"] == {
        person("member1").id: {
            "reason": "Error: ballot error",
            "trace": f"    at vote ({name})\n",
        }
    }
    assert set(made.json["finalVotes"]) == {person("member0").id, person("member2").id}
    stored = json.loads(rows(gov, tables.PROPOSALS_INFO)[ident])
    assert stored["vote_failures"] == made.json["voteFailures"]


def test_a_ballot_that_does_not_compile_is_not_recorded() -> None:
    gov = governed()
    ident = gov.propose("member0", "two_votes").json["proposalId"]
    me = person("member0").id
    assert gov.vote("member0", ident, "broken").error == (
        500,
        "InternalError",
        f"Failed to compile public:ccf.gov.proposals_info[{ident}].ballots[m[{me}]]",
    )
    assert gov.get(f"/members/proposals/{ident}").json["ballotCount"] == 0


def test_same_and_different_ballot() -> None:
    gov = governed()
    ident = gov.propose("member0", "two_votes").json["proposalId"]
    gov.vote("member0", ident, "for")
    again = gov.vote("member0", ident, "for")
    assert (again.status, again.seqno, again.json["ballotCount"]) == (200, None, 1)
    me = person("member0").id
    assert gov.vote("member0", ident, "against").error == (
        400,
        "VoteAlreadyExists",
        f"Different ballot already submitted by m[{me}] for {ident}.",
    )
    shown = gov.get(f"/members/proposals/{ident}/ballots/{me}")
    assert (shown.body, shown.headers["content-type"]) == (b"for", "text/javascript")
    other = person("member1").id
    assert gov.get(f"/members/proposals/{ident}/ballots/{other}").error == (
        404,
        "VoteNotFound",
        f"Member m[{other}] has not voted for proposal {ident}.",
    )
    assert gov.get(f"/members/proposals/{UNKNOWN}/ballots/{other}").error == (
        404,
        "ProposalNotFound",
        f"Proposal {UNKNOWN} does not exist.",
    )


@pytest.mark.parametrize("payload", [{}, {"script": "x"}, {"ballot": 5}, [], 5, None])
def test_ballot_payloads_without_text(payload: object) -> None:
    gov = governed()
    ident = gov.propose("member0", "two_votes").json["proposalId"]
    made = gov.post(
        f"/members/proposals/{ident}/ballots/{person('member0').id}:submit",
        "member0",
        "ballot",
        payload,
        {"ccf.gov.msg.proposal_id": ident},
    )
    assert made.error == (
        400,
        "InvalidInput",
        'Signed request body is not a JSON object containing required string field "ballot"',
    )


@pytest.mark.parametrize("payload", [b"", b"{"])
def test_ballot_payloads_that_are_not_json(payload: bytes) -> None:
    gov = governed()
    ident = gov.propose("member0", "two_votes").json["proposalId"]
    made = gov.post(
        f"/members/proposals/{ident}/ballots/{person('member0').id}:submit",
        "member0",
        "ballot",
        payload,
        {"ccf.gov.msg.proposal_id": ident},
    )
    assert made.error[:2] == (400, "InvalidInput")


def test_ballot_paths_must_match_the_signature() -> None:
    gov = governed()
    ident = gov.propose("member0", "two_votes").json["proposalId"]
    path = f"/members/proposals/{ident}/ballots/"
    ballot = {"ballot": "for"}
    header = {"ccf.gov.msg.proposal_id": ident}
    other = gov.post(f"{path}{person('member1').id}:submit", "member0", "ballot", ballot, header)
    assert other.error == (
        400,
        "InvalidResourceName",
        "Authenticated member id does not match URL",
    )
    mine = f"{path}{person('member0').id}:submit"
    for wrong in ({}, {"ccf.gov.msg.proposal_id": UNKNOWN}):
        refused = gov.post(mine, "member0", "ballot", ballot, wrong)
        assert refused.error == (
            400,
            "InvalidResourceName",
            "Authenticated proposal id does not match URL",
        )
    bad = gov.post(f"{path}abc:submit", "member0", "ballot", ballot, header)
    assert bad.error[2] == "'abc' is not a valid hex-encoded member ID"


def test_votes_only_while_open() -> None:
    gov = governed()
    assert gov.vote("member0", UNKNOWN, "for").error == (
        404,
        "ProposalNotFound",
        f"Could not find proposal {UNKNOWN}.",
    )
    ident = gov.propose("member0", "accept").json["proposalId"]
    assert gov.vote("member1", ident, "for").error == (
        400,
        "ProposalNotOpen",
        f"Proposal {ident} is currently in state accepted - only open proposals can receive votes",
    )


# --- withdrawal -------------------------------------------------------------------------------


def test_withdrawal() -> None:
    gov = governed()
    closed = gov.propose("member0", "reject").json["proposalId"]
    open_ = gov.propose("member1", "two_votes").json["proposalId"]
    ident = gov.propose("member0", "two_votes").json["proposalId"]
    proposer, other = person("member0").id, person("member1").id
    assert gov.withdraw("member1", ident).error == (
        403,
        "AuthorizationFailed",
        f"Proposal {ident} can only be withdrawn by proposer m[{proposer}], not caller m[{other}].",
    )
    made = gov.withdraw("member0", ident)
    assert made.json == {
        "ballotCount": 0,
        "proposalId": ident,
        "proposalState": "Withdrawn",
        "proposerId": proposer,
    }
    assert set(rows(gov, tables.PROPOSALS)) == {ident, open_}
    assert set(rows(gov, tables.PROPOSALS_INFO)) == {ident, open_}
    assert closed not in rows(gov, tables.PROPOSALS)
    again = gov.withdraw("member0", ident)
    assert (again.status, again.seqno, again.json) == (200, None, made.json)
    assert (
        gov.vote("member1", ident, "for")
        .error[2]
        .endswith("in state withdrawn - only open proposals can receive votes")
    )


def test_withdrawing_what_is_gone_or_closed() -> None:
    gov = governed()
    gone = gov.withdraw("member0", UNKNOWN)
    assert (gone.status, gone.body, gone.seqno) == (204, b"", None)
    ident = gov.propose("member0", "accept").json["proposalId"]
    assert gov.withdraw("member0", ident).error == (
        400,
        "ProposalNotOpen",
        f"Proposal {ident} is currently in state accepted and cannot be withdrawn.",
    )
    missing = gov.post(f"/members/proposals/{ident}:withdraw", "member0", "withdrawal")
    assert missing.error[2] == "Authenticated proposal id does not match URL"
    bad = gov.post("/members/proposals/abc:withdraw", "member0", "withdrawal")
    assert bad.error == (
        400,
        "InvalidResourceName",
        "'abc' is not a valid hex-encoded proposal ID",
    )


def test_resolution_removes_other_closed_proposals() -> None:
    gov = governed()
    first = gov.propose("member0", "reject").json["proposalId"]
    kept_open = gov.propose("member0", "two_votes").json["proposalId"]
    second = gov.propose("member0", "accept").json["proposalId"]
    assert set(rows(gov, tables.PROPOSALS_INFO)) == {kept_open, second}
    assert gov.get(f"/members/proposals/{first}").error == (
        404,
        "ProposalNotFound",
        f"Could not find proposal {first}.",
    )


def test_actions_are_served_as_they_were_signed() -> None:
    gov = governed()
    body = b'{ "actions": [ {"name":"two_votes"} ] }'
    made = gov.post("/members/proposals:create", "member0", "proposal", body)
    shown = gov.get(f"/members/proposals/{made.json['proposalId']}/actions")
    assert shown.body == body
    assert "content-type" not in shown.headers
    assert gov.get(f"/members/proposals/{UNKNOWN}/actions").error[1] == "ProposalNotFound"


# --- who may ----------------------------------------------------------------------------------


def test_only_active_members_propose() -> None:
    made = world(*(member(n) for n in NAMES), constitution="c")
    made.activate("member0")
    gov = Gov(made, FakeScripts())
    refused = gov.propose("member1", "accept")
    assert refused.status == 401
    assert refused.json["error"]["details"] == [
        {
            "auth_policy": "active_member_cose_sign1",
            "code": "InvalidAuthenticationInfo",
            "message": "Signer is not an ACTIVE member",
        }
    ]
    stranger = gov.propose("stranger", "accept")
    assert stranger.json["error"]["details"][0]["message"] == "Signer is not a known member"


def test_message_type_must_fit() -> None:
    gov = governed()
    made = gov.post("/members/proposals:create", "member0", "ballot", {"actions": []})
    assert made.json["error"]["details"][0]["message"] == (
        "Found ccf.gov.msg.type set to ballot, expected ccf.gov.msg.type to be proposal"
    )


def test_a_bad_signature_is_told_before_a_missing_version() -> None:
    gov = governed()
    envelope = bytearray(gov.sign(person("member0"), "proposal", b"{}", {}))
    envelope[-1] ^= 1
    headers = {"content-type": "application/cose"}
    bad = gov.run(Request("POST", "/gov/members/proposals:create", headers, bytes(envelope)))
    assert bad.status == 401
    assert gov.propose("member0", "accept", query="").error == (
        400,
        "MissingApiVersionParameter",
        "The api-version query parameter (?api-version=) is required for all requests."
        " The supported api-versions are: 2023-06-01-preview, 2024-07-01",
    )
    assert gov.propose("member0", "accept", query="api-version=2020-01-01").error == (
        400,
        "UnsupportedApiVersionValue",
        "Unsupported api-version '2020-01-01'."
        " The supported api-versions are: 2023-06-01-preview, 2024-07-01",
    )


def test_what_is_refused_is_logged() -> None:
    gov = governed()
    assert gov.propose("member0", "accept").status == 200
    assert gov.facts.lines == []
    assert gov.propose("member0", "nonsense").status == 400
    assert gov.facts.lines == [
        (
            "info",
            "gov",
            "POST /gov/members/proposals:create returning error 400: Proposal failed to validate:"
            " nonsense: no such action",
        )
    ]


def test_what_is_logged_of_a_refusal_is_one_line_and_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gov = governed()
    assert gov.propose("member0", "throw_in_apply").status == 500
    monkeypatch.setattr(logged, "LOGGED_MAX", 15)
    assert gov.propose("member0", "throw_in_apply").status == 500
    refused = "POST /gov/members/proposals:create returning error 500: "
    assert [text for _, _, text in gov.facts.lines] == [
        refused + r"Failed to apply(): Error: Error message\nTrace:     at apply\n",
        refused + "Failed to apply",
    ]


def test_nothing_of_recovery_shares_is_logged() -> None:
    gov = governed()
    tx = gov.world.store.tx()
    info.set_status(tx, ServiceStatus.WAITING_FOR_RECOVERY_SHARES)
    gov.world.commit(tx)
    gov.world.node_state[0] = "PartOfPublicNetwork"
    path = f"/recovery/members/{person('member0').id}:recover"
    assert gov.post(path, "member0", "recovery_share", b'{"share": "c2VjcmV0" oops').status == 400
    assert gov.facts.lines == []
