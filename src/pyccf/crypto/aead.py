"""Authenticated encryption in the record form of the ledger: tag, IV, ciphertext.

AES-GCM with a 16-byte tag and a 12-byte IV (crypto.md §2). The caller picks the IV and must not
use one twice with a key. Opening a record that was changed, cut, or sealed with another key or
other associated data raises `InvalidTag`.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["IV_SIZE", "OVERHEAD", "TAG_SIZE", "ZERO_IV", "InvalidTag", "open_", "seal"]

TAG_SIZE = 16
IV_SIZE = 12
OVERHEAD = TAG_SIZE + IV_SIZE
"""Bytes a record is longer than its plaintext."""
ZERO_IV = bytes(IV_SIZE)
"""The IV of records whose key is used once."""


def seal(key: bytes, iv: bytes, plaintext: bytes, aad: bytes = b"") -> bytes:
    """The record tag(16) ‖ iv(12) ‖ ciphertext (crypto.md §2)."""
    assert len(iv) == IV_SIZE, "an AES-GCM IV has 12 bytes"
    sealed = AESGCM(key).encrypt(iv, plaintext, aad)
    return sealed[-TAG_SIZE:] + iv + sealed[:-TAG_SIZE]


def open_(key: bytes, record: bytes, aad: bytes = b"") -> bytes:
    """The plaintext of a record; InvalidTag when it does not authenticate or is too short."""
    if len(record) < OVERHEAD:
        raise InvalidTag
    return AESGCM(key).decrypt(
        record[TAG_SIZE:OVERHEAD], record[OVERHEAD:] + record[:TAG_SIZE], aad
    )
