"""Which secret seals which entry."""

from __future__ import annotations

import hashlib

import pytest

from pyccf.crypto import kdf
from pyccf.errors import InvalidLedger, LocalError
from pyccf.ledger.secrets import EntryCipher, LedgerSecret, LedgerSecrets


def secret(version: int, fill: int | None = None) -> LedgerSecret:
    return LedgerSecret(version, bytes([version if fill is None else fill]) * 32)


def test_the_greatest_version_not_above_the_seqno() -> None:
    secrets = LedgerSecrets([secret(10), secret(1), secret(5)])
    assert [s.version for s in secrets.all()] == [1, 5, 10]
    for seqno, version in [(1, 1), (4, 1), (5, 5), (9, 5), (10, 10), (10**9, 10)]:
        assert secrets.at(seqno).version == version
        assert secrets.cipher_at(seqno) is secrets.at(seqno).cipher
    assert secrets.latest().version == 10


def test_unknown_secrets_are_refused() -> None:
    with pytest.raises(LocalError, match="No ledger secret is known"):
        LedgerSecrets().latest()
    with pytest.raises(LocalError, match="for seqno 4"):
        LedgerSecrets([secret(5)]).at(4)
    with pytest.raises(LocalError, match="for seqno 4"):
        LedgerSecrets([secret(5)]).cipher_at(4)


def test_a_rekey_takes_effect_at_once() -> None:
    secrets = LedgerSecrets([secret(1)])
    before = secrets.cipher_at(7)
    secrets.add(secret(7))
    assert secrets.cipher_at(6) is before
    assert secrets.cipher_at(7) is secrets.at(7).cipher
    assert secrets.cipher_at(7) is not before
    secrets.add(secret(3))
    assert secrets.cipher_at(6) is secrets.at(3).cipher


def test_the_same_secret_twice_but_never_another() -> None:
    secrets = LedgerSecrets([secret(1)])
    secrets.add(secret(1))
    assert len(secrets) == 1
    with pytest.raises(LocalError, match="Two different ledger secrets for version 1"):
        secrets.add(secret(1, 99))


def test_rollback_forgets_later_secrets() -> None:
    secrets = LedgerSecrets([secret(1), secret(4)])
    secrets.add(secret(8))
    secrets.add(secret(12))
    assert secrets.cipher_at(12) is secrets.at(12).cipher
    secrets.rollback(9)
    assert [s.version for s in secrets.all()] == [1, 4, 8]
    assert secrets.cipher_at(12) is secrets.at(8).cipher
    secrets.rollback(2)
    # What was the latest at the start stays.
    assert [s.version for s in secrets.all()] == [1, 4]
    only = LedgerSecrets([secret(9)])
    only.rollback(3)
    assert len(only) == 1


def test_evidence_vectors() -> None:
    # spec: crypto.md §4
    key = bytes.fromhex("6a2e4bec332a6457dccd64af0d4ace7de36de1af02f95f3ecde5a47176f9014a")
    text = EntryCipher(key).evidence(2, 22)
    assert text == "ce:2.22:0b75f556199a13d9774ac0a8348fb170bc64ff153c7bab3ddaa68752cd777bbd"
    assert (
        hashlib.sha256(text.encode()).hexdigest()
        == "74d74823d7969871f77abd9739b590596c13efe48417b7a939f433cb51d4b781"
    )
    zero = EntryCipher(bytes(32)).evidence(2, 1)
    assert zero.endswith("ba07298abf81740bac16e555d5131e66d55df25acd7a3686c155efc2d2be07e2")
    assert kdf.commit_evidence(kdf.commit_secret(key), 2, 22) == text


def test_opening_what_was_changed_is_refused() -> None:
    secrets = LedgerSecrets([secret(1)])
    sealed = secrets.cipher_at(3).seal_parts(bytes(12), b"private", b"public")
    tag, ciphertext = sealed[-16:], sealed[:-16]
    assert secrets.open(3, bytes(12), tag, ciphertext, b"public") == b"private"
    with pytest.raises(InvalidLedger, match="Entry 3 does not authenticate") as caught:
        secrets.open(3, bytes(12), tag, ciphertext, b"Public")
    assert caught.value.seqno == 3


def test_no_key_is_shown() -> None:
    key = bytes(range(32))
    one = LedgerSecret(1, key)
    for shown in (repr(one), repr(one.cipher), repr(LedgerSecrets([one]))):
        assert key.hex() not in shown
        assert repr(key)[2:-1] not in shown
