from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest

from pyccf.errors import InvalidLedger, LocalError
from pyccf.kv.changes import UNIT
from pyccf.kv.wire import decode
from pyccf.merkle.proof import fold
from pyccf.merkle.tree import LEAF_0, Tree
from support.vectors import vectors_dir

# merkle-and-receipts.md §2.1
ROOTS = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "632959f31641075aa6848d91649123edb324aca48206c605ea0bbe43590dceec",
    "ae54095e475d3928b223cf378f8aa1995a614c4d2a5b867436d5c988e02909ae",
    "2b59906f20704cee3a43b58dbfcd7eb35dd13beb566542fa24893d038e6eb682",
    "fb9cf99964e944cac40e61024026a3a91512546b864a297cc68fb4c312a1e5e6",
    "645585f2a2973d85ca3095ad36fc3e398d66101b045b0f08b6d7c1df88cf21c8",
    "92203c7917947f8dc301bfa433eef638634b43d0be514fc721bf44502da55a44",
    "26deb7b0d01452e1a0ee1d5d9281a937d56ced46bd640d84e6530dc6508deb34",
]

# Leaves 1 to 8 of a real ledger, and what its signatures at 2, 4 and 8 hold (§3).
REAL_LEAVES = [
    "d415a3ffec857eeab735b2b811acf0dfd86b2f7555a1f58ea2e8d5d03eb6eb38",
    "1049cda7d6e39dbe92b51a3d9ac4d5e3eda0b4c890cf4a3ff2fd45b06f349f24",
    "0d92df12cfffc07f12fa0c4fc168782ffdae6063d16ab7d60cd142042e58b285",
    "b33df1cd2b74c6cb601dbada3c4b04c913c9aa1df0052d72b537eea3946156f7",
    "cac8493f2cdb2e2741d75c4f60e7cc3a9a3096b755574959d9d55ba3cf13bd9d",
    "56b058518e50318eea42577e17008034adf52e79c28aea7dab25f5451467e9ec",
    "07aa9b2656987fcc90843f10e18ede160bf78eb0229da7f1ca314e62994013c1",
    "be0985118ab0d04d1765070327c55868d7b6acc25c22add5bbb19be794758bca",
]

ROOT_2 = "8b2c93d1a2628ee8e5614d511e26fe83fef3b57f66560787c45ce4ada57878ec"
ROOT_4 = "4d8aea95f4c79fa04fba988ca6ba3a95641b95f847a881672442abb094a91ace"
ROOT_8 = "4da950dc426616a5fb05c463b46c31c7c7e63f83f526c52f4bd979295bff2cf3"

BLOB_2 = f"{2:016x}{0:016x}{'00' * 32}{REAL_LEAVES[0]}"
BLOB_4 = f"{2:016x}{2:016x}{REAL_LEAVES[1]}{REAL_LEAVES[2]}{ROOT_2}"
BLOB_8 = (
    f"{2:016x}{6:016x}{REAL_LEAVES[5]}{REAL_LEAVES[6]}"
    f"7338ae24ecc7ad06cc7f61b01f14d2ba8ab6bbd6015e341bc0fd9499bc8d7931{ROOT_4}"
)


def grown(size: int) -> Tree:
    """The example tree: leaf i is the digest of one byte i (modulo 256)."""
    tree = Tree()
    for i in range(1, size):
        tree.append(sha256(bytes([i & 0xFF])).digest())
    return tree


@pytest.mark.parametrize("size", range(1, 9))
def test_example_roots(size: int) -> None:
    assert grown(size).root().hex() == ROOTS[size - 1]


@pytest.mark.parametrize("size", range(1, 9))
def test_past_roots(size: int) -> None:
    assert grown(8).root_at(size - 1).hex() == ROOTS[size - 1]


def test_empty_tree_has_leaf_zero() -> None:
    tree = Tree()
    assert (tree.size, tree.first) == (1, 0)
    assert tree.leaf(0) == LEAF_0 == bytes(32)
    assert tree.path(0) == []


def test_real_ledger() -> None:
    """Signatures at 2, 4 and 8, the tree flushed whenever one was committed."""
    tree = Tree()
    leaves = [bytes.fromhex(leaf) for leaf in REAL_LEAVES]
    tree.append(leaves[0])
    assert (tree.serialise().hex(), tree.root().hex()) == (BLOB_2, ROOT_2)
    tree.append(leaves[1])
    tree.flush(2)
    tree.append(leaves[2])
    assert (tree.serialise().hex(), tree.root().hex()) == (BLOB_4, ROOT_4)
    for leaf in leaves[3:6]:
        tree.append(leaf)
    tree.flush(6)
    tree.append(leaves[6])
    assert (tree.serialise().hex(), tree.root().hex()) == (BLOB_8, ROOT_8)
    assert tree.size == 8


@pytest.mark.parametrize(
    ("blob", "first", "root"), [(BLOB_2, 0, ROOT_2), (BLOB_4, 2, ROOT_4), (BLOB_8, 6, ROOT_8)]
)
def test_real_blobs(blob: str, first: int, root: str) -> None:
    tree = Tree.parse(bytes.fromhex(blob))
    assert (tree.first, tree.size) == (first, first + 2)
    assert tree.root().hex() == root
    assert tree.serialise().hex() == blob
    for index in (first, first + 1):
        assert fold(tree.leaf(index), tree.path(index)) == tree.root()
    tree.append(bytes.fromhex(REAL_LEAVES[first + 1]))
    assert tree.root_at(first + 1).hex() == root


def test_path_of_every_leaf_in_every_tree() -> None:
    tree = grown(40)
    for upto in range(40):
        root = grown(upto + 1).root()
        for index in range(upto + 1):
            assert fold(tree.leaf(index), tree.path(index, upto)) == root


def test_path_is_bottom_up() -> None:
    tree = grown(7)
    pair = sha256(tree.leaf(4) + tree.leaf(5)).digest()
    assert tree.path(6) == [(True, pair), (True, tree.root_at(3))]
    assert tree.path(4)[0] == (False, tree.leaf(5))
    assert tree.path(4)[1] == (False, tree.leaf(6))


def test_nodes_computed_in_blocks_change_nothing() -> None:
    """A tree asked for its root after every leaf, and one only at the end."""
    asked = Tree()
    for i in range(1, 1100):
        asked.append(sha256(bytes([i & 0xFF])).digest())
        asked.root()
    assert grown(1100).root() == asked.root()
    assert grown(1100).serialise() == asked.serialise()


def test_retract() -> None:
    tree = grown(8)
    tree.root()
    tree.retract(4)
    assert tree.size == 5
    assert tree.root().hex() == ROOTS[4]
    for i in (5, 6, 7):
        tree.append(sha256(bytes([i])).digest())
    assert tree.root().hex() == ROOTS[7]


def test_retract_before_inner_nodes_were_computed() -> None:
    tree = grown(200)
    tree.retract(6)
    assert tree.root().hex() == ROOTS[6]


def test_flush_keeps_the_leaf_itself_and_later_roots() -> None:
    tree = grown(8)
    tree.flush(5)
    assert tree.first == 5
    assert tree.size == 8
    assert tree.leaf(5) == sha256(bytes([5])).digest()
    assert tree.root().hex() == ROOTS[7]
    assert tree.root_at(5).hex() == ROOTS[5]
    tree.flush(3)
    assert tree.first == 5


def test_flushing_bounds_memory() -> None:
    tree = Tree()
    for i in range(1, 10_000):
        tree.append(sha256(i.to_bytes(8, "big")).digest())
        if i % 100 == 0:
            tree.flush(i)
    assert sum(map(len, tree._levels)) < 300
    assert len(tree.serialise()) < 16 + 32 * 120


def test_what_was_flushed_or_is_not_there_yet() -> None:
    tree = grown(8)
    tree.flush(5)
    for gone in (-1, 0, 4, 8):
        for ask in (tree.leaf, tree.path, tree.root_at, tree.retract):
            with pytest.raises(LocalError, match=f"leaf {gone} is not in the tree"):
                ask(gone)
    with pytest.raises(LocalError):
        tree.path(6, 4)
    with pytest.raises(LocalError):
        tree.path(6, 5)
    with pytest.raises(LocalError):
        tree.path(6, 8)
    with pytest.raises(LocalError):
        tree.flush(8)


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        bytes(15),
        bytes(16),
        bytes.fromhex(BLOB_8)[:-1],
        bytes.fromhex(BLOB_8) + b"\0",
        bytes.fromhex(BLOB_8)[:-32],
        bytes.fromhex(f"{1:016x}{0:016x}"),
        bytes.fromhex(f"{(1 << 64) - 1:016x}{0:016x}") + bytes(32),
        bytes.fromhex(f"{1:016x}{(1 << 64) - 1:016x}") + bytes(32),
        bytes.fromhex(f"{0:016x}{1:016x}") + bytes(32),
    ],
)
def test_bad_blobs(blob: bytes) -> None:
    with pytest.raises(InvalidLedger, match="Merkle tree"):
        Tree.parse(blob)


def _entries(ledger: Path) -> list[bytes]:
    """Every entry of a recorded ledger (ledger.md §3)."""
    chunks = {int(f.name.split("_")[1].split("-")[0]): f for f in ledger.glob("ledger_*")}
    entries = []
    for first in sorted(chunks):
        assert first == len(entries) + 1
        data = chunks[first].read_bytes()
        end = int.from_bytes(data[:8], "little") or len(data)
        at = 8
        while at < end:
            size = 8 + int.from_bytes(data[at + 2 : at + 8], "little")
            entries.append(data[at : at + size])
            at += size
    return entries


def test_recorded_ledgers() -> None:
    """Every signed root is ours, every tree in the ledger is ours byte for byte."""
    ledgers = sorted((vectors_dir() / "ccf" / "ledgers").glob("*/ledger"))
    assert len(ledgers) == 6
    assert sum(_check(_entries(ledger)) for ledger in ledgers) == 352


def _check(entries: list[bytes]) -> int:
    """How many signatures a ledger has, all of which agree with our tree."""
    tree = Tree()
    signatures = 0
    for entry in entries:
        public = entry[44 : 44 + int.from_bytes(entry[36:44], "little")]
        # Entry type: what the digests after type and version are (§1: evidence before claims).
        claims, evidence = {0: (0, 0), 3: (0, 32), 4: (32, 32)}[public[0]]
        digests = public[9 : 9 + claims + evidence]
        written = decode(public[9 + claims + evidence + 8 :])
        signed = written.get("public:ccf.internal.signatures")
        if signed is not None:
            value, blob = signed[UNIT], written["public:ccf.internal.tree"][UNIT]
            assert value is not None
            assert blob is not None
            root = json.loads(value)["root"]
            assert tree.root().hex() == root
            assert Tree.parse(blob).root().hex() == root
            tree.flush(int.from_bytes(blob[8:16], "big"))
            assert tree.serialise() == blob
            signatures += 1
        leaf = sha256(entry).digest()
        if digests:
            leaf = sha256(leaf + digests[claims:] + digests[:claims]).digest()
        tree.append(leaf)
    return signatures
