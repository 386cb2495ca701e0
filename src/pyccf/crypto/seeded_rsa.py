"""RSA keys and RSA-OAEP from a seed: repeatable, for simulation and tests only.

Real nodes use the library's generator and padding. A simulated service must write the same bytes
for the same seed, and the library takes no seed; so the two operations that need chance are here,
on public standards: probable primes by Miller-Rabin (FIPS 186-5 B.3), OAEP encoding
(RFC 8017 §7.1.1). Nothing here runs in constant time, and nothing here is used with a real key.
"""

from __future__ import annotations

import hashlib
from math import gcd, prod

from cryptography.hazmat.primitives.asymmetric import rsa

from pyccf.crypto.entropy import SeededEntropy, below

MILLER_RABIN_ROUNDS = 8
_HASH_SIZE = 32
_BITS_MIN = 1024
_BITS_MAX = 4096


def _small_primes(limit: int) -> list[int]:
    sieve = bytearray([1]) * limit
    sieve[:2] = b"\0\0"
    for n in range(2, int(limit**0.5) + 1):
        if sieve[n]:
            sieve[n * n :: n] = bytes(len(range(n * n, limit, n)))
    return [n for n in range(limit) if sieve[n]]


_SMALL_PRODUCT = prod(_small_primes(2000))


def _is_prime(n: int, entropy: SeededEntropy) -> bool:
    """Miller-Rabin for odd n with no factor below 2000 (checked first)."""
    if gcd(n, _SMALL_PRODUCT) != 1:
        return False
    odd, twos = n - 1, 0
    while not odd & 1:
        odd >>= 1
        twos += 1
    for _ in range(MILLER_RABIN_ROUNDS):
        x = pow(2 + below(entropy, n - 3), odd, n)
        if x in (1, n - 1):
            continue
        for _ in range(twos - 1):
            x = x * x % n
            if x == n - 1:
                break
        else:
            return False
    return True


def _prime(bits: int, exponent: int, entropy: SeededEntropy) -> int:
    """An odd prime with the two top bits set, prime to the exponent less one."""
    while True:
        candidate = int.from_bytes(entropy.bytes(bits // 8), "big")
        candidate |= 3 << (bits - 2) | 1
        if gcd(candidate - 1, exponent) == 1 and _is_prime(candidate, entropy):
            return candidate


def generate(bits: int, exponent: int, entropy: SeededEntropy) -> rsa.RSAPrivateKey:
    """An RSA key of 1024 to 4096 bits (a multiple of 16) that the seed alone determines."""
    if not _BITS_MIN <= bits <= _BITS_MAX or bits % 16:
        raise ValueError(f"a seeded RSA key of {bits} bits is not supported")
    if exponent < 3 or not exponent & 1:
        raise ValueError("an RSA exponent is odd and at least 3")
    p = _prime(bits // 2, exponent, entropy)
    q = _prime(bits // 2, exponent, entropy)
    while q == p:
        q = _prime(bits // 2, exponent, entropy)
    p, q = max(p, q), min(p, q)
    d = pow(exponent, -1, (p - 1) * (q - 1) // gcd(p - 1, q - 1))
    numbers = rsa.RSAPrivateNumbers(
        p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), rsa.RSAPublicNumbers(exponent, p * q)
    )
    return numbers.private_key()


def encrypt_oaep(n: int, exponent: int, data: bytes, label: bytes, entropy: SeededEntropy) -> bytes:
    """RSA-OAEP with SHA-256 and MGF1-SHA-256, its seed taken from `entropy`.

    Raises ValueError when data is too long for the modulus.
    """
    size = (n.bit_length() + 7) // 8
    room = size - 2 * _HASH_SIZE - 2
    if len(data) > room:
        raise ValueError(f"{len(data)} bytes do not fit an RSA key of {n.bit_length()} bits")
    block = hashlib.sha256(label).digest() + bytes(room - len(data)) + b"\x01" + data
    seed = entropy.bytes(_HASH_SIZE)
    masked_block = _xor(block, _mgf1(seed, len(block)))
    masked_seed = _xor(seed, _mgf1(masked_block, _HASH_SIZE))
    padded = int.from_bytes(masked_seed + masked_block, "big")
    return pow(padded, exponent, n).to_bytes(size, "big")


def _mgf1(seed: bytes, size: int) -> bytes:
    blocks = (size + _HASH_SIZE - 1) // _HASH_SIZE
    mask = b"".join(hashlib.sha256(seed + i.to_bytes(4, "big")).digest() for i in range(blocks))
    return mask[:size]


def _xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))
