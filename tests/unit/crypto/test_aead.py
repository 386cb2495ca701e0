from __future__ import annotations

import pytest

from pyccf.codec.text import unb64
from pyccf.crypto import aead


def test_synthetic_record() -> None:
    """crypto.md 5.6: an old ledger secret under a newer one."""
    record = aead.seal(b"\xbb" * 32, bytes(range(12)), b"\xaa" * 32)
    assert record.hex() == (
        "2a3b3d698c75db3e133d05c1d8d0ea9e" + "000102030405060708090a0b"
        "bba140d4e40df6a7204c562d259ddcf2b92300acfa6ddb48f5e43e46a6714703"
    )
    assert aead.open_(b"\xbb" * 32, record) == b"\xaa" * 32


def test_historical_secret_of_a_real_service() -> None:
    """crypto.md 5.6: double_sealed_service, entry 4.498."""
    key = bytes.fromhex("9ec711a75aa018438cd3e6a29adc9afd0c028d9c88fbf9dfb0d793a4bf3e10eb")
    record = unb64(
        "BPNasCbaSFR319dI48Ht88H6IWe7ewx6vjpKkJxTXzahmgL/dkFYaddIeHiehO8giHf1Ht3EUqcAKJfp"
    )
    assert (
        aead.open_(key, record).hex()
        == "0247b5e43538db6bfa1c76ea8561c09d47533c40a71c8cd38f0bdf28dbeea840"
    )


def test_any_change_is_noticed() -> None:
    key = bytes(range(32))
    record = aead.seal(key, aead.ZERO_IV, b"secret", b"aad")
    assert len(record) == len(b"secret") + aead.OVERHEAD
    assert aead.open_(key, record, b"aad") == b"secret"
    for i in range(len(record)):
        changed = record[:i] + bytes([record[i] ^ 1]) + record[i + 1 :]
        with pytest.raises(aead.InvalidTag):
            aead.open_(key, changed, b"aad")
    for cut in (b"", record[:27], record[:-1], record + b"\0"):
        with pytest.raises(aead.InvalidTag):
            aead.open_(key, cut, b"aad")
    with pytest.raises(aead.InvalidTag):
        aead.open_(key, record)
    with pytest.raises(aead.InvalidTag):
        aead.open_(bytes(32), record, b"aad")


def test_empty_plaintext() -> None:
    record = aead.seal(bytes(32), aead.ZERO_IV, b"")
    assert len(record) == aead.OVERHEAD
    assert aead.open_(bytes(32), record) == b""


def test_iv_size_is_our_promise() -> None:
    with pytest.raises(AssertionError):
        aead.seal(bytes(32), bytes(16), b"")
