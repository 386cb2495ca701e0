"""Signing and checking COSE_Sign1 envelopes (RFC 9052 §4.4, RFC 9053 §2).

The algorithm in the protected header and the key must belong together: −7 (ES256) with P-256,
−35 (ES384) with P-384, −36 (ES512) with P-521, −8 (EdDSA) with Ed25519; −37, −38, −39 (PSS) with
RSA. As in the reference (auth.md §4), an envelope does not verify when its unprotected header
repeats `alg` or `kid`, or when `crit` is unprotected, empty, no array, or names a parameter that
is not understood here.
"""

from __future__ import annotations

import hashlib
from typing import Final

from pyccf.codec import cose
from pyccf.codec.cose import ALG, CRIT, KID, Sign1
from pyccf.crypto.keys import Curve, PrivateKey, PublicKey, RsaPublicKey

ES256: Final = -7
EDDSA: Final = -8
ES384: Final = -35
ES512: Final = -36
PS256: Final = -37
PS384: Final = -38
PS512: Final = -39

_PSS_HASHES: Final = {PS256: "SHA-256", PS384: "SHA-384", PS512: "SHA-512"}

UNDERSTOOD: Final = frozenset({1, 2, 3, 4, 5, 6})
"""Labels that `crit` may name: the common parameters of RFC 9052 §3.1."""


def sign1(key: PrivateKey, protected: bytes, payload: bytes, detached: bool = False) -> bytes:
    """A tagged envelope over encoded protected header bytes and a payload.

    The caller's header must hold the algorithm of the key (`key.curve.cose_alg`). With `detached`
    the payload is signed but not enclosed.
    """
    signature = key.sign_raw(cose.sig_structure(protected, payload))
    return cose.encode_sign1(protected, None if detached else payload, signature)


def verify1(
    sign1: Sign1, public_key: PublicKey | RsaPublicKey, payload: bytes | None = None
) -> bool:
    """Whether the envelope's signature is right.

    `payload` is the detached content; it must be given exactly when the envelope has none.
    """
    content = sign1.payload if payload is None else payload
    if content is None or (payload is not None and sign1.payload is not None):
        return False
    if not _headers_sound(sign1):
        return False
    signed = cose.sig_structure(sign1.protected, content)
    if isinstance(public_key, RsaPublicKey):
        digest = _PSS_HASHES.get(sign1.alg or 0)
        return digest is not None and public_key.verify_pss(sign1.signature, signed, digest)
    if sign1.alg != public_key.curve.cose_alg:
        return False
    return public_key.verify_raw(sign1.signature, signed)


def _headers_sound(sign1: Sign1) -> bool:
    unprotected = sign1.unprotected
    if ALG in unprotected or KID in unprotected or CRIT in unprotected:
        return False
    if CRIT not in sign1.headers:
        return True
    critical = sign1.headers[CRIT]
    if not isinstance(critical, list) or not critical:
        return False
    return all(type(label) is int and label in UNDERSTOOD for label in critical)


_BY_SIZE: Final = {
    2 * curve.coordinate_size: curve for curve in (Curve.P256, Curve.P384, Curve.P521)
}


def twin(signature: bytes) -> bytes:
    """The other ECDSA signature over the same, which whoever sees r ‖ s can make: r ‖ -s."""
    curve = _BY_SIZE.get(len(signature))
    if curve is None:
        return signature
    size = curve.coordinate_size
    negated = -int.from_bytes(signature[size:], "big") % curve.order
    return signature[:size] + negated.to_bytes(size, "big")


def proposal_id(root: bytes, signature: bytes) -> str:
    """Id of a proposal: hex SHA-256 of the Merkle root at the request's read version ‖ SHA-256 of
    the envelope's signature (crypto.md §9)."""
    return hashlib.sha256(root + hashlib.sha256(signature).digest()).hexdigest()
