"""Inclusion proofs: from a leaf and its neighbours up to the root.

A path is a list, bottom-up, of (is_left, hash): a left neighbour is hashed before what is known so
far, a right one after it. Inner nodes are SHA-256 over the 64 bytes of both children, without
prefix. Folding never fails; a wrong path simply gives a wrong root.
(spec: merkle-and-receipts.md §2, §5.1)
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import TypeAlias

Path: TypeAlias = list[tuple[bool, bytes]]
"""Neighbours bottom-up: (whether it stands on the left, its hash)."""


def fold(leaf: bytes, path: Iterable[tuple[bool, bytes]]) -> bytes:
    """The root that `leaf` and `path` lead to."""
    for is_left, neighbour in path:
        leaf = sha256(neighbour + leaf if is_left else leaf + neighbour).digest()
    return leaf
