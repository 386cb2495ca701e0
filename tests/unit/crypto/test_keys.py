from __future__ import annotations

import copy
import hashlib
import pickle

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pyccf.crypto.entropy import SeededEntropy
from pyccf.crypto.keys import Curve, PrivateKey, PublicKey, RsaPrivateKey, RsaPublicKey


class Chance:
    """Entropy that is not seeded, but repeats: what a real source looks like to a key."""

    def __init__(self) -> None:
        self._stream = SeededEntropy("chance")

    def bytes(self, n: int):  # type: ignore[no-untyped-def]
        return self._stream.bytes(n)


KEYS = {curve: PrivateKey.generate(curve, SeededEntropy(curve.value)) for curve in Curve}
RSA = RsaPrivateKey.generate(1024, entropy=SeededEntropy("rsa"))
EC_CURVES = [Curve.P256, Curve.P384, Curve.P521]


@pytest.mark.parametrize("curve", EC_CURVES)
def test_order_of_the_group(curve: Curve) -> None:
    """The last scalar below the order gives the mirror image of the base point."""
    native = KEYS[curve].native
    assert isinstance(native, ec.EllipticCurvePrivateKey)
    first = ec.derive_private_key(1, native.curve).public_key().public_numbers()
    last = ec.derive_private_key(curve.order - 1, native.curve).public_key()
    assert last.public_numbers().x == first.x
    assert last.public_numbers().y != first.y


@pytest.mark.parametrize("curve", list(Curve))
def test_signatures_verify_and_others_do_not(curve: Curve) -> None:
    key = KEYS[curve]
    public = PublicKey.from_pem(key.public.pem())
    for signature, verify in (
        (key.sign(b"m"), public.verify),
        (key.sign_raw(b"m"), public.verify_raw),
    ):
        assert verify(signature, b"m")
        assert not verify(signature, b"n")
        assert not verify(signature[:-1], b"m")
        assert not verify(b"", b"m")
        assert not verify(bytes(len(signature)), b"m")


@pytest.mark.parametrize("curve", EC_CURVES)
def test_digests_are_signed_as_they_are(curve: Curve) -> None:
    key = KEYS[curve]
    digest = hashlib.sha256(b"m").digest()
    signature = key.sign_digest(digest)
    assert key.public.verify_digest(signature, digest)
    assert not key.public.verify_digest(signature, bytes(32))
    assert not key.public.verify_digest(b"\x30\x00", digest)
    # For P-256 this is what signing the message means.
    assert key.public.verify(signature, b"m") is (curve is Curve.P256)
    with pytest.raises(AssertionError):
        key.sign_digest(b"short")


def test_ed25519_signs_no_digests() -> None:
    key = KEYS[Curve.ED25519]
    assert not key.public.verify_digest(key.sign(bytes(32)), bytes(32))
    with pytest.raises(AssertionError):
        key.sign_digest(bytes(32))


@pytest.mark.parametrize("curve", EC_CURVES)
def test_raw_signatures_have_fixed_size_and_a_choice_of_digest(curve: Curve) -> None:
    key = KEYS[curve]
    for name in ("SHA-256", "SHA-384", "SHA-512"):
        signature = key.sign_raw(b"m", name)
        assert len(signature) == 2 * curve.coordinate_size
        assert key.public.verify_raw(signature, b"m", name)
    assert not key.public.verify_raw(key.sign_raw(b"m", "SHA-256"), b"m", "SHA-384")
    with pytest.raises(ValueError, match="unknown digest"):
        key.sign_raw(b"m", "MD5")


@pytest.mark.parametrize("curve", list(Curve))
def test_seeded_keys_repeat_in_every_byte(curve: Curve) -> None:
    again = PrivateKey.generate(curve, SeededEntropy(curve.value))
    assert again.pem() == KEYS[curve].pem()
    assert again.deterministic
    assert again.sign(b"m") == KEYS[curve].sign(b"m")
    assert again.sign_raw(b"m") == KEYS[curve].sign_raw(b"m")
    if curve is not Curve.ED25519:
        assert again.sign_digest(bytes(32)) == KEYS[curve].sign_digest(bytes(32))


def test_other_keys_sign_with_fresh_chance() -> None:
    key = PrivateKey.generate(Curve.P384, Chance())
    assert not key.deterministic
    assert key.sign(b"m") != key.sign(b"m")
    assert key.sign_digest(bytes(32)) != key.sign_digest(bytes(32))


@pytest.mark.parametrize("curve", list(Curve))
def test_keys_travel_as_pem_and_der(curve: Curve) -> None:
    key = KEYS[curve]
    assert PrivateKey.from_pem(key.pem()).public == key.public
    assert key.pem().startswith("-----BEGIN PRIVATE KEY-----\n")
    assert PublicKey.from_der(key.spki_der) == PublicKey.from_pem(key.public.pem())
    assert key.public.id == hashlib.sha256(key.public.der).hexdigest()
    assert len({key.public, PublicKey.from_der(key.spki_der)}) == 1


def test_curve_names() -> None:
    assert Curve.from_name("Secp384r1") is Curve.from_name("P-384") is Curve.P384
    assert Curve.from_name("Secp256R1") is Curve.P256
    assert [curve.cose_alg for curve in Curve] == [-7, -35, -36, -8]
    with pytest.raises(ValueError, match="unknown curve"):
        Curve.from_name("secp256k1")


def test_foreign_texts_are_refused() -> None:
    k256 = ec.generate_private_key(ec.SECP256K1()).public_key()
    k256_der = k256.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(ValueError, match="unsupported curve"):
        PublicKey.from_der(k256_der)
    for text in ("", "x", RSA.public.pem(), KEYS[Curve.P256].pem()):
        with pytest.raises(ValueError):
            PublicKey.from_pem(text)
    for text in ("", "x", RSA.pem(), KEYS[Curve.P256].public.pem()):
        with pytest.raises(ValueError):
            PrivateKey.from_pem(text)
    for text in ("", "x", KEYS[Curve.P256].public.pem(), RSA.pem()):
        with pytest.raises(ValueError):
            RsaPublicKey.from_pem(text)
    for text in ("", "x", KEYS[Curve.P256].pem(), RSA.public.pem()):
        with pytest.raises(ValueError):
            RsaPrivateKey.from_pem(text)
    with pytest.raises(ValueError):
        PublicKey.from_certificate("no certificate")
    with pytest.raises(ValueError):
        RsaPublicKey.from_certificate(b"\x30\x00")


def test_private_keys_do_not_leak() -> None:
    for key in (KEYS[Curve.P384], RSA):
        body = key.pem().split("\n")[1]
        for text in (repr(key), str(key), f"{key!s}"):
            assert body[:20] not in text
        with pytest.raises(TypeError):
            pickle.dumps(key)
    with pytest.raises(TypeError):
        copy.deepcopy(RSA)
    broken = KEYS[Curve.P256].pem().replace("PRIVATE KEY", "PRIVATE KEYS")
    with pytest.raises(ValueError) as caught:
        PrivateKey.from_pem(broken)
    assert broken.split("\n")[1][:20] not in str(caught.value)
    assert caught.value.__cause__ is None


def test_oaep_round_trip_and_refusals() -> None:
    for entropy in (None, Chance(), SeededEntropy(3)):
        for label in (None, b"", b"label"):
            sealed = RSA.public.encrypt_oaep(b"secret", label, entropy)
            assert len(sealed) == 128
            assert RSA.decrypt_oaep(sealed, label) == b"secret"
    sealed = RSA.public.encrypt_oaep(b"secret", b"label")
    for data, label in ((sealed, None), (sealed, b"other"), (sealed[:-1], b"label"), (b"", None)):
        with pytest.raises(ValueError, match="decryption failed"):
            RSA.decrypt_oaep(data, label)
    room = 128 - 66
    for entropy in (None, SeededEntropy(3)):
        assert RSA.decrypt_oaep(RSA.public.encrypt_oaep(bytes(room), None, entropy)) == bytes(room)
        with pytest.raises(ValueError):
            RSA.public.encrypt_oaep(bytes(room + 1), None, entropy)


def test_oaep_repeats_only_with_a_seed() -> None:
    seeded = [RSA.public.encrypt_oaep(b"x", None, SeededEntropy(3)) for _ in range(2)]
    assert seeded[0] == seeded[1]
    fresh = [RSA.public.encrypt_oaep(b"x", None, Chance()) for _ in range(2)]
    assert fresh[0] != fresh[1]


def test_rsa_signatures() -> None:
    public = RsaPublicKey.from_der(RSA.public.der)
    for name in ("SHA-256", "SHA-384"):
        assert public.verify_pkcs1(RSA.sign_pkcs1(b"m", name), b"m", name)
        assert public.verify_pss(RSA.sign_pss(b"m", name), b"m", name)
    assert public.verify_pss(RSA.sign_pss(b"m", salt_length=0), b"m")
    assert not public.verify_pss(RSA.sign_pss(b"m", salt_length=0), b"m", salt_length=32)
    assert not public.verify_pss(RSA.sign_pkcs1(b"m"), b"m")
    assert not public.verify_pkcs1(RSA.sign_pkcs1(b"m"), b"n")
    assert not public.verify_pkcs1(b"", b"m")


def test_rsa_library_generator() -> None:
    key = RsaPrivateKey.generate(1024, exponent=3, entropy=Chance())
    assert key.public.bits == 1024
    assert key.native.public_key().public_numbers().e == 3
    with pytest.raises(ValueError):
        RsaPrivateKey.generate(100)
