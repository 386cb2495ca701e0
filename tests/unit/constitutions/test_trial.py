"""The service in memory on which constitutions are tried."""

from __future__ import annotations

import json

import pytest

from pyccf import constitutions
from pyccf.constitutions.trial import (
    SET_MEMBER,
    SINGLE,
    Answer,
    MemberPlan,
    ServicePlan,
    Trial,
    encode_value,
    encryption_key,
    node_identity,
    person,
    service_identity,
)
from pyccf.errors import LocalError
from pyccf.service import tables

FOR = "export function vote() { return true; }"
ALICE = {"alice": MemberPlan()}


def made(*actions: tuple[str, object]) -> bytes:
    return json.dumps({"actions": [{"name": n, "args": a} for n, a in actions]}).encode()


def trial(name: str = "sandbox", **plan: object) -> Trial:
    return Trial(constitutions.text(name, "virtual"), ALICE, ServicePlan(**plan))  # type: ignore[arg-type]


def test_two_trials_are_the_same() -> None:
    def run() -> list[Answer]:
        one = trial("default")
        action = ("add_virtual_host_data", {"host_data": "ab"})
        proposed = one.propose("alice", made(action))
        assert isinstance(proposed.body, dict)
        ident = str(proposed.body["proposalId"])
        return [proposed, one.vote("alice", ident, FOR), one.withdraw("alice", ident)]

    first, second = run(), run()
    assert first == second
    assert first[2].error is not None
    assert first[2].error[0] == "ProposalNotOpen"
    assert first[1].writes[tables.VIRTUAL_HOST_DATA] == {"ab": SET_MEMBER}


def test_everything_the_node_is_asked_is_done_and_noted() -> None:
    one = trial()
    period = {"valid_from": "20260101000000Z", "validity_period_days": 5}
    node = node_identity().node_id
    answer = one.propose(
        "alice",
        made(
            ("trigger_ledger_rekey", None),
            ("trigger_recovery_shares_refresh", None),
            ("trigger_ledger_chunk", None),
            ("trigger_snapshot", None),
            ("set_node_certificate_validity", {"node_id": node, **period}),
            ("set_service_certificate_validity", period),
        ),
    )
    assert answer.error is None, answer
    assert answer.calls == [
        "triggerLedgerRekey",
        "triggerRecoverySharesRefresh",
        "triggerLedgerChunk",
        "triggerSnapshot",
        "generateEndorsedCertificate",
        "generateNetworkCertificate",
    ]
    assert set(answer.writes[tables.RECOVERY_SHARES]) == {SINGLE}
    assert set(answer.writes[tables.NODES_ENDORSED_CERTIFICATES]) == {node}


def test_a_service_that_is_not_open_yet() -> None:
    one = trial(status="Opening")
    identity = {"next_service_identity": service_identity().cert_pem}
    answer = one.propose("alice", made(("transition_service_to_open", identity)))
    assert answer.calls == ["transitionServiceToOpen"]
    info = answer.writes[tables.SERVICE_INFO][SINGLE]
    assert isinstance(info, dict)
    assert info["status"] == "Open"


def test_a_refused_request_writes_and_asks_nothing() -> None:
    one = trial()
    fails = ("set_member_data", {"member_id": "ab" * 32, "member_data": {}})
    answer = one.propose("alice", made(("trigger_snapshot", None), fails))
    assert answer.error is not None
    assert (answer.writes, answer.calls, answer.body) == ({}, [], None)
    assert one.propose("bob", made()).error is not None


def test_members_as_they_are_planned() -> None:
    members = {
        "alice": MemberPlan(data={"a": 1}, role="Owner"),
        "bob": MemberPlan(key=False),
        "carol": MemberPlan(active=False),
    }
    one = Trial(constitutions.text("sandbox"), members, ServicePlan())
    assert one.propose("bob", made()).error is None
    assert one.propose("carol", made()).error is not None
    only = Trial(constitutions.text("sandbox"), {"bob": MemberPlan(key=False)}, ServicePlan())
    assert only.propose("bob", made()).error is None
    with pytest.raises(LocalError, match="no status"):
        Trial("", ALICE, ServicePlan(status="x"))


def test_rows_are_written_as_the_service_reads_them() -> None:
    assert encode_value(tables.USERS_CERTS, "PEM") == b"PEM"
    assert encode_value(tables.CONSTITUTION, "text") == b'"text"'
    assert encode_value(tables.VIRTUAL_HOST_DATA, SET_MEMBER) == tables.UNIT
    one = trial("default")
    one.write({tables.CONSTITUTION: {SINGLE: constitutions.text("sandbox")}})
    proposed = one.propose("alice", made(("set_user", {"cert": person("u").cert})))
    assert isinstance(proposed.body, dict)
    assert proposed.body["proposalState"] == "Accepted"
    ident = str(proposed.body["proposalId"])
    assert one.state_of(ident) == "Accepted"
    one.write({tables.PROPOSALS_INFO: {ident: None}})
    assert one.state_of(ident) is None
    assert "PUBLIC KEY" in encryption_key()
