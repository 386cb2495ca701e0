"""Where chance comes from: a source of bytes that is handed in, never fetched.

The shell gives the operating system's source. `SeededEntropy` gives the same bytes for the same
seed, so that simulations and tests repeat; it must never guard anything real, and keys made from
it sign deterministically (RFC 6979) so that ledgers of equal seeds are equal byte by byte.
"""

from __future__ import annotations

import hashlib
from typing import Protocol, TypeAlias

Bytes: TypeAlias = bytes
"""The type, under a name that the method `bytes` below does not hide."""


class Entropy(Protocol):
    """A source of uniformly random bytes."""

    def bytes(self, n: int) -> Bytes:
        """The next n bytes."""
        ...


class SeededEntropy:
    """A repeatable stream: SHA-256 of seed and counter. For simulation and tests only."""

    __slots__ = ("_counter", "_key", "_pool")

    def __init__(self, seed: Bytes | str | int) -> None:
        raw = seed if isinstance(seed, Bytes) else str(seed).encode()
        self._key = hashlib.sha256(b"pyccf seeded entropy" + raw)
        self._counter = 0
        self._pool = b""

    def bytes(self, n: int) -> Bytes:
        """The next n bytes of the stream."""
        assert n >= 0, "a number of bytes is not negative"
        pool = self._pool
        if len(pool) < n:
            blocks = [pool]
            missing = n - len(pool)
            while missing > 0:
                block = self._key.copy()
                block.update(self._counter.to_bytes(8, "big"))
                self._counter += 1
                blocks.append(block.digest())
                missing -= 32
            pool = b"".join(blocks)
        self._pool = pool[n:]
        return pool[:n]

    def fork(self, label: str) -> SeededEntropy:
        """An independent stream for one purpose; depends on the seed and the label only."""
        child = self._key.copy()
        child.update(b"fork" + label.encode())
        return SeededEntropy(child.digest())

    def __repr__(self) -> str:
        return "SeededEntropy(...)"


def below(entropy: Entropy, end: int) -> int:
    """A uniform integer in [0, end), by rejection."""
    assert end > 0, "an empty range has no element"
    bits = (end - 1).bit_length()
    size = (bits + 7) // 8
    mask = (1 << bits) - 1
    while True:
        value = int.from_bytes(entropy.bytes(size), "big") & mask
        if value < end:
            return value
