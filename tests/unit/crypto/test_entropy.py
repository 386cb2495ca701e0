from __future__ import annotations

import pytest

from pyccf.crypto.entropy import SeededEntropy, below


def test_same_seed_same_bytes_whatever_the_pieces() -> None:
    whole = SeededEntropy(7).bytes(200)
    pieces = SeededEntropy(7)
    assert b"".join(pieces.bytes(n) for n in (0, 1, 31, 32, 33, 100, 3)) == whole
    assert len(set(whole)) > 100


def test_other_seeds_and_forks_differ() -> None:
    streams = [
        SeededEntropy(7),
        SeededEntropy(8),
        SeededEntropy(b"7x"),
        SeededEntropy(7).fork("a"),
        SeededEntropy(7).fork("b"),
    ]
    assert len({stream.bytes(32) for stream in streams}) == len(streams)
    assert SeededEntropy("7").bytes(32) == SeededEntropy(7).bytes(32)


def test_fork_does_not_depend_on_what_was_drawn() -> None:
    entropy = SeededEntropy(7)
    entropy.bytes(99)
    assert entropy.fork("a").bytes(16) == SeededEntropy(7).fork("a").bytes(16)


def test_below_covers_the_range() -> None:
    entropy = SeededEntropy(1)
    assert {below(entropy, 5) for _ in range(200)} == {0, 1, 2, 3, 4}
    assert {below(entropy, 1) for _ in range(3)} == {0}
    assert {below(entropy, 256) < 256 for _ in range(300)} == {True}
    with pytest.raises(AssertionError):
        below(entropy, 0)


def test_seed_is_not_shown() -> None:
    assert repr(SeededEntropy("secret")) == "SeededEntropy(...)"
