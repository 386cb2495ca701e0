"""Shares that are handed in, secrets that are handed out, and the opening after it."""

from __future__ import annotations

import json

import pytest

from pyccf.codec.text import b64, dump_json, unb64
from pyccf.crypto import shares
from pyccf.crypto.entropy import SeededEntropy
from pyccf.errors import InvalidLedger, LocalError
from pyccf.ledger import past_secrets
from pyccf.ledger.secrets import LedgerSecret, LedgerSecrets
from pyccf.service import info, recovery, restore, tables
from pyccf.service.genesis import ServiceConfiguration
from pyccf.service.info import ServiceStatus
from support.service import NOW, World, member, node_identity, person, service_identity, world

NAMES = ("member0", "member1", "member2")
ENTROPY = SeededEntropy("restore")
FORMER = LedgerSecret(1, bytes(range(32)))
PRESENT = LedgerSecret(50, bytes(32))


@pytest.fixture
def made() -> World:
    """A service that was opened with the former secret, and is recovered."""
    found = world(
        *(member(name) for name in NAMES), configuration=ServiceConfiguration(recovery_threshold=2)
    )
    found.activate(*NAMES)
    tx = found.store.tx()
    recovery.issue_shares(tx, FORMER, ENTROPY)
    recovery.record_secret(tx, FORMER, None, 1, ENTROPY)
    restore.await_shares(tx)
    found.commit(tx)
    return found


def share(made: World, name: str) -> bytes:
    tx = made.store.tx()
    sealed = recovery.encrypted_share(tx, person(name).id)
    assert sealed is not None
    return person(name).encryption_key.decrypt_oaep(unb64(sealed))


def hand_in(made: World, **given: bytes) -> restore.Submitted | None:
    found = None
    for name, value in given.items():
        tx = made.store.tx()
        found = restore.submit(tx, PRESENT, person(name).id, value, ENTROPY)
        made.commit(tx)
    return found


def test_enough_shares_open_the_former_secret(made: World) -> None:
    told = hand_in(made, member0=share(made, "member0"))
    assert told is not None
    assert (told.count, told.threshold, told.full, told.enough) == (1, 2, False, False)
    told = hand_in(made, member2=share(made, "member2"))
    assert told is not None
    assert told.enough
    assert not told.begun
    assert restore.combine(made.store.tx(), PRESENT) == FORMER.key
    rows = made.store.maps[tables.ENCRYPTED_SUBMITTED_SHARES].data
    assert len(rows) == 2
    assert not any(share(made, "member0") in pair.value for pair in rows.values())


def test_what_comes_after_enough_is_known_to(made: World) -> None:
    """It is not combined again: it may be wrong, and what it is combined with was right."""
    hand_in(made, member0=share(made, "member0"), member1=share(made, "member1"))
    told = hand_in(made, member2=b"x" * 44)
    assert told is not None
    assert told.enough
    assert told.begun


@pytest.mark.parametrize("wrong", [b"", b"x" * 43, b"x" * 45, bytes([9]) * 44, b"\xff" * 44])
def test_wrong_shares_open_nothing(made: World, wrong: bytes) -> None:
    hand_in(made, member0=share(made, "member0"), member1=wrong)
    with pytest.raises(LocalError, match="shares handed in"):
        restore.combine(made.store.tx(), PRESENT)


def test_the_same_share_twice_opens_nothing(made: World) -> None:
    one = share(made, "member0")
    hand_in(made, member0=one, member1=one)
    with pytest.raises(LocalError, match="do not fit together"):
        restore.combine(made.store.tx(), PRESENT)


def test_a_service_that_was_never_opened_has_nothing_to_open() -> None:
    made = world(member("member0"))
    with pytest.raises(LocalError, match="was never opened"):
        restore.combine(made.store.tx(), PRESENT)


def test_restored_secrets_reach_the_nodes_they_are_for(made: World) -> None:
    raw = made.store.maps[tables.HISTORICAL_ENCRYPTED_LEDGER_SECRET].data[tables.UNIT]
    past = [past_secrets.parse(raw.version, raw.value)]
    hand_in(made, member0=share(made, "member0"), member1=share(made, "member1"))
    tx = made.store.tx()
    restore.restore(tx, past, LedgerSecrets([PRESENT]), ENTROPY)
    seqno = made.commit(tx)
    row = made.store.maps[tables.ENCRYPTED_LEDGER_SECRETS].data[tables.UNIT].value
    me = node_identity()
    (found,) = restore.secrets_for(seqno, {tables.UNIT: row}, me.node_id, me.encryption_key)
    assert (found.version, found.key) == (1, FORMER.key)
    assert FORMER.key not in row
    assert restore.secrets_for(seqno, {tables.UNIT: row}, "another", me.encryption_key) == ()
    assert restore.secrets_for(seqno, {}, me.node_id, me.encryption_key) == ()


def test_a_rekey_restores_nothing(made: World) -> None:
    me = node_identity()
    tx = made.store.tx()
    recovery.broadcast_secret(tx, PRESENT, ENTROPY)
    seqno = made.commit(tx)
    row = made.store.maps[tables.ENCRYPTED_LEDGER_SECRETS].data[tables.UNIT].value
    assert restore.secrets_for(seqno, {tables.UNIT: row}, me.node_id, me.encryption_key) == ()


@pytest.mark.parametrize(
    "entries",
    [
        [{"version": 1, "encrypted_secret": "AAAA"}],
        [{"version": 1, "encrypted_secret": None}],
        [{"version": 0, "encrypted_secret": "GOOD"}],
        [{"version": 5, "encrypted_secret": "GOOD"}, {"version": 5, "encrypted_secret": "GOOD"}],
        [{"version": 1, "encrypted_secret": "SHORT"}],
    ],
)
def test_what_no_honest_primary_hands_out_is_refused(entries: list[dict[str, object]]) -> None:
    me = node_identity()
    public = me.encryption_key.public
    text = json.dumps(entries)
    text = text.replace("GOOD", b64(public.encrypt_oaep(FORMER.key)))
    text = text.replace("SHORT", b64(public.encrypt_oaep(b"short")))
    row = dump_json({me.node_id: json.loads(text)})
    with pytest.raises(InvalidLedger, match="not usable by this node") as refused:
        restore.secrets_for(9, {tables.UNIT: row}, me.node_id, me.encryption_key)
    assert refused.value.seqno == 9


def test_opening_again(made: World) -> None:
    tx = made.store.tx()
    row = info.require(tx)
    tables.put_json(tx, tables.SERVICE_INFO, tables.UNIT, {**row, "status": "Recovering"})
    made.commit(tx)
    secrets = LedgerSecrets([FORMER, PRESENT])
    service = service_identity()
    with pytest.raises(LocalError, match="is Recovering, not waiting"):
        restore.reopen(made.store.tx(), secrets, service, NOW, ENTROPY)
    tx = made.store.tx()
    info.set_status(tx, ServiceStatus.WAITING_FOR_RECOVERY_SHARES)
    made.commit(tx)
    tx = made.store.tx()
    restore.reopen(tx, secrets, service, NOW, ENTROPY)
    made.commit(tx)
    tx = made.store.tx()
    assert info.status(tx) is ServiceStatus.OPEN
    assert list(tx.map(tables.ENCRYPTED_SUBMITTED_SHARES).foreach()) == []
    raw = made.store.maps[tables.HISTORICAL_ENCRYPTED_LEDGER_SECRET].data[tables.UNIT]
    past = past_secrets.parse(raw.version, raw.value)
    assert (past.next_version, past.version) == (50, 1)
    combined = shares.combine([share(made, "member0"), share(made, "member1")], 2)
    wrapped = tables.get_object(tx, tables.RECOVERY_SHARES)
    assert wrapped is not None
    opened = shares.unwrap_ledger_secret(
        combined.wrapping_key(),
        unb64(str(wrapped["wrapped_latest_ledger_secret"])),
    )
    assert opened == PRESENT.key
