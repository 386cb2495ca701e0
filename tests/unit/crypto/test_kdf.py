from __future__ import annotations

import hashlib

from pyccf.crypto import kdf

ACME_SECRET = bytes.fromhex("6a2e4bec332a6457dccd64af0d4ace7de36de1af02f95f3ecde5a47176f9014a")


def test_commit_evidence_of_the_zero_secret() -> None:
    secret = kdf.commit_secret(bytes(32))
    assert secret.hex() == "972d21e8434d17bf3b0753ba039cc05f1b8efa74847b2479051a4c675c6a1ec8"
    assert (
        kdf.commit_nonce(secret, "2.1").hex()
        == "ba07298abf81740bac16e555d5131e66d55df25acd7a3686c155efc2d2be07e2"
    )


def test_commit_evidence_of_a_real_transaction() -> None:
    secret = kdf.commit_secret(ACME_SECRET)
    assert secret.hex() == "a7c09bf16966d08fecec2e825f9911a5a92db5b088795169640392dc024e9c9d"
    evidence = kdf.commit_evidence(secret, 2, 22)
    assert evidence == "ce:2.22:0b75f556199a13d9774ac0a8348fb170bc64ff153c7bab3ddaa68752cd777bbd"
    assert (
        hashlib.sha256(evidence.encode()).hexdigest()
        == "74d74823d7969871f77abd9739b590596c13efe48417b7a939f433cb51d4b781"
    )
    assert kdf.EvidenceMaker(ACME_SECRET).text(2, 22) == evidence


def test_evidence_maker_equals_one_by_one() -> None:
    maker = kdf.EvidenceMaker(bytes(range(32)))
    secret = kdf.commit_secret(bytes(range(32)))
    for view, seqno in ((1, 1), (2, 9), (10**9, 2**63)):
        assert maker.text(view, seqno) == kdf.commit_evidence(secret, view, seqno)
    assert repr(maker) == "EvidenceMaker(...)"


def test_hmac_rfc_4231() -> None:
    assert (
        kdf.hmac_sha256(b"Jefe", b"what do ya want for nothing?").hex()
        == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )


def test_hkdf_rfc_5869() -> None:
    okm = kdf.hkdf_sha256(
        bytes([11]) * 22, salt=bytes(range(13)), info=bytes(range(0xF0, 0xFA)), length=42
    )
    assert okm.hex() == (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    )
    assert kdf.hkdf_sha256(bytes([11]) * 22, length=42).hex() == (
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    )
