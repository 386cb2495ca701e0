"""The hash of an inner node of a Merkle tree: in C where that can be had, otherwise in Python.

`sha256_pair(left, right)` is the SHA-256 of two digests of 32 bytes, one after the other
(docs/adr/0009).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["NATIVE", "sha256_pair"]

if TYPE_CHECKING:
    from pyccf.crypto._hashing import sha256_pair

    NATIVE: bool
else:
    try:
        from pyccf.crypto._hashing import sha256_pair

        NATIVE = True
    except ImportError:  # not built, or Python has its OpenSSL to itself
        from hashlib import sha256

        def sha256_pair(left: bytes, right: bytes) -> bytes:
            return sha256(left + right).digest()

        NATIVE = False
