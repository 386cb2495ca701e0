"""The two ways to seal an entry are one: in C and in Python."""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyccf.crypto import kdf
from pyccf.ledger import _sealing_python as python
from pyccf.ledger import sealing
from pyccf.ledger.entry import FIXED_SIZE, VIEW_MASK, parse
from pyccf.ledger.secrets import EntryCipher
from support.native import native as find_native

native = find_native("pyccf.ledger._sealing")

KEY = bytes(range(32))
COMMIT_SECRET = kdf.commit_secret(KEY)
Z32 = bytes(32)
WAYS = [
    pytest.param(native.Sealer, native.unseal, id="native"),
    pytest.param(python.Sealer, python.unseal, id="python"),
]
ONE, OTHER = native.Sealer(KEY, COMMIT_SECRET), python.Sealer(KEY, COMMIT_SECRET)
SEALED, LEAF = ONE.seal(2, 7, b"public", b"private", Z32, 0)
PUBLIC_ONLY, _ = ONE.seal(2, 7, b"public", b"", Z32, 0)

views = st.integers(0, VIEW_MASK)
seqnos = st.integers(0, 2**64 - 1) | st.sampled_from([0, 9, 10, 2**63, 2**64 - 1])
domains = st.binary(max_size=300) | st.sampled_from([b"", b"x" * 100_000])
digests = st.binary(min_size=32, max_size=32)


def test_the_native_way_is_chosen() -> None:
    assert sealing.NATIVE
    assert (sealing.Sealer, sealing.unseal) == (native.Sealer, native.unseal)


def test_without_it_the_other_way_is_chosen() -> None:
    script = (
        "import sys; sys.modules['pyccf.ledger._sealing'] = None;"
        "sys.modules['pyccf.crypto._hashing'] = None;"
        "from pyccf.ledger import sealing, _sealing_python as python;"
        "from pyccf.merkle.tree import Tree;"
        "assert sealing.Sealer is python.Sealer and not sealing.NATIVE;"
        "tree = Tree(); tree.append(b'1' * 32); print(tree.root().hex())"
    )
    printed = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    ).stdout
    assert printed.strip() == hashlib.sha256(Z32 + b"1" * 32).hexdigest()


@given(st.binary(min_size=32, max_size=32), views, seqnos, domains, domains, digests, st.data())
def test_both_ways_seal_to_the_same_bytes_and_open_them(
    key: bytes,
    view: int,
    seqno: int,
    public: bytes,
    private: bytes,
    claims: bytes,
    data: st.DataObject,
) -> None:
    flags = data.draw(st.sampled_from([0, 0, 0, 1, 2, 255]))
    cipher = EntryCipher(key)
    secret = kdf.commit_secret(key)
    one, other = native.Sealer(key, secret), python.Sealer(key, secret)
    entry, leaf = one.seal(view, seqno, public, private, claims, flags)
    assert (entry, leaf) == other.seal(view, seqno, public, private, claims, flags)
    assert entry[FIXED_SIZE:].startswith(public)
    if flags <= 3:
        parsed = parse(entry)
        assert (parsed.view, parsed.seqno, parsed.flags) == (view, seqno, flags)
        assert (parsed.claims, parsed.public_sections, parsed.leaf) == (claims, public, leaf)
        assert cipher.open(parsed.iv, parsed.tag, parsed.ciphertext, parsed.public) == private
    plain = None if flags else (public, private, leaf)
    assert native.unseal(entry, view, seqno, one) == plain
    assert python.unseal(entry, view, seqno, other) == plain
    left_alone = None if flags else (public, b"", leaf)
    assert native.unseal(entry, view, seqno, None) == left_alone
    assert python.unseal(entry, view, seqno, None) == left_alone


@given(
    st.binary(max_size=200)
    | st.binary(max_size=40).map(lambda rest: SEALED[:125] + rest)
    | st.binary(min_size=16, max_size=16).map(lambda tag: PUBLIC_ONLY[:8] + tag + PUBLIC_ONLY[24:])
    | st.binary(max_size=6).map(lambda public: PUBLIC_ONLY[: 131 - len(public)] + public)
)
def test_whatever_is_given_both_ways_say_the_same(data: bytes) -> None:
    assert native.unseal(data, 2, 7, ONE) == python.unseal(data, 2, 7, OTHER)
    assert native.unseal(data, 2, 7, None) == python.unseal(data, 2, 7, None)


@pytest.mark.parametrize("private", [b"private", b""], ids=["both parts", "public only"])
@pytest.mark.parametrize(("sealer", "unseal"), WAYS)
def test_no_byte_can_be_changed_or_left_out(
    sealer: type, unseal: Callable[..., object], private: bytes
) -> None:
    one = sealer(KEY, COMMIT_SECRET)
    sealed, leaf = one.seal(2, 7, b"public", private, Z32, 0)
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1 << place % 8
        assert unseal(bytes(changed), 2, 7, one) is None, place
        assert unseal(sealed[:place], 2, 7, one) is None
        assert unseal(sealed[:place], 2, 7, None) is None
    # What failed left nothing behind.
    assert unseal(sealed, 2, 7, one) == (b"public", private, leaf)
    assert unseal(sealed + b"\0", 2, 7, one) is None
    assert unseal(sealed, 3, 7, one) is None
    assert unseal(sealed, 2, 8, one) is None
    assert unseal(sealed, 2, 7, sealer(Z32, COMMIT_SECRET)) is None


@pytest.mark.parametrize(("sealer", "unseal"), WAYS)
def test_without_a_sealer_the_tag_is_not_asked(sealer: type, unseal: Callable[..., object]) -> None:
    sealed, _ = sealer(KEY, COMMIT_SECRET).seal(2, 7, b"public", b"", Z32, 0)
    untagged = sealed[:8] + bytes(16) + sealed[24:]
    opened = unseal(untagged, 2, 7, None)
    assert opened == (b"public", b"", parse(untagged).leaf)


def test_sizes_beyond_all_bounds_are_refused() -> None:
    for public_size in (0, 80, len(SEALED) - 43, 2**31, 2**32 + 81, 2**63, 2**64 - 1):
        changed = SEALED[:36] + public_size.to_bytes(8, "little") + SEALED[44:]
        for sealer in (ONE, None):
            assert native.unseal(changed, 2, 7, sealer) is None
    for size in (0, 2**31, 2**48 - 1):
        changed = SEALED[:2] + size.to_bytes(6, "little") + SEALED[8:]
        assert native.unseal(changed, 2, 7, ONE) is None


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ((2**31, 1, b"", b"", Z32, 0), AssertionError, "a view has 31 bits"),
        ((2, 1, b"", b"", b"short", 0), AssertionError, "a claims digest has 32 bytes"),
        ((2, 1, b"", b"", Z32 + b"0", 0), AssertionError, "a claims digest has 32 bytes"),
        ((2, 1, b"", b"", Z32, 256), AssertionError, "flags have 8 bits"),
        ((-1, 1, b"", b"", Z32, 0), OverflowError, "negative"),
        ((2, 2**64, b"", b"", Z32, 0), OverflowError, "too big"),
        (("2", 1, b"", b"", Z32, 0), TypeError, "int"),
        ((2, 1, "", b"", Z32, 0), TypeError, "public must be bytes, not str"),
        ((2, 1, b"", bytearray(), Z32, 0), TypeError, "private must be bytes, not bytearray"),
        ((2, 1, b"", b"", None, 0), TypeError, "claims must be bytes, not NoneType"),
        ((2, 1, b"", b"", Z32), TypeError, "6 arguments expected, 5 given"),
    ],
)
def test_wrong_arguments_are_named(
    arguments: tuple[object, ...], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        ONE.seal(*arguments)
    assert ONE.seal(2, 7, b"public", b"private", Z32, 0) == (SEALED, LEAF)


def test_opening_takes_bytes_and_a_sealer_of_its_own() -> None:
    with pytest.raises(TypeError, match="data must be bytes, not memoryview"):
        native.unseal(memoryview(SEALED), 2, 7, ONE)
    with pytest.raises(TypeError, match="must be a Sealer or None"):
        native.unseal(SEALED, 2, 7, OTHER)
    with pytest.raises(TypeError, match="4 arguments expected, 3 given"):
        native.unseal(SEALED, 2, 7)


@pytest.mark.parametrize(
    "keys", [(), (KEY,), (KEY, b""), (b"", KEY), (KEY[1:], KEY), (KEY, KEY + b"0"), (KEY, "x")]
)
@pytest.mark.parametrize(("make", "_"), WAYS)
def test_keys_have_32_bytes(keys: tuple[object, ...], make: type, _: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        make(*keys)


def test_no_key_is_shown() -> None:
    assert repr(ONE).startswith("<pyccf.ledger._sealing.Sealer object at ")
    with pytest.raises(TypeError, match="pickle"):
        ONE.__reduce_ex__(2)
    assert not hasattr(ONE, "__dict__")


def test_threads_may_share_a_sealer() -> None:
    wrong: list[int] = []

    def work(first: int) -> None:
        for seqno in range(first, first + 2000):
            entry, leaf = ONE.seal(2, seqno, b"p%d" % seqno, b"q%d" % seqno, Z32, 0)
            if native.unseal(entry, 2, seqno, ONE) != (b"p%d" % seqno, b"q%d" % seqno, leaf):
                wrong.append(seqno)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [Thread(target=work, args=(first,)) for first in (1, 10_000, 20_000)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert wrong == []


def test_nothing_is_kept() -> None:
    damaged = SEALED[:-1] + bytes([SEALED[-1] ^ 1])

    def loop() -> None:
        for _ in range(500):
            native.unseal(damaged, 2, 7, ONE)
            native.unseal(SEALED, 2, 7, ONE)
            ONE.seal(2, 7, b"public", b"private", Z32, 0)
            with contextlib.suppress(AssertionError):
                ONE.seal(2, 7, b"public", b"private", b"", 0)
            native.Sealer(KEY, COMMIT_SECRET)

    tracemalloc.start()
    try:
        loop()
        before, _ = tracemalloc.get_traced_memory()
        loop()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # One object kept per turn would be 16,000 bytes and more.
    assert after - before < 4_000
