"""SipHash-2-4 of many keys at once: the order of keys in a snapshot.

The original orders the keys of a map by the low 32 bits of this hash, under a fixed key; it guards
nothing here. One key after the other would cost a dozen microseconds each, so many are hashed side
by side: every variable of the algorithm is one large integer with a lane of 128 bits for each key,
of which 64 are used and 64 take the carries. (spec: kv-and-tables.md §7.2)
"""

from __future__ import annotations

from array import array
from collections.abc import Generator, Sequence

_K0 = 0x7720796F726C694B
_K1 = 0x2165726568207361
_V0 = _K0 ^ 0x736F6D6570736575
_V1 = _K1 ^ 0x646F72616E646F6D
_V2 = _K0 ^ 0x6C7967656E657261
_V3 = _K1 ^ 0x7465646279746573

_WORD = 8
_LANE = 16
_ONES = (1 << 64) - 1
LANES_MAX = 1024
"""Keys hashed side by side: more would not fit the processor's nearest memory."""
STEP_LANES = 5120
"""Words hashed, one for each lane, before there is a chance to do something else."""
_OVERHEAD_LANES = 20
"""What a word costs beyond its lanes, counted in lanes."""


def low32(keys: Sequence[bytes]) -> list[int]:
    """The low 32 bits of the hash of each key."""
    steps = low32_steps(keys)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            found: list[int] = done.value
            return found


def low32_steps(keys: Sequence[bytes]) -> Generator[None, None, list[int]]:
    """The same in steps of a few milliseconds: a key may be a megabyte long."""
    by_words: dict[int, list[int]] = {}
    for i, key in enumerate(keys):
        by_words.setdefault(len(key) // _WORD + 1, []).append(i)
    found = [0] * len(keys)
    for words, places in by_words.items():
        for at in range(0, len(places), LANES_MAX):
            some = places[at : at + LANES_MAX]
            digests = yield from _lanes([keys[i] for i in some], words)
            for place, digest in zip(some, digests, strict=True):
                found[place] = digest
    return found


def _lanes(keys: list[bytes], words: int) -> Generator[None, None, list[int]]:
    """Keys that all have so many words, the last of them ending with the key's length."""
    n = len(keys)
    last = words * _WORD - 1
    blob = b"".join([key.ljust(last, b"\0") + bytes((len(key) & 0xFF,)) for key in keys])
    columns = memoryview(blob).cast("Q")
    every = int.from_bytes((b"\1" + bytes(_LANE - 1)) * n, "little")
    mask = every * _ONES
    v0, v1, v2, v3 = every * _V0, every * _V1, every * _V2, every * _V3
    step = max(1, STEP_LANES // (n + _OVERHEAD_LANES))
    for i in range(words):
        if i % step == step - 1:
            yield
        lanes = array("Q", bytes(_LANE * n))
        lanes[0::2] = array("Q", columns[i::words].tobytes())
        word = int.from_bytes(lanes.tobytes(), "little")
        v3 ^= word
        for _ in range(2):
            v0, v1, v2, v3 = _round(v0, v1, v2, v3, mask)
        v0 ^= word
    v2 ^= every * 0xFF
    for _ in range(4):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3, mask)
    digests = (v0 ^ v1 ^ v2 ^ v3).to_bytes(_LANE * n, "little")
    return memoryview(digests).cast("I")[0::4].tolist()


def _round(v0: int, v1: int, v2: int, v3: int, mask: int) -> tuple[int, int, int, int]:
    """One SipRound. A rotation shifts a lane up; what left its lower half comes back below."""
    v0 = (v0 + v1) & mask
    t = v1 << 13
    v1 = ((t | t >> 64) & mask) ^ v0
    t = v0 << 32
    v0 = (t | t >> 64) & mask
    v2 = (v2 + v3) & mask
    t = v3 << 16
    v3 = ((t | t >> 64) & mask) ^ v2
    v0 = (v0 + v3) & mask
    t = v3 << 21
    v3 = ((t | t >> 64) & mask) ^ v0
    v2 = (v2 + v1) & mask
    t = v1 << 17
    v1 = ((t | t >> 64) & mask) ^ v2
    t = v2 << 32
    v2 = (t | t >> 64) & mask
    return v0, v1, v2, v3
