from __future__ import annotations

import pytest

from pyccf.crypto import seeded_rsa
from pyccf.crypto.entropy import SeededEntropy


def test_key_has_the_size_and_repeats() -> None:
    key = seeded_rsa.generate(1024, 65537, SeededEntropy(1))
    assert key.key_size == 1024
    numbers = key.private_numbers()
    again = seeded_rsa.generate(1024, 65537, SeededEntropy(1)).private_numbers()
    assert numbers == again
    assert numbers.p > numbers.q
    assert numbers.p * numbers.q == numbers.public_numbers.n
    assert seeded_rsa.generate(1024, 65537, SeededEntropy(2)).private_numbers() != numbers


def test_sizes_and_exponents_are_limited() -> None:
    for bits, exponent in ((512, 3), (8192, 3), (1030, 3), (1024, 4), (1024, 1)):
        with pytest.raises(ValueError):
            seeded_rsa.generate(bits, exponent, SeededEntropy(1))


def test_small_exponent_has_an_inverse() -> None:
    key = seeded_rsa.generate(1024, 3, SeededEntropy(5))
    assert key.public_key().public_numbers().e == 3
