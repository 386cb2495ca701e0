"""JSON Web Keys (RFC 7517, RFC 7518 §6, RFC 8037) to and from PEM.

Three families with a public and a private form each: `ec` (P-256, P-384), `rsa`, `okp` (Ed25519,
X25519). JWK members come in alphabetical order, binary ones in base64url without padding.
Reading also takes padded and standard base64, ignores unknown members, and wants `kid` to be a
text, null or absent (js-runtime.md §4.7).

Refuses with `JwkError`, whose text is the reference's where it has one of its own: other curves,
keys of another family, public for private and vice versa, points off the curve, RSA numbers that
do not belong together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x448, x25519

from pyccf.codec.text import b64url, unb64, unb64url
from pyccf.crypto import certs
from pyccf.crypto.keys import no_private_pem
from pyccf.types import Json

RSA_BITS_MAX: Final = 16_384
"""Larger RSA keys are refused."""

_PEM = serialization.Encoding.PEM
_DER = serialization.Encoding.DER
_RAW = serialization.Encoding.Raw
_SPKI = serialization.PublicFormat.SubjectPublicKeyInfo
_RAW_PUBLIC = serialization.PublicFormat.Raw
_PKCS8 = serialization.PrivateFormat.PKCS8
_RAW_PRIVATE = serialization.PrivateFormat.Raw
_PLAIN = serialization.NoEncryption()

_EC_CURVES: dict[str, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1()}
_EC_NAMES = {curve.name: crv for crv, curve in _EC_CURVES.items()}

# Numbers by which OpenSSL names key types, as they appear in the reference's errors.
_NID_RSA = 6
_NID_EC = 408
_NID_X448 = 1035
_NID_ED448 = 1088


class JwkError(ValueError):
    """A key cannot be converted. Never tells the key."""


# -- PEM to JWK -------------------------------------------------------------------------------


def _load_public(pem: str) -> object:
    _check_pem(pem)
    try:
        return serialization.load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        return None


def _load_private(pem: str) -> object:
    if "-----BEGIN" not in pem:
        raise JwkError(no_private_pem(pem))
    try:
        return serialization.load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise JwkError("could not parse PEM") from None


def _check_pem(pem: str) -> None:
    if "-----BEGIN" not in pem:
        raise JwkError(f"PEM constructed with non-PEM data: {pem}")


def _sorted(members: dict[str, Json], kid: str | None) -> dict[str, Json]:
    if kid is not None:
        members["kid"] = kid
    return dict(sorted(members.items()))


def _number(value: int, size: int | None = None) -> str:
    length = (value.bit_length() + 7) // 8 if size is None else size
    return b64url(value.to_bytes(length, "big"))


def _ec_members(numbers: ec.EllipticCurvePublicNumbers) -> dict[str, Json]:
    crv = _EC_NAMES.get(numbers.curve.name)
    if crv is None:
        raise JwkError(f"Unknown OpenSSL group {numbers.curve.name}")
    size = (numbers.curve.key_size + 7) // 8
    return {
        "crv": crv,
        "kty": "EC",
        "x": _number(numbers.x, size),
        "y": _number(numbers.y, size),
    }


def ec_public_jwk(pem: str, kid: str | None = None) -> dict[str, Json]:
    """`{crv, [kid], kty, x, y}` of an elliptic curve public key."""
    key = _load_public(pem)
    if key is None:
        raise JwkError("could not parse PEM")
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise JwkError("not an elliptic curve key")
    return _sorted(_ec_members(key.public_numbers()), kid)


def ec_private_jwk(pem: str, kid: str | None = None) -> dict[str, Json]:
    """`{crv, d, [kid], kty, x, y}` of an elliptic curve private key."""
    key = _load_private(pem)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise JwkError("not an elliptic curve key")
    numbers = key.private_numbers()
    members = _ec_members(numbers.public_numbers)
    members["d"] = _number(numbers.private_value, (key.key_size + 7) // 8)
    return _sorted(members, kid)


def rsa_public_jwk(pem: str, kid: str | None = None) -> dict[str, Json]:
    """`{e, [kid], kty, n}` of an RSA public key."""
    key = _load_public(pem)
    if not isinstance(key, rsa.RSAPublicKey):
        raise JwkError("invalid RSA key")
    numbers = key.public_numbers()
    return _sorted({"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)}, kid)


def rsa_private_jwk(pem: str, kid: str | None = None) -> dict[str, Json]:
    """`{d, dp, dq, e, [kid], kty, n, p, q, qi}` of an RSA private key."""
    key = _load_private(pem)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise JwkError("not an RSA key")
    numbers = key.private_numbers()
    return _sorted(
        {
            "kty": "RSA",
            "n": _number(numbers.public_numbers.n),
            "e": _number(numbers.public_numbers.e),
            "d": _number(numbers.d),
            "p": _number(numbers.p),
            "q": _number(numbers.q),
            "dp": _number(numbers.dmp1),
            "dq": _number(numbers.dmq1),
            "qi": _number(numbers.iqmp),
        },
        kid,
    )


def _okp_refused(key: object) -> JwkError:
    if isinstance(key, (ec.EllipticCurvePublicKey, ec.EllipticCurvePrivateKey)):
        return JwkError(f"Unknown OpenSSL curve {_NID_EC}")
    if isinstance(key, (rsa.RSAPublicKey, rsa.RSAPrivateKey)):
        return JwkError(f"Unknown OpenSSL curve {_NID_RSA}")
    if isinstance(key, (ed448.Ed448PublicKey, ed448.Ed448PrivateKey)):
        return JwkError(f"Unknown OpenSSL curve {_NID_ED448}")
    if isinstance(key, (x448.X448PublicKey, x448.X448PrivateKey)):
        return JwkError(f"Unknown OpenSSL curve {_NID_X448}")
    return JwkError("could not parse PEM")


def _okp_members(key: ed25519.Ed25519PublicKey | x25519.X25519PublicKey) -> dict[str, Json]:
    crv = "Ed25519" if isinstance(key, ed25519.Ed25519PublicKey) else "X25519"
    return {"crv": crv, "kty": "OKP", "x": b64url(key.public_bytes(_RAW, _RAW_PUBLIC))}


def okp_public_jwk(pem: str, kid: str | None = None) -> dict[str, Json]:
    """`{crv, [kid], kty, x}` of an Ed25519 or X25519 public key."""
    key = _load_public(pem)
    if not isinstance(key, (ed25519.Ed25519PublicKey, x25519.X25519PublicKey)):
        raise _okp_refused(key)
    return _sorted(_okp_members(key), kid)


def okp_private_jwk(pem: str, kid: str | None = None) -> dict[str, Json]:
    """`{crv, d, [kid], kty, x}` of an Ed25519 or X25519 private key."""
    key = _load_private(pem)
    if not isinstance(key, (ed25519.Ed25519PrivateKey, x25519.X25519PrivateKey)):
        raise _okp_refused(key)
    members = _okp_members(key.public_key())
    members["d"] = b64url(key.private_bytes(_RAW, _RAW_PRIVATE, _PLAIN))
    return _sorted(members, kid)


# -- JWK to PEM -------------------------------------------------------------------------------


def _check_jwk(jwk: Json, kty: str) -> Mapping[str, Json]:
    if not isinstance(jwk, dict):
        raise JwkError("a JWK is a JSON object")
    if jwk.get("kty") != kty:
        raise JwkError(f"kty of the JWK must be {kty}")
    kid = jwk.get("kid")
    if kid is not None and not isinstance(kid, str):
        raise JwkError("kid of a JWK must be a text")
    return jwk


def _member(jwk: Mapping[str, Json], name: str) -> bytes:
    """Bytes of a base64url member (padded or standard base64 too); JwkError if not there."""
    text = jwk.get(name)
    if not isinstance(text, str):
        raise JwkError(f"{name} of the JWK must be a text")
    try:
        data = unb64url(text.replace("+", "-").replace("/", "_"))
    except ValueError:
        raise JwkError(f"{name} of the JWK is not base64url") from None
    if not data:
        raise JwkError(f"{name} of the JWK is empty")
    return data


def _int_member(jwk: Mapping[str, Json], name: str) -> int:
    return int.from_bytes(_member(jwk, name), "big")


def _ec_numbers(jwk: Mapping[str, Json]) -> ec.EllipticCurvePublicNumbers:
    curve = _EC_CURVES.get(str(jwk.get("crv")))
    if curve is None:
        raise JwkError("crv of an EC JWK must be P-256 or P-384")
    return ec.EllipticCurvePublicNumbers(_int_member(jwk, "x"), _int_member(jwk, "y"), curve)


def _ec_public(jwk: Json) -> ec.EllipticCurvePublicKey:
    numbers = _ec_numbers(_check_jwk(jwk, "EC"))
    try:
        return numbers.public_key()
    except ValueError:
        raise JwkError("x and y of the JWK are no point of the curve") from None


def ec_public_pem(jwk: Json) -> str:
    """PEM SubjectPublicKeyInfo of an EC JWK."""
    return _ec_public(jwk).public_bytes(_PEM, _SPKI).decode()


def ec_private_pem(jwk: Json) -> str:
    """PEM PKCS#8 of a private EC JWK."""
    members = _check_jwk(jwk, "EC")
    numbers = ec.EllipticCurvePrivateNumbers(_int_member(members, "d"), _ec_numbers(members))
    try:
        return numbers.private_key().private_bytes(_PEM, _PKCS8, _PLAIN).decode()
    except ValueError:
        raise JwkError("d, x and y of the JWK do not belong together") from None


def _rsa_numbers(jwk: Mapping[str, Json]) -> rsa.RSAPublicNumbers:
    n = _int_member(jwk, "n")
    if n.bit_length() > RSA_BITS_MAX:
        raise JwkError(f"an RSA key of more than {RSA_BITS_MAX} bits")
    return rsa.RSAPublicNumbers(_int_member(jwk, "e"), n)


def _rsa_public(jwk: Json) -> rsa.RSAPublicKey:
    try:
        return _rsa_numbers(_check_jwk(jwk, "RSA")).public_key()
    except ValueError as error:
        raise error if isinstance(error, JwkError) else JwkError("no RSA key") from None


def rsa_public_pem(jwk: Json) -> str:
    """PEM SubjectPublicKeyInfo of an RSA JWK."""
    return _rsa_public(jwk).public_bytes(_PEM, _SPKI).decode()


def rsa_private_pem(jwk: Json) -> str:
    """PEM PKCS#8 of a private RSA JWK with all its members."""
    members = _check_jwk(jwk, "RSA")
    numbers = rsa.RSAPrivateNumbers(
        p=_int_member(members, "p"),
        q=_int_member(members, "q"),
        d=_int_member(members, "d"),
        dmp1=_int_member(members, "dp"),
        dmq1=_int_member(members, "dq"),
        iqmp=_int_member(members, "qi"),
        public_numbers=_rsa_numbers(members),
    )
    try:
        return numbers.private_key().private_bytes(_PEM, _PKCS8, _PLAIN).decode()
    except ValueError:
        raise JwkError("the members of the RSA JWK do not belong together") from None


def okp_public_pem(jwk: Json) -> str:
    """PEM SubjectPublicKeyInfo of an OKP JWK."""
    members = _check_jwk(jwk, "OKP")
    raw = _member(members, "x")
    key: ed25519.Ed25519PublicKey | x25519.X25519PublicKey
    try:
        if members.get("crv") == "Ed25519":
            key = ed25519.Ed25519PublicKey.from_public_bytes(raw)
        elif members.get("crv") == "X25519":
            key = x25519.X25519PublicKey.from_public_bytes(raw)
        else:
            raise JwkError("crv of an OKP JWK must be Ed25519 or X25519")
    except ValueError as error:
        raise error if isinstance(error, JwkError) else JwkError("x has 32 bytes") from None
    return key.public_bytes(_PEM, _SPKI).decode()


def okp_private_pem(jwk: Json) -> str:
    """PEM PKCS#8 of a private OKP JWK; `x` must be a text, which is not looked at."""
    members = _check_jwk(jwk, "OKP")
    if not isinstance(members.get("x"), str):
        raise JwkError("x of the JWK must be a text")
    raw = _member(members, "d")
    key: ed25519.Ed25519PrivateKey | x25519.X25519PrivateKey
    try:
        if members.get("crv") == "Ed25519":
            key = ed25519.Ed25519PrivateKey.from_private_bytes(raw)
        elif members.get("crv") == "X25519":
            key = x25519.X25519PrivateKey.from_private_bytes(raw)
        else:
            raise JwkError("crv of an OKP JWK must be Ed25519 or X25519")
    except ValueError as error:
        raise error if isinstance(error, JwkError) else JwkError("d has 32 bytes") from None
    return key.private_bytes(_PEM, _PKCS8, _PLAIN).decode()


# -- key sets of token issuers ----------------------------------------------------------------


def key_material(jwk: Mapping[str, Json]) -> bytes:
    """DER SubjectPublicKeyInfo of a key in an issuer's key set (auth.md §8.2).

    The first that is there: n and e (RSA), x, y and crv (EC), x5c[0] (base64 certificate).
    """
    if _filled(jwk, "n", "e"):
        return _rsa_public({**jwk, "kty": "RSA"}).public_bytes(_DER, _SPKI)
    if _filled(jwk, "x", "y", "crv"):
        return _ec_public({**jwk, "kty": "EC"}).public_bytes(_DER, _SPKI)
    chain = jwk.get("x5c")
    if isinstance(chain, list) and chain and isinstance(chain[0], str):
        try:
            return certs.spki(unb64(chain[0]))
        except ValueError:
            raise JwkError("x5c[0] of the JWK is not a certificate in base64") from None
    raise JwkError("the JWK holds no key: none of n+e, x+y+crv, x5c")


def _filled(jwk: Mapping[str, Json], *names: str) -> bool:
    return all(isinstance(jwk.get(name), str) and jwk[name] for name in names)
