"""Recovery shares: a ledger secret that `threshold` members can restore together.

A random secret of ten limbs is shared limb by limb (Shamir, field of 2^31 - 1). The secret never
encrypts anything itself: a wrapping key derived from it encrypts the ledger secret (crypto.md §5).
A share has 44 bytes: index, then ten values, each a little-endian u32. Index 0 is the full key:
the secret itself, which one recovery owner can submit alone.

Nothing authenticates a share. Wrong shares give a wrong secret, and the GCM tag of the wrapped
ledger secret tells. Refuses shares of another size, values outside the field, repeated indices.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from pyccf.crypto import aead
from pyccf.crypto.entropy import Entropy
from pyccf.crypto.kdf import hkdf_sha256

PRIME = (1 << 31) - 1
LIMBS = 10
SHARE_SIZE = 44
WRAPPED_SECRET_SIZE = aead.OVERHEAD + 32
"""Bytes of a wrapped ledger secret."""
SHARES_MAX = 1 << 16
"""More participants than this are refused."""

_SHARE = struct.Struct("<11I")
_LIMBS = struct.Struct("<10I")


class ShareError(ValueError):
    """Shares that cannot be made or combined; never tells their content."""


class Secret:
    """The shared secret: ten limbs."""

    __slots__ = ("_limbs",)

    def __init__(self, limbs: Sequence[int]) -> None:
        assert len(limbs) == LIMBS, "a secret has ten limbs"
        assert all(0 <= limb < PRIME for limb in limbs), "limbs are field elements"
        self._limbs = tuple(limbs)

    def wrapping_key(self) -> bytes:
        """HKDF-SHA-256 of the limbs, with the limbs as info as well; 32 bytes (crypto.md §5.2)."""
        ikm = _LIMBS.pack(*self._limbs)
        return hkdf_sha256(ikm, info=ikm, length=32)

    def full_share(self) -> bytes:
        """The share of index 0, which alone restores the secret."""
        return _SHARE.pack(0, *self._limbs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._limbs == other._limbs

    def __hash__(self) -> int:
        return hash(self._limbs)

    def __repr__(self) -> str:
        return "Secret(...)"


def split(n: int, threshold: int, entropy: Entropy) -> tuple[Secret, list[bytes]]:
    """A fresh secret and its shares 1..n, any `threshold` of which restore it.

    Raises ShareError when threshold is 0 or above n.
    """
    if not 0 < threshold <= n:
        raise ShareError(f"threshold {threshold} must be between 1 and the {n} shares")
    if n > SHARES_MAX:
        raise ShareError(f"{n} shares are more than {SHARES_MAX}")
    polynomials = [[_coefficient(entropy) for _ in range(threshold)] for _ in range(LIMBS)]
    secret = Secret([polynomial[0] for polynomial in polynomials])
    return secret, [share_at(polynomials, x) for x in range(1, n + 1)]


def _coefficient(entropy: Entropy) -> int:
    """A uniform field element: low 31 bits of 8 random bytes, again if they equal the prime."""
    while True:
        value = int.from_bytes(entropy.bytes(8), "little") & PRIME
        if value != PRIME:
            return value


def share_at(polynomials: Sequence[Sequence[int]], x: int) -> bytes:
    """The share of index x of ten polynomials, coefficients from the constant upwards."""
    values: list[int] = []
    for polynomial in polynomials:
        y = 0
        for coefficient in reversed(polynomial):
            y = (y * x + coefficient) % PRIME
        values.append(y)
    return _SHARE.pack(x, *values)


def index_of(share: bytes) -> int:
    """Index of a share; ShareError when it is not 44 bytes."""
    if len(share) != SHARE_SIZE:
        raise ShareError(f"a recovery share has {SHARE_SIZE} bytes, not {len(share)}")
    return int.from_bytes(share[:4], "little")


def is_full(share: bytes) -> bool:
    """Whether this is the full key: 44 bytes with index 0."""
    return len(share) == SHARE_SIZE and share[:4] == bytes(4)


def combine(shares: Sequence[bytes], threshold: int | None = None) -> Secret:
    """The secret of the first `threshold` shares (all of them by default): Lagrange at 0.

    Raises ShareError for no or too few shares, wrong sizes, values outside the field, and
    indices that are equal. Wrong but well-formed shares give a wrong secret.
    """
    wanted = len(shares) if threshold is None else threshold
    if wanted < 1 or len(shares) < wanted:
        raise ShareError(f"{len(shares)} shares are too few, {max(wanted, 1)} are needed")
    points: dict[int, tuple[int, ...]] = {}
    for share in shares[:wanted]:
        x = index_of(share)
        values = _SHARE.unpack(share)[1:]
        if x >= PRIME or any(value >= PRIME for value in values):
            raise ShareError("a recovery share holds a value outside the field")
        if x in points:
            raise ShareError(f"recovery share {x} is given twice")
        points[x] = values
    limbs = [0] * LIMBS
    for x, values in points.items():
        weight = _lagrange_at_zero(x, points)
        for k, y in enumerate(values):
            limbs[k] = (limbs[k] + weight * y) % PRIME
    return Secret(limbs)


def _lagrange_at_zero(x: int, points: dict[int, tuple[int, ...]]) -> int:
    numerator = denominator = 1
    for other in points:
        if other != x:
            numerator = numerator * other % PRIME
            denominator = denominator * (other - x) % PRIME
    return numerator * pow(denominator, -1, PRIME) % PRIME


def wrap_ledger_secret(wrapping_key: bytes, secret: bytes) -> bytes:
    """GCM record of a ledger secret; the IV is zero because the key is used once (§5.2)."""
    return aead.seal(wrapping_key, aead.ZERO_IV, secret)


def unwrap_ledger_secret(wrapping_key: bytes, wrapped: bytes) -> bytes:
    """The ledger secret; InvalidTag when the shares were wrong."""
    return aead.open_(wrapping_key, wrapped)
