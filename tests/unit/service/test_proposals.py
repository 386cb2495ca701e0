"""Rows of proposals; the life of one is tested through the governance API."""

from __future__ import annotations

import pytest

from pyccf.errors import InvalidLedger
from pyccf.service import proposals
from pyccf.service.proposals import Failure, Proposal, State
from pyccf.types import Json


@pytest.mark.parametrize(
    "row",
    [
        {"proposer_id": "m", "state": "Open", "ballots": {}},
        {"proposer_id": "m", "state": "Dropped", "ballots": {"a": "text"}},
        {
            "proposer_id": "m",
            "state": "Accepted",
            "ballots": {"a": "text", "b": "text"},
            "final_votes": {"a": True},
            "vote_failures": {"b": {"reason": "r"}, "c": {"reason": "r", "trace": "t"}},
        },
        {
            "proposer_id": "m",
            "state": "Failed",
            "ballots": {},
            "failure": {"reason": "r", "trace": "t"},
        },
    ],
)
def test_rows_survive_reading_and_writing(row: dict[str, Json]) -> None:
    assert Proposal.from_json(row).to_json() == row


def test_a_row_without_proposer_is_an_invalid_ledger() -> None:
    with pytest.raises(InvalidLedger):
        Proposal.from_json({"state": "Open", "ballots": {}})


def test_summary_shows_a_failure() -> None:
    proposal = Proposal("m", State.FAILED, {"a": "x"}, failure=Failure("r"))
    assert proposal.summary("id") == {
        "proposalId": "id",
        "proposerId": "m",
        "proposalState": "Failed",
        "ballotCount": 1,
        "failure": {"reason": "r"},
    }


def test_ballot_name() -> None:
    assert proposals.ballot_name("p", "m") == "public:ccf.gov.proposals_info[p].ballots[m[m]]"
