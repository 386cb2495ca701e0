from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from pyccf.codec import cbor, cose
from pyccf.crypto import cosesign
from pyccf.crypto.cosesign import sign1, verify1
from pyccf.crypto.entropy import SeededEntropy
from pyccf.crypto.keys import Curve, PrivateKey, PublicKey, RsaPrivateKey

# merkle-and-receipts.md 4.5, crypto.md 8
SERVICE_SPKI = (
    "3076301006072a8648ce3d020106052b8104002203620004d995f4d46a644ef1e4f17e6d8f9bbaa314c2bfded8f7"
    "8e592f860625f5abe3dd51f52da996ff542499186c8bad30f33b1169de940f22937922a703c2706f3191ffd4a663"
    "136ea5fa8f0a708a1e73fff0e7092de0b3ae1a5e30ee557360561e3d"
)
SERVICE_ID = "ad3f40d7da00c4be3c7580ab9b0fe91c7b4de9322e99b6680cece8e0629bd8ae"
ROOT = "5a0b097b5770c1aadee51e6478d44ef8de776856a606d6e6a0992055d7ad3bdb"
COSE_SIGNATURE = (
    "d284588ca501382204584061643366343064376461303063346265336337353830616239623066653931633762"
    "346465393332326539396236363830636563653865303632396264386165"
    "19018b020fa3061a6900f2100173736572766963652e6578616d706c652e636f6d02706c65646765722e7369"
    "676e6174757265666363662e7631a1647478696464322e3232"
    "a0f6586045b29b4e82cebb11698c2d87017b84ae4463473fd31178ab72136d86e5ccff93ea4db7ce9dba8137e8"
    "374321d5f75c288d9bc35b1531f8ca3f349ddf931d0561c7e30766e3442f554fa626bdc55450a73be7d2398"
    "06c826641b576bda479fc1d"
)
ENDORSEMENT = (
    "d2845829a30138220fa1061a6900f210666363662e7631a17065706f63682e73746172742e7478696463322e31"
    "a05878" + SERVICE_SPKI + "5860d0f6ef1a3e51beb3f09a6dbf0704507af31710889ad99316a55df082b075"
    "fcd98031875f712df05838f37878829081c640ba4a2f8bf81f56f24101f0f7accbd5bf459e694f9ceedc9cf7030b"
    "899c27cd798bb8b63e11c06a470cbead5df8802b"
)
SERVICE = PublicKey.from_der(bytes.fromhex(SERVICE_SPKI))
KEYS = {curve: PrivateKey.generate(curve, SeededEntropy(curve.value)) for curve in Curve}


def protected(alg: int, *more: tuple[bytes, bytes]) -> bytes:
    return cbor.mapping([(cbor.uint(1), cbor.integer(alg)), *more])


def test_ledger_signature_of_a_real_service() -> None:
    envelope = cose.parse_sign1(bytes.fromhex(COSE_SIGNATURE))
    assert SERVICE.id == SERVICE_ID
    assert envelope.kid == SERVICE_ID.encode()
    assert envelope.headers[cose.VDS] == 2
    assert envelope.headers[cose.CWT_CLAIMS] == {
        6: 0x6900F210,
        1: "service.example.com",
        2: "ledger.signature",
    }
    assert envelope.headers["ccf.v1"] == {"txid": "2.22"}
    assert envelope.payload is None
    root = bytes.fromhex(ROOT)
    assert (
        hashlib.sha384(cose.sig_structure(envelope.protected, root)).hexdigest()
        == "01810efd7084322e7f3dc301f856177b87f11f9c599a56aceb83ef7602c5df05"
        "aafa57fbade1abb9cd91061b67f29a78"
    )
    assert verify1(envelope, SERVICE, root)
    assert not verify1(envelope, SERVICE, bytes(32))
    assert not verify1(envelope, SERVICE)
    assert cose.encode_sign1(envelope.protected, None, envelope.signature).hex() == COSE_SIGNATURE


def test_self_endorsement_of_a_real_service() -> None:
    envelope = cose.parse_sign1(bytes.fromhex(ENDORSEMENT))
    assert envelope.payload == SERVICE.der
    assert envelope.headers == {
        1: -35,
        15: {6: 0x6900F210},
        "ccf.v1": {"epoch.start.txid": "2.1"},
    }
    assert verify1(envelope, SERVICE)
    assert not verify1(envelope, KEYS[Curve.P384].public)
    assert (
        cose.encode_sign1(envelope.protected, envelope.payload, envelope.signature).hex()
        == ENDORSEMENT
    )


def test_protected_header_of_a_real_second_endorsement() -> None:
    root = bytes.fromhex("91bd92e850ee6e56fc33386402c313a08475498e7e2cbdcec2e3a2f1cc9d612b")
    encoded = cbor.mapping(
        [
            (cbor.uint(1), cbor.integer(-35)),
            (cbor.uint(15), cbor.mapping([(cbor.uint(6), cbor.uint(0x681CA451))])),
            (
                cbor.tstr("ccf.v1"),
                cbor.mapping(
                    [
                        (cbor.tstr("epoch.start.txid"), cbor.tstr("2.1")),
                        (cbor.tstr("epoch.end.txid"), cbor.tstr("2.483")),
                        (cbor.tstr("epoch.end.merkle.root"), cbor.bstr(root)),
                    ]
                ),
            ),
        ]
    )
    assert encoded.hex() == (
        "a30138220fa1061a681ca451666363662e7631a37065706f63682e73746172742e7478696463322e316e6570"
        "6f63682e656e642e7478696465322e3438337565706f63682e656e642e6d65726b6c652e726f6f74582091bd"
        "92e850ee6e56fc33386402c313a08475498e7e2cbdcec2e3a2f1cc9d612b"
    )


def test_proposal_id_of_a_real_proposal() -> None:
    root = bytes.fromhex("20ad80ae650a8f1e8256b62d4754067c590cc8af17918f5a3358f9d18be7d4c0")
    digest = "d5cb539a7d26985f95e5637124c793c866381334ac014819b1cebec31e58108e"
    expected = hashlib.sha256(root + bytes.fromhex(digest)).hexdigest()
    assert expected == "0990fbc14e303911b68aab7fbb2a6e9232dba5bad708c4fee59badb6b428c1c3"
    signature = b"any signature"
    inner = hashlib.sha256(signature).digest()
    assert cosesign.proposal_id(root, signature) == hashlib.sha256(root + inner).hexdigest()


@pytest.mark.parametrize("curve", list(Curve))
@pytest.mark.parametrize("detached", [False, True])
def test_what_was_signed_verifies(curve: Curve, detached: bool) -> None:
    key = KEYS[curve]
    data = sign1(key, protected(curve.cose_alg), b"payload", detached)
    envelope = cose.parse_sign1(data)
    content = b"payload" if detached else None
    assert envelope.payload == (None if detached else b"payload")
    assert verify1(envelope, key.public, content)
    assert not verify1(replace(envelope, protected=b"\xa0"), key.public, content)
    assert not verify1(replace(envelope, signature=envelope.signature[:-1]), key.public, content)
    other = PrivateKey.generate(curve, SeededEntropy("other"))
    assert not verify1(envelope, other.public, content)


def test_attached_and_detached_do_not_mix() -> None:
    key = KEYS[Curve.P256]
    attached = cose.parse_sign1(sign1(key, protected(-7), b"payload"))
    assert not verify1(attached, key.public, b"payload")
    detached = cose.parse_sign1(sign1(key, protected(-7), b"payload", detached=True))
    assert not verify1(detached, key.public)


@pytest.mark.parametrize(
    ("alg", "curve"),
    [(-7, Curve.P384), (-35, Curve.P256), (-36, Curve.P384), (-8, Curve.P256), (-37, Curve.P256)],
)
def test_algorithm_must_fit_the_key(alg: int, curve: Curve) -> None:
    key = KEYS[curve]
    assert not verify1(cose.parse_sign1(sign1(key, protected(alg), b"p")), key.public)


def test_no_algorithm_no_signature() -> None:
    key = KEYS[Curve.P256]
    assert not verify1(cose.parse_sign1(sign1(key, b"\xa0", b"p")), key.public)


def unprotected_with(raw: bytes) -> cose.Sign1:
    header = protected(-7)
    signature = KEYS[Curve.P256].sign_raw(cose.sig_structure(header, b"p"))
    return cose.parse_sign1(cose.encode_sign1(header, b"p", signature, raw))


@pytest.mark.parametrize("raw", ["a10126", "a1044178", "a1028101"])
def test_unprotected_header_must_not_repeat_what_is_protected(raw: str) -> None:
    assert not verify1(unprotected_with(bytes.fromhex(raw)), KEYS[Curve.P256].public)


@pytest.mark.parametrize("raw", ["a0", "a118214178", "a119018ca0"])
def test_other_unprotected_parameters_are_ignored(raw: str) -> None:
    assert verify1(unprotected_with(bytes.fromhex(raw)), KEYS[Curve.P256].public)


@pytest.mark.parametrize(
    ("critical", "sound"),
    [
        (cbor.array([cbor.uint(1), cbor.uint(4)]), True),
        (cbor.array([cbor.uint(99)]), False),
        (cbor.array([cbor.tstr("x")]), False),
        (cbor.array([cbor.TRUE]), False),
        (cbor.array([]), False),
        (cbor.uint(1), False),
    ],
)
def test_critical_parameters(critical: bytes, sound: bool) -> None:
    key = KEYS[Curve.P256]
    header = protected(-7, (cbor.uint(2), critical))
    assert verify1(cose.parse_sign1(sign1(key, header, b"p")), key.public) is sound


def test_rsa_pss() -> None:
    key = RsaPrivateKey.generate(1024, entropy=SeededEntropy(1))
    for alg, name in ((-37, "SHA-256"), (-38, "SHA-384")):
        header = protected(alg)
        signature = key.sign_pss(cose.sig_structure(header, b"p"), name)
        envelope = cose.parse_sign1(cose.encode_sign1(header, b"p", signature))
        assert verify1(envelope, key.public)
        assert not verify1(replace(envelope, payload=b"q"), key.public)
    es256 = cose.parse_sign1(cose.encode_sign1(protected(-7), b"p", b"x" * 128))
    assert not verify1(es256, key.public)
