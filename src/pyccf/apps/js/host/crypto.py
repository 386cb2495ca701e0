"""`ccf.crypto` (spec: js-runtime.md §4.7).

Each function is one row at the end of this file. Keys and certificates are texts in PEM. What the
library refuses is thrown with the beginning the original uses and our own reason after it; reasons
never contain key material.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from pyccf.apps.js.engine import OTHER, UNDEFINED, JsThrow
from pyccf.apps.js.host.converters import PEM_BEGIN, plain_pem
from pyccf.apps.js.host.row import Row
from pyccf.codec.text import load_json
from pyccf.crypto import certs, chains, jwk, wrap
from pyccf.crypto.keys import (
    Curve,
    PrivateKey,
    RsaPrivateKey,
    certificate_key,
    hash_by_name,
    no_private_pem,
)

if TYPE_CHECKING:
    from pyccf.apps.js.host.host import Host
    from pyccf.types import Json

RSA_BITS_MAX: Final = 4_096
"""To make a larger key takes longer than a node may be away (8192 bits: up to a minute)."""

CERTIFICATE_BEGIN = "-----BEGIN CERTIFICATE"

_CURVES = {"secp256r1": Curve.P256, "secp384r1": Curve.P384}
_SIGN_HASHES = ("SHA-256", "SHA-384", "SHA-512")
_SIGN_NAMES = ("RSA-PSS", "ECDSA", "EdDSA", "HMAC")
_VERIFY_NAMES = ("RSA-PSS", "ECDSA", "EdDSA")
_WRAP_NAMES = "RSA-OAEP, AES-KWP, RSA-OAEP-AES-KWP"
_HMACS = {"SHA-256": hashlib.sha256, "SHA-384": hashlib.sha384, "SHA-512": hashlib.sha512}

_SALT_DIGEST = -1
_SALT_AUTO = -2
_SALT_MAX = -3

Options = Mapping[str, object]


class _Chance:
    """The node's source of keys as the crypto room wants it."""

    def __init__(self, host: Host) -> None:
        self._machine = host.the_machine()

    def bytes(self, n: int) -> bytes:
        return self._machine.random(n)


def _int32(value: object) -> int:
    """A number as the original reads it: truncated to 32 bits, 0 for what is none."""
    if isinstance(value, str):
        try:
            value = float(value.strip() or "0")
        except ValueError:
            return 0
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            return 0
        value = int(value)
    if not isinstance(value, int):
        return 0
    return (int(value) + (1 << 31)) % (1 << 32) - (1 << 31)


def _size(options: Options, member: str) -> int:
    value = options.get(member)
    if value is OTHER:
        raise JsThrow("TypeError", "cannot convert symbol to number")
    return _int32(value)


def _name(options: Options, member: str = "name") -> str:
    value = options.get(member)
    if isinstance(value, str):
        return value.partition("\0")[0]
    return "undefined" if value is UNDEFINED else "null" if value is None else str(value)


# -- digests, keys --------------------------------------------------------------------------------


def _digest(host: Host, algorithm: str, data: bytes) -> bytes:
    if algorithm != "SHA-256":
        raise JsThrow("RangeError", "unsupported digest algorithm, supported: SHA-256")
    return hashlib.sha256(data).digest()


def _generate_aes(host: Host, bits: int) -> bytes:
    size = _int32(bits)
    if size not in wrap.AES_SIZES:
        raise JsThrow("RangeError", "invalid key size (not one of 128, 192, 256)")
    return host.the_machine().random(size // 8)


def _pair(private: str, public: str) -> dict[str, str]:
    return {"privateKey": private, "publicKey": public}


def _generate_rsa(host: Host, bits: int, exponent: int = 65537) -> dict[str, str]:
    size = _int32(bits)
    try:
        if size > RSA_BITS_MAX:
            raise ValueError(f"at most {RSA_BITS_MAX} bits")
        if size < 1024:
            raise ValueError("key size too small")
        key = RsaPrivateKey.generate(size, exponent=_int32(exponent), entropy=_Chance(host))
    except ValueError as e:
        raise JsThrow("InternalError", f"Failed to generate RSA key pair: {e}") from None
    return _pair(key.pem(), key.public.pem())


def _generate_ec(host: Host, curve: str) -> dict[str, str]:
    found = _CURVES.get(curve)
    if found is None:
        raise JsThrow("RangeError", "Unsupported curve id, supported: secp256r1, secp384r1")
    key = PrivateKey.generate(found, _Chance(host))
    return _pair(key.pem(), key.public.pem())


def _generate_okp(host: Host, curve: str) -> dict[str, str]:
    private: ed25519.Ed25519PrivateKey | x25519.X25519PrivateKey
    if curve == "curve25519":
        private = ed25519.Ed25519PrivateKey.from_private_bytes(host.the_machine().random(32))
    elif curve == "x25519":
        private = x25519.X25519PrivateKey.from_private_bytes(host.the_machine().random(32))
    else:
        raise JsThrow("RangeError", "Unsupported curve id, supported: curve25519, x25519")
    return _pair(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode(),
        private.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode(),
    )


# -- signatures -----------------------------------------------------------------------------------


def _check_pem(pem: str) -> None:
    if PEM_BEGIN not in pem:
        raise ValueError(f"PEM constructed with non-PEM data: {pem}")


def _private_key(pem: str) -> object:
    if PEM_BEGIN not in pem:
        raise ValueError(no_private_pem(pem))
    try:
        return serialization.load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("could not parse PEM") from None


def _public_key(pem: str) -> object:
    _check_pem(pem)
    try:
        return serialization.load_pem_public_key(pem.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("could not parse PEM") from None


def _half(curve: ec.EllipticCurve) -> int:
    return (curve.key_size + 7) // 8


def _raw(der: bytes, size: int) -> bytes:
    r, s = decode_dss_signature(der)
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def _known_curve(key: ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey) -> None:
    if not isinstance(key.curve, (ec.SECP256R1, ec.SECP384R1)):
        raise ValueError(f"Unknown OpenSSL group {key.curve.name}")


def _pss(salt: int, digest: hashes.HashAlgorithm, bits: int, *, signing: bool) -> padding.PSS:
    """Padding for a `saltLength`; `bits` is the size of the key."""
    mask = padding.MGF1(digest)
    if salt == _SALT_DIGEST:
        return padding.PSS(mask, digest.digest_size)
    if salt == _SALT_MAX or (salt == _SALT_AUTO and signing):
        return padding.PSS(mask, (bits + 6) // 8 - digest.digest_size - 2)
    if salt == _SALT_AUTO:
        return padding.PSS(mask, padding.PSS.AUTO)
    if salt < 0:
        raise ValueError("invalid salt length")
    return padding.PSS(mask, salt)


def _sign(host: Host, options: Options, key_pem: str, data: bytes) -> bytes:
    name = _name(options)
    if name == "EdDSA":
        try:
            return _sign_eddsa(key_pem, data)
        except ValueError as e:
            raise JsThrow("InternalError", f"Failed to sign with EdDSA pair: {e}") from None
    hash_name = _name(options, "hash")
    if hash_name not in _SIGN_HASHES:
        raise JsThrow(
            "RangeError", f"Unsupported hash algorithm, supported: {', '.join(_SIGN_HASHES)}"
        )
    if name == "HMAC":
        secret = key_pem.encode("utf-8", "surrogatepass")
        return hmac.new(secret, data, _HMACS[hash_name]).digest()
    if name not in _SIGN_NAMES:
        raise JsThrow(
            "RangeError", f"Unsupported signing algorithm, supported: {', '.join(_SIGN_NAMES)}"
        )
    try:
        digest = hash_by_name(hash_name)
        key: object = _private_key(key_pem)
        if name == "ECDSA":
            if not isinstance(key, ec.EllipticCurvePrivateKey):
                raise ValueError("Unknown OpenSSL group ")
            _known_curve(key)
            return _raw(key.sign(data, ec.ECDSA(digest)), _half(key.curve))
        if not isinstance(key, rsa.RSAPrivateKey):
            raise ValueError("invalid RSA key")
        salt = _pss(_size(options, "saltLength"), digest, key.key_size, signing=True)
        return key.sign(data, salt, digest)
    except ValueError as e:
        raise JsThrow("InternalError", f"Failed to sign: {e}") from None


def _sign_eddsa(key_pem: str, data: bytes) -> bytes:
    """With whatever key it is, as recorded: the type is not looked at."""
    key = _private_key(key_pem)
    if isinstance(key, (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)):
        return key.sign(data)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(data, ec.ECDSA(hashes.SHA256()))
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    raise ValueError("this key cannot sign")


def _verify(host: Host, options: Options, key_pem: str, signature: bytes, data: bytes) -> bool:
    name = _name(options)
    if name == "EdDSA":
        try:
            return _verify_eddsa(key_pem, signature, data)
        except ValueError as e:
            raise JsThrow("RangeError", f"Failed to verify EdDSA signature: {e}") from None
    if _name(options, "hash") != "SHA-256":
        raise JsThrow("RangeError", "Unsupported hash algorithm, supported: SHA-256")
    if name not in _VERIFY_NAMES:
        raise JsThrow(
            "RangeError", f"Unsupported signing algorithm, supported: {', '.join(_VERIFY_NAMES)}"
        )
    try:
        if key_pem.startswith(CERTIFICATE_BEGIN):
            return _verify_by_certificate(name, key_pem, signature, data)
        return _verify_by_key(name, options, key_pem, signature, data)
    except InvalidSignature:
        return False
    except ValueError as e:
        raise JsThrow("InternalError", f"Failed to verify signature: {e}") from None


def _verify_by_certificate(name: str, pem: str, signature: bytes, data: bytes) -> bool:
    """Only the type of the certificate's key counts, not the algorithm's name (recorded)."""
    key = certificate_key(certs.pem_to_der(pem))
    if isinstance(key, rsa.RSAPublicKey):
        if name == "ECDSA":
            return False
        key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
        return True
    if isinstance(key, ec.EllipticCurvePublicKey):
        der = _der(signature) if name == "ECDSA" else signature
        key.verify(der, data, ec.ECDSA(hashes.SHA256()))
        return True
    raise ValueError("unsupported public key type")


def _verify_by_key(name: str, options: Options, pem: str, signature: bytes, data: bytes) -> bool:
    digest = hashes.SHA256()
    try:
        key = _public_key(pem)
    except ValueError:
        if name == "ECDSA" or PEM_BEGIN not in pem:
            raise
        key = None
    if name == "ECDSA":
        if isinstance(key, ec.EllipticCurvePublicKey):
            if not isinstance(key.curve, (ec.SECP256R1, ec.SECP384R1)):
                return False
            key.verify(_der(signature), data, ec.ECDSA(digest))
            return True
        return False
    if not isinstance(key, rsa.RSAPublicKey):
        raise ValueError("invalid RSA key")
    salt = _pss(_size(options, "saltLength"), digest, key.key_size, signing=False)
    key.verify(signature, data, salt, digest)
    return True


def _der(signature: bytes) -> bytes:
    """DER of r ‖ s, split in the middle; an odd last byte is ignored (recorded)."""
    half = len(signature) // 2
    r = int.from_bytes(signature[:half], "big")
    s = int.from_bytes(signature[half : 2 * half], "big")
    return encode_dss_signature(r, s)


def _verify_eddsa(pem: str, signature: bytes, data: bytes) -> bool:
    key = _public_key(pem)
    try:
        if isinstance(key, (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)):
            key.verify(signature, data)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
        else:
            raise ValueError("this key cannot verify")
    except InvalidSignature:
        return False
    return True


# -- wrapping -------------------------------------------------------------------------------------


def _label(options: Options) -> bytes | None:
    label = options.get("label")
    return label if isinstance(label, bytes) and label else None


def _wrap(host: Host, key: bytes, wrapping_key: bytes, options: Options) -> bytes:
    name = _name(options)
    try:
        if name == "RSA-OAEP":
            return wrap.rsa_oaep_wrap(wrapping_key, key, _label(options), _Chance(host))
        if name == "AES-KWP":
            return wrap.aes_kwp_wrap(wrapping_key, key)
        if name == "RSA-OAEP-AES-KWP":
            bits = _size(options, "aesKeySize")
            return wrap.rsa_oaep_aes_kwp_wrap(
                bits, wrapping_key, key, _Chance(host), _label(options)
            )
    except ValueError as e:
        raise JsThrow("InternalError", f"Failed to wrap key: {e}") from None
    raise JsThrow("RangeError", f"unsupported key wrapping algorithm, supported: {_WRAP_NAMES}")


def _unwrap(host: Host, wrapped: bytes, unwrapping_key: bytes, options: Options) -> bytes:
    name = _name(options)
    try:
        if name == "RSA-OAEP":
            return wrap.rsa_oaep_unwrap(unwrapping_key, wrapped, _label(options))
        if name == "AES-KWP":
            return wrap.aes_kwp_unwrap(unwrapping_key, wrapped)
        if name == "RSA-OAEP-AES-KWP":
            return wrap.rsa_oaep_aes_kwp_unwrap(unwrapping_key, wrapped, _label(options))
    except ValueError as e:
        raise JsThrow("InternalError", f"Failed to unwrap key: {e}") from None
    raise JsThrow("RangeError", f"unsupported key unwrapping algorithm, supported: {_WRAP_NAMES}")


# -- certificates ---------------------------------------------------------------------------------


def _valid_bundle(host: Host, pem: str) -> bool:
    """Whether the first certificate can be read; the rest is not looked at (recorded)."""
    if not pem:
        return True
    if not plain_pem(pem):
        return False
    try:
        certs.load(pem)
    except ValueError:
        return False
    return True


def _split(bundle: str) -> list[str] | None:
    """The certificates of a bundle; None when something in it is none."""
    if not plain_pem(bundle):
        return None
    end = "-----END CERTIFICATE-----"
    parts = [part + end for part in bundle.split(end)[:-1]]
    try:
        for part in parts:
            certs.load(part)
    except ValueError:
        return None
    return parts or None


def _valid_chain(host: Host, chain: str, trusted: str) -> bool:
    links, anchors = _split(chain), _split(trusted)
    if links is None or anchors is None:
        return False
    target = certificate_key(certs.pem_to_der(links[0]))
    if not isinstance(target, (ec.EllipticCurvePublicKey, rsa.RSAPublicKey)):
        raise JsThrow("InternalError", "isValidX509Chain failed: unsupported public key type")
    return chains.check_chain(links, anchors, now=host.the_machine().unix_time())


# -- JWK ------------------------------------------------------------------------------------------


def _to_jwk(convert: Callable[[str, str | None], dict[str, Json]]) -> Callable[..., object]:
    def to_jwk(host: Host, pem: str, kid: str | None = None) -> dict[str, Json]:
        try:
            return convert(pem, kid)
        except ValueError as e:
            raise JsThrow("InternalError", f"Failed to convert pem to jwk: {e}") from None

    return to_jwk


def _to_pem(convert: Callable[[Json], str]) -> Callable[..., object]:
    def to_pem(host: Host, text: object) -> str:
        """Bad input gives the empty text (recorded behaviour)."""
        if text is OTHER:
            return ""
        assert isinstance(text, str)
        try:
            return convert(load_json(text))
        except ValueError:
            return ""

    return to_pem


def _row(
    name: str, spec: str, function: Callable[..., object], *, pure: bool = True, **more: object
) -> Row:
    return Row("ccf.crypto", name, spec, function, pure=pure, **more)  # type: ignore[arg-type]


def _jwk_row(name: str, convert: Callable[[str, str | None], dict[str, Json]]) -> Row:
    return _row(name, "ss", _to_jwk(convert), minimum=1, usual="1 or 2")


def _pem_row(name: str, convert: Callable[[Json], str]) -> Row:
    return _row(name, "j", _to_pem(convert))


ROWS: tuple[Row, ...] = (
    _row("sign", "osb", _sign, pure=False),
    _row("verifySignature", "osbb", _verify),
    _jwk_row("pubPemToJwk", jwk.ec_public_jwk),
    _jwk_row("pemToJwk", jwk.ec_private_jwk),
    _jwk_row("pubRsaPemToJwk", jwk.rsa_public_jwk),
    _jwk_row("rsaPemToJwk", jwk.rsa_private_jwk),
    _jwk_row("pubEddsaPemToJwk", jwk.okp_public_jwk),
    _jwk_row("eddsaPemToJwk", jwk.okp_private_jwk),
    _pem_row("pubJwkToPem", jwk.ec_public_pem),
    _pem_row("jwkToPem", jwk.ec_private_pem),
    _pem_row("pubRsaJwkToPem", jwk.rsa_public_pem),
    _pem_row("rsaJwkToPem", jwk.rsa_private_pem),
    _pem_row("pubEddsaJwkToPem", jwk.okp_public_pem),
    _pem_row("eddsaJwkToPem", jwk.okp_private_pem),
    _row("generateAesKey", "i", _generate_aes, pure=False),
    _row("generateRsaKeyPair", "ii", _generate_rsa, pure=False, minimum=1, usual="1 or 2"),
    _row("generateEcdsaKeyPair", "s", _generate_ec, pure=False),
    _row("generateEddsaKeyPair", "s", _generate_okp, pure=False),
    _row("wrapKey", "bbo", _wrap, pure=False),
    _row("unwrapKey", "bbo", _unwrap),
    _row("digest", "sb", _digest),
    _row("isValidX509CertBundle", "s", _valid_bundle),
    _row("isValidX509CertChain", "ss", _valid_chain, pure=False),
)
