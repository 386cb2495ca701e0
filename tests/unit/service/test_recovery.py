"""Shares, past secrets, and endorsements of service identities."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pyccf.codec import cbor, cose
from pyccf.codec.text import b64, unb64
from pyccf.crypto import aead, cosesign, shares
from pyccf.crypto.entropy import SeededEntropy
from pyccf.crypto.keys import PublicKey
from pyccf.errors import InvalidLedger, LocalError
from pyccf.kv.tx import Tx
from pyccf.ledger.secrets import LedgerSecret
from pyccf.service import info, recovery, tables
from pyccf.service.genesis import ServiceConfiguration
from pyccf.service.info import ServiceStatus
from pyccf.service.members import RecoveryRole
from support.service import NOW, World, member, node_identity, person, service_identity, world

NAMES = ("member0", "member1", "member2")


def three(threshold: int = 2) -> World:
    made = world(
        *(member(n) for n in NAMES),
        configuration=ServiceConfiguration(recovery_threshold=threshold),
    )
    made.activate(*NAMES)
    return made


def row(tx: Tx, table: str) -> dict[str, Any]:
    raw = tx.map(table).get(tables.UNIT)
    assert raw is not None
    value: dict[str, Any] = json.loads(raw)
    return value


def share_of(tx: Tx, name: str) -> bytes:
    text = recovery.encrypted_share(tx, person(name).id)
    assert text is not None
    return person(name).encryption_key.decrypt_oaep(unb64(text))


def test_threshold_shares_unwrap_the_ledger_secret() -> None:
    made = three()
    tx = made.store.tx()
    recovery.issue_shares(tx, made.secrets.latest(), SeededEntropy(1))
    shares_row = row(tx, tables.RECOVERY_SHARES)
    assert set(shares_row) == {"encrypted_shares", "wrapped_latest_ledger_secret"}
    parts = {name: share_of(tx, name) for name in NAMES}
    order = sorted(NAMES, key=lambda n: person(n).id)
    assert [shares.index_of(parts[n]) for n in order] == [1, 2, 3]
    wrapped = unb64(shares_row["wrapped_latest_ledger_secret"])
    secret = shares.combine([parts["member2"], parts["member0"]])
    assert shares.unwrap_ledger_secret(secret.wrapping_key(), wrapped) == bytes(range(32))
    one_is_not_enough = shares.combine([parts["member1"]])
    with pytest.raises(aead.InvalidTag):
        shares.unwrap_ledger_secret(one_is_not_enough.wrapping_key(), wrapped)


def test_owners_get_the_full_key_and_non_participants_nothing() -> None:
    made = world(
        member("member0"),
        member("member1", RecoveryRole.OWNER),
        member("member2", key=False),
        configuration=ServiceConfiguration(recovery_threshold=1),
    )
    made.activate(*NAMES)
    tx = made.store.tx()
    recovery.issue_shares(tx, made.secrets.latest(), SeededEntropy(1))
    assert set(row(tx, tables.RECOVERY_SHARES)["encrypted_shares"]) == {
        person("member0").id,
        person("member1").id,
    }
    full = share_of(tx, "member1")
    assert shares.is_full(full)
    wrapped = unb64(row(tx, tables.RECOVERY_SHARES)["wrapped_latest_ledger_secret"])
    key = shares.combine([full]).wrapping_key()
    assert shares.unwrap_ledger_secret(key, wrapped) == bytes(range(32))
    assert recovery.encrypted_share(tx, person("member2").id) is None


def test_owners_alone() -> None:
    made = world(member("member0", RecoveryRole.OWNER))
    made.activate("member0")
    tx = made.store.tx()
    recovery.issue_shares(tx, made.secrets.latest(), SeededEntropy(1))
    assert shares.is_full(share_of(tx, "member0"))


def test_accepted_members_get_no_share() -> None:
    made = world(
        *(member(n) for n in NAMES), configuration=ServiceConfiguration(recovery_threshold=1)
    )
    made.activate("member1")
    tx = made.store.tx()
    recovery.issue_shares(tx, made.secrets.latest(), SeededEntropy(1))
    assert set(row(tx, tables.RECOVERY_SHARES)["encrypted_shares"]) == {person("member1").id}


@pytest.mark.parametrize(
    ("threshold", "participants", "owners", "text"),
    [
        (1, 0, 0, "There should be at least one active recovery member to issue recovery shares"),
        (0, 1, 0, "Recovery threshold should be set before recovery shares are computed"),
        (
            3,
            2,
            5,
            "Recovery threshold 3 should be equal to or less than the number of active recovery"
            " members 2",
        ),
        (
            2,
            0,
            4,
            "Recovery threshold 2 cannot be greater than 1 when the consortium consists of only"
            " active recovery owner members (4)",
        ),
    ],
)
def test_thresholds_that_cannot_be_met(
    threshold: int, participants: int, owners: int, text: str
) -> None:
    with pytest.raises(LocalError) as refused:
        recovery.check_threshold(threshold, participants, owners)
    assert refused.value.message == text


def test_no_shares_before_the_first_issue() -> None:
    made = three()
    with pytest.raises(LocalError, match="Failed to retrieve current recovery shares info"):
        recovery.encrypted_share(made.store.tx(), person("member0").id)


def test_a_member_key_that_is_not_rsa_is_named_without_being_shown() -> None:
    made = three()
    tx = made.store.tx()
    tables.put_raw(tx, tables.MEMBERS_ENCRYPTION_KEYS, person("member0").id, "SECRETLOOKING")
    with pytest.raises(LocalError) as refused:
        recovery.issue_shares(tx, made.secrets.latest(), SeededEntropy(1))
    assert person("member0").id in refused.value.message
    assert "SECRETLOOKING" not in refused.value.message


def test_rekey_gives_nodes_and_members_the_new_secret_and_keeps_the_old_one_under_it() -> None:
    made = three()
    tx = made.store.tx()
    recovery.record_secret(tx, made.secrets.latest(), None, 1, SeededEntropy(2))
    opened_at = made.commit(tx)

    tx = made.store.tx()
    recovery.rekey(tx, made.secrets, SeededEntropy(3))
    seqno = made.commit(tx)
    identity = node_identity()
    tx = made.store.tx()
    broadcast = row(tx, tables.ENCRYPTED_LEDGER_SECRETS)
    assert set(broadcast) == {identity.node_id}
    assert [set(e) for e in broadcast[identity.node_id]] == [{"encrypted_secret", "version"}]

    raw = tx.map(tables.ENCRYPTED_LEDGER_SECRETS).get(tables.UNIT)
    fresh = recovery.secret_from_rekey(
        seqno, {tables.UNIT: raw}, identity.node_id, identity.encryption_key
    )
    assert fresh is not None
    assert (fresh.version, fresh.previous_stored_version) == (seqno + 1, seqno)
    assert fresh.key != bytes(range(32))

    wrapped = unb64(row(tx, tables.RECOVERY_SHARES)["wrapped_latest_ledger_secret"])
    key = shares.combine([share_of(tx, "member0"), share_of(tx, "member1")]).wrapping_key()
    assert shares.unwrap_ledger_secret(key, wrapped) == fresh.key

    historical = row(tx, tables.HISTORICAL_ENCRYPTED_LEDGER_SECRET)
    assert set(historical) == {"previous_ledger_secret"}
    before = historical["previous_ledger_secret"]
    assert before["version"] == 1
    assert before["previous_secret_stored_version"] == opened_at
    assert aead.open_(fresh.key, unb64(before["encrypted_data"])) == bytes(range(32))

    # Issued again after the rekey, shares say where the secret before was stored.
    made.secrets.add(fresh)
    recovery.issue_shares(tx, made.secrets.latest(), SeededEntropy(4))
    assert row(tx, tables.RECOVERY_SHARES)["previous_secret_stored_version"] == seqno


def test_rekey_reaches_leaving_nodes_but_not_pending_or_gone_ones() -> None:
    made = three()
    tx = made.store.tx()
    entry = tables.get_object(tx, tables.NODES_INFO, node_identity().node_id)
    assert entry is not None
    for ident, change in {
        "pending": {"status": "Pending"},
        "leaving": {"status": "Retired"},
        "gone": {"status": "Retired", "retired_committed": True},
    }.items():
        tables.put_json(tx, tables.NODES_INFO, ident, {**entry, **change})
    written = made.store.commit(tx)
    assert written is not None

    # A node that has not left for good may still be the primary, and seal what comes next.
    tx = made.store.tx()
    recovery.rekey(tx, made.secrets, SeededEntropy(3))
    own = node_identity().node_id
    assert set(row(tx, tables.ENCRYPTED_LEDGER_SECRETS)) == {"gone", "leaving", own}

    made.store.compact(written.version)
    tx = made.store.tx()
    recovery.rekey(tx, made.secrets, SeededEntropy(3))
    assert set(row(tx, tables.ENCRYPTED_LEDGER_SECRETS)) == {"leaving", own}


def test_secrets_of_a_recovery_are_not_taken_for_a_rekey() -> None:
    identity = node_identity()
    value = {identity.node_id: [{"encrypted_secret": "AA==", "version": 7}]}
    changes: dict[bytes, bytes | None] = {tables.UNIT: json.dumps(value).encode()}
    args = (changes, identity.node_id, identity.encryption_key)
    assert recovery.secret_from_rekey(9, *args) is None
    assert recovery.secret_from_rekey(9, {}, *args[1:]) is None
    assert recovery.secret_from_rekey(9, changes, "other", identity.encryption_key) is None


def test_an_unreadable_copy_is_an_invalid_ledger() -> None:
    identity = node_identity()
    value = {identity.node_id: [{"encrypted_secret": "AA==", "version": None}]}
    with pytest.raises(InvalidLedger) as refused:
        recovery.secret_from_rekey(
            9,
            {tables.UNIT: json.dumps(value).encode()},
            identity.node_id,
            identity.encryption_key,
        )
    assert refused.value.seqno == 9


def test_first_endorsement_is_of_the_own_key() -> None:
    made = three()
    tx = made.store.tx()
    service = service_identity()
    recovery.endorse_previous_identity(tx, service, NOW)
    value = row(tx, tables.PREVIOUS_SERVICE_IDENTITY_ENDORSEMENT)
    assert list(value) == ["endorsement", "endorsement_epoch_begin", "endorsing_key"]
    assert value["endorsement_epoch_begin"] == "2.1"
    assert unb64(value["endorsing_key"]) == service.key_der
    envelope = cose.parse_sign1(unb64(value["endorsement"]))
    assert envelope.payload == service.key_der
    assert envelope.unprotected == {}
    assert cosesign.verify1(envelope, PublicKey.from_der(service.key_der))
    expected = "a30138220fa1061a" + NOW.to_bytes(4, "big").hex()
    assert envelope.protected.hex().startswith(expected + "666363662e7631a1")
    assert cbor.decode(envelope.protected) == {
        1: -35,
        15: {6: NOW},
        "ccf.v1": {"epoch.start.txid": "2.1"},
    }


def test_later_endorsement_follows_the_one_before() -> None:
    made = three()
    service = service_identity()
    old_key = person("member0").key.public.der
    tx = made.store.tx()
    tables.put_json(
        tx,
        tables.PREVIOUS_SERVICE_IDENTITY_ENDORSEMENT,
        tables.UNIT,
        {
            "endorsement": "",
            "endorsing_key": b64(old_key),
            "endorsement_epoch_begin": "2.1",
        },
    )
    stored = made.commit(tx)
    tx = made.store.tx()
    service_row = info.require(tx)
    tables.put_json(
        tx,
        tables.SERVICE_INFO,
        tables.UNIT,
        {**service_row, "current_service_create_txid": "4.484"},
    )
    root = bytes(range(32))
    tables.put_json(tx, tables.PREVIOUS_SERVICE_LAST_SIGNED_ROOT, tables.UNIT, root.hex())
    recovery.endorse_previous_identity(tx, service, NOW)
    value = row(tx, tables.PREVIOUS_SERVICE_IDENTITY_ENDORSEMENT)
    assert value["endorsement_epoch_begin"] == "2.1"
    assert value["endorsement_epoch_end"] == "2.483"
    assert value["previous_version"] == stored
    envelope = cose.parse_sign1(unb64(value["endorsement"]))
    assert envelope.payload == old_key
    assert cbor.decode(envelope.protected) == {
        1: -35,
        15: {6: NOW},
        "ccf.v1": {
            "epoch.start.txid": "2.1",
            "epoch.end.txid": "2.483",
            "epoch.end.merkle.root": root,
        },
    }


def test_status_can_be_changed_alone() -> None:
    made = three()
    tx = made.store.tx()
    before = info.require(tx)
    info.set_status(tx, ServiceStatus.OPEN)
    assert info.require(tx) == {**before, "status": "Open"}


def test_nothing_secret_is_printed() -> None:
    secret = LedgerSecret(1, b"k" * 32)
    assert "kkkk" not in repr(secret)
    assert service_identity().key.pem() not in repr(service_identity())
    assert repr(node_identity()) == f"NodeIdentity({node_identity().node_id})"
