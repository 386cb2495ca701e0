"""Merkle trees as an auditor sees them: one that only grows, and those that signatures carry."""

from __future__ import annotations

import hashlib

from pyccf.types import SeqNo

_sha256 = hashlib.sha256


class Hill:
    """A Merkle tree that only grows: the hashes of its perfect subtrees, largest first."""

    __slots__ = ("peaks", "size")

    def __init__(self, size: int = 0, peaks: list[bytes] | None = None) -> None:
        self.size = size
        self.peaks = [] if peaks is None else peaks

    def append(self, leaf: bytes) -> None:
        size = self.size
        peaks = self.peaks
        while size & 1:
            leaf = _sha256(peaks.pop() + leaf).digest()
            size >>= 1
        peaks.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """Root over all leaves; b"" when there is none."""
        root = b""
        for peak in reversed(self.peaks):
            root = _sha256(peak + root).digest() if root else peak
        return root


class Blob:
    """The tree a signature transaction carries (spec: merkle-and-receipts.md §3)."""

    __slots__ = ("edge", "first", "leaves")

    def __init__(self, data: bytes) -> None:
        """Raises ValueError when the length does not fit the counts."""
        count = int.from_bytes(data[:8], "big")
        self.first = int.from_bytes(data[8:16], "big")
        if len(data) != 16 + 32 * (count + self.first.bit_count()):
            raise ValueError("its length does not fit its counts")
        hashes = [data[i : i + 32] for i in range(16, len(data), 32)]
        self.leaves = hashes[:count]
        self.edge = hashes[count:][::-1]

    @property
    def size(self) -> int:
        return self.first + len(self.leaves)

    def edge_ranges(self) -> list[tuple[SeqNo, SeqNo, bytes]]:
        """The flushed subtrees, left to right: first leaf, leaf after the last, hash."""
        ranges: list[tuple[SeqNo, SeqNo, bytes]] = []
        start = 0
        for height in range(self.first.bit_length() - 1, -1, -1):
            if self.first >> height & 1:
                end = start + (1 << height)
                ranges.append((start, end, self.edge[len(ranges)]))
                start = end
        return ranges

    def root_before(self, index: SeqNo) -> bytes:
        """Root over the leaves below `index`, which is not below `first`."""
        hill = Hill(self.first, list(self.edge))
        for leaf in self.leaves[: index - self.first]:
            hill.append(leaf)
        return hill.root()
