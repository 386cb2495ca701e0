"""Chance from the machine: the operating system's generator as an `Entropy`.

The only source of randomness of a real node. Refuses nothing: `os.urandom` blocks early after
boot until it is seeded and never returns less than asked.
"""

from __future__ import annotations

import os
from typing import TypeAlias

Bytes: TypeAlias = bytes
"""The type, under a name that the method `bytes` below does not hide."""


class SystemEntropy:
    """Random bytes of the operating system, fit for keys (`pyccf.crypto.entropy.Entropy`)."""

    __slots__ = ()

    def bytes(self, n: int) -> Bytes:
        """n fresh random bytes."""
        assert n >= 0, "a number of bytes is not negative"
        return os.urandom(n)
