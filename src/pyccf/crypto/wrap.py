"""Wrapping of keys under keys: RSA-OAEP, AES-KWP, and the two combined (crypto.md §6).

RSA-OAEP uses SHA-256 for digest and MGF1 and an optional label (empty means none). AES-KWP is
RFC 5649 with AES of 128, 192 or 256 bits; longer keys are cut to the next such size, and nothing
wraps to nothing. RSA-OAEP-AES-KWP is RSA-OAEP(temporary AES key) ‖ KWP(temporary key, data); the
receiver splits after the length of the modulus.

Failures raise `WrapError`, whose text is the reference's where it has one of its own.
"""

from __future__ import annotations

from cryptography.hazmat.primitives import keywrap

from pyccf.crypto.entropy import Entropy
from pyccf.crypto.keys import RsaPrivateKey, RsaPublicKey, no_private_pem

AES_SIZES = (128, 192, 256)
"""AES key sizes in bits."""


class WrapError(ValueError):
    """A key could not be wrapped or unwrapped."""


def _pem_text(pem: str | bytes, *, private: bool = False) -> str:
    if not pem:
        raise WrapError("Got PEM of size 0")
    text = pem if isinstance(pem, str) else pem.decode("utf-8", "replace")
    if "-----BEGIN" not in text:
        if private:
            raise WrapError(no_private_pem(text))
        raise WrapError(f"PEM constructed with non-PEM data: {text}")
    return text


def _public(key: RsaPublicKey | str | bytes) -> RsaPublicKey:
    if isinstance(key, RsaPublicKey):
        return key
    text = _pem_text(key)
    try:
        return RsaPublicKey.from_pem(text)
    except ValueError:
        raise WrapError("invalid RSA key") from None


def _private(key: RsaPrivateKey | str | bytes) -> RsaPrivateKey:
    if isinstance(key, RsaPrivateKey):
        return key
    text = _pem_text(key, private=True)
    try:
        return RsaPrivateKey.from_pem(text)
    except ValueError:
        raise WrapError("could not parse PEM") from None


def rsa_oaep_wrap(
    key: RsaPublicKey | str | bytes,
    data: bytes,
    label: bytes | None = None,
    entropy: Entropy | None = None,
) -> bytes:
    """Encrypt data to an RSA public key (object or PEM); as long as the modulus."""
    public = _public(key)
    try:
        return public.encrypt_oaep(data, label, entropy)
    except ValueError:
        raise WrapError("data too large for key size") from None


def rsa_oaep_unwrap(
    key: RsaPrivateKey | str | bytes, wrapped: bytes, label: bytes | None = None
) -> bytes:
    """Undo `rsa_oaep_wrap` with the private key (object or PEM)."""
    private = _private(key)
    try:
        return private.decrypt_oaep(wrapped, label)
    except ValueError:
        raise WrapError("oaep decoding error") from None


def _aes_key(key: bytes) -> bytes:
    for bits in reversed(AES_SIZES):
        if len(key) * 8 >= bits:
            return key[: bits // 8]
    raise WrapError(f"Need at least {AES_SIZES[0]} bits, only have {len(key) * 8}")


def aes_kwp_wrap(key: bytes, data: bytes) -> bytes:
    """Wrap data under an AES key (RFC 5649): 8 bytes more than data rounded up to 8."""
    usable = _aes_key(key)
    return keywrap.aes_key_wrap_with_padding(usable, data) if data else b""


def aes_kwp_unwrap(key: bytes, wrapped: bytes) -> bytes:
    """Undo `aes_kwp_wrap`; WrapError when the key is wrong or the bytes were changed."""
    usable = _aes_key(key)
    if not wrapped:
        return b""
    try:
        return keywrap.aes_key_unwrap_with_padding(usable, wrapped)
    except keywrap.InvalidUnwrap:
        raise WrapError("AES-KWP unwrapping failed") from None


def rsa_oaep_aes_kwp_wrap(
    aes_bits: int,
    key: RsaPublicKey | str | bytes,
    data: bytes,
    entropy: Entropy,
    label: bytes | None = None,
) -> bytes:
    """Wrap data of any length for an RSA public key, through a temporary AES key."""
    if aes_bits not in AES_SIZES:
        raise WrapError("invalid key size")
    temporary = entropy.bytes(aes_bits // 8)
    return rsa_oaep_wrap(key, temporary, label, entropy) + aes_kwp_wrap(temporary, data)


def rsa_oaep_aes_kwp_unwrap(
    key: RsaPrivateKey | str | bytes, wrapped: bytes, label: bytes | None = None
) -> bytes:
    """Undo `rsa_oaep_aes_kwp_wrap`."""
    private = _private(key)
    size = (private.public.bits + 7) // 8
    if len(wrapped) <= size:
        raise WrapError("not enough ciphertext")
    temporary = rsa_oaep_unwrap(private, wrapped[:size], label)
    return aes_kwp_unwrap(temporary, wrapped[size:])
