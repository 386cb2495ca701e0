from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, x448, x25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from pyccf.codec.text import b64
from pyccf.crypto import certs, jwk
from pyccf.crypto.entropy import SeededEntropy
from pyccf.crypto.jwk import JwkError
from pyccf.crypto.keys import Curve, PrivateKey, PublicKey, RsaPrivateKey, RsaPublicKey

EC = {
    curve: PrivateKey.generate(curve, SeededEntropy(curve.value))
    for curve in (Curve.P256, Curve.P384)
}
P521 = PrivateKey.generate(Curve.P521, SeededEntropy(1))
ED = PrivateKey.generate(Curve.ED25519, SeededEntropy(1))
RSA = RsaPrivateKey.generate(1024, entropy=SeededEntropy(1))
X25519 = x25519.X25519PrivateKey.from_private_bytes(bytes(range(32)))
X25519_PEM = X25519.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
X25519_PUB = (
    X25519.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
)


@pytest.mark.parametrize("curve", list(EC))
def test_ec_round_trip(curve: Curve) -> None:
    key = EC[curve]
    public = jwk.ec_public_jwk(key.public.pem())
    assert list(public) == ["crv", "kty", "x", "y"]
    assert public["crv"] == curve.value
    private = jwk.ec_private_jwk(key.pem(), "k")
    assert list(private) == ["crv", "d", "kid", "kty", "x", "y"]
    assert {**public, "kid": "k", "d": private["d"]} == private
    assert jwk.ec_public_pem(public) == key.public.pem() == jwk.ec_public_pem(private)
    assert jwk.ec_private_pem(private) == key.pem()


def test_ec_coordinates_keep_leading_zeros() -> None:
    for seed in range(2000):
        key = PrivateKey.generate(Curve.P256, SeededEntropy(seed))
        numbers = key.public.native.public_numbers()  # type: ignore[union-attr]
        if numbers.x >> 248 == 0:
            break
    public = jwk.ec_public_jwk(key.public.pem())
    assert len(str(public["x"])) == 43
    assert str(public["x"]).startswith("A")
    assert jwk.ec_public_pem(public) == key.public.pem()


def test_rsa_round_trip() -> None:
    public = jwk.rsa_public_jwk(RSA.public.pem(), "k")
    assert list(public) == ["e", "kid", "kty", "n"]
    assert public["e"] == "AQAB"
    private = jwk.rsa_private_jwk(RSA.pem())
    assert list(private) == ["d", "dp", "dq", "e", "kty", "n", "p", "q", "qi"]
    assert jwk.rsa_public_pem(public) == RSA.public.pem()
    assert jwk.rsa_private_pem(private) == RSA.pem()


def test_okp_round_trip() -> None:
    for private_pem, public_pem, crv in (
        (ED.pem(), ED.public.pem(), "Ed25519"),
        (X25519_PEM, X25519_PUB, "X25519"),
    ):
        public = jwk.okp_public_jwk(public_pem)
        assert list(public) == ["crv", "kty", "x"]
        assert public["crv"] == crv
        private = jwk.okp_private_jwk(private_pem, "")
        assert list(private) == ["crv", "d", "kid", "kty", "x"]
        assert jwk.okp_public_pem(public) == public_pem
        assert jwk.okp_private_pem({**private, "x": "!"}) == private_pem


def test_ed25519_rfc_8037() -> None:
    private = {
        "kty": "OKP",
        "crv": "Ed25519",
        "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    }
    assert jwk.okp_private_jwk(jwk.okp_private_pem(private)) == private


def test_lenient_base64() -> None:
    public = jwk.rsa_public_jwk(RSA.public.pem())
    n = str(public["n"])
    padded = n + "=" * (-len(n) % 4)
    for text in (padded, n.replace("-", "+").replace("_", "/")):
        assert jwk.rsa_public_pem({**public, "n": text, "use": "sig"}) == RSA.public.pem()


@pytest.mark.parametrize(
    "change",
    [
        {"kty": "oct"},
        {"kty": None},
        {"crv": "P-999"},
        {"crv": "P-521"},
        {"x": 1},
        {"x": "!!!"},
        {"x": ""},
        {"x": "AA"},
        {"kid": 5},
    ],
)
def test_bad_ec_members(change: dict[str, object]) -> None:
    public = jwk.ec_public_jwk(EC[Curve.P256].public.pem())
    private = jwk.ec_private_jwk(EC[Curve.P256].pem())
    assert jwk.ec_public_pem({**public, "kid": None})
    with pytest.raises(JwkError):
        jwk.ec_public_pem({**public, **change})  # type: ignore[dict-item]
    with pytest.raises(JwkError):
        jwk.ec_private_pem({**private, **change})  # type: ignore[dict-item]


def test_bad_others() -> None:
    rsa = jwk.rsa_private_jwk(RSA.pem())
    for name in ("d", "p", "q", "dp", "dq", "qi", "n", "e"):
        with pytest.raises(JwkError):
            jwk.rsa_private_pem({k: v for k, v in rsa.items() if k != name})
    with pytest.raises(JwkError, match="belong together"):
        jwk.rsa_private_pem({**rsa, "p": rsa["q"]})
    with pytest.raises(JwkError, match="bits"):
        jwk.rsa_public_pem({"kty": "RSA", "e": "AQAB", "n": "_" * 3000})
    with pytest.raises(JwkError):
        jwk.rsa_public_pem({"kty": "RSA", "e": "Ag", "n": "_w"})
    ec256 = jwk.ec_private_jwk(EC[Curve.P256].pem())
    with pytest.raises(JwkError, match="belong together"):
        jwk.ec_private_pem({**ec256, "d": "AQ"})
    okp = jwk.okp_private_jwk(ED.pem())
    for change in ({"d": "AA"}, {"d": None}, {"crv": "P-256"}, {"kty": "EC"}, {"x": None}):
        with pytest.raises(JwkError):
            jwk.okp_private_pem({**okp, **change})
    for change in ({"x": "AA"}, {"x": None}, {"crv": "Ed448"}):
        with pytest.raises(JwkError):
            jwk.okp_public_pem({**okp, **change})
    for value in (None, [], "x", 5, {}):
        for convert in (jwk.ec_public_pem, jwk.rsa_public_pem, jwk.okp_private_pem):
            with pytest.raises(JwkError):
                convert(value)


def _pems(key: object) -> tuple[str, str]:
    native: ec.EllipticCurvePrivateKey = key  # type: ignore[assignment]
    return (
        native.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        native.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
    )


def test_texts_of_the_reference() -> None:
    k256_private, k256_public = _pems(ec.generate_private_key(ec.SECP256K1()))
    ed448_private, ed448_public = _pems(ed448.Ed448PrivateKey.generate())
    x448_private, x448_public = _pems(x448.X448PrivateKey.generate())
    p256 = EC[Curve.P256]
    for convert, pem, text in (
        (jwk.ec_public_jwk, "x", "PEM constructed with non-PEM data: x"),
        (jwk.ec_private_jwk, "x", "PEM constructed with non-PEM data: x"),
        (jwk.ec_private_jwk, "c2Vj" * 11, "PEM constructed with non-PEM data"),
        (jwk.ec_public_jwk, p256.pem(), "could not parse PEM"),
        (jwk.ec_private_jwk, p256.public.pem(), "could not parse PEM"),
        (jwk.ec_public_jwk, P521.public.pem(), "Unknown OpenSSL group secp521r1"),
        (jwk.ec_private_jwk, P521.pem(), "Unknown OpenSSL group secp521r1"),
        (jwk.ec_public_jwk, k256_public, "Unknown OpenSSL group secp256k1"),
        (jwk.ec_private_jwk, k256_private, "Unknown OpenSSL group secp256k1"),
        (jwk.rsa_public_jwk, p256.public.pem(), "invalid RSA key"),
        (jwk.rsa_public_jwk, RSA.pem(), "invalid RSA key"),
        (jwk.rsa_private_jwk, RSA.public.pem(), "could not parse PEM"),
        (jwk.okp_public_jwk, p256.public.pem(), "Unknown OpenSSL curve 408"),
        (jwk.okp_private_jwk, RSA.pem(), "Unknown OpenSSL curve 6"),
        (jwk.okp_public_jwk, ed448_public, "Unknown OpenSSL curve 1088"),
        (jwk.okp_private_jwk, ed448_private, "Unknown OpenSSL curve 1088"),
        (jwk.okp_public_jwk, x448_public, "Unknown OpenSSL curve 1035"),
        (jwk.okp_private_jwk, x448_private, "Unknown OpenSSL curve 1035"),
        (jwk.okp_public_jwk, ED.pem(), "could not parse PEM"),
        (jwk.okp_private_jwk, ED.public.pem(), "could not parse PEM"),
    ):
        with pytest.raises(JwkError) as caught:
            convert(pem)
        assert str(caught.value) == text
    for convert, pem in (
        (jwk.ec_public_jwk, RSA.public.pem()),
        (jwk.ec_private_jwk, RSA.pem()),
        (jwk.rsa_private_jwk, p256.pem()),
    ):
        with pytest.raises(JwkError):
            convert(pem)


def test_key_material_of_an_issuer() -> None:
    p256 = EC[Curve.P256]
    cert = certs.self_signed(p256, "CN=x", not_before=0, days=1, entropy=SeededEntropy(1))
    chain = {"x5c": [b64(certs.pem_to_der(cert)), "ignored"]}
    public = jwk.ec_public_jwk(p256.public.pem())
    rsa = jwk.rsa_public_jwk(RSA.public.pem())
    assert PublicKey.from_der(jwk.key_material(chain)) == p256.public
    assert PublicKey.from_der(jwk.key_material(public)) == p256.public
    assert RsaPublicKey.from_der(jwk.key_material({**public, **rsa, **chain})).pem() == (
        RSA.public.pem()
    )
    assert jwk.key_material({**rsa, **chain, "n": ""}) == p256.public.der
    for bad in ({}, {"x5c": []}, {"x5c": [5]}, {"x5c": ["!"]}, {"x5c": ["AAAA"]}, {"x": "AA"}):
        with pytest.raises(JwkError):
            jwk.key_material(bad)


def test_private_parts_are_not_in_errors() -> None:
    private = jwk.ec_private_jwk(EC[Curve.P256].pem())
    with pytest.raises(JwkError) as caught:
        jwk.ec_private_pem({**private, "y": "AQ"})
    assert str(private["d"]) not in str(caught.value)
