from __future__ import annotations

from itertools import combinations

import pytest

from pyccf.crypto import shares
from pyccf.crypto.aead import InvalidTag
from pyccf.crypto.entropy import SeededEntropy
from pyccf.crypto.shares import PRIME, Secret, ShareError

# crypto.md 5.6
TWO = {
    0: "00000000e8030000d0070000b80b0000a00f00008813000070170000581b0000401f00002823000010270000",
    1: "01000000ef030000de070000cd0b0000bc0f0000ab1300009a170000891b0000781f00006723000056270000",
    3: "03000000fd030000fa070000f70b0000f40f0000f1130000ee170000eb1b0000e81f0000e5230000e2270000",
}
TWO_KEY = "2089f96672be20db83fbc4b741db610761049468bb03cf231ee48885394b0493"
TWO_WRAPPED = (
    "acb5a6dfdd5049dd628888b8d4c8202b"
    "000000000000000000000000"
    "22b7e071a6bef0e89db3607a51cc584d9c491cb249b1bf4feb698f2a5255fd75"
)
THREE = {
    1: "010000000400004005000040060000400700004008000040090000400a0000400b0000400c0000400d000040",
    2: "0200000014000000190000001e00000023000000280000002d00000032000000370000003c00000041000000",
    4: "040000005100000064000000770000008a0000009d000000b0000000c3000000d6000000e9000000fc000000",
}
THREE_KEY = "2ed3f5e64841bb59d8c4509a246ccf09112fbf1c535b1c0f5f35139a9d94e2d3"
ACME = [
    "0100000019086d2c3dc0a31a0ee8c35c7b57ff7dd436e75579262b11779a7c7389fb1e4be2282c0339d28c2f",
    "020000000e357a04620ea93eca1f402f11c57004e656be42a2f23f683ddc55112c5a0f419b484148d40d3876",
    "030000004c64496aa3575721cd6b847aeb61505db3ffc618053cdb40774bd52fd789924bfffe935fe12a3177",
]
ACME_LIMBS = "6edd2162336d47359bc40f032c19fc497d9f415288d79c3b27864956ee6dc169d39f54100f782f23"
ACME_KEY = "585f9ba1448629e7049d206fa918075f624e6d3c05f944cd7f8b302d2a4d6ee0"
ACME_WRAPPED = (
    "83b5e94958d7de4998c5be08835cca10"
    "000000000000000000000000"
    "142fa3c31a955a2534dc847677dc5320f21f0cc53e275ae9fa1b911df9abfc2b"
)
ACME_SECRET = "6a2e4bec332a6457dccd64af0d4ace7de36de1af02f95f3ecde5a47176f9014a"


def raw(*hexed: str) -> list[bytes]:
    return [bytes.fromhex(text) for text in hexed]


def test_synthetic_threshold_two() -> None:
    polynomials = [[1000 * (k + 1), 7 * (k + 1)] for k in range(10)]
    for x, share in TWO.items():
        assert shares.share_at(polynomials, x).hex() == share
    secret = shares.combine(raw(TWO[3], TWO[1]))
    assert secret.wrapping_key().hex() == TWO_KEY
    assert secret.full_share().hex() == TWO[0]
    assert shares.combine(raw(TWO[0])) == secret
    wrapped = shares.wrap_ledger_secret(bytes.fromhex(TWO_KEY), bytes(range(32)))
    assert wrapped.hex() == TWO_WRAPPED
    assert len(wrapped) == shares.WRAPPED_SECRET_SIZE


def test_synthetic_threshold_three_wraps_around() -> None:
    polynomials = [[PRIME - 1 - k, 2**30 + k, 5 + k] for k in range(10)]
    for x, share in THREE.items():
        assert shares.share_at(polynomials, x).hex() == share
    assert shares.combine(raw(*THREE.values())).wrapping_key().hex() == THREE_KEY


def test_real_service() -> None:
    secret = shares.combine(raw(*ACME))
    assert secret.full_share().hex() == "00000000" + ACME_LIMBS
    assert secret.wrapping_key().hex() == ACME_KEY
    opened = shares.unwrap_ledger_secret(secret.wrapping_key(), bytes.fromhex(ACME_WRAPPED))
    assert opened.hex() == ACME_SECRET
    assert shares.wrap_ledger_secret(secret.wrapping_key(), opened).hex() == ACME_WRAPPED


@pytest.mark.parametrize(("n", "threshold"), [(1, 1), (3, 2), (5, 5), (6, 3)])
def test_any_threshold_of_shares_restores_the_secret(n: int, threshold: int) -> None:
    secret, made = shares.split(n, threshold, SeededEntropy(n))
    assert [shares.index_of(share) for share in made] == list(range(1, n + 1))
    for some in combinations(made, threshold):
        assert shares.combine(some) == secret
    if threshold > 1:
        assert shares.combine(made[: threshold - 1]) != secret
        with pytest.raises(ShareError, match="too few"):
            shares.combine(made[: threshold - 1], threshold)


def test_more_shares_than_the_threshold_are_ignored() -> None:
    secret, made = shares.split(5, 2, SeededEntropy(0))
    junk = bytes.fromhex("63000000") + bytes(40)
    assert shares.combine([*made[:2], junk], 2) == secret


def test_each_split_is_fresh() -> None:
    entropy = SeededEntropy(0)
    assert shares.split(2, 2, entropy) != shares.split(2, 2, entropy)


def test_coefficients_equal_to_the_prime_are_drawn_again() -> None:
    class Source:
        def __init__(self) -> None:
            self.words = [b"\xff" * 8, b"\xfe" + b"\xff" * 7]

        def bytes(self, n: int):  # type: ignore[no-untyped-def]
            assert n == 8
            return self.words.pop(0) if self.words else b"\x05" + bytes(7)

    secret, _ = shares.split(1, 1, Source())
    assert secret.full_share()[4:12].hex() == "feffff7f05000000"


def test_full_key() -> None:
    secret, made = shares.split(3, 2, SeededEntropy(1))
    assert shares.is_full(secret.full_share())
    assert not shares.is_full(made[0])
    assert not shares.is_full(bytes(43))


def test_wrong_shares_do_not_unwrap() -> None:
    wrong = [*raw(*ACME[:2]), bytes.fromhex(ACME[2][:-2]) + b"\x00"]
    key = shares.combine(wrong).wrapping_key()
    with pytest.raises(InvalidTag):
        shares.unwrap_ledger_secret(key, bytes.fromhex(ACME_WRAPPED))


def test_refusals() -> None:
    share = bytes.fromhex(ACME[0])
    for n, threshold in ((3, 0), (2, 3), (0, 0), (0, 1), (shares.SHARES_MAX + 1, 1)):
        with pytest.raises(ShareError):
            shares.split(n, threshold, SeededEntropy(1))
    for given in ([], [share, share], [share[:-1]], [bytes(113)], [share[:40] + b"\xff" * 4]):
        with pytest.raises(ShareError):
            shares.combine(given)
    with pytest.raises(ShareError, match="twice"):
        shares.combine([share, share])
    with pytest.raises(ShareError):
        shares.combine([b"\xff\xff\xff\x7f" + share[4:]])


def test_secret_is_not_shown() -> None:
    secret, _ = shares.split(1, 1, SeededEntropy(1))
    assert repr(secret) == "Secret(...)"
    assert secret != "Secret(...)"
    assert hash(secret) == hash(
        Secret([int.from_bytes(secret.full_share()[i : i + 4], "little") for i in range(4, 44, 4)])
    )
