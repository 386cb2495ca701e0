"""Keyed digests and key derivation: HMAC, HKDF, and the commit evidence of a transaction.

Commit evidence proves that a transaction was committed: its text needs the ledger secret, its
digest is in the transaction's Merkle leaf, and the node reveals the text only after commit
(crypto.md §4).
"""

from __future__ import annotations

import hashlib
import hmac

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from pyccf.types import SeqNo, View

COMMIT_SECRET_LABEL = b"Commit S"
"""Eight bytes: the reference's label is cut to the size of a pointer (crypto.md §4)."""

_SHA256_BLOCK = 64


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA-256, 32 bytes (RFC 2104)."""
    return hmac.digest(key, message, "sha256")


def hkdf_sha256(ikm: bytes, *, salt: bytes = b"", info: bytes = b"", length: int = 32) -> bytes:
    """HKDF-SHA-256, extract and expand (RFC 5869)."""
    return HKDF(algorithm=SHA256(), length=length, salt=salt or None, info=info).derive(ikm)


def commit_secret(ledger_secret: bytes) -> bytes:
    """The secret of all commit evidence under one ledger secret, 32 bytes (crypto.md §4)."""
    return hmac_sha256(ledger_secret, COMMIT_SECRET_LABEL)


def commit_nonce(commit_secret: bytes, txid_text: str) -> bytes:
    """The nonce of one transaction, named "<view>.<seqno>", 32 bytes (crypto.md §4)."""
    return hmac_sha256(commit_secret, txid_text.encode())


def commit_evidence(commit_secret: bytes, view: View, seqno: SeqNo) -> str:
    """The evidence text "ce:<view>.<seqno>:<hex nonce>" (crypto.md §4)."""
    txid = f"{view}.{seqno}"
    return f"ce:{txid}:{hmac.digest(commit_secret, txid.encode(), 'sha256').hex()}"


class EvidenceMaker:
    """Commit evidence of many transactions under one ledger secret, half the price of one by one.

    Keeps the two keyed digest states of HMAC instead of deriving them for each transaction.
    """

    __slots__ = ("_inner", "_outer")

    def __init__(self, ledger_secret: bytes) -> None:
        key = commit_secret(ledger_secret).ljust(_SHA256_BLOCK, b"\0")
        self._inner = hashlib.sha256(bytes(b ^ 0x36 for b in key))
        self._outer = hashlib.sha256(bytes(b ^ 0x5C for b in key))

    def text(self, view: View, seqno: SeqNo) -> str:
        """Same as `commit_evidence`."""
        txid = f"{view}.{seqno}"
        inner = self._inner.copy()
        inner.update(txid.encode())
        outer = self._outer.copy()
        outer.update(inner.digest())
        return f"ce:{txid}:{outer.hexdigest()}"

    def __repr__(self) -> str:
        return "EvidenceMaker(...)"
