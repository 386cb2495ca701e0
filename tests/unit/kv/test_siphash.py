from __future__ import annotations

import random

import pytest

from pyccf.kv import siphash

K0, K1 = 0x7720796F726C694B, 0x2165726568207361
ONES = (1 << 64) - 1


def reference(key: bytes) -> int:
    """The algorithm as its authors wrote it, one key at a time."""

    def rotl(x: int, n: int) -> int:
        return (x << n | x >> (64 - n)) & ONES

    v = [
        K0 ^ 0x736F6D6570736575,
        K1 ^ 0x646F72616E646F6D,
        K0 ^ 0x6C7967656E657261,
        K1 ^ 0x7465646279746573,
    ]

    def rounds(n: int) -> None:
        for _ in range(n):
            v[0] = (v[0] + v[1]) & ONES
            v[1] = rotl(v[1], 13) ^ v[0]
            v[0] = rotl(v[0], 32)
            v[2] = (v[2] + v[3]) & ONES
            v[3] = rotl(v[3], 16) ^ v[2]
            v[0] = (v[0] + v[3]) & ONES
            v[3] = rotl(v[3], 21) ^ v[0]
            v[2] = (v[2] + v[1]) & ONES
            v[1] = rotl(v[1], 17) ^ v[2]
            v[2] = rotl(v[2], 32)

    padded = key + bytes(-(len(key) + 1) % 8) + bytes((len(key) & 0xFF,))
    for i in range(0, len(padded), 8):
        word = int.from_bytes(padded[i : i + 8], "little")
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 0xFF
    rounds(4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


@pytest.mark.parametrize(
    ("key", "digest"),
    [
        (b"", 0xC8E72FAAC5F4ECCA),
        (b"a", 0x2F70F674197C4575),
        (b"hello world", 0x25F25B6AC22431DA),
        (b"2.17", 0xB29046E36277D7B8),
        (bytes(8), 0xE2B6AAB3A6B9FF73),
        (b"public:ccf.internal.tree", 0x3EF262C751B1A1E9),
    ],
)
def test_known_hashes(key: bytes, digest: int) -> None:
    assert reference(key) == digest
    assert siphash.low32([key]) == [digest & 0xFFFFFFFF]


def test_many_keys_of_all_lengths_keep_their_places() -> None:
    chance = random.Random(1)
    keys = [chance.randbytes(chance.randrange(300)) for _ in range(3 * siphash.LANES_MAX)]
    assert siphash.low32(keys) == [reference(key) & 0xFFFFFFFF for key in keys]


def test_nothing_to_hash() -> None:
    assert siphash.low32([]) == []


def test_long_keys_are_hashed_in_steps() -> None:
    keys = [bytes([i]) * 100_000 for i in range(3)]
    steps = sum(1 for _ in siphash.low32_steps(keys))
    assert steps > 3 * 100_000 // 8 // siphash.STEP_LANES
    assert siphash.low32(keys) == [reference(key) & 0xFFFFFFFF for key in keys]
    short = [b"%d" % i for i in range(siphash.LANES_MAX)]
    assert not list(siphash.low32_steps(short)), "nothing more is done for everyday keys"
