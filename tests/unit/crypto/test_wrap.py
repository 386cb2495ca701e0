from __future__ import annotations

import pytest

from pyccf.crypto import wrap
from pyccf.crypto.entropy import SeededEntropy
from pyccf.crypto.keys import Curve, PrivateKey, RsaPrivateKey
from pyccf.crypto.wrap import WrapError

RSA = RsaPrivateKey.generate(1024, entropy=SeededEntropy("wrap"))
AES = bytes(range(32))


def test_kwp_vectors() -> None:
    """crypto.md 6."""
    assert (
        wrap.aes_kwp_wrap(AES, bytes(range(20))).hex()
        == "22d7fffc96b7adad9391ac9230d46b810e82e0f101f19e83e358f32ac9d407b6"
    )
    assert wrap.aes_kwp_wrap(AES, b"forward").hex() == "d4e55b6c1845fd2fb1d9a87e0aa3bd33"


def test_kwp_rfc_5649() -> None:
    key = bytes.fromhex("5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8")
    assert wrap.aes_kwp_wrap(key, bytes.fromhex("466f7250617369")).hex() == (
        "afbeb0f07dfbf5419200f2ccb50bb24f"
    )


@pytest.mark.parametrize("size", [1, 7, 8, 9, 16, 24, 1000])
def test_kwp_round_trip(size: int) -> None:
    data = bytes(size)
    wrapped = wrap.aes_kwp_wrap(AES, data)
    assert len(wrapped) == 8 + (size + 7) // 8 * 8
    assert wrap.aes_kwp_unwrap(AES, wrapped) == data


def test_kwp_key_sizes_are_rounded_down() -> None:
    for size, used in ((16, 16), (23, 16), (24, 24), (31, 24), (32, 32), (40, 32)):
        key = bytes(range(size))
        assert wrap.aes_kwp_wrap(key, b"x") == wrap.aes_kwp_wrap(key[:used], b"x")
    for size in (0, 15):
        with pytest.raises(WrapError, match=f"^Need at least 128 bits, only have {size * 8}$"):
            wrap.aes_kwp_wrap(bytes(size), b"x")


def test_kwp_of_nothing_is_nothing() -> None:
    assert wrap.aes_kwp_wrap(AES, b"") == b"" == wrap.aes_kwp_unwrap(AES, b"")


def test_kwp_notices_changes() -> None:
    wrapped = wrap.aes_kwp_wrap(AES, b"secret")
    for bad in (b"\0" + wrapped[1:], wrapped[:-1], wrapped[:8], wrapped + bytes(8)):
        with pytest.raises(WrapError):
            wrap.aes_kwp_unwrap(AES, bad)
    with pytest.raises(WrapError):
        wrap.aes_kwp_unwrap(bytes(32), wrapped)


def test_oaep_with_pem_and_object() -> None:
    for key in (RSA.public, RSA.public.pem(), RSA.public.pem().encode()):
        wrapped = wrap.rsa_oaep_wrap(key, b"secret", b"L")
        for private in (RSA, RSA.pem(), RSA.pem().encode()):
            assert wrap.rsa_oaep_unwrap(private, wrapped, b"L") == b"secret"
    with pytest.raises(WrapError, match="oaep decoding error"):
        wrap.rsa_oaep_unwrap(RSA, wrapped)
    with pytest.raises(WrapError, match="data too large for key size"):
        wrap.rsa_oaep_wrap(RSA.public, bytes(63))


@pytest.mark.parametrize("bits", wrap.AES_SIZES)
def test_combined(bits: int) -> None:
    data = bytes(200)
    wrapped = wrap.rsa_oaep_aes_kwp_wrap(bits, RSA.public, data, SeededEntropy(1), b"L")
    assert len(wrapped) == 128 + 208
    assert wrap.rsa_oaep_aes_kwp_unwrap(RSA.pem(), wrapped, b"L") == data
    with pytest.raises(WrapError):
        wrap.rsa_oaep_aes_kwp_unwrap(RSA, wrapped)
    with pytest.raises(WrapError):
        wrap.rsa_oaep_aes_kwp_unwrap(RSA, wrapped[:-8], b"L")


def test_refusals_have_the_texts_of_the_reference() -> None:
    ec = PrivateKey.generate(Curve.P256, SeededEntropy(1))
    for key, text in (
        (b"", "Got PEM of size 0"),
        (b"x", "PEM constructed with non-PEM data: x"),
        (RSA.pem(), "invalid RSA key"),
        (ec.public.pem(), "invalid RSA key"),
    ):
        with pytest.raises(WrapError, match=f"^{text}$"):
            wrap.rsa_oaep_wrap(key, b"data")
    with pytest.raises(WrapError, match=r"^PEM constructed with non-PEM data$"):
        wrap.rsa_oaep_unwrap(b"c2Vj" * 11, bytes(128))
    with pytest.raises(WrapError, match=r"^could not parse PEM$"):
        wrap.rsa_oaep_unwrap(RSA.public.pem(), bytes(128))
    with pytest.raises(WrapError, match=r"^invalid key size$"):
        wrap.rsa_oaep_aes_kwp_wrap(100, RSA.public, b"data", SeededEntropy(1))
    for short in (b"", bytes(128)):
        with pytest.raises(WrapError, match=r"^not enough ciphertext$"):
            wrap.rsa_oaep_aes_kwp_unwrap(RSA, short)
