"""The hash of two digests is the same in C and in Python."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyccf.crypto import hashing
from pyccf.crypto.hashing import sha256_pair
from support.native import native

digests = st.binary(min_size=32, max_size=32)


@given(digests, digests)
def test_one_after_the_other(left: bytes, right: bytes) -> None:
    assert sha256_pair(left, right) == sha256(left + right).digest()


def test_the_native_way_is_chosen() -> None:
    assert sha256_pair is native("pyccf.crypto._hashing").sha256_pair
    assert hashing.NATIVE


@pytest.mark.parametrize(
    ("given_", "error"),
    [
        ((), TypeError),
        ((bytes(32),), TypeError),
        ((bytes(32), "x" * 32), TypeError),
        ((bytes(31), bytes(32)), ValueError),
        ((bytes(32), bytes(33)), ValueError),
    ],
)
def test_only_two_digests_are_taken(given_: tuple[object, ...], error: type[Exception]) -> None:
    with pytest.raises(error):
        native("pyccf.crypto._hashing").sha256_pair(*given_)
