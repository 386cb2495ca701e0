"""pyccf.client.gov_api: what is signed, where it goes, what comes back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from pyccf.client import Client, Identity
from pyccf.client.gov_api import BALLOT_AGAINST, BALLOT_FOR
from pyccf.client.types import Action, Failure
from pyccf.codec import cose
from pyccf.crypto import certs, cosesign
from pyccf.crypto.entropy import SeededEntropy
from pyccf.crypto.keys import Curve, PrivateKey
from pyccf.errors import LocalError
from support.fake_service import FakeService
from support.vectors import vectors_dir

NOW = 1_795_258_291
ID = "ab" * 32
PROPOSALS = "/gov/members/proposals"


def proposal(state: str = "Open", **more: object) -> dict[str, object]:
    return {"proposalId": ID, "proposerId": "m", "proposalState": state, "ballotCount": 0, **more}


def signed(request: httpx2.Request, signer: Identity) -> tuple[dict[int | str, object], object]:
    """Check a signed request; its protected header and JSON payload (None when empty)."""
    assert request.headers["content-type"] == "application/cose"
    assert request.url.params["api-version"] == "2024-07-01"
    envelope = cose.parse_sign1(request.content, rules=cose.MEMBER)
    assert cosesign.verify1(envelope, signer.key.public)
    assert envelope.kid == signer.id.encode()
    assert envelope.headers["ccf.gov.msg.created_at"] == NOW
    return envelope.headers, json.loads(envelope.payload) if envelope.payload else None


def test_submit(service: FakeService, client: Client, member: Identity) -> None:
    service.on("POST", f"{PROPOSALS}:create", proposal("Accepted", finalVotes={}))
    result = client.submit([Action("set_user", {"cert": "PEM"}), Action("noop")])
    assert (result.proposal_id, result.proposal_state, result.final_votes) == (ID, "Accepted", {})
    headers, payload = signed(service.requests[0], member)
    assert headers["ccf.gov.msg.type"] == "proposal"
    assert "ccf.gov.msg.proposal_id" not in headers
    assert payload == {
        "actions": [
            {"name": "set_user", "args": {"cert": "PEM"}},
            {"name": "noop", "args": None},
        ]
    }


def test_submit_text_as_it_is(service: FakeService, client: Client) -> None:
    service.on("POST", f"{PROPOSALS}:create", proposal())
    client.submit(b'{ "actions": [] }')
    envelope = cose.parse_sign1(service.requests[0].content)
    assert envelope.payload == b'{ "actions": [] }'


@pytest.mark.parametrize(
    ("ballot", "text"), [(True, BALLOT_FOR), (False, BALLOT_AGAINST), ("mine", "mine")]
)
def test_vote(
    service: FakeService, client: Client, member: Identity, ballot: str | bool, text: str
) -> None:
    service.on("POST", f"{PROPOSALS}/{ID}/ballots/{member.id}:submit", proposal(ballotCount=1))
    assert client.vote(ID, ballot).ballot_count == 1
    headers, payload = signed(service.requests[0], member)
    assert headers["ccf.gov.msg.type"] == "ballot"
    assert headers["ccf.gov.msg.proposal_id"] == ID
    assert payload == {"ballot": text}


def test_withdraw(service: FakeService, client: Client, member: Identity) -> None:
    service.on("POST", f"{PROPOSALS}/{ID}:withdraw", proposal("Withdrawn"))
    result = client.withdraw(ID)
    assert result is not None
    assert result.proposal_state == "Withdrawn"
    headers, payload = signed(service.requests[0], member)
    assert headers["ccf.gov.msg.type"] == "withdrawal"
    assert headers["ccf.gov.msg.proposal_id"] == ID
    assert payload is None
    service.on("POST", f"{PROPOSALS}/{'cd' * 32}:withdraw", status=204)
    assert client.withdraw("cd" * 32) is None


def test_ack_acknowledges_a_fresh_digest(
    service: FakeService, client: Client, member: Identity
) -> None:
    base = f"/gov/members/state-digests/{member.id}"
    service.on("POST", f"{base}:update", {"memberId": member.id, "stateDigest": "0f"})
    service.on("POST", f"{base}:ack", status=204)
    assert client.ack().state_digest == "0f"
    headers, payload = signed(service.requests[0], member)
    assert (headers["ccf.gov.msg.type"], payload) == ("state_digest", None)
    headers, payload = signed(service.requests[1], member)
    assert (headers["ccf.gov.msg.type"], payload) == ("ack", {"stateDigest": "0f"})


def test_shares(service: FakeService, client: Client, member: Identity) -> None:
    service.on(
        "GET",
        f"/gov/recovery/encrypted-shares/{member.id}",
        {"memberId": member.id, "encryptedShare": "c2hhcmU="},
    )
    assert client.encrypted_share(member.id).encrypted_share == "c2hhcmU="
    service.on(
        "POST",
        f"/gov/recovery/members/{member.id}:recover",
        {"message": "1/2", "submittedCount": 1, "recoveryThreshold": 2, "fullKeySubmitted": False},
    )
    assert client.submit_share("eA==").submitted_count == 1
    headers, payload = signed(service.requests[1], member)
    assert (headers["ccf.gov.msg.type"], payload) == ("recovery_share", {"share": "eA=="})


def test_another_signer_than_the_caller(
    service: FakeService, client: Client, member: Identity, tmp_path: Path
) -> None:
    key = PrivateKey.generate(Curve.P256, SeededEntropy("other"))
    pem = certs.self_signed(key, "CN=x", not_before=NOW, days=1, ca=False, entropy=SeededEntropy(2))
    other = Identity(tmp_path / "c", tmp_path / "k", pem, key)
    service.on("POST", f"{PROPOSALS}/{ID}/ballots/{other.id}:submit", proposal())
    client.vote(ID, signer=other)
    signed(service.requests[0], other)


def test_without_an_identity_nothing_is_signed(
    service: FakeService, connect: Callable[..., Client]
) -> None:
    client = connect(signed=False)
    for attempt in (client.ack, lambda: client.submit([]), lambda: client.vote(ID)):
        with pytest.raises(LocalError, match="signed by a member"):
            attempt()
    assert service.requests == []


def test_proposals_with_failures(service: FakeService, client: Client) -> None:
    service.on(
        "GET",
        PROPOSALS,
        {
            "value": [
                proposal(
                    "Accepted",
                    finalVotes={"a": True},
                    voteFailures={"b": {"reason": "r", "trace": "t"}},
                ),
                proposal("Failed", failure={"reason": "f"}),
            ]
        },
    )
    first, second = client.proposals()
    assert first.vote_failures == {"b": Failure(reason="r", trace="t")}
    assert second.failure == Failure(reason="f")


def test_module_names_are_encoded(service: FakeService, client: Client) -> None:
    service.do("GET", "/gov/service/javascript-modules//a b/c.js", lambda r: httpx2.Response(200))
    client.javascript_module("a b/c.js")
    raw = service.requests[0].url.raw_path
    assert raw == b"/gov/service/javascript-modules/%2Fa%20b%2Fc.js?api-version=2024-07-01"


def test_recorded_answers_are_understood(service: FakeService, client: Client) -> None:
    """The original's answers to what this room asks decode into the typed results."""
    path = vectors_dir() / "ccf" / "transcripts" / "gov.jsonl"
    symbols = json.loads((path.parent / "symbols.json").read_text())
    for line in path.read_text().splitlines():
        exchange = json.loads(line)
        request, response = exchange["request"], exchange["response"]
        route = request["path"].partition("?")[0].replace("%2F", "/")
        key = (request["method"], route)
        if "api-version=2024-07-01" not in request["path"] or "case=" in request["path"]:
            continue
        if response["status"] == 200 and "body" in response and key not in service.answers:
            service.on(*key, response["body"])
    member_id = symbols["member0_id"]
    info = client.service_info()
    assert info.status == "Open"
    assert info.configuration is not None
    assert info.configuration.recovery_threshold == 3
    assert client.member(member_id).status == "Active"
    assert member_id in [m.member_id for m in client.members()]
    users = client.users()
    assert users
    user = client.user(symbols["user0_id"])
    assert user in users
    assert user.user_data == {"user_data": {"new": True}}
    nodes = client.service_nodes()
    assert {n.quote_info["format"] for n in nodes} == {"Insecure_Virtual"}
    assert client.service_node(nodes[0].node_id).status == "Trusted"
    assert "/probe.js" in client.javascript_modules()
    assert "export function echo" in client.javascript_module("/probe.js")
    assert client.javascript_app()["/echo"]["GET"]["jsModule"] == "/probe.js"
    assert client.encrypted_share(member_id).member_id == member_id
    assert client.state_digest(member_id).member_id == member_id
    assert isinstance(client.join_policy(), dict)
    issuers = client.jwk()
    assert issuers.issuers["https://issuer.example.com"].auto_refresh is False
    assert {key.constraint for keys in issuers.keys.values() for key in keys} >= {None}
    proposals = client.proposals()
    assert {p.proposal_state for p in proposals} & {"Open", "Accepted"}
    recorded = [path.rpartition("/")[2] for verb, path in service.answers if verb == "GET"]
    ids = [name for name in recorded if ("GET", f"{PROPOSALS}/{name}") in service.answers]
    assert len(ids) > 3
    assert all(client.proposal(proposal_id).proposal_id == proposal_id for proposal_id in ids)
