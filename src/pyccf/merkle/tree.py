"""A Merkle tree that grows at the right, can be cut back there, and forgets its left.

Leaf 0 is 32 zero bytes, leaf i the transaction with seqno i. The root over n leaves splits at the
largest power of two below n (the shape of RFC 6962, without its prefixes).

Kept are the leaves from `first` on and, per level, the complete nodes above them; of what was
flushed only the left edge: the perfect subtrees that [0, first) consists of, one per set bit of
`first`. Each level starts at an even index, so an odd `first >> h` means that the level's first
node is the left edge's. Inner nodes are computed in blocks, or when a root or path needs them.

Promises that roots, paths and blobs never depend on how often nodes were computed or flushed.
Refuses (`LocalError`) to prove or cut back to what was flushed, and (`InvalidLedger`) bad blobs.
(spec: merkle-and-receipts.md §2-3)
"""

from __future__ import annotations

from pyccf.crypto.hashing import sha256_pair
from pyccf.errors import InvalidLedger, LocalError
from pyccf.merkle.proof import Path
from pyccf.types import SeqNo

HASH_SIZE = 32
LEAF_0 = bytes(HASH_SIZE)

_BLOCK_MASK = 0xFF
"""Inner nodes are caught up whenever the number of leaves held is a multiple of 256."""


class Tree:
    """Leaves `first` to `size - 1`, roots of everything from leaf 0 on."""

    __slots__ = ("_leaves", "_levels", "_starts", "first")

    def __init__(self) -> None:
        self.first: SeqNo = 0
        """Index of the first leaf that is still there."""
        self._leaves: list[bytes] = [LEAF_0]
        self._levels: list[list[bytes]] = [self._leaves]
        """Per height the complete nodes kept; height 0 is `_leaves`."""
        self._starts: list[int] = [0]
        """Per height the index, always even, of the first node kept."""

    @property
    def size(self) -> int:
        """Number of leaves, flushed ones included."""
        return self._starts[0] + len(self._leaves)

    def append(self, leaf: bytes) -> None:
        """Add the leaf (32 bytes) of the next transaction."""
        leaves = self._leaves
        leaves.append(leaf)
        if not len(leaves) & _BLOCK_MASK:
            self._settle()

    def _settle(self) -> None:
        """Compute every complete inner node that is not there yet."""
        levels, starts = self._levels, self._starts
        height = 0
        while True:
            nodes = levels[height]
            height += 1
            if height == len(levels):
                if starts[-1] + len(nodes) < 2:
                    return
                levels.append([])
                starts.append(0)
            above = levels[height]
            at = 2 * (starts[height] + len(above)) - starts[height - 1]
            end = len(nodes) & ~1
            if at >= end:
                return
            above += [sha256_pair(nodes[i], nodes[i + 1]) for i in range(at, end, 2)]

    def leaf(self, index: SeqNo) -> bytes:
        """The leaf of one transaction. Raises LocalError when flushed or not there yet."""
        self._check(index)
        return self._leaves[index - self._starts[0]]

    def _check(self, index: SeqNo) -> None:
        if not self.first <= index < self.size:
            raise LocalError(
                f"leaf {index} is not in the tree, which has {self.first} to {self.size - 1}"
            )

    def root(self) -> bytes:
        """Root over all leaves."""
        return self._root(self.size)

    def root_at(self, seqno: SeqNo) -> bytes:
        """Root over leaves 0 to `seqno`, as it was then. Raises LocalError when flushed."""
        self._check(seqno)
        return self._root(seqno + 1)

    def _root(self, size: int) -> bytes:
        self._settle()
        levels, starts = self._levels, self._starts
        root = b""
        height = 0
        while size:
            if size & 1:
                node = levels[height][size - 1 - starts[height]]
                root = sha256_pair(node, root) if root else node
            size >>= 1
            height += 1
        return root

    def path(self, index: SeqNo, upto: SeqNo | None = None) -> Path:
        """Neighbours of a leaf, bottom-up, in the tree over leaves 0 to `upto` (default: all).

        Raises LocalError when the leaf was flushed or `upto` is not between it and the last leaf.
        """
        last = self.size - 1 if upto is None else upto
        self._check(index)
        self._check(last)
        if index > last:
            raise LocalError(f"leaf {index} is not in the tree over leaves 0 to {last}")
        self._settle()
        levels, starts = self._levels, self._starts
        size = last + 1
        path: Path = []
        ragged = b""
        """Hash of the incomplete node at the right of this height, if there is one."""
        for height in range(last.bit_length()):
            nodes, start = levels[height], starts[height]
            complete = size >> height
            neighbour = index ^ 1
            if neighbour < complete:
                path.append((neighbour < index, nodes[neighbour - start]))
            elif neighbour == complete and ragged:
                path.append((False, ragged))
            if complete & 1:
                node = nodes[complete - 1 - start]
                ragged = sha256_pair(node, ragged) if ragged else node
            index >>= 1
        return path

    def flush(self, seqno: SeqNo) -> None:
        """Forget leaves below `seqno`, which itself stays. Nothing happens if already done.

        Raises LocalError beyond the last leaf.
        """
        if seqno <= self.first:
            return
        self._check(seqno)
        self._settle()
        starts = self._starts
        for height, nodes in enumerate(self._levels):
            start = (seqno >> height) & ~1
            del nodes[: start - starts[height]]
            starts[height] = start
        self.first = seqno

    def retract(self, seqno: SeqNo) -> None:
        """Forget leaves above `seqno`. Raises LocalError unless that leaf is still there."""
        self._check(seqno)
        size = seqno + 1
        for height, nodes in enumerate(self._levels):
            del nodes[(size >> height) - self._starts[height] :]

    def serialise(self) -> bytes:
        """The blob of the tree table.

        u64 BE number of leaves held, u64 BE index of the first, the leaves, then the left edge
        from the smallest subtree to the largest.
        """
        self._settle()
        first = self.first
        leaves = self._leaves[first - self._starts[0] :]
        edge = [nodes[0] for height, nodes in enumerate(self._levels) if first >> height & 1]
        return b"".join((len(leaves).to_bytes(8, "big"), first.to_bytes(8, "big"), *leaves, *edge))

    @classmethod
    def parse(cls, blob: bytes) -> Tree:
        """Read a blob. Raises InvalidLedger when its length does not fit or it holds no leaf."""
        count = int.from_bytes(blob[:8], "big")
        first = int.from_bytes(blob[8:16], "big")
        held = count + first.bit_count()
        if len(blob) < 16 or not count or len(blob) != 16 + HASH_SIZE * held:
            raise InvalidLedger("malformed Merkle tree: its length does not fit its counts")
        hashes = [blob[i : i + HASH_SIZE] for i in range(16, len(blob), HASH_SIZE)]
        edge = iter(hashes[count:])
        tree = cls()
        tree.first = first
        tree._levels = [
            [next(edge)] if first >> height & 1 else []
            for height in range(max(1, first.bit_length()))
        ]
        tree._starts = [(first >> height) & ~1 for height in range(len(tree._levels))]
        tree._leaves = tree._levels[0]
        tree._leaves += hashes[:count]
        return tree
