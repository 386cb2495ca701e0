"""pyccf.cli.governing: proposals with the votes of several members."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest

from pyccf.cli.governing import decide
from pyccf.client import Client, ServiceError
from pyccf.client.types import Action
from support.fake_service import URL, FakeService, make_identity

ID = "cd" * 32
PROPOSALS = "/gov/members/proposals"


def proposal(state: str) -> dict[str, object]:
    return {"proposalId": ID, "proposerId": "m", "proposalState": state}


def test_votes_are_cast_until_it_is_decided(tmp_path: Path) -> None:
    fake = FakeService()
    members = [make_identity(tmp_path, f"member{i}") for i in range(3)]
    fake.on("POST", f"{PROPOSALS}:create", proposal("Open"))
    for member, state in zip(members, ("Open", "Accepted", "Open"), strict=True):
        fake.on("POST", f"{PROPOSALS}/{ID}/ballots/{member.id}:submit", proposal(state))
    pem = members[0].cert_pem
    with Client(URL, pem, transport=httpx2.MockTransport(fake.handle)) as client:
        decided, votes = decide(client, [Action("a")], members)
        assert (decided.proposal_state, votes) == ("Accepted", 2)
        assert len(fake.requests) == 3
        undecided, votes = decide(client, [Action("a")], members[:1])
        assert (undecided.proposal_state, votes) == ("Open", 1)
        fake.answers[("POST", f"{PROPOSALS}:create")].clear()
        fake.on("POST", f"{PROPOSALS}:create", proposal("Accepted"))
        assert decide(client, [Action("a")], members)[1] == 0
        fake.answers.clear()
        with pytest.raises(ServiceError):
            decide(client, [Action("a")], members)
