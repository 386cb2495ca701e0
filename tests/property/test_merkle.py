"""The tree against the recursive definition, through any sequence of operations."""

from __future__ import annotations

from hashlib import sha256

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pyccf.errors import InvalidLedger, LocalError
from pyccf.merkle.proof import fold
from pyccf.merkle.tree import LEAF_0, Tree


def naive_root(leaves: list[bytes]) -> bytes:
    """merkle-and-receipts.md §2: split at the largest power of two below n."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(naive_root(leaves[:split]) + naive_root(leaves[split:])).digest()


def leaf(n: int) -> bytes:
    return sha256(n.to_bytes(8, "big")).digest()


class TreeAgainstDefinition(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.tree = Tree()
        self.leaves = [LEAF_0]
        self.first = 0
        self.count = 0

    def add(self, number: int) -> None:
        for _ in range(number):
            self.count += 1
            self.leaves.append(leaf(self.count))
            self.tree.append(leaf(self.count))

    @initialize(number=st.sampled_from([0, 250]))
    def start(self, number: int) -> None:
        """Sometimes just before the size at which inner nodes are computed in a block."""
        self.add(number)

    @rule(number=st.integers(1, 12))
    def append(self, number: int) -> None:
        self.add(number)

    @rule(back=st.integers(0, 10))
    def retract(self, back: int) -> None:
        seqno = max(self.first, len(self.leaves) - 1 - back)
        self.tree.retract(seqno)
        del self.leaves[seqno + 1 :]

    @rule(ahead=st.integers(0, 12))
    def flush(self, ahead: int) -> None:
        self.first = min(self.first + ahead, len(self.leaves) - 1)
        self.tree.flush(self.first)

    @rule()
    def flush_all_but_one(self) -> None:
        self.first = len(self.leaves) - 1
        self.tree.flush(self.first)

    @rule()
    def through_a_blob(self) -> None:
        blob = self.tree.serialise()
        held = len(self.leaves) - self.first
        assert len(blob) == 16 + 32 * (held + self.first.bit_count())
        self.tree = Tree.parse(blob)
        assert self.tree.serialise() == blob

    @rule()
    def root(self) -> None:
        assert self.tree.root() == naive_root(self.leaves)

    @rule(data=st.data())
    def past(self, data: st.DataObject) -> None:
        """Root and path of any leaf still there, in any tree still there."""
        last = len(self.leaves) - 1
        upto = data.draw(st.integers(self.first, last))
        index = data.draw(st.integers(self.first, upto))
        root = naive_root(self.leaves[: upto + 1])
        assert self.tree.root_at(upto) == root
        assert self.tree.leaf(index) == self.leaves[index]
        path = self.tree.path(index, upto)
        assert fold(self.leaves[index], path) == root
        assert len(path) <= upto.bit_length()
        if upto == last:
            assert self.tree.path(index) == path

    @rule(data=st.data())
    def what_is_gone(self, data: st.DataObject) -> None:
        gone = data.draw(st.integers(-1, self.first - 1) | st.just(len(self.leaves)))
        for ask in (self.tree.leaf, self.tree.root_at, self.tree.path, self.tree.retract):
            try:
                ask(gone)
            except LocalError:
                continue
            raise AssertionError(f"{ask.__name__} of {gone} was answered")

    @invariant()
    def same_extent(self) -> None:
        assert (self.tree.first, self.tree.size) == (self.first, len(self.leaves))


TreeAgainstDefinition.TestCase.settings = settings(
    max_examples=80, stateful_step_count=30, deadline=None
)
test_tree_against_definition = TreeAgainstDefinition.TestCase


@given(st.integers(1, 70), st.data())
def test_a_path_proves_one_leaf_only(size: int, data: st.DataObject) -> None:
    tree = Tree()
    for n in range(1, size):
        tree.append(leaf(n))
    index = data.draw(st.integers(0, size - 1))
    path = tree.path(index)
    assert fold(tree.leaf(index), path) == tree.root()
    assert fold(leaf(10_000), path) != tree.root()
    for at, (is_left, neighbour) in enumerate(path):
        other_side = [*path[:at], (not is_left, neighbour), *path[at + 1 :]]
        assert fold(tree.leaf(index), other_side) != tree.root() or neighbour == tree.leaf(index)
        assert fold(tree.leaf(index), path[:at] + path[at + 1 :]) != tree.root()


@given(st.binary(max_size=200) | st.builds(lambda n, b, rest: n + b + rest, *[st.binary()] * 3))
def test_blobs_are_read_exactly_or_refused(blob: bytes) -> None:
    try:
        tree = Tree.parse(blob)
    except InvalidLedger:
        return
    assert tree.serialise() == blob
    assert len(tree.root()) == 32
