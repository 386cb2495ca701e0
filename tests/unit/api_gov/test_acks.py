"""State digests and how a member becomes active."""

from __future__ import annotations

import json

import pytest

from pyccf.service import tables
from pyccf.service.genesis import ServiceConfiguration
from support.gov import FakeScripts, Gov
from support.service import member, person, service_identity, world

ME = "member0"


def governed(threshold: int = 1) -> Gov:
    made = world(
        member(ME),
        member("member1"),
        member("member2", key=False),
        constitution="c",
        configuration=ServiceConfiguration(recovery_threshold=threshold),
    )
    return Gov(made, FakeScripts())


def path(name: str = ME) -> str:
    return f"/members/state-digests/{person(name).id}"


def ack(gov: Gov, name: str, digest: str) -> int:
    made = gov.post(f"{path(name)}:ack", name, "ack", {"stateDigest": digest})
    return made.status


def status(gov: Gov, name: str) -> object:
    return gov.get(f"/service/members/{person(name).id}").json["status"]


def open_service(gov: Gov) -> None:
    tx = gov.world.store.tx()
    gov.world.operations.transition_service_to_open(tx, None, service_identity().cert_pem)
    gov.world.commit(tx)


def test_update_and_acknowledge() -> None:
    gov = governed()
    assert gov.get(path()).json == {"memberId": person(ME).id, "stateDigest": ""}
    assert gov.post(f"{path()}:update", ME, "state_digest").error == (
        500,
        "InternalError",
        "Service has no signatures to ack yet - try again soon.",
    )
    gov.world.sign(b"\xab" * 32)
    expected = {"memberId": person(ME).id, "stateDigest": "ab" * 32}
    assert gov.post(f"{path()}:update", ME, "state_digest").json == expected
    assert gov.get(path()).json == expected
    assert status(gov, ME) == "Accepted"
    assert ack(gov, ME, "ab" * 32) == 204
    assert status(gov, ME) == "Active"
    raw = gov.world.store.tx().map(tables.MEMBERS_ACKS).get(person(ME).id.encode())
    assert raw is not None
    record = json.loads(raw)
    assert list(record) == ["cose_sign1_req", "state_digest"]


def test_a_first_digest_may_be_empty() -> None:
    gov = governed()
    assert ack(gov, ME, "") == 204
    assert status(gov, ME) == "Active"


def test_updating_keeps_the_signature_given_before() -> None:
    gov = governed()
    assert ack(gov, ME, "") == 204
    gov.world.sign(b"\xcd" * 32)
    assert gov.post(f"{path()}:update", ME, "state_digest").status == 200
    record = tables.get_object(gov.world.store.tx(), tables.MEMBERS_ACKS, person(ME).id)
    assert record is not None
    assert record["state_digest"] == "cd" * 32
    assert record["cose_sign1_req"]


def test_a_legacy_signature_is_dropped_by_the_next_one() -> None:
    gov = governed()
    tx = gov.world.store.tx()
    record = {"state_digest": "", "signed_req": {"sig": "x"}}
    tables.put_json(tx, tables.MEMBERS_ACKS, person(ME).id, dict(record))
    gov.world.commit(tx)
    assert ack(gov, ME, "") == 204
    stored = tables.get_object(gov.world.store.tx(), tables.MEMBERS_ACKS, person(ME).id)
    assert stored is not None
    assert set(stored) == {"state_digest", "cose_sign1_req"}


def test_wrong_digest() -> None:
    gov = governed()
    made = gov.post(f"{path()}:ack", ME, "ack", {"stateDigest": "ab"})
    assert made.error == (
        400,
        "StateDigestMismatch",
        "Submitted state digest is not valid.\nExpected\n \nReceived\n ab",
    )
    assert status(gov, ME) == "Accepted"


@pytest.mark.parametrize(
    "payload", [{}, {"stateDigest": 5}, {"stateDigest": None}, [], b"", b"{no"]
)
def test_payloads_without_digest(payload: object) -> None:
    gov = governed()
    made = gov.post(f"{path()}:ack", ME, "ack", payload)
    assert made.error[:2] == (400, "InvalidInput")


def test_only_for_oneself() -> None:
    gov = governed()
    for verb, kind in (("update", "state_digest"), ("ack", "ack")):
        made = gov.post(f"{path('member1')}:{verb}", ME, kind, {"stateDigest": ""})
        assert made.error == (
            400,
            "InvalidAuthenticationInfo",
            f"Member ID from path parameter (m[{person('member1').id}]) does not match member ID"
            f" from body signature (m[{person(ME).id}]).",
        )


def test_without_a_record() -> None:
    gov = governed()
    assert gov.get("/members/state-digests/abc").error == (
        404,
        "ResourceNotFound",
        "No ACK record exists for member m[abc].",
    )
    tx = gov.world.store.tx()
    tx.map(tables.MEMBERS_ACKS).delete(person(ME).id.encode())
    gov.world.commit(tx)
    made = gov.post(f"{path()}:ack", ME, "ack", {"stateDigest": ""})
    assert made.error == (
        403,
        "AuthorizationFailed",
        f"No ACK record exists for member m[{person(ME).id}].",
    )
    gov.world.sign()
    assert gov.post(f"{path()}:update", ME, "state_digest").status == 200


def test_shares_are_issued_for_a_new_member_of_an_open_service() -> None:
    gov = governed()
    gov.world.activate(ME)
    open_service(gov)
    mine = f"/recovery/encrypted-shares/{person('member1').id}"
    assert gov.get(mine).status == 404
    assert ack(gov, "member1", "") == 204
    assert gov.get(mine).status == 200
    before = gov.world.store.map_version(tables.RECOVERY_SHARES)
    assert ack(gov, "member1", "") == 204, "again, by an active member"
    assert ack(gov, "member2", "") == 204, "without a key"
    assert gov.world.store.map_version(tables.RECOVERY_SHARES) == before


def test_shares_that_cannot_be_issued_undo_the_acknowledgement() -> None:
    gov = governed()
    gov.world.activate(ME)
    open_service(gov)
    tx = gov.world.store.tx()
    config = tables.get_object(tx, tables.SERVICE_CONFIG)
    assert config is not None
    tables.put_json(tx, tables.SERVICE_CONFIG, tables.UNIT, {**config, "recovery_threshold": 9})
    gov.world.commit(tx)
    made = gov.post(f"{path('member1')}:ack", "member1", "ack", {"stateDigest": ""})
    assert made.error == (
        500,
        "InternalError",
        "Error issuing new recovery shares: Recovery threshold 9 should be equal to or less than"
        " the number of active recovery members 2",
    )
    assert status(gov, "member1") == "Accepted"


def test_shares_before_opening() -> None:
    gov = governed()
    assert gov.get(f"/recovery/encrypted-shares/{person(ME).id}").error == (
        500,
        "InternalError",
        "Failed to retrieve current recovery shares info",
    )
    assert gov.get("/recovery/encrypted-shares/abc").error == (
        400,
        "InvalidResourceName",
        "'abc' is not a valid hex-encoded member ID",
    )


def test_handing_in_shares_is_refused_while_nobody_waits_for_them() -> None:
    gov = governed()
    gov.world.activate(ME)
    for ident in (person(ME).id, person("member1").id, "abc"):
        made = gov.post(f"/recovery/members/{ident}:recover", ME, "recovery_share", {"share": ""})
        assert made.error == (
            403,
            "ServiceNotWaitingForRecoveryShares",
            "Service is not waiting for recovery shares.",
        )
    tx = gov.world.store.tx()
    info = tables.get_object(tx, tables.SERVICE_INFO)
    assert info is not None
    waiting = {**info, "status": "WaitingForRecoveryShares"}
    tables.put_json(tx, tables.SERVICE_INFO, tables.UNIT, waiting)
    gov.world.commit(tx)
    path = f"/recovery/members/{person(ME).id}:recover"
    made = gov.post(path, ME, "recovery_share", {"share": ""})
    assert made.error == (
        403,
        "NodeAlreadyRecovering",
        "Node is already recovering private ledger.",
    )
    gov.world.node_state[0] = "PartOfPublicNetwork"
    for payload, status, words in (
        ({"share": "!!"}, 500, "The share is not base64"),
        ({"x": "a"}, 400, "share: type must be string, but is null"),
        ({"share": 5}, 400, "share: type must be string, but is number"),
    ):
        made = gov.post(path, ME, "recovery_share", payload)
        assert made.error[0] == status
        assert words in made.error[2]
