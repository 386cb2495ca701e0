"""What `native/sealing.c` does, for where it cannot be had: see `sealing` for what is promised."""

from __future__ import annotations

from hashlib import sha256
from struct import Struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pyccf.ledger.entry import (
    FIXED,
    FIXED_SIZE,
    FORMAT_VERSION,
    HEADER_SIZE,
    PREFIX_SIZE,
    PUBLIC_HEADER,
    VIEW_MASK,
)
from pyccf.types import SeqNo, View

_SHA256_BLOCK = 64
_AFTER_HEADER = PREFIX_SIZE - HEADER_SIZE
_PUBLIC_SIZE_MIN = PUBLIC_HEADER.size

_pack_public = PUBLIC_HEADER.pack
_pack_prefix = Struct("<Q16sQIQ").pack
_pack_iv = Struct("<QI").pack
_fixed = FIXED.unpack_from
_sha256 = sha256


class Sealer:
    """A ledger secret at work."""

    __slots__ = ("_inner", "_outer", "decrypt", "encrypt")

    def __init__(self, key: bytes, commit_secret: bytes) -> None:
        if len(key) != 32 or len(commit_secret) != 32:
            raise ValueError("a key has 32 bytes")
        aead = AESGCM(key)
        self.encrypt = aead.encrypt
        self.decrypt = aead.decrypt
        # The padded keys of the evidence HMAC, ready to be put before a message.
        padded = commit_secret.ljust(_SHA256_BLOCK, b"\0")
        self._inner = bytes([b ^ 0x36 for b in padded])
        self._outer = bytes([b ^ 0x5C for b in padded])

    def seal(
        self, view: View, seqno: SeqNo, public: bytes, private: bytes, claims: bytes, flags: int
    ) -> tuple[bytes, bytes]:
        """The bytes of an entry, and its leaf."""
        assert view <= VIEW_MASK, "a view has 31 bits"
        assert len(claims) == 32, "a claims digest has 32 bytes"
        assert flags <= 0xFF, "flags have one byte"
        name = b"%d.%d" % (view, seqno)
        nonce = _sha256(self._outer + _sha256(self._inner + name).digest()).hexdigest()
        evidence = _sha256(b"ce:%b:%b" % (name, nonce.encode())).digest()
        domain = _pack_public(4, seqno, claims, evidence, 0) + public
        sealed = self.encrypt(_pack_iv(seqno, view), private, domain)
        size = _AFTER_HEADER + len(domain) + len(private)
        word = FORMAT_VERSION | flags << 8 | size << 16
        prefix = _pack_prefix(word, sealed[-16:], seqno, view, len(domain))
        data = b"".join((prefix, domain, sealed[:-16]))
        return data, _sha256(_sha256(data).digest() + evidence + claims).digest()


def unseal(
    data: bytes, view: View, seqno: SeqNo, sealer: Sealer | None
) -> tuple[bytes, bytes, bytes] | None:
    """Public sections, private ones in clear, and leaf of a plain entry."""
    size = len(data)
    if size < FIXED_SIZE:
        return None
    word: int
    tag: bytes
    iv: bytes
    public_size: int
    kind: int
    inner: int
    claims: bytes
    evidence: bytes
    word, tag, iv, public_size, kind, inner, claims, evidence, _ = _fixed(data)
    end = PREFIX_SIZE + public_size
    if (
        kind != 4
        or word & 0xFFFF != FORMAT_VERSION
        or (word >> 16) + HEADER_SIZE != size
        or iv != _pack_iv(seqno, view)
        or inner != seqno
        or public_size < _PUBLIC_SIZE_MIN
        or end > size
    ):
        return None
    private = b""
    if sealer is not None:
        try:
            private = sealer.decrypt(iv, data[end:] + tag, data[PREFIX_SIZE:end])
        except InvalidTag:
            return None
    leaf = _sha256(_sha256(data).digest() + evidence + claims).digest()
    return data[FIXED_SIZE:end], private, leaf
