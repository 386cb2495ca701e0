from __future__ import annotations

from hashlib import sha256

from pyccf.merkle.proof import fold


def test_no_neighbours() -> None:
    assert fold(b"leaf", []) == b"leaf"


def test_sides() -> None:
    left, right = bytes(32), bytes([1]) * 32
    assert fold(right, [(True, left)]) == sha256(left + right).digest()
    assert fold(left, [(False, right)]) == sha256(left + right).digest()


def test_real_receipt() -> None:
    """merkle-and-receipts.md §6.5 and ledger.md §13.1: transaction 2.17, signed at 2.20."""
    leaf = bytes.fromhex("274ecbad6f7476e75d3897aebe830174b71449254ecb05bbc8626a58fdc7299c")
    path = [
        (True, "c1301b4d9050eafddbc14fb717f236d7b22d78302c733972e821b18e47dd584e"),
        (False, "49b8c888f8679008b99a2fd2fd8a719291d784ade5f694e0c398c0dd5b36b872"),
        (True, "a5f8b60f6961c149f3a3bf37d257a00bec51fa6ace5100685a79d2168fee030d"),
    ]
    root = fold(leaf, [(is_left, bytes.fromhex(neighbour)) for is_left, neighbour in path])
    assert root.hex() == "43733c6410af32cfbff4df665a5e911cc1bce42acfaddb64b8e05d4009b6ee9d"
