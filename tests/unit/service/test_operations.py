"""What governance may do to a node: opening, rekey, shares, certificates, flags."""

from __future__ import annotations

import pytest

from pyccf.codec.text import unb64
from pyccf.crypto import certs, chains, shares
from pyccf.errors import Conflict, InvalidLedger, LocalError
from pyccf.kv.tx import Tx
from pyccf.ledger import past_secrets
from pyccf.service import info, recovery, soundness, tables
from pyccf.service.genesis import ServiceConfiguration
from pyccf.service.info import ServiceStatus
from pyccf.service.operations import Flag, TransactionFlags
from support.service import (
    NOW,
    World,
    member,
    node_entry,
    node_identity,
    person,
    service_identity,
    world,
)


def one(threshold: int = 1) -> World:
    made = world(
        member("member0"), configuration=ServiceConfiguration(recovery_threshold=threshold)
    )
    made.activate("member0")
    return made


def opened() -> World:
    made = one()
    tx = made.store.tx()
    made.operations.transition_service_to_open(tx, None, service_identity().cert_pem)
    made.commit(tx)
    return made


def test_opening_writes_what_the_recorded_service_wrote() -> None:
    made = one()
    tx = made.store.tx()
    made.operations.transition_service_to_open(tx, None, service_identity().cert_pem)
    assert set(tx.writes) == {
        tables.SERVICE_INFO,
        tables.RECOVERY_SHARES,
        tables.HISTORICAL_ENCRYPTED_LEDGER_SECRET,
        tables.PREVIOUS_SERVICE_IDENTITY_ENDORSEMENT,
    }
    assert tables.get_json(tx, tables.HISTORICAL_ENCRYPTED_LEDGER_SECRET) == {"next_version": 1}
    assert info.status(tx) is ServiceStatus.OPEN
    assert made.flags.take(tx) == {Flag.SNAPSHOT}


@pytest.mark.parametrize("status", ["Open", "WaitingForRecoveryShares"])
def test_opening_an_open_service_does_nothing(status: str) -> None:
    made = one()
    tx = made.store.tx()
    info.set_status(tx, ServiceStatus(status))
    made.commit(tx)
    tx = made.store.tx()
    made.operations.transition_service_to_open(tx, None, person("member0").cert)
    assert not tx.writes


def test_opening_names_both_identities_when_they_differ() -> None:
    made = one()
    tx = made.store.tx()
    other = person("member0").cert
    with pytest.raises(LocalError) as refused:
        made.operations.transition_service_to_open(tx, None, other)
    assert refused.value.message == (
        "Unable to open service: Service identity mismatch: the next service identity in the"
        " transition_service_to_open proposal does not match the current service identity:\n"
        f"Next:\n{other}\nCurrent:\n{service_identity().cert_pem}"
    )
    assert not tx.writes


def test_opening_refuses_what_is_no_pem() -> None:
    made = one()
    with pytest.raises(LocalError) as refused:
        made.operations.transition_service_to_open(made.store.tx(), None, "b")
    assert refused.value.message == ("Unable to open service: PEM constructed with non-PEM data: b")


def test_opening_needs_active_recovery_members() -> None:
    made = world(member("member0"))
    with pytest.raises(LocalError) as refused:
        made.operations.transition_service_to_open(
            made.store.tx(), None, service_identity().cert_pem
        )
    assert refused.value.message == (
        "Unable to open service: Failed to issue recovery shares: There should be at least one"
        " active recovery member to issue recovery shares"
    )


def test_opening_in_another_node_state_is_refused() -> None:
    made = one()
    made.node_state[0] = "ReadingPrivateLedger"
    with pytest.raises(LocalError, match="Node in state ReadingPrivateLedger cannot open"):
        made.operations.transition_service_to_open(
            made.store.tx(), None, service_identity().cert_pem
        )


def test_a_recovered_service_whose_identities_are_right_waits_for_shares() -> None:
    made = one()
    tx = made.store.tx()
    info.set_status(tx, ServiceStatus.RECOVERING)
    before = person("member0").cert
    tables.put_json(tx, tables.PREVIOUS_SERVICE_IDENTITY, tables.UNIT, before)
    made.commit(tx)
    made.node_state[0] = "PartOfPublicNetwork"
    current = service_identity().cert_pem
    with pytest.raises(LocalError) as refused:
        made.operations.transition_service_to_open(made.store.tx(), current, current)
    assert refused.value.message == (
        "Unable to open service: Previous service identity does not match.\n"
        f"Actual:\n{before}\nIn proposal:\n{current}"
    )
    tx = made.store.tx()
    tables.put_json(tx, tables.ENCRYPTED_SUBMITTED_SHARES, "earlier", "old")
    made.commit(tx)
    tx = made.store.tx()
    made.operations.transition_service_to_open(tx, before, current)
    assert info.status(tx) is ServiceStatus.WAITING_FOR_RECOVERY_SHARES
    assert tables.get_json(tx, tables.LAST_RECOVERY_TYPE) == "RECOVERY_SHARES"
    assert tables.get_json(tx, tables.ENCRYPTED_SUBMITTED_SHARES, "earlier") is None


def test_rekey_only_in_an_open_service() -> None:
    made = one()
    with pytest.raises(LocalError, match=r"^Could not rekey ledger$"):
        made.operations.trigger_ledger_rekey(made.store.tx())
    made = opened()
    tx = made.store.tx()
    made.operations.trigger_ledger_rekey(tx)
    assert set(tx.writes) == {
        tables.RECOVERY_SHARES,
        tables.HISTORICAL_ENCRYPTED_LEDGER_SECRET,
        tables.ENCRYPTED_LEDGER_SECRETS,
    }
    made.node_state[0] = "ReadingPrivateLedger"
    with pytest.raises(LocalError, match=r"^Could not rekey ledger$"):
        made.operations.trigger_ledger_rekey(made.store.tx())


@pytest.mark.parametrize("late", [False, True])
def test_whom_a_decision_trusts_must_get_the_secret_it_makes(late: bool) -> None:
    made = opened()
    tx = made.store.tx()
    row = {**node_entry().to_json(), "status": "Trusted"}
    if late:
        made.operations.trigger_ledger_rekey(tx)
    tables.put_json(tx, tables.NODES_INFO, "newcomer", row)
    if not late:
        made.operations.trigger_ledger_rekey(tx)
        soundness.check_written(tx)
        return
    with pytest.raises(InvalidLedger, match="holds no new ledger secret for node newcomer: what"):
        soundness.check_written(tx)


def test_who_holds_a_share_that_is_needed_does_not_leave_unnoticed() -> None:
    names = ("member0", "member1")
    made = world(*map(member, names), configuration=ServiceConfiguration(recovery_threshold=2))
    for name in names:
        made.activate(name)
    tx = made.store.tx()
    made.operations.transition_service_to_open(tx, None, service_identity().cert_pem)
    # Made a member anew: it must acknowledge before it is Active again.
    tables.put_json(tx, tables.MEMBERS_INFO, person("member1").id, {"status": "Accepted"})
    made.commit(tx)

    def leave(tx: Tx) -> None:
        tx.map(tables.MEMBERS_INFO).delete(person("member1").id.encode())
        soundness.check_written(tx)

    with pytest.raises(InvalidLedger, match="shares of 1 members that are left, and 2 are needed"):
        leave(made.store.tx())
    tx = made.store.tx()
    config = {**(info.config(tx) or {}), "recovery_threshold": 1}
    tables.put_json(tx, tables.SERVICE_CONFIG, tables.UNIT, config)
    made.operations.trigger_recovery_shares_refresh(tx)
    leave(tx)


def test_refresh_replaces_the_shares_only() -> None:
    made = opened()
    before = made.store.read_committed(tables.RECOVERY_SHARES, tables.UNIT)
    tx = made.store.tx()
    made.operations.trigger_recovery_shares_refresh(tx)
    assert set(tx.writes) == {tables.RECOVERY_SHARES}
    assert tx.writes[tables.RECOVERY_SHARES][tables.UNIT] != before


def test_refresh_after_a_rekey_shares_the_new_secret() -> None:
    made = opened()
    tx = made.store.tx()
    made.operations.trigger_ledger_rekey(tx)
    made.operations.trigger_recovery_shares_refresh(tx)
    encrypted = recovery.encrypted_share(tx, person("member0").id)
    row = tables.get_object(tx, tables.RECOVERY_SHARES)
    assert encrypted is not None
    assert row is not None
    share = person("member0").encryption_key.decrypt_oaep(unb64(encrypted))
    wrapped = unb64(str(row["wrapped_latest_ledger_secret"]))
    latest = shares.unwrap_ledger_secret(shares.combine([share]).wrapping_key(), wrapped)
    raw = tx.map(tables.HISTORICAL_ENCRYPTED_LEDGER_SECRET).get(tables.UNIT)
    assert raw is not None
    before, after = past_secrets.walk_back([past_secrets.parse(9, raw)], latest)
    assert before.key == made.secrets.latest().key != after.key == latest


def test_refresh_says_why_it_cannot() -> None:
    made = world(member("member0"))
    with pytest.raises(LocalError) as refused:
        made.operations.trigger_recovery_shares_refresh(made.store.tx())
    assert refused.value.message.startswith(
        "Unable to trigger recovery shares refresh: There should be at least one"
    )


def test_latest_secret_depends_on_rekeys() -> None:
    made = one()
    tx = made.store.tx()
    assert made.operations.latest_ledger_secret_seqno(tx) == 1
    tables.put_json(tx, "public:ccf.gov.probe", "k", 1)
    other = made.store.tx()
    tables.put_json(other, tables.ENCRYPTED_LEDGER_SECRETS, tables.UNIT, {})
    made.commit(other)
    with pytest.raises(Conflict):
        made.store.commit(tx)


def test_flags_belong_to_one_transaction() -> None:
    made = one()
    abandoned, tx = made.store.tx(), made.store.tx()
    made.operations.trigger_snapshot(abandoned)
    made.operations.trigger_ledger_chunk(tx)
    assert made.flags.take(tx) == {Flag.CHUNK}
    assert made.flags.take(tx) == frozenset()
    flags = TransactionFlags()
    flags.raise_(abandoned, Flag.CHUNK)
    assert flags.take(tx) == frozenset()


def test_endorsed_certificate() -> None:
    made = one()
    identity = node_identity()
    pem = made.operations.generate_endorsed_certificate(identity.csr_pem, "20270101000000Z", 10)
    begin, end = certs.validity(pem)
    assert end - begin == 10 * 86400 - 1
    assert certs.public_key(pem).id == identity.node_id
    assert chains.check_endorsed(pem, service_identity().cert_pem, ignore_time=True, now=NOW)


@pytest.mark.parametrize(
    ("csr", "valid_from", "text"),
    [
        ("x", "20240101000000Z", "CSR is not valid PEM: PEM constructed with non-PEM data: x"),
        (
            "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
            "20240101000000Z",
            "Failed to create endorsed cert: ",
        ),
        (
            None,
            "nonsense",
            "Failed to create endorsed cert: 'nonsense' does not match any accepted time format",
        ),
    ],
)
def test_endorsed_certificate_refusals(csr: str | None, valid_from: str, text: str) -> None:
    made = one()
    with pytest.raises(LocalError) as refused:
        made.operations.generate_endorsed_certificate(
            csr or node_identity().csr_pem, valid_from, 10
        )
    assert refused.value.message.startswith(text)


def test_network_certificate_keeps_key_and_subject() -> None:
    made = one()
    pem = made.operations.generate_network_certificate("2027-01-02 03:04:05", 10)
    assert service_identity().owns(pem)
    assert certs.subject(pem) == "CN=CCF Test Service"


@pytest.mark.parametrize(
    ("valid_from", "days", "text"),
    [
        ("nonsense", 10, "Error: 'nonsense' does not match any accepted time format"),
        (
            "20240101000000Z",
            0,
            "Error: Certificate cannot be created with not_before date 20240101000000Z"
            " > not_after date 20231231235959Z",
        ),
    ],
)
def test_network_certificate_refusals(valid_from: str, days: int, text: str) -> None:
    made = one()
    with pytest.raises(LocalError) as refused:
        made.operations.generate_network_certificate(valid_from, days)
    assert refused.value.message == text


def test_token_keys_texts() -> None:
    made = one()
    tx = made.store.tx()
    with pytest.raises(LocalError) as refused:
        made.operations.set_jwt_public_signing_keys(tx, "https://a.test", {}, {})
    assert refused.value.message == (
        "Error setting JWT public signing keys: Missing required field 'keys' in object: {}"
    )
    for keys in ([], [{"kty": "RSA", "kid": "k"}], [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]):
        with pytest.raises(LocalError) as refused:
            made.operations.set_jwt_public_signing_keys(tx, "https://a.test", {}, {"keys": [*keys]})
        assert refused.value.message == "set_jwt_public_signing_keys() failed"
    made.operations.remove_jwt_public_signing_keys(tx, "https://absent.test")
    assert not tx.writes
